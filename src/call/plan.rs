//! What is decided about a call before its bytes move: the route, the cluster, the agent.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use fields::RequestHead;
use filter_api::{Code, Reason, Refusal};

use super::context::{Call, Origin, Shared};
use crate::config::snapshot::{Listener, Route, Target};
use crate::filters::Chain;
use crate::registry::{Agent, Asked, ChooseErrorKind};
use crate::upstream::Cluster;
use crate::wire::authority_host;

/// Where a call goes.
#[derive(Debug)]
pub(super) enum Plan {
    /// To an instance of a cluster.
    Forward(Forward),
    /// To the registrar of a cluster, which answers it here.
    Register {
        /// The cluster that is registered into.
        cluster: Arc<Cluster>,
        /// Whether anybody who reaches the route may register.
        open: bool,
    },
}

/// To an instance of a cluster.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) cluster: Arc<Cluster>,
    pub(super) agent: Option<Arc<Agent>>,
    pub(super) each_try: Chain,
}

/// Decides (DESIGN.md §2, "Order of a call", steps 3 to 7).
pub(super) async fn decide(
    shared: &Shared,
    origin: &Origin,
    listener: &Listener,
    call: &mut Call,
) -> Result<Plan, Box<Refusal>> {
    let Call { info, head, bounds, followers, .. } = call;
    listener.early.run(info, head, bounds, followers).await?;
    let host = authority_host(head.authority());
    let route = listener.router.find(head, host, &info.service, &info.method).ok_or_else(no_route)?;
    route.early.run(info, head, bounds, followers).await?;
    let cluster = cluster_of(shared, route)?;
    call.path.cluster = Some(Arc::clone(&cluster.name));
    let registers = matches!(route.target, Target::Register { .. });
    let agent = if registers { None } else { choose_agent(&cluster, origin, &call.head)? };
    call.path.agent = agent.as_ref().map(|agent| Arc::clone(&agent.id));
    let Call { info, head, bounds, followers, .. } = call;
    route.late.run(info, head, bounds, followers).await?;
    limit_time(call, route.timeout);
    if let Target::Register { open, .. } = route.target {
        return Ok(Plan::Register { cluster, open });
    }
    Ok(Plan::Forward(Forward { cluster, agent, each_try: route.each_try.clone() }))
}

/// The sooner of the caller's deadline, the route's timeout and what filters set.
fn limit_time(call: &mut Call, timeout: Option<Duration>) {
    call.limit(timeout);
    call.limit(call.bounds.duration);
}

/// A call that is not there any more.
pub(super) fn gone() -> Box<Refusal> {
    Box::new(Refusal::new(Code::Cancelled, Reason::Cancelled, "the call is over"))
}

fn no_route() -> Box<Refusal> {
    let message =
        "no route takes this call: look at /routes on the admin port, or at the service's name and the authority";
    Box::new(Refusal::new(Code::Unimplemented, Reason::NoRoute, message))
}

fn cluster_of(shared: &Shared, route: &Route) -> Result<Arc<Cluster>, Box<Refusal>> {
    let name = match &route.target {
        Target::Cluster(name) | Target::Register { into: name, .. } => name,
        Target::Split(split) => split.draw(),
    };
    // Snapshot and clusters change one after the other; a name that is missing in between is no reason to fail otherwise.
    shared.clusters.load().get(name).cloned().ok_or_else(|| {
        Box::new(Refusal::new(
            Code::Unavailable,
            Reason::NoInstance,
            "the call's cluster is not there any more: repeat it",
        ))
    })
}

/// The agent that a call to a registry cluster is for. Other clusters have none.
fn choose_agent(cluster: &Cluster, origin: &Origin, head: &RequestHead) -> Result<Option<Arc<Agent>>, Box<Refusal>> {
    let Some(registry) = cluster.registry() else { return Ok(None) };
    let host = authority_host(head.authority());
    // Nearly every caller writes it in lower case; then nothing is copied.
    let lower =
        if host.bytes().any(|b| b.is_ascii_uppercase()) { Cow::Owned(host.to_ascii_lowercase()) } else { host.into() };
    let asked = Asked {
        local_port: origin.port_names_agent.then(|| origin.local.port()),
        route_agent: None,
        header_agent: head.fields.get_str("x-portunus-agent"),
        authority_host: Some(&*lower).filter(|host| !host.is_empty()),
    };
    registry.choose(&asked).map(Some).map_err(|error| {
        let (code, reason) = match error.kind {
            ChooseErrorKind::Conflict => (Code::InvalidArgument, Reason::AgentConflict),
            ChooseErrorKind::Unnamed => (Code::InvalidArgument, Reason::AgentUnnamed),
            ChooseErrorKind::Ambiguous => (Code::InvalidArgument, Reason::AgentAmbiguous),
            ChooseErrorKind::Unknown => (Code::NotFound, Reason::AgentUnknown),
        };
        Box::new(Refusal::new(code, reason, error.message))
    })
}
