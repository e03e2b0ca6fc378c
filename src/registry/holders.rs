//! Whose an address is: one address, one agent. Changed with the records, and looked at by whoever dials, since what a name means
//! can become an address of somebody else.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::address::holder_key;
use super::instance::Target;

/// Instances by their addresses, each with its agent's id.
#[derive(Debug, Default)]
pub(super) struct Holders(Mutex<HashMap<Target, (u64, Arc<str>)>>);

impl Holders {
    /// Which instance holds an address.
    pub(super) fn of(&self, target: &Target) -> Option<u64> {
        self.0.lock().get(&holder_key(target)).map(|(instance, _)| *instance)
    }

    pub(super) fn hold(&self, target: &Target, instance: u64, agent: &Arc<str>) {
        self.0.lock().insert(holder_key(target), (instance, Arc::clone(agent)));
    }

    pub(super) fn free(&self, target: &Target) {
        self.0.lock().remove(&holder_key(target));
    }

    /// The agent that holds an address which is about to be dialled for the instance at `target`, if it is another.
    pub(super) fn another(&self, target: &Target, address: SocketAddr) -> Option<Arc<str>> {
        let held = self.0.lock();
        let (_, own) = held.get(&holder_key(target))?;
        let (_, there) = held.get(&holder_key(&Target::Socket(address)))?;
        (there != own).then(|| Arc::clone(there))
    }
}
