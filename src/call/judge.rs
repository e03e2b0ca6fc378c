//! What the expressions of a configuration decide about a call: which route it takes, which agent it is for, by what it is hashed. One that
//! fails never lets a call go another way: it refuses, but for a key, without which a call goes to any instance.

use std::sync::Arc;

use fields::RequestHead;
use filter_api::{CallInfo, Code, MethodKind, PeerIdentity, Reason, Refusal};

use super::context::{Call, Origin};
use super::plan::Forward;
use super::standing::Told;
use crate::balance;
use crate::config::snapshot::{FirstMessage, Listener, Registrants, Route, Target};
use crate::expr::{Expression, Facts, Failure, Registration};
use crate::registry::{Agent, Identity, Shown, owner_by_address};
use crate::upstream::{Cluster, Clusters};
use crate::wire::authority_host;

/// The route of a call, by its place among the listener's; none as long as its first message is not there, where that decides.
pub(super) fn route(clusters: &Clusters, listener: &Listener, call: &mut Call) -> Result<Option<usize>, Box<Refusal>> {
    let mut told = Vec::new();
    let found = find_route(clusters, listener, call, &mut told);
    call.whens = told;
    found
}

fn find_route(
    clusters: &Clusters,
    listener: &Listener,
    call: &Call,
    told: &mut Vec<Told>,
) -> Result<Option<usize>, Box<Refusal>> {
    let Call { head, info, .. } = call;
    let host = authority_host(head.authority());
    for place in listener.router.candidates(head, host, &info.service, &info.method) {
        let Some(route) = listener.router.get(place) else { continue };
        if awaits_message(clusters, route, call, FirstMessage::ToMatch) {
            return Ok(None);
        }
        let Some(when) = &route.when else { return Ok(Some(place)) };
        let held = when.holds(&facts(call), definition(clusters, route, when, call));
        if let (Ok(held), true) = (&held, when.reads_message()) {
            told.push((Arc::clone(when), *held));
        }
        match held {
            Ok(true) => return Ok(Some(place)),
            Ok(false) => {}
            Err(failure) => {
                tracing::debug!(listener = %listener.name, %failure, "a route's `when` failed");
                return Err(undecided(failure, "whether a route takes this call", Reason::RouteUndecided));
            }
        }
    }
    Err(no_route())
}

pub(super) fn no_route() -> Box<Refusal> {
    let message =
        "no route takes this call: look at /routes on the admin port, or at the service's name and the authority";
    Box::new(Refusal::new(Code::Unimplemented, Reason::NoRoute, message))
}

/// Whether a decision waits for the first message. It does not where that would wait for a caller who may wait for the answer's head:
/// an expression over the message of such a method has none, unless the route says that its calls are held.
pub(super) fn awaits_message(clusters: &Clusters, route: &Route, call: &Call, to: FirstMessage) -> bool {
    let may = || {
        let methods = cluster(clusters, route).map(|cluster| &cluster.methods);
        let kind = methods.and_then(|methods| methods.kind(&call.info.service, &call.info.method));
        kind.is_none_or(MethodKind::has_one_request) || (route.holds_first && to == FirstMessage::ToChoose)
    };
    route.first_message == to && call.first_message.is_none() && may()
}

/// The agent that the route's expression names; none if it has none, or it names nobody.
pub(super) fn agent(cluster: &Cluster, route: &Route, call: &Call) -> Result<Option<String>, Box<Refusal>> {
    let Some(agent) = &route.agent else { return Ok(None) };
    let definition = if agent.reads_message() { majority(cluster, None, call) } else { None };
    named(agent, &facts(call), definition)
}

/// The same where there is no message yet.
pub(super) fn agent_by_head(
    route: &Route,
    info: &CallInfo,
    head: &RequestHead,
) -> Result<Option<String>, Box<Refusal>> {
    let agent = route.agent.as_ref().filter(|agent| !agent.reads_message());
    agent.map_or(Ok(None), |agent| named(agent, &Facts::of_call(info, head), None))
}

fn named(agent: &Expression, facts: &Facts<'_>, definition: Option<u64>) -> Result<Option<String>, Box<Refusal>> {
    let named = agent.gives(facts, definition).map_err(|failure| {
        tracing::debug!(%failure, "a route's `agent` failed");
        undecided(failure, "which agent this call is for", Reason::Denied)
    })?;
    Ok(named.filter(|agent| !agent.is_empty()))
}

/// By what a call to its cluster is hashed; none without a key.
pub(super) fn key(route: &Route, call: &Call) -> Option<u64> {
    let Forward { cluster, agent, .. } = call.forward.as_ref()?;
    let (_, keys) = route.keys.iter().find(|(name, _)| *name == cluster.name)?;
    let expression = keys.of(&call.info.service, &call.info.method)?;
    let definition = if expression.reads_message() { majority(cluster, agent.as_deref(), call) } else { None };
    let key = expression.gives(&facts(call), definition);
    let key = key.inspect_err(|failure| tracing::debug!(%failure, "a call has no key: `hash_by` failed")).ok()?;
    key.filter(|key| !key.is_empty()).map(|key| balance::hash_of(key.as_bytes()))
}

