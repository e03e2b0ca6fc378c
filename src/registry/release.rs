//! An operator takes an agent's id away from its owner (`DELETE /agents/{id}`): its instances leave, the core is told, and whoever
//! registers the agent next owns it.

use tokio::time::Instant;

use super::Registry;

impl Registry {
    /// Releases an agent by its id, or the one that the core gave it; false if there is none.
    pub fn release(&self, id: &str, now: Instant) -> bool {
        self.change(now, |book, now| {
            let Some(record) = book.find(&id.to_ascii_lowercase()) else { return false };
            record.released = true;
            let (agent, instances) = (record.agent.clone(), record.entries.iter().map(|entry| entry.instance.id));
            let instances: Vec<u64> = instances.collect();
            tracing::info!(
                cluster = &*self.name,
                agent = &*agent.id,
                owner = &*agent.owner,
                instances = instances.len(),
                "the agent is released by an operator"
            );
            book.touch(&agent.id);
            for instance in instances {
                self.remove(book, instance, now, "its agent was released by an operator");
            }
            book.forget_if_over(&agent.id);
            true
        })
    }
}
