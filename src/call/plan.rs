//! What is decided about a call before its bytes move: the route, the cluster, the agent.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use fields::RequestHead;
use filter_api::{Code, Reason, Refusal};

use super::context::{Call, Origin};
use crate::config::snapshot::{FirstMessage, Listener, Route, Target};
use crate::filters::{Answered, Chain, Seen, Waiting};
use crate::registry::{Agent, Asked, ChooseErrorKind};
use crate::upstream::{Cluster, Clusters};
use crate::wire::authority_host;

/// What becomes of a call.
#[derive(Debug)]
pub(super) enum Plan {
    /// It goes to an instance of the cluster in [`Call::forward`].
    Forward,
    /// The registrar of that cluster answers it here.
    Register {
        /// Whether anybody who reaches the route may register.
        open: bool,
    },
}

/// Where a call is to go.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) cluster: Arc<Cluster>,
    pub(super) agent: Option<Arc<Agent>>,
    pub(super) each_try: Chain,
}

/// A decision, as far as it has come.
pub(super) enum Decision {
    /// It is made.
    Made(Plan),
    /// A filter takes its time.
    Waits(Waiting),
    /// It goes on once [`Call::first_message`] is there.
    NeedsMessage,
}

/// How far a decision has come: what is next, and of which route.
#[derive(Default)]
pub(super) struct Progress {
    next: Next,
    answered: Option<Answered>,
}

#[derive(Clone, Copy, Default)]
enum Next {
    /// The listener's own filters, before a route is chosen.
    #[default]
    Listener,
    /// No filter: which route it is.
    Match,
    /// The route's filters that run before the agent is chosen.
    Route(usize),
    /// No filter: cluster and agent.
    Choose(usize),
    /// The filters that run once the agent is known.
    Late(usize),
}

impl Progress {
    /// The filter that took its time has answered.
    pub(super) fn answer(&mut self, answered: Answered) {
        self.answered = Some(answered);
    }
}

/// Decides, or goes on to (DESIGN.md §2, "Order of a call", steps 3 to 7).
pub(super) fn decide(
    clusters: &Clusters,
    origin: &Origin,
    listener: &Listener,
    call: &mut Call,
    progress: &mut Progress,
) -> Result<Decision, Box<Refusal>> {
    if call.loops {
        return Err(came_back());
    }
    let route_at = |place| listener.router.get(place).ok_or_else(no_route);
    loop {
        let chain = match progress.next {
            Next::Listener => Some(&listener.early),
            Next::Route(place) => Some(&route_at(place)?.early),
            Next::Late(place) => Some(&route_at(place)?.late),
            Next::Match | Next::Choose(_) => None,
        };
        let Call { info, head, bounds, followers, .. } = call;
        if let Some(chain) = chain
            && let Some(waiting) = chain.run(progress.answered.take(), &mut Seen { info, head, bounds, followers })?
        {
            return Ok(Decision::Waits(waiting));
        }
        progress.next = match progress.next {
            Next::Listener => Next::Match,
            Next::Match => {
                let host = authority_host(head.authority());
                let place = listener.router.find(head, host, &info.service, &info.method).ok_or_else(no_route)?;
                if lacks_message(call, route_at(place)?, FirstMessage::ToMatch) {
                    return Ok(Decision::NeedsMessage);
                }
                Next::Route(place)
            }
            Next::Route(place) => Next::Choose(place),
            Next::Choose(place) => {
                let route = route_at(place)?;
                if lacks_message(call, route, FirstMessage::ToChoose) {
                    // It waits no longer than it may take.
                    limit_time(call, route.timeout);
                    return Ok(Decision::NeedsMessage);
                }
                choose(clusters, origin, route, call)?;
                Next::Late(place)
            }
            Next::Late(place) => return Ok(Decision::Made(settle(route_at(place)?, call))),
        };
    }
}

/// Whether a decision waits for the first message. A call whose message was needed for its route has it for what comes after.
fn lacks_message(call: &Call, route: &Route, to: FirstMessage) -> bool {
    route.first_message == to && call.first_message.is_none()
}

fn came_back() -> Box<Refusal> {
    let message = "the call has come back to a proxy that it went through: something behind this proxy, an instance or a name, \
                   leads to it again";
    Box::new(Refusal::new(Code::FailedPrecondition, Reason::Loop, message))
}

/// Chooses the cluster, and the agent that a call to a registry cluster is for.
fn choose(clusters: &Clusters, origin: &Origin, route: &Route, call: &mut Call) -> Result<(), Box<Refusal>> {
    let cluster = cluster_of(clusters, route)?;
    if let Some(methods) = &cluster.methods {
        call.kind = methods.kind(&call.info.service, &call.info.method);
        call.in_force = methods.in_force(&call.info.service, &call.info.method);
    }
    let registers = matches!(route.target, Target::Register { .. });
    let agent = if registers { Ok(None) } else { choose_agent(&cluster, origin, &call.head) };
    let forward = call.forward.insert(Forward { cluster, agent: None, each_try: route.each_try.clone() });
    forward.agent = agent?;
    Ok(())
}

fn settle(route: &Route, call: &mut Call) -> Plan {
    limit_time(call, route.timeout);
    match route.target {
        Target::Register { open, .. } => Plan::Register { open },
        _ => Plan::Forward,
    }
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

fn cluster_of(clusters: &Clusters, route: &Route) -> Result<Arc<Cluster>, Box<Refusal>> {
    let name = match &route.target {
        Target::Cluster(name) | Target::Register { into: name, .. } => name,
        Target::Split(split) => split.draw(),
    };
    // Snapshot and clusters change one after the other; a name that is missing in between is no reason to fail otherwise.
    clusters.get(name).cloned().ok_or_else(|| {
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
