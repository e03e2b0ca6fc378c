//! What is decided about a call before its bytes move: the route, the cluster, the agent.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use fields::RequestHead;
use filter_api::{CallInfo, Code, Depth, MethodKind, Reason, Refusal};

use super::context::{Call, Origin};
use super::judge;
use crate::config::snapshot::{FirstMessage, Listener, Registrants, Route, Target};
use crate::filters::{Answered, Chain, Seen, Waiting};
use crate::registry::{Agent, Asked, ChooseErrorKind, Registry};
use crate::upstream::{Cluster, Clusters};
use crate::wire::{Prefix, authority_host};

/// What becomes of a call.
#[derive(Debug)]
pub(super) enum Plan {
    /// It goes to an instance of the cluster in [`Call::forward`].
    Forward,
    /// The registrar of that cluster answers it here.
    Register {
        /// Whether anybody who reaches the route may register.
        open: bool,
        /// Who a registrant is, and who may register.
        who: Arc<Registrants>,
    },
}

/// Where a call is to go.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) cluster: Arc<Cluster>,
    pub(super) agent: Option<Arc<Agent>>,
    /// The hash of what the cluster's instances are chosen by, if it has a `hash_by` and the call a key.
    pub(super) key: Option<u64>,
    pub(super) each_try: Chain,
}

impl Forward {
    /// Counts a call that should have a key and has none. To be asked once a call, however often it is tried.
    pub(super) fn count_key(&self) {
        if self.key.is_none() && self.cluster.policy.goes_by_key() {
            self.cluster.metrics.keyless();
        }
    }
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
    /// Filters that read messages, before those ran that run once the agent is known.
    readers: usize,
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
    /// Whether no filter has run yet.
    pub(super) fn is_at_the_door(&self) -> bool {
        matches!(self.next, Next::Listener)
    }

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
    let route_at = |place| listener.router.get(place).ok_or_else(gone);
    loop {
        let chain = match progress.next {
            Next::Listener => match door(listener, call) {
                Some(chain) => Some(chain),
                None => return Ok(Decision::NeedsMessage),
            },
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
            Next::Match => match judge::route(clusters, listener, call)? {
                Some(place) => Next::Route(place),
                None => return Ok(Decision::NeedsMessage),
            },
            Next::Route(place) => Next::Choose(place),
            Next::Choose(place) => {
                let route = route_at(place)?;
                if judge::awaits_message(clusters, route, call, FirstMessage::ToChoose) {
                    // It waits no longer than it may take.
                    limit_time(call, route.timeout);
                    return Ok(Decision::NeedsMessage);
                }
                choose(clusters, origin, route, call)?;
                progress.readers = call.followers.readers();
                Next::Late(place)
            }
            Next::Late(place) => {
                let route = route_at(place)?;
                // The registrar is no instance, and shows its messages to nobody: what decides by them would decide nothing.
                if matches!(route.target, Target::Register { .. }) && call.followers.readers() > progress.readers {
                    return Err(unread());
                }
                return Ok(Decision::Made(settle(listener, route, call)));
            }
        };
    }
}

/// The filters that a call meets first; none as long as its first message is not there, where that decides. Who asks how the listener is
/// itself need not say who that is, where the listener says so, and its own answer is asked for and not that of an instance.
fn door<'l>(listener: &'l Listener, call: &mut Call) -> Option<&'l Chain> {
    let Some(for_anybody) = &listener.for_anybody else { return Some(&listener.early) };
    if call.names_service || !asks_how_it_is(listener, &call.info, &call.head) {
        return Some(&listener.early);
    }
    // `service`, the first field, is "": left out, or written so.
    call.stranger = matches!(call.first_message.as_deref()?, [] | [0x0a, 0]);
    Some(if call.stranger { for_anybody } else { &listener.early })
}

/// Whether a call asks how the listener, or something behind it, is, and the listener itself answers.
pub(super) fn asks_how_it_is(listener: &Listener, info: &CallInfo, head: &RequestHead) -> bool {
    if &*info.service != "grpc.health.v1.Health" || !matches!(&*info.method, "Check" | "Watch") {
        return false;
    }
    let mut routes = listener.router.candidates(head, authority_host(head.authority()), &info.service, &info.method);
    let within = |place| match &listener.router.get(place)?.target {
        Target::Cluster(name) => Some(listener.within.as_ref() == Some(name)),
        _ => None,
    };
    routes.next().and_then(within) == Some(true)
}

/// Whether a message that begins so can be one that [anybody](door) may send. What is longer need not be waited for.
pub(super) fn may_be_for_anybody(prefix: Prefix) -> bool {
    !prefix.compressed && matches!(prefix.size, 0 | 2)
}

fn unread() -> Box<Refusal> {
    let message = "a rule of this route reads messages, and those of registrations are not shown to rules: write it as the registry's `admit`";
    Box::new(Refusal::new(Code::PermissionDenied, Reason::Denied, message))
}

fn came_back() -> Box<Refusal> {
    let message = "the call has come back to a proxy that it went through: something behind this proxy, an instance or a name, \
                   leads to it again";
    Box::new(Refusal::new(Code::FailedPrecondition, Reason::Loop, message))
}

