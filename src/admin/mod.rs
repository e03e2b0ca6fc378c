//! The admin server: what the proxy looks like from inside, over HTTP/1.1 on an address of its own. `app` starts it on
//! the control runtime and implements [`View`]; it carries no calls and must never slow one down.

mod body;
mod config;
mod guard;
mod health;
mod inventory;
mod metrics;
mod recent;
mod reply;
mod router;
mod schema;
mod server;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

pub use server::serve;
pub use view::{
    AgentView, ChangeView, ClusterView, ConfigChange, ConfigProblem, ConfigStatus, ConfigTrial, ConnectionCounts,
    CoreState, DriftView, IncompatibleView, InstanceSchemaView, InstanceView, Readiness, RouteView, SchemaView,
    StateCounts, Trying, View,
};

use crate::observe::Metrics;

/// What the endpoints answer from. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    /// The running proxy.
    pub view: Arc<dyn View>,
    /// Its counters.
    pub metrics: Arc<Metrics>,
}

/// What one admin address offers, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `admin.address`: everything, for those whom [`View::access`] admits.
    Full,
    /// `admin.public`: `/live`, `/ready` and `/metrics`, for kubelet and Prometheus, in the clear, under any Host or none.
    Public,
}
