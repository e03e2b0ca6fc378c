//! Records of the state as anything may have left them: a registry begins with what makes sense of them, says what does not, and would
//! write the same again.
//!
//! The input is two records, an agent's and an instance's, each behind its length in one octet.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use portunus::observe::ClusterMetrics;
use portunus::registry::{Registry, Saved, SavedAgent, SavedInstance, Settings};
use prost::Message as _;
use tokio::time::Instant;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let mut record = || {
        let (length, rest) = data.split_first()?;
        let (record, rest) = rest.split_at_checked(usize::from(*length)).unwrap_or((rest, &[]));
        data = rest;
        Some(record)
    };
    let Some(agent) = record().and_then(|octets| SavedAgent::decode(octets).ok()) else { return };
    let mut instances = Vec::new();
    while let Some(octets) = record() {
        instances.extend(SavedInstance::decode(octets));
    }
    let restored = |saved: Saved| {
        let registry = Registry::new("agents", Settings::default(), Arc::new(ClusterMetrics::default()));
        registry.restore(vec![saved], Instant::now());
        registry
    };
    let now = Instant::now();
    let registry = restored(Saved { agent: agent.clone(), instances });
    let shown = registry.view(now);
    let changes = registry.take_changes();
    match shown.as_slice() {
        [] => {
            assert!(changes.is_some_and(|changes| matches!(changes.agents.as_slice(), [(_, None)])), "it is forgotten")
        }
        [one] => {
            assert!(changes.is_none(), "nothing is written for a start");
            assert_eq!((one.author.as_str(), one.name.as_str()), (agent.author.as_str(), agent.name.as_str()));
            assert!(one.instances.iter().all(|instance| instance.state == "healthy" && !instance.address.is_empty()));
            assert!(one.registered_for_seconds >= 0.0);
            // What an operator then takes away goes.
            assert!(registry.release(&one.id, now));
        }
        _ => panic!("one record makes one agent"),
    }
});
