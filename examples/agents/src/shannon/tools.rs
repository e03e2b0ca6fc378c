//! Shannon's tools: what they are, how one is found, and running them. Each counts its calls a minute.

use std::collections::BTreeMap;

use portunus_proto::shannon::agent::{DiscoverToolsRequest, RateLimit, ToolCapability, ToolExample};
use portunus_proto::shannon::common::{StatusCode, ToolCall, ToolResult};
use serde_json::{Value as Json, json};

use crate::brain;
use crate::seed::Seed;

use super::values;

struct Tool {
    id: &'static str,
    description: &'static str,
    category: &'static str,
    tags: &'static [&'static str],
    /// Words in a query that ask for it.
    words: &'static [&'static str],
    dangerous: bool,
    per_minute: i32,
    takes_ms: i64,
}

const TOOLS: [Tool; 5] = [
    Tool {
        id: "calculator",
        description: "Works out sums such as 2 + 3 * 4",
        category: "math",
        tags: &["math", "exact"],
        words: &["calculate", "compute"],
        dangerous: false,
        per_minute: 600,
        takes_ms: 2,
    },
    Tool {
        id: "word_count",
        description: "Counts words and characters of a text",
        category: "text",
        tags: &["text", "data"],
        words: &["count", "words", "length"],
        dangerous: false,
        per_minute: 600,
        takes_ms: 3,
    },
    Tool {
        id: "csv_loader",
        description: "Loads rows of data for analysis",
        category: "data",
        tags: &["data", "analysis"],
        words: &["load", "data", "sales", "csv"],
        dangerous: false,
        per_minute: 60,
        takes_ms: 40,
    },
    Tool {
        id: "web_search",
        description: "Finds pages about a subject",
        category: "search",
        tags: &["search", "web"],
        words: &["search", "find", "research", "latest"],
        dangerous: false,
        per_minute: 5,
        takes_ms: 80,
    },
    Tool {
        id: "shell",
        description: "Runs a command in a sandbox",
        category: "system",
        tags: &["system"],
        words: &["run", "execute", "shell"],
        dangerous: true,
        per_minute: 10,
        takes_ms: 60,
    },
];

/// All tools' names.
pub(super) fn names() -> Vec<String> {
    TOOLS.iter().map(|tool| tool.id.to_owned()).collect()
}

/// The tools that a text asks for.
pub(super) fn needed(text: &str) -> Vec<&'static str> {
    let lower = text.to_lowercase();
    let sums = brain::arithmetic(text).is_some();
    let asks = |tool: &&Tool| {
        (sums && tool.id == "calculator") || lower.split_whitespace().any(|word| tool.words.contains(&word))
    };
    TOOLS.iter().filter(asks).map(|tool| tool.id).collect()
}

pub(super) fn capability(id: &str) -> Option<ToolCapability> {
    TOOLS.iter().find(|tool| tool.id == id).map(Tool::capability)
}

/// The tools that meet all of a request's conditions.
pub(super) fn discover(request: &DiscoverToolsRequest) -> Vec<ToolCapability> {
    let words: Vec<_> = request.query.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let any = |wanted: &[String], has: &dyn Fn(&str) -> bool| wanted.is_empty() || wanted.iter().any(|w| has(w));
    let most = usize::try_from(request.max_results).ok().filter(|n| *n > 0).unwrap_or(TOOLS.len());
    TOOLS
        .iter()
        .filter(|tool| !(request.exclude_dangerous && tool.dangerous))
        .filter(|tool| any(&request.categories, &|c| tool.category == c))
        .filter(|tool| any(&request.tags, &|t| tool.tags.contains(&t)))
        .filter(|tool| any(&words, &|w| tool.text().contains(w)))
        .take(most)
        .map(Tool::capability)
        .collect()
}

impl Tool {
    fn text(&self) -> String {
        format!("{} {} {} {}", self.id, self.description, self.tags.join(" "), self.words.join(" ")).to_lowercase()
    }

