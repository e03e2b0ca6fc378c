//! One task: who asked for it, what it does when, and what it looks like at a given time. Its whole course follows from
//! its submission, an approval and a cancellation, so any server that knows these tells the same events.

use portunus_proto::shannon::common::{ExecutionMetrics, ExecutionMode, TokenUsage};
use portunus_proto::shannon::orchestrator::{
    AgentTaskStatus, PendingApproval, TaskDecomposition, TaskStatus, TaskSummary, TaskUpdate,
};
use serde_json::json;

use crate::clock::timestamp;

use super::values;

/// A human's yes or no.
#[derive(Clone, Debug)]
pub(super) struct Approval {
    pub(super) id: String,
    /// When, and whether it was a yes, with what was said.
    pub(super) decided: Option<(i64, bool, String)>,
}

/// One agent's part, with offsets from the start in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) agent_id: String,
    pub(super) task_id: String,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) result: String,
    pub(super) usage: TokenUsage,
}

/// Something that happens, `after` milliseconds from the start.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) after: i64,
    pub(super) kind: &'static str,
    pub(super) agent_id: String,
    pub(super) message: String,
}

#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) workflow_id: String,
    pub(super) user_id: String,
    pub(super) session_id: String,
    pub(super) query: String,
    pub(super) submitted: i64,
    pub(super) decomposition: TaskDecomposition,
    pub(super) approval: Option<Approval>,
    pub(super) cancelled: Option<(i64, String)>,
    pub(super) parts: Vec<Part>,
    pub(super) steps: Vec<Step>,
    /// Why it fails, if it is one that does.
    pub(super) error: String,
}

impl Task {
    /// When work begins; none while it waits for approval, or after a no.
    fn start(&self) -> Option<i64> {
        match &self.approval {
            None => Some(self.submitted),
            Some(approval) => approval.decided.as_ref().filter(|(_, yes, _)| *yes).map(|(at, _, _)| *at),
        }
    }

    fn denied(&self) -> Option<(i64, &str)> {
        let (at, yes, feedback) = self.approval.as_ref()?.decided.as_ref()?;
        (!yes).then_some((*at, feedback.as_str()))
    }

    /// When all is done, if nothing comes between.
    fn end(&self) -> Option<i64> {
        let length = self.steps.last().map_or(0, |step| step.after);
        self.start().map(|start| start + length)
    }

    pub(super) fn status(&self, now: i64) -> TaskStatus {
        if self.cancelled.is_some() {
            return TaskStatus::Cancelled;
        }
        if self.denied().is_some() {
            return TaskStatus::Failed;
        }
        let first = self.steps.first().map_or(0, |step| step.after);
        match (self.start(), self.end()) {
            (Some(start), _) if now < start + first => TaskStatus::Queued,
            (_, Some(end)) if now < end => TaskStatus::Running,
            (Some(_), _) if self.error.is_empty() => TaskStatus::Completed,
            (Some(_), _) => TaskStatus::Failed,
            (None, _) => TaskStatus::Queued,
        }
    }

    /// Whether nothing more will happen.
    pub(super) fn is_over(&self, now: i64) -> bool {
        matches!(self.status(now), TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Cancelled)
    }

    pub(super) fn progress(&self, now: i64) -> f64 {
        let Some(start) = self.start() else { return 0.0 };
        let until = self.cancelled.as_ref().map_or(now, |(at, _)| *at);
        let done = self.steps.iter().filter(|step| start + step.after <= until).count();
        done as f64 / self.steps.len().max(1) as f64
    }

