//! What the expressions of a configuration decide about a call: which route it takes, which agent it is for, by what it is hashed. One that
//! fails never lets a call go another way: it refuses, but for a key, without which a call goes to any instance.

use std::sync::Arc;

use fields::RequestHead;
use filter_api::{CallInfo, Code, Reason, Refusal};

use super::context::{Call, Origin};
use crate::balance;
use crate::config::snapshot::{Keys, Listener, Registrants, Route};
use crate::expr::{Facts, Failure, Registration};
use crate::registry::{Identity, owner_by_address};
use crate::wire::authority_host;

/// The route of a call, by its place among the listener's.
pub(super) fn route(listener: &Listener, call: &Call) -> Result<usize, Box<Refusal>> {
    let Call { head, info, .. } = call;
    let host = authority_host(head.authority());
    for place in listener.router.candidates(head, host, &info.service, &info.method) {
        let Some(when) = listener.router.get(place).and_then(|route| route.when.as_ref()) else { return Ok(place) };
        match when.holds(&Facts::of_call(info, head), None) {
            Ok(true) => return Ok(place),
            Ok(false) => {}
            Err(failure) => {
                tracing::debug!(listener = %listener.name, %failure, "a route's `when` failed");
                let message = format!("whether a route takes this call cannot be told: {failure}");
                return Err(Box::new(Refusal::new(Code::PermissionDenied, Reason::RouteUndecided, message)));
            }
        }
    }
    let message =
        "no route takes this call: look at /routes on the admin port, or at the service's name and the authority";
    Err(Box::new(Refusal::new(Code::Unimplemented, Reason::NoRoute, message)))
}

/// The agent that the route's expression names; none if it has none, or it names nobody.
pub(super) fn agent(route: &Route, call: &Call) -> Result<Option<String>, Box<Refusal>> {
    let Some(agent) = &route.agent else { return Ok(None) };
    let named = agent.gives(&Facts::of_call(&call.info, &call.head), None);
    let named = named.map_err(|failure| {
        tracing::debug!(listener = %call.info.listener, %failure, "a route's `agent` failed");
        let message = format!("which agent this call is for cannot be told: {failure}");
        Box::new(Refusal::new(Code::PermissionDenied, Reason::Denied, message))
    })?;
    Ok(named.filter(|agent| !agent.is_empty()))
}

/// By what a call to a cluster is hashed; none without a key.
pub(super) fn key(keys: Option<&Keys>, call: &Call) -> Option<u64> {
    let expression = keys?.of(&call.info.service, &call.info.method)?;
    let key = expression.gives(&Facts::of_call(&call.info, &call.head), None);
    let key = key.inspect_err(|failure| tracing::debug!(%failure, "a call has no key: `hash_by` failed")).ok()?;
    key.filter(|key| !key.is_empty()).map(|key| balance::hash_of(key.as_bytes()))
}

/// As whom a caller of the registrar acts.
pub(super) fn owner(who: &Registrants, open: bool, origin: &Origin, call: &Call) -> Result<Arc<str>, Failure> {
    who.owner(&Facts::of_call(&call.info, &call.head), || owner_by_address(origin.peer.ip(), open))
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
        let applicant = || Self { info: call.info.clone(), head: call.head.clone(), who: Arc::clone(who) };
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
