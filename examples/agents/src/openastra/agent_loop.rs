//! One run of an agent's loop: which tool it takes, what it says, and the same as a stream of events.

use portunus_proto::openastra::{AgentResponse, StreamEvent, TokenUsage};
use serde_json::{Value, json};
use tonic::Status;

use crate::brain::{self, Thought};
use crate::clock::timestamp;

use super::sessions::Session;

/// The agents that exist; the first one answers who names none.
pub(super) const AGENTS: [&str; 3] = ["assistant", "researcher", "coder"];

/// What a run came to.
pub(super) struct Run {
    session_id: String,
    created: bool,
    outcome: Result<Answer, String>,
}

struct Answer {
    content: String,
    tool: Option<Tool>,
    usage: TokenUsage,
}

struct Tool {
    name: &'static str,
    arguments: Value,
    result: Value,
}

impl Run {
    pub(super) fn of(agent: &str, message: &str, session: &mut Session, now: i64) -> Self {
        let outcome = if AGENTS.contains(&agent) {
            Ok(answer(agent, message, session, now))
        } else {
            Err(format!("there is no agent `{agent}`; there are {}", AGENTS.join(", ")))
        };
        Self { session_id: session.id.clone(), created: session.created, outcome }
    }

    pub(super) fn session_id(&self) -> &str {
        &self.session_id
    }

    /// The run as RunAgentLoop answers it.
    pub(super) fn response(&self) -> Result<AgentResponse, Status> {
        match &self.outcome {
            Ok(answer) => Ok(AgentResponse {
                content: answer.content.clone(),
                session_id: self.session_id.clone(),
                usage: Some(answer.usage),
            }),
            Err(error) => Err(Status::not_found(error.clone())),
        }
    }

    /// The run as RunAgentLoopStream tells it, in the order of the document's table.
    pub(super) fn events(&self) -> Vec<StreamEvent> {
        let mut events =
            vec![event("session_resolved", &json!({"sessionId": self.session_id, "created": self.created}))];
        match &self.outcome {
            Err(error) => events.push(event("error", &json!({"message": error}))),
            Ok(answer) => {
                let deltas = brain::pieces(&answer.content);
                events.extend(deltas.iter().map(|piece| event("stream_delta", &json!({"delta": piece}))));
                if let Some(tool) = &answer.tool {
                    events.push(event("tool_call_start", &json!({"tool": tool.name})));
                    events.push(event("tool_call_complete", &json!({"tool": tool.name, "arguments": tool.arguments})));
                    let took = tool.arguments.to_string().len();
                    events.push(event(
                        "tool_result",
                        &json!({"tool": tool.name, "result": tool.result, "durationMs": took}),
                    ));
                }
                let usage = json!({
                    "promptTokens": answer.usage.prompt_tokens,
                    "completionTokens": answer.usage.completion_tokens,
                    "totalTokens": answer.usage.total_tokens,
                });
                events.push(event("completed", &json!({"content": answer.content, "usage": usage})));
            }
        }
        events
    }
}

fn event(kind: &str, data: &Value) -> StreamEvent {
    StreamEvent { r#type: kind.into(), data: data.to_string() }
}

fn answer(agent: &str, message: &str, session: &mut Session, now: i64) -> Answer {
    let tool = choose_tool(message, session, now);
    let content = match &tool {
        Some(tool) => format!("[{agent}] {}: {}", tool.name, plain(&tool.result)),
        None => match brain::think(message, session.before) {
            Thought::Answer(text) | Thought::InputRequired(text) | Thought::AuthRequired(text) => {
                format!("[{agent}] {text}")
            }
        },
    };
    let (prompt_tokens, completion_tokens) = (brain::tokens(message), brain::tokens(&content));
    let usage =
        TokenUsage { prompt_tokens, completion_tokens, total_tokens: prompt_tokens.saturating_add(completion_tokens) };
    Answer { content, tool, usage }
}

fn choose_tool(message: &str, session: &mut Session, now: i64) -> Option<Tool> {
    let lower = message.to_lowercase();
    if let Some(note) = lower.strip_prefix("remember ") {
        session.notes.push(note.to_owned());
        let arguments = json!({"note": note});
        return Some(Tool { name: "memory_store", arguments, result: json!(session.notes.len()) });
    }
    if lower.starts_with("recall") {
        return Some(Tool { name: "memory_recall", arguments: json!({}), result: json!(session.notes) });
    }
    if lower.contains("what time") {
        let time = timestamp(now).to_string();
        return Some(Tool { name: "clock", arguments: json!({}), result: json!(time) });
    }
    let (expression, value) = brain::arithmetic(message)?;
    Some(Tool { name: "calculator", arguments: json!({"expression": expression}), result: json!(value) })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