    pub(super) fn result(&self, now: i64) -> String {
        if self.status(now) != TaskStatus::Completed {
            return String::new();
        }
        self.parts.iter().map(|part| part.result.as_str()).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn error(&self, now: i64) -> String {
        match (&self.cancelled, self.denied()) {
            (Some((_, reason)), _) => reason.clone(),
            (None, Some((_, feedback))) => format!("denied: {feedback}"),
            (None, None) if self.status(now) == TaskStatus::Failed => self.error.clone(),
            (None, None) => String::new(),
        }
    }

    /// The parts that are done by then, added up.
    pub(super) fn usage(&self, now: i64) -> TokenUsage {
        let start = self.start().unwrap_or(i64::MAX);
        let until = self.cancelled.as_ref().map_or(now, |(at, _)| *at);
        let done = self.parts.iter().filter(|part| start.saturating_add(part.to) <= until).map(|part| &part.usage);
        sum(done)
    }

    pub(super) fn metrics(&self, now: i64) -> ExecutionMetrics {
        let until = self.cancelled.as_ref().map(|(at, _)| *at).or(self.end()).map_or(now, |end| end.min(now));
        ExecutionMetrics {
            latency_ms: (until - self.submitted).max(0),
            token_usage: Some(self.usage(now)),
            agents_used: i32::try_from(self.parts.len()).unwrap_or(i32::MAX),
            mode: self.mode().into(),
            ..ExecutionMetrics::default()
        }
    }

    pub(super) fn agents(&self, now: i64) -> Vec<AgentTaskStatus> {
        let start = self.start().unwrap_or(i64::MAX);
        let until = self.cancelled.as_ref().map_or(now, |(at, _)| *at);
        self.parts
            .iter()
            .map(|part| {
                let done = start.saturating_add(part.to) <= until;
                let status = match (done, self.cancelled.is_some()) {
                    (true, _) => TaskStatus::Completed,
                    (false, true) => TaskStatus::Cancelled,
                    (false, false) if start.saturating_add(part.from) <= until => TaskStatus::Running,
                    (false, false) => TaskStatus::Queued,
                };
                AgentTaskStatus {
                    agent_id: part.agent_id.clone(),
                    task_id: part.task_id.clone(),
                    status: status.into(),
                    result: if done { part.result.clone() } else { String::new() },
                    token_usage: done.then(|| part.usage.clone()),
                }
            })
            .collect()
    }

    pub(super) fn summary(&self, now: i64) -> TaskSummary {
        let over = self.cancelled.as_ref().map(|(at, _)| *at).or(self.denied().map(|(at, _)| at)).or(self.end());
        TaskSummary {
            task_id: self.id.clone(),
            query: self.query.clone(),
            status: self.status(now).into(),
            mode: self.mode().into(),
            created_at: Some(timestamp(self.submitted)),
            completed_at: over.filter(|_| self.is_over(now)).map(timestamp),
            total_token_usage: Some(self.usage(now)),
        }
    }

    pub(super) fn pending(&self) -> Option<PendingApproval> {
        let approval = self.approval.as_ref().filter(|a| a.decided.is_none() && self.cancelled.is_none())?;
        Some(PendingApproval {
            approval_id: approval.id.clone(),
            workflow_id: self.workflow_id.clone(),
            query: self.query.clone(),
            proposed_action: format!("run {} agents", self.parts.len()),
            reason: "require_approval was set".into(),
            requested_at: Some(timestamp(self.submitted)),
            metadata: Some(values::object(json!({"task_id": self.id, "user_id": self.user_id}))),
        })
    }

    fn mode(&self) -> ExecutionMode {
        self.decomposition.mode()
    }

    /// Everything that has happened and, as things stand, will happen, in order; and whether that is all.
    pub(super) fn events(&self) -> (Vec<(i64, TaskUpdate)>, bool) {
        let mut all = vec![(self.submitted, "WORKFLOW_STARTED", String::new(), "Task started".to_owned())];
        if let Some(approval) = &self.approval {
            all.push((self.submitted, "APPROVAL_REQUESTED", String::new(), approval.id.clone()));
            if let Some((at, yes, feedback)) = &approval.decided {
                let decision = format!("{}: {feedback}", if *yes { "approved" } else { "denied" });
                all.push((*at, "APPROVAL_DECISION", String::new(), decision));
            }
        }
        if let Some(start) = self.start() {
            let step = |step: &Step| (start + step.after, step.kind, step.agent_id.clone(), step.message.clone());
            all.extend(self.steps.iter().map(step));
        }
        if let Some((at, feedback)) = self.denied() {
            all.push((at, "WORKFLOW_FAILED", String::new(), format!("denied: {feedback}")));
        }
        if let Some((at, reason)) = &self.cancelled {
            all.retain(|(when, ..)| when <= at);
            all.push((*at, "WORKFLOW_CANCELLED", String::new(), reason.clone()));
        }
        let complete = self.cancelled.is_some() || self.denied().is_some() || self.start().is_some();
        (self.number(all), complete)
    }

    /// Gives events their `seq` and the stream ids that Redis would: milliseconds, and a count within one.
    fn number(&self, all: Vec<(i64, &'static str, String, String)>) -> Vec<(i64, TaskUpdate)> {
        let mut last = (i64::MIN, 0);
        let mut numbered = Vec::with_capacity(all.len());
        for (seq, (at, kind, agent_id, message)) in (1..).zip(all) {
            last = if last.0 == at { (at, last.1 + 1) } else { (at, 0) };
            let update = TaskUpdate {
                workflow_id: self.workflow_id.clone(),
                r#type: kind.into(),
                agent_id,
                message,
                timestamp: Some(timestamp(at)),
                seq,
                stream_id: format!("{}-{}", last.0, last.1),
            };
            numbered.push((at, update));
        }
        numbered
    }
}

/// Usages added up; model and tier are the last one's.
pub(super) fn sum<'a>(usages: impl Iterator<Item = &'a TokenUsage>) -> TokenUsage {
    usages.fold(TokenUsage::default(), |sum, one| TokenUsage {
        prompt_tokens: sum.prompt_tokens.saturating_add(one.prompt_tokens),
        completion_tokens: sum.completion_tokens.saturating_add(one.completion_tokens),
        total_tokens: sum.total_tokens.saturating_add(one.total_tokens),
        cost_usd: sum.cost_usd + one.cost_usd,
        model: one.model.clone(),
        tier: one.tier,
    })
}