/// What expressions see of a call, and of its first message while that is at hand.
fn facts(call: &Call) -> Facts<'_> {
    Facts { message: call.first_message.as_deref(), ..Facts::of_call(&call.info, &call.head) }
}

/// The cluster of a route; of several, which have one service, the first.
fn cluster<'c>(clusters: &'c Clusters, route: &Route) -> Option<&'c Arc<Cluster>> {
    match &route.target {
        Target::Cluster(name) | Target::Register { into: name, .. } => clusters.get(name),
        Target::Split(split) => split.shares.first().and_then(|(name, _)| clusters.get(name)),
    }
}

/// The definition by which a route's expressions read the first message.
fn definition(clusters: &Clusters, route: &Route, when: &Expression, call: &Call) -> Option<u64> {
    if when.reads_message() { majority(cluster(clusters, route)?, None, call) } else { None }
}

fn majority(cluster: &Cluster, agent: Option<&Agent>, call: &Call) -> Option<u64> {
    cluster.methods.majority(agent, &call.info.service, &call.info.method)
}

/// An expression that had to decide failed.
pub(super) fn undecided(failure: Failure, what: &str, reason: Reason) -> Box<Refusal> {
    let message = format!("{what} cannot be told: {failure}");
    let (code, reason) = match failure {
        Failure::NoSchema => (Code::Unavailable, Reason::SchemaUnavailable),
        _ => (Code::PermissionDenied, reason),
    };
    Box::new(Refusal::new(code, reason, message))
}

/// As whom a caller of the registrar acts.
pub(super) fn owner(who: &Registrants, open: bool, origin: &Origin, call: &Call) -> Result<Arc<str>, Failure> {
    let by_default = || match (own_identity(call), &call.info.claims) {
        (Some(PeerIdentity { spiffe: Some(id), .. }), _) => Some(Arc::clone(id)),
        // No issuer has a blank in it: two that differ never make one owner. Who shows a token of nobody is nobody.
        (_, Some(claims)) => {
            Some(format!("{} {}", claims.issuer, claims.subject().filter(|sub| !sub.is_empty())?).into())
        }
        // Behind one address there may be several: who has shown a certificate is told apart by it.
        (Some(shown), None) if !open && !shown.subject.is_empty() => {
            Some(format!("{};{}", shown.subject, shown.issuer).into())
        }
        // An address is somebody only on this machine: who comes from elsewhere, as balancers and proxies before a listener on loopback
        // let them, has to show who he is. Nor is a proxy's address that of any of those for whom it speaks, whatever it says of them, or
        // a balancer's that of somebody whom it cannot name. A certificate that names nobody changes nothing.
        (_, None) if !open && (call.relayed || origin.nameless || !origin.peer.ip().to_canonical().is_loopback()) => {
            None
        }
        _ => Some(owner_by_address(origin.peer.ip(), open)),
    };
    who.owner(&Facts::of_call(&call.info, &call.head), by_default)
}

/// Whom the certificate of the connection names, where that is the caller: a proxy that speaks for others has shown its own.
fn own_identity(call: &Call) -> Option<&PeerIdentity> {
    call.info.identity.as_deref().filter(|_| !call.relayed)
}

/// What a caller of the registrar has shown of itself: its certificate first, whatever it takes to be an owner.
pub(super) fn shown(call: &Call) -> Shown {
    match (own_identity(call), &call.info.claims) {
        (Some(PeerIdentity { spiffe: Some(id), .. }), _) => Shown::Spiffe(Arc::clone(id)),
        (Some(PeerIdentity { subject, issuer, .. }), _) if !subject.is_empty() => {
            Shown::Certificate { subject: Arc::clone(subject), issuer: Arc::clone(issuer) }
        }
        (None, None) => Shown::Nothing,
        _ => Shown::Token,
    }
}

/// A call to a registrar that does not let everybody register.
#[derive(Clone, Debug)]
pub(super) struct Applicant {
    info: CallInfo,
    head: RequestHead,
    who: Arc<Registrants>,
}

impl Applicant {
    /// The call, if there is a rule about who may register.
    pub(super) fn of(call: &Call, who: &Arc<Registrants>) -> Option<Self> {
        Self::seen(&call.info, &call.head, who)
    }

    /// The same of a call that is over.
    pub(super) fn seen(info: &CallInfo, head: &RequestHead, who: &Arc<Registrants>) -> Option<Self> {
        let applicant = || Self { info: info.clone(), head: head.clone(), who: Arc::clone(who) };
        who.admit.is_some().then(applicant)
    }

    /// Whether it may register this. The error is for the SDK.
    pub(super) fn is_admitted(&self, identity: &Identity, callback: &str, config: &str) -> Result<(), String> {
        let Some(admit) = &self.who.admit else { return Ok(()) };
        // It has been read before, so that it is JSON.
        let config = serde_json::from_str(config).unwrap_or_default();
        let registration = Registration {
            agent_id: &identity.id,
            author: &identity.author,
            name: &identity.name,
            callback,
            config: &config,
        };
        let facts = Facts { registration: Some(registration), ..Facts::of_call(&self.info, &self.head) };
        match admit.holds(&facts, None) {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err("this registration is not admitted here: the rule `registry.admit` of the proxy says no".into())
            }
            Err(failure) => Err(format!("whether this registration is admitted cannot be told: {failure}")),
        }
    }
}
