//! By what a call of the registrar was let in: kept with the instance that it registers, and judged again when another snapshot comes into
//! force, as an open call would be. Nothing of a token is in it but what the token says.

use std::sync::{Arc, Weak};

use fields::RequestHead;
use filter_api::{CallInfo, Code, Reason, Refusal};

use super::context::{Call, Origin, Shared};
use super::judge::Applicant;
use super::standing::Kept;
use crate::config::snapshot::{Route, Target};
use crate::registry::{Judgement, Registered, Warrant};

/// Who registered an instance, as it was let in.
#[derive(Clone, Debug)]
pub(super) struct Registrant {
    shared: Weak<Shared>,
    origin: Arc<Origin>,
    standing: Kept,
    /// The cluster.
    into: Arc<str>,
}

impl Registrant {
    /// The caller of a registrar. It is judged as one who registers, also where it says something else.
    pub(super) fn of(call: &Call, shared: &Arc<Shared>, origin: &Arc<Origin>, into: &Arc<str>) -> Self {
        let standing = Kept::of(call, "RegisterAgent");
        let (origin, into) = (Arc::clone(origin), Arc::clone(into));
        Self { shared: Arc::downgrade(shared), origin, standing, into }
    }

    fn holds(&self, registered: Option<&Registered>) -> Result<(), Box<Refusal>> {
        let Some(shared) = self.shared.upgrade() else { return Ok(()) };
        let snapshot = Arc::clone(&shared.in_force.load().snapshot);
        // One that is gone takes no calls of anybody, and no heartbeats either: the lease runs out.
        let Some(listener) = snapshot.listeners.get(&self.origin.listener) else { return Ok(()) };
        let certified = self.origin.certified.judge(listener);
        certified.map_err(|why| refuse(Code::Unauthenticated, Reason::Certificate, why))?;
        let (standing, mut room) = self.standing.standing();
        let admitted = |route: &_, seen: (&_, &_)| self.is_admitted(route, seen, registered);
        standing.holds(&mut room, &self.origin, (&snapshot, listener), admitted)
    }

    fn is_admitted(
        &self,
        route: &Route,
        (info, head): (&CallInfo, &RequestHead),
        registered: Option<&Registered>,
    ) -> Result<(), Box<Refusal>> {
        let who = match &route.target {
            Target::Register { into, who, .. } if *into == self.into => who,
            _ => {
                let message = "its listener registers nobody in this cluster any more";
                return Err(refuse(Code::PermissionDenied, Reason::NoRoute, message));
            }
        };
        let Some(Registered { identity, callback, config }) = registered else { return Ok(()) };
        let Some(applicant) = Applicant::seen(info, head, who) else { return Ok(()) };
        let admitted = applicant.is_admitted(identity, callback, config);
        admitted.map_err(|why| refuse(Code::PermissionDenied, Reason::Denied, why))
    }
}

impl Warrant for Registrant {
    fn judge(&self, registered: Option<&Registered>) -> Judgement {
        match self.holds(registered) {
            Ok(()) => Judgement::Good,
            Err(refusal) if refusal.reason == Reason::KeysUnavailable => Judgement::Undecided(words(&refusal)),
            Err(refusal) => Judgement::Withdrawn(words(&refusal)),
        }
    }
}

fn words(refusal: &Refusal) -> String {
    format!("{} ({})", refusal.message, refusal.reason.as_str())
}

fn refuse(code: Code, reason: Reason, message: impl Into<String>) -> Box<Refusal> {
    Box::new(Refusal::new(code, reason, message))
}
