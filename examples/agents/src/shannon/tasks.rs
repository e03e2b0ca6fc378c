//! All tasks, in the order of their submission, and what a new one will do.

use portunus_proto::shannon::common::ModelTier;
use portunus_proto::shannon::orchestrator::{AgentTask, TaskDecomposition};
use tonic::Status;

use crate::brain::{self, Thought};
use crate::seed::Seed;

use super::task::{Part, Step, Task};
use super::{models, plan};

#[derive(Debug, Default)]
pub(super) struct Tasks(Vec<Task>);

impl Tasks {
    pub(super) fn all(&self) -> &[Task] {
        &self.0
    }

    pub(super) fn push(&mut self, task: Task) {
        self.0.push(task);
    }

    /// # Errors
    /// NOT_FOUND.
    pub(super) fn by_id(&mut self, id: &str) -> Result<&mut Task, Status> {
        let found = self.0.iter_mut().find(|task| task.id == id);
        found.ok_or_else(|| Status::not_found(format!("there is no task `{id}`")))
    }

    /// # Errors
    /// NOT_FOUND.
    pub(super) fn by_workflow(&mut self, id: &str) -> Result<&mut Task, Status> {
        let found = self.0.iter_mut().find(|task| task.workflow_id == id);
        found.ok_or_else(|| Status::not_found(format!("there is no workflow `{id}`")))
    }
}

/// The course of a task. Parts that wait for none run at once; each takes some tens of milliseconds.
pub(super) fn course(decomposition: &TaskDecomposition, seed: &Seed) -> (Vec<Part>, Vec<Step>, String) {
    let mut parts: Vec<Part> = Vec::new();
    let mut steps = Vec::new();
    let mut error = String::new();
    for task in &decomposition.agent_tasks {
        let waited = parts.iter().filter(|part| task.dependencies.contains(&part.agent_id)).map(|part| part.to).max();
        let from = waited.unwrap_or(0) + 20;
        let (part, mut own) = work(task, from, seed);
        if task.description.to_lowercase().contains("fail") {
            error = format!("{} could not do: {}", task.agent_id, task.description);
            own.push(step(part.to, "ERROR_OCCURRED", &task.agent_id, &error));
        }
        steps.append(&mut own);
        parts.push(part);
    }
    // Stable: what happens at one time stays in the order of the agents.
    steps.sort_by_key(|step| step.after);
    let end = parts.iter().map(|part| part.to).max().unwrap_or(0) + 10;
    let last =
        if error.is_empty() { ("WORKFLOW_COMPLETED", "Task complete") } else { ("WORKFLOW_FAILED", "Task failed") };
    steps.push(step(end, last.0, "", last.1));
    (parts, steps, error)
}

fn work(task: &AgentTask, from: i64, seed: &Seed) -> (Part, Vec<Step>) {
    let pause =
        |what: &str, most| 10 + i64::try_from(seed.pick(&format!("{what} {}", task.description), most)).unwrap_or(0);
    let mut at = from;
    let mut steps = vec![step(at, "AGENT_STARTED", &task.agent_id, &task.description)];
    at += pause("status", 20);
    steps.push(step(at, "STATUS_UPDATE", &task.agent_id, &format!("Working on: {}", task.description)));
    for tool in &task.required_tools {
        at += pause(tool, 20);
        steps.push(step(at, "TOOL_INVOKED", &task.agent_id, &format!("Invoking {tool}")));
        at += pause(&format!("{tool} observation"), 40);
        steps.push(step(at, "TOOL_OBSERVATION", &task.agent_id, &format!("{tool} is done")));
    }
    at += pause("end", 30);
    let result = match brain::think(&task.description, 0) {
        Thought::Answer(text) | Thought::InputRequired(text) | Thought::AuthRequired(text) => text,
    };
    steps.push(step(at, "AGENT_COMPLETED", &task.agent_id, &result));
    let tier = ModelTier::try_from(task.model_tier).unwrap_or_default();
    let usage = models::of_tier(tier).usage(plan::tokens(&task.description), brain::tokens(&result));
    let part = Part { agent_id: task.agent_id.clone(), task_id: task.task_id.clone(), from, to: at, result, usage };
    (part, steps)
}

fn step(after: i64, kind: &'static str, agent_id: &str, message: &str) -> Step {
    Step { after, kind, agent_id: agent_id.to_owned(), message: message.to_owned() }
}
