//! Runs a workflow: fills each step's template from the input and what earlier steps gave, calls the operation, extracts
//! from its answer. Operations are simulated: they give their body back with an id, `*.fail` always fails, `*.flaky`
//! fails its first two tries.

use portunus_proto::seal::{Workflow, WorkflowStep};
use serde_json::{Map, Value, json};
use tonic::Status;

use crate::seed::Seed;

/// More retries than this are taken for a slip of the pen.
const RETRIES: u32 = 100;

/// What a step does about its failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnError {
    Abort,
    Continue,
    Retry(u32),
}

impl OnError {
    /// `AbortWorkflow` (also empty), `Continue`, `RetryN(<n>)`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "AbortWorkflow" => Some(Self::Abort),
            "Continue" => Some(Self::Continue),
            _ => {
                let times = text.strip_prefix("RetryN(")?.strip_suffix(')')?.parse().ok()?;
                (times <= RETRIES).then_some(Self::Retry(times))
            }
        }
    }
}

/// What came of a workflow: the steps' results in order, and everything extracted.
///
/// # Errors
/// ABORTED when a step failed that may not.
pub(super) fn run(workflow: &Workflow, input: Map<String, Value>, tenant: &str, seed: &Seed) -> Result<Value, Status> {
    let mut known = input;
    let mut steps = Vec::new();
    for step in &workflow.steps {
        let body = fill(&step.body_template, &known);
        let (tries, outcome) = attempt(step, &body, tenant, seed);
        match outcome {
            Ok(answer) => {
                for (name, path) in &step.extractors {
                    known.insert(name.clone(), extract(&answer, path).cloned().unwrap_or(Value::Null));
                }
                steps.push(json!({"step": step.name, "status": "ok", "attempts": tries, "response": answer}));
            }
            Err(error) if OnError::parse(&step.on_error) == Some(OnError::Continue) => {
                steps.push(json!({"step": step.name, "status": "failed", "attempts": tries, "error": error}));
            }
            Err(error) => {
                return Err(Status::aborted(format!(
                    "workflow `{}` stopped at step `{}` after {tries} attempts: {error}",
                    workflow.name, step.name
                )));
            }
        }
    }
    Ok(json!({"workflow": workflow.name, "tenant_id": tenant, "steps": steps, "outputs": known}))
}

fn attempt(step: &WorkflowStep, body: &str, tenant: &str, seed: &Seed) -> (u32, Result<Value, String>) {
    let more = match OnError::parse(&step.on_error) {
        Some(OnError::Retry(times)) => times,
        _ => 0,
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let outcome = operate(&step.operation_id, body, tries, tenant, seed);
        if outcome.is_ok() || tries > more {
            return (tries, outcome);
        }
    }
}

fn operate(operation: &str, body: &str, attempt: u32, tenant: &str, seed: &Seed) -> Result<Value, String> {
    if operation.ends_with(".fail") || (operation.ends_with(".flaky") && attempt <= 2) {
        return Err(format!("{operation} answered 503"));
    }
    let body = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
    let id = seed.pick(&format!("{tenant} {operation} {body}"), 100_000);
    Ok(json!({"operation": operation, "id": id, "body": body}))
}

/// Replaces each `{{name}}` by the value of that name; texts without their quotes, unknown names by nothing.
fn fill(template: &str, known: &Map<String, Value>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { break };
        out.push_str(before);
        match known.get(name.trim()) {
            Some(Value::String(text)) => out.push_str(text),
            Some(value) => out.push_str(&value.to_string()),
            None => {}
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// `$.a.b[0]` and `/a/b/0` alike.
fn extract<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let pointer = match path.strip_prefix('$') {
        Some(rest) => rest.replace(['.', '['], "/").replace(']', ""),
        None => path.to_owned(),
    };
    value.pointer(&pointer)
}

#[cfg(test)]
mod tests {
    use super::{Map, OnError, Seed, Value, Workflow, WorkflowStep, json, run};

    fn step(operation: &str, template: &str, on_error: &str) -> WorkflowStep {
        WorkflowStep {
            name: operation.into(),
            operation_id: operation.into(),
            body_template: template.into(),
            extractors: [("made".to_owned(), "$.body.title".to_owned())].into(),
            on_error: on_error.into(),
        }
    }

    fn input() -> Map<String, Value> {
        Map::from_iter([("title".to_owned(), json!("T"))])
    }

    #[test]
    fn values_flow_from_step_to_step() {
        let workflow = Workflow {
            name: "w".into(),
            steps: vec![
                step("issues.create", r#"{"title":"{{title}}!"}"#, ""),
                step("issues.flaky", r#"{"title":"{{ made }}?"}"#, "RetryN(2)"),
            ],
            ..Workflow::default()
        };
        let result = run(&workflow, input(), "t", &Seed::new(1)).unwrap();
        assert_eq!(result["outputs"]["made"], "T!?");
        assert_eq!(result["steps"][1]["attempts"], 3);
    }

    #[test]
    fn failures_abort_or_are_passed_over() {
        let fails = |on_error| Workflow { steps: vec![step("x.fail", "", on_error)], ..Workflow::default() };
        let seed = Seed::new(1);
        assert_eq!(run(&fails(""), input(), "", &seed).unwrap_err().code(), tonic::Code::Aborted);
        assert_eq!(run(&fails("RetryN(3)"), input(), "", &seed).unwrap_err().code(), tonic::Code::Aborted);
        assert_eq!(run(&fails("Continue"), input(), "", &seed).unwrap()["steps"][0]["status"], "failed");
        assert_eq!(OnError::parse("RetryN(x)"), None);
    }
}
