//! Token budgets: what each task has used so far, held against the budget that its caller names.

use std::collections::BTreeMap;

use portunus_proto::shannon::common::TaskMetadata;

/// Tokens used, by task id.
#[derive(Debug, Default)]
pub(super) struct Budgets(BTreeMap<String, i64>);

impl Budgets {
    /// Takes `tokens` from the task's budget, or says why not. Calls without a task id share nothing.
    pub(super) fn spend(&mut self, metadata: Option<&TaskMetadata>, tokens: i32) -> Result<(), String> {
        let Some(metadata) = metadata else { return Ok(()) };
        let used = self.0.get(&metadata.task_id).copied().filter(|_| !metadata.task_id.is_empty()).unwrap_or(0);
        let after = used + i64::from(tokens);
        if metadata.token_budget > 0.0 && after as f64 > metadata.token_budget {
            return Err(format!(
                "token budget exceeded: {used} of {} used, {tokens} more needed; raise token_budget or ask for less",
                metadata.token_budget
            ));
        }
        if !metadata.task_id.is_empty() {
            self.0.insert(metadata.task_id.clone(), after);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Budgets, TaskMetadata};

    #[test]
    fn a_budget_counts_over_calls() {
        let mut budgets = Budgets::default();
        let task = TaskMetadata { task_id: "t".into(), token_budget: 100.0, ..TaskMetadata::default() };
        assert!(budgets.spend(Some(&task), 60).is_ok());
        assert!(budgets.spend(Some(&task), 41).unwrap_err().contains("60 of 100 used"));
        assert!(budgets.spend(Some(&task), 40).is_ok(), "a refused spend takes nothing");
        assert!(budgets.spend(Some(&TaskMetadata { task_id: "u".into(), ..task }), 100).is_ok());
        assert!(budgets.spend(None, i32::MAX).is_ok());
    }
}
