//! Whose an address is: one address, one agent. Changed with the records, and looked at by whoever dials, since what a name means
//! can become an address of somebody else.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::address::holder_key;
use super::instance::Target;

/// Instances by their addresses, each with its agent's id. One that was registered by a name holds that, and the addresses that the
/// name had.
#[derive(Debug, Default)]
pub(super) struct Holders(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    by: HashMap<Target, (u64, Arc<str>)>,
    what: HashMap<u64, Vec<Target>>,
}

impl Holders {
    /// Which instance holds an address.
    pub(super) fn of(&self, target: &Target) -> Option<u64> {
        self.0.lock().by.get(&holder_key(target)).map(|(instance, _)| *instance)
    }

    /// An instance holds these, and nothing that it held before. What another holds stays with that one.
    pub(super) fn hold(&self, instance: u64, agent: &Arc<str>, targets: impl IntoIterator<Item = Target>) {
        let mut held = self.0.lock();
        held.free(instance);
        for key in targets.into_iter().map(|target| holder_key(&target)) {
            if !held.by.contains_key(&key) {
                held.by.insert(key.clone(), (instance, Arc::clone(agent)));
                held.what.entry(instance).or_default().push(key);
            }
        }
    }

    pub(super) fn free(&self, instance: u64) {
        self.0.lock().free(instance);
    }

    /// The agent that holds an address which is about to be dialled for the instance at `target`, if it is another.
    pub(super) fn another(&self, target: &Target, address: SocketAddr) -> Option<Arc<str>> {
        let held = self.0.lock();
        let (_, own) = held.by.get(&holder_key(target))?;
        let (_, there) = held.by.get(&holder_key(&Target::Socket(address)))?;
        (there != own).then(|| Arc::clone(there))
    }
}

impl Held {
    fn free(&mut self, instance: u64) {
        for key in self.what.remove(&instance).unwrap_or_default() {
            self.by.remove(&key);
        }
    }
}
