//! Takes a query apart: how complex it is, which agents it takes, and in which order. Pure.

use portunus_proto::shannon::common::{ExecutionMode, ModelTier};
use portunus_proto::shannon::orchestrator::dag_structure::{Edge, Node};
use portunus_proto::shannon::orchestrator::{AgentTask, DagStructure, TaskDecomposition};

use crate::brain;

use super::{models, tools};

/// Agents at work at once where the caller names no number.
const MAX_AGENTS: usize = 5;

/// A query taken apart.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) mode: ExecutionMode,
    pub(super) score: f64,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    text: String,
    /// Whether it waits for the part before it.
    follows: bool,
}

impl Plan {
    /// `then` and `;` make one part wait for the one before, `and` and `,` let both run at once.
    pub(super) fn of(query: &str, max_agents: i32) -> Self {
        let mut parts = Vec::new();
        let mut follows = false;
        let mut words = Vec::new();
        for word in query.split_whitespace() {
            let (bare, ends) = (word.trim_end_matches([',', ';']), word.ends_with([',', ';']));
            let joint = matches!(bare.to_lowercase().as_str(), "and" | "then");
            if !joint {
                words.push(bare);
            }
            if (joint || ends) && !words.is_empty() {
                parts.push(Part { text: words.join(" "), follows });
                words.clear();
            }
            if joint || ends {
                follows = bare.eq_ignore_ascii_case("then") || word.ends_with(';');
            }
        }
        if !words.is_empty() {
            parts.push(Part { text: words.join(" "), follows });
        }
        let most = usize::try_from(max_agents).ok().filter(|n| *n > 0).unwrap_or(MAX_AGENTS);
        while parts.len() > most {
            // Too few agents: the last one does what is left.
            let Some(last) = parts.pop() else { break };
            if let Some(before) = parts.last_mut() {
                before.text = format!("{} and {}", before.text, last.text);
            }
        }
        let words = query.split_whitespace().count();
        let score = (0.15 * parts.len() as f64 + 0.02 * words as f64).min(1.0);
        let mode = match parts.len() {
            0 | 1 if words <= 4 => ExecutionMode::Simple,
            0 | 1 => ExecutionMode::Standard,
            _ => ExecutionMode::Complex,
        };
        Self { mode, score, parts }
    }

    pub(super) fn agents(&self) -> usize {
        self.parts.len().max(1)
    }

    /// What it will take, about.
    pub(super) fn tokens(&self) -> i32 {
        self.parts.iter().map(|part| tokens(&part.text)).fold(0, i32::saturating_add)
    }

    pub(super) fn cost(&self) -> f64 {
        self.parts.iter().map(|part| models::of_tier(tier(&part.text)).usage(tokens(&part.text), 0).cost_usd).sum()
    }

    /// The tools that the parts need, each once.
    pub(super) fn capabilities(&self) -> Vec<String> {
        let mut all: Vec<_> = self.parts.iter().flat_map(|part| tools::needed(&part.text)).map(str::to_owned).collect();
        all.sort();
        all.dedup();
        all
    }

    pub(super) fn decomposition(&self, task_id: &str) -> TaskDecomposition {
        let mut tasks: Vec<AgentTask> = Vec::new();
        let mut dag = DagStructure::default();
        let mut level = 0;
        for (i, part) in self.parts.iter().enumerate() {
            let (agent_id, node) = (format!("agent-{}", i + 1), format!("n{}", i + 1));
            let mut dependencies = Vec::new();
            if part.follows
                && let Some(before) = tasks.last()
            {
                level += 1;
                dependencies.push(before.agent_id.clone());
                dag.edges.push(Edge { from: format!("n{i}"), to: node.clone() });
            }
            let id = format!("{task_id}-{}", i + 1);
            dag.nodes.push(Node { id: node, agent_task_id: id.clone(), level });
            tasks.push(AgentTask {
                agent_id,
                task_id: id,
                description: part.text.clone(),
                dependencies,
                input: None,
                required_tools: tools::needed(&part.text).into_iter().map(str::to_owned).collect(),
                model_tier: tier(&part.text).into(),
            });
        }
        TaskDecomposition { mode: self.mode.into(), complexity_score: self.score, agent_tasks: tasks, dag: Some(dag) }
    }
}

/// What one agent's work takes, about.
pub(super) fn tokens(text: &str) -> i32 {
    brain::tokens(text).saturating_mul(10).saturating_add(50)
}

fn tier(text: &str) -> ModelTier {
    match text.split_whitespace().count() {
        0..=4 => ModelTier::Small,
        5..=12 => ModelTier::Medium,
        _ => ModelTier::Large,
    }
}

#[cfg(test)]
mod tests {
    use super::{ExecutionMode, Plan};

    #[test]
    fn then_waits_and_and_does_not() {
        let plan = Plan::of("load the sales, count 2 + 2 and then draw a chart; mail it", 0);
        let tasks = plan.decomposition("t").agent_tasks;
        let dependencies: Vec<_> = tasks.iter().map(|t| t.dependencies.join(",")).collect();
        assert_eq!(
            tasks.iter().map(|t| t.description.as_str()).collect::<Vec<_>>(),
            ["load the sales", "count 2 + 2", "draw a chart", "mail it"]
        );
        assert_eq!(dependencies, ["", "", "agent-2", "agent-3"]);
        assert_eq!(plan.mode, ExecutionMode::Complex);
    }

    #[test]
    fn few_agents_share_the_work() {
        let plan = Plan::of("a, b, c, d", 2);
        assert_eq!(plan.decomposition("t").agent_tasks[1].description, "b and c and d");
        assert_eq!(Plan::of("hi", 0).mode, ExecutionMode::Simple);
    }
}