/// Chooses the cluster, and the agent that a call to a registry cluster is for.
fn choose(clusters: &Clusters, origin: &Origin, route: &Route, call: &mut Call) -> Result<(), Box<Refusal>> {
    let cluster = cluster_of(clusters, route)?;
    call.kind = cluster.methods.kind(&call.info.service, &call.info.method);
    let registers = matches!(route.target, Target::Register { .. });
    let agent = if registers { Ok(None) } else { choose_agent(&cluster, origin, route, call) };
    let forward = call.forward.insert(Forward { cluster, agent: None, key: None, each_try: route.each_try.clone() });
    forward.agent = agent?;
    call.info.agent = forward.agent.as_ref().map(|agent| Arc::clone(&agent.info));
    if Depth::Bodies == call.followers.reads().or(route.late.reads()).request {
        let (agent, CallInfo { service, method, .. }) = (forward.agent.as_deref(), &call.info);
        call.in_force = forward.cluster.methods.in_force(agent, service, method);
    }
    let key = judge::key(route, call);
    if let Some(forward) = &mut call.forward {
        forward.key = key;
    }
    Ok(())
}

fn settle(listener: &Listener, route: &Route, call: &mut Call) -> Plan {
    limit_time(call, route.timeout);
    // A server of this process has few places, and strangers may ask it: none of them is held for a question that is not asked.
    let within = call.forward.as_ref().is_some_and(|forward| forward.cluster.is_within());
    if within && call.kind.is_some_and(MethodKind::has_one_request) {
        call.whole_by = call.started.checked_add(listener.limits.handshake);
    }
    match &route.target {
        Target::Register { open, who, .. } => Plan::Register { open: *open, who: Arc::clone(who) },
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

fn cluster_of(clusters: &Clusters, route: &Route) -> Result<Arc<Cluster>, Box<Refusal>> {
    let name = match &route.target {
        Target::Cluster(name) | Target::Register { into: name, .. } => name,
        Target::Split(split) => split.draw(),
    };
    // The rules of the file have seen to it that it is there.
    clusters.get(name).cloned().ok_or_else(|| {
        Box::new(Refusal::new(
            Code::Unavailable,
            Reason::NoInstance,
            "the call's cluster is not there any more: repeat it",
        ))
    })
}

/// The agent that a call to a registry cluster is for. Other clusters have none.
fn choose_agent(
    cluster: &Cluster,
    origin: &Origin,
    route: &Route,
    call: &Call,
) -> Result<Option<Arc<Agent>>, Box<Refusal>> {
    let Some(registry) = cluster.registry() else { return Ok(None) };
    ask_for_agent(registry, origin, &call.head, judge::agent(cluster, route, call)?)
}

/// The same of a call whose first message is not there: what asks for that names nobody.
pub(super) fn agent_of(
    cluster: &Cluster,
    origin: &Origin,
    route: &Route,
    (info, head): (&CallInfo, &RequestHead),
) -> Result<Option<Arc<Agent>>, Box<Refusal>> {
    let Some(registry) = cluster.registry() else { return Ok(None) };
    ask_for_agent(registry, origin, head, judge::agent_by_head(route, info, head)?)
}

fn ask_for_agent(
    registry: &Registry,
    origin: &Origin,
    head: &RequestHead,
    named: Option<String>,
) -> Result<Option<Arc<Agent>>, Box<Refusal>> {
    let host = authority_host(head.authority());
    // Nearly every caller writes it in lower case; then nothing is copied.
    let lower =
        if host.bytes().any(|b| b.is_ascii_uppercase()) { Cow::Owned(host.to_ascii_lowercase()) } else { host.into() };
    let asked = Asked {
        local_port: origin.port_names_agent.then(|| origin.local.port()),
        route_agent: named.as_deref(),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Chain, Cluster, Forward};
    use crate::balance::{Fit, Policy, Seeker};
    use crate::observe::Metrics;
    use crate::registry::{EndpointSet, Instance, State, Target};
    use crate::upstream::schemas::{Schemas, Settings};
    use crate::upstream::{ClusterLimits, Group, Lister, Methods};

    #[test]
    fn a_call_goes_where_its_key_leads_and_one_without_is_counted() {
        for (policy, counted) in [(Policy::RingHash, 1), (Policy::Maglev, 1), (Policy::LeastRequest, 0)] {
            let metrics = Metrics::new().cluster("c");
            let one = |port| {
                let (target, counters) = (Target::Loopback(port), metrics.instance("i"));
                Instance::new("c".into(), target, 1, State::Healthy, counters, tokio::time::Instant::now())
            };
            let group = Group::listed(Lister::File, EndpointSet::new((1..=9).map(one).collect()));
            let limits = ClusterLimits { connections: 1, requests: 1, pending: 1 };
            let schemas = Schemas::new(Settings::default(), Arc::clone(&metrics));
            let methods = Arc::clone(&schemas) as Arc<dyn Methods>;
            let metrics_of = Arc::clone(&metrics);
            let (name, security) = ("c".into(), Arc::default());
            let cluster = Cluster { name, policy, limits, metrics: metrics_of, security, schemas, methods, group };
            let cluster = Arc::new(cluster);
            let forward = |key| Forward { cluster: Arc::clone(&cluster), agent: None, key, each_try: Chain::default() };
            let keyed = forward(Some(7));
            let seeker = || Seeker { key: keyed.key, tried: &[], excluded: &[], fit: Fit::All, now_ms: 1 };
            let ids: std::collections::HashSet<_> =
                (0..200).map(|_| cluster.pick(None, ("p.S", "M"), seeker()).unwrap().id).collect();
            assert_eq!(ids.len() == 1, policy.goes_by_key(), "{policy:?}: {ids:?}");
            keyed.count_key();
            assert_eq!(metrics.keyless_total(), 0);
            forward(None).count_key();
            assert_eq!(metrics.keyless_total(), counted, "{policy:?}");
        }
    }
}