    fn capability(&self) -> ToolCapability {
        let schema = |name: &str| {
            values::object(json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}))
        };
        ToolCapability {
            id: self.id.into(),
            name: self.id.replace('_', " "),
            description: self.description.into(),
            category: self.category.into(),
            input_schema: Some(schema("query")),
            output_schema: Some(schema("result")),
            required_permissions: if self.dangerous { vec!["sandbox".into()] } else { Vec::new() },
            estimated_duration_ms: self.takes_ms,
            is_dangerous: self.dangerous,
            version: "1.0.0".into(),
            author: "shannon".into(),
            tags: self.tags.iter().map(|&tag| tag.to_owned()).collect(),
            examples: vec![ToolExample {
                description: "A sum".into(),
                input: Some(values::object(json!({"query": "2 + 2"}))),
                output: Some(values::object(json!({"result": run(self.id, "2 + 2", &Seed::new(0))}))),
            }],
            rate_limit: Some(RateLimit {
                requests_per_minute: self.per_minute,
                requests_per_hour: self.per_minute * 60,
            }),
            cache_ttl_ms: 60_000,
        }
    }
}

/// When each tool was used within the last minute.
#[derive(Debug, Default)]
pub(super) struct Tools(BTreeMap<&'static str, Vec<i64>>);

impl Tools {
    /// Uses a tool on a query at a time (Unix milliseconds).
    pub(super) fn call(&mut self, id: &str, query: &str, now: i64, seed: &Seed) -> (ToolCall, ToolResult) {
        let call =
            ToolCall { name: id.into(), parameters: Some(values::object(json!({"query": query}))), tool_id: id.into() };
        let mut result = ToolResult { tool_id: id.into(), ..ToolResult::default() };
        let Some(tool) = TOOLS.iter().find(|tool| tool.id == id) else {
            result.set_status(StatusCode::Error);
            result.error_message = format!("there is no tool `{id}`");
            return (call, result);
        };
        let uses = self.0.entry(tool.id).or_default();
        uses.retain(|used| now - used < 60_000);
        if uses.len() >= usize::try_from(tool.per_minute).unwrap_or(usize::MAX) {
            result.set_status(StatusCode::RateLimited);
            result.error_message = format!("{id} may be used {} times a minute", tool.per_minute);
            return (call, result);
        }
        uses.push(now);
        result.set_status(StatusCode::Ok);
        result.output = Some(values::value(run(id, query, seed)));
        result.execution_time_ms = tool.takes_ms;
        (call, result)
    }
}

fn run(id: &str, query: &str, seed: &Seed) -> Json {
    match id {
        "calculator" => brain::arithmetic(query).map_or(Json::Null, |(_, value)| json!(value)),
        "word_count" => json!({"words": query.split_whitespace().count(), "characters": query.chars().count()}),
        "csv_loader" => json!({"rows": 1_000 + seed.pick(query, 20_000)}),
        "web_search" => (1..=3)
            .map(|n| format!("https://example.com/{:06}", seed.pick(&format!("{query} {n}"), 1_000_000)))
            .collect(),
        _ => json!(format!("ran in the sandbox: {query}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Seed, StatusCode, Tools, needed};

    #[test]
    fn a_tool_has_a_rate() {
        let (mut tools, seed) = (Tools::default(), Seed::new(1));
        let mut status = |now| tools.call("web_search", "q", now, &seed).1.status();
        assert!((0..5).all(|now| status(now) == StatusCode::Ok));
        assert_eq!(status(59_000), StatusCode::RateLimited);
        assert_eq!(status(60_001), StatusCode::Ok);
    }

    #[test]
    fn queries_ask_for_tools() {
        assert_eq!(needed("load the sales data"), ["csv_loader"]);
        assert_eq!(needed("what is 1 + 1"), ["calculator"]);
        assert!(needed("hello").is_empty());
    }
}
