//! Which instance a try goes to: one that has room, and by whose definition of the messages the filters read them, or will.

use std::sync::Arc;

use filter_api::{CallInfo, Code, Depth, Detail, Reads, Reason, Refusal, Types, Unread};
use smallvec::SmallVec;

use super::context::Call;
use super::forward::TRIES;
use crate::balance::{Fit, Seeker};
use crate::registry::{InFlight, Instance};

impl Call {
    /// An instance that may take one more call: it is entered.
    pub(super) fn pick(&self, now_ms: u64) -> Result<InFlight, Box<Refusal>> {
        let Some(forward) = &self.forward else { return Err(no_instance()) };
        let mut full: SmallVec<[u64; 4]> = SmallVec::new();
        for _ in 0..TRIES {
            let Some(instance) = self.seek(&full, now_ms) else { break };
            if let Some(in_flight) = instance.try_enter(forward.cluster.limits.requests) {
                return Ok(in_flight);
            }
            full.push(instance.id);
        }
        Err(if !full.is_empty() {
            overloaded()
        } else if matches!(self.wanted(), Wanted::Judged(_)) && self.seek_as(now_ms, Fit::All).is_some() {
            Box::new(Unread::NoSchema.refusal(true))
        } else {
            no_instance()
        })
    }

    /// An instance for the call that is not one of the `full`; one that failed it only where there is no other.
    pub(super) fn seek(&self, full: &[u64], now_ms: u64) -> Option<Arc<Instance>> {
        let has_room = |instance: &Instance| !full.contains(&instance.id);
        let is_read = |instance: &Instance| has_room(instance) && self.is_read_as(instance.id, None);
        let fit = match (self.wanted(), full) {
            (Wanted::Judged(by), _) => {
                let fits = |instance: &Instance| has_room(instance) && self.is_read_as(instance.id, Some(by));
                return self.seek_as(now_ms, Fit::Only(&fits));
            }
            (Wanted::Anyone, []) => Fit::All,
            (Wanted::Known, []) => Fit::Rather(&is_read),
            // Those that can be read will have room again: another would only fail it.
            (Wanted::Known, full) if full.iter().any(|id| self.is_read_as(*id, None)) => Fit::Only(&is_read),
            (Wanted::Anyone | Wanted::Known, _) => Fit::Only(&has_room),
        };
        self.seek_as(now_ms, fit)
    }

    /// Whether an instance that was picked must not get the call, by what is known of it now: filters have judged, or will judge, its
    /// messages by other definitions, or it gets no calls of the method.
    pub(super) fn is_kept_from(&self, instance: u64) -> bool {
        matches!(self.wanted(), Wanted::Judged(by) if !self.is_read_as(instance, Some(by)))
            || self.forward.as_ref().is_some_and(|forward| forward.cluster.excludes(called(&self.info), instance))
    }

    fn seek_as(&self, now_ms: u64, fit: Fit<'_>) -> Option<Arc<Instance>> {
        let forward = self.forward.as_ref()?;
        let seeker = Seeker { key: forward.key, tried: &self.tried, excluded: &[], fit, now_ms };
        forward.cluster.pick(forward.agent.as_deref(), called(&self.info), seeker)
    }

    fn is_read_as(&self, instance: u64, judged: Option<&Types>) -> bool {
        let (service, method) = called(&self.info);
        self.forward.as_ref().is_some_and(|forward| {
            let methods = &forward.cluster.methods;
            methods.is_read_as(instance, service, method, judged)
        })
    }

    /// What is asked of an instance, beyond that it is there.
    fn wanted(&self) -> Wanted<'_> {
        let each_try = self.forward.as_ref().map(|forward| forward.each_try.reads()).unwrap_or_default();
        let Reads { request, response } = self.followers.reads().or(each_try);
        if request.max(response) != Depth::Bodies {
            return Wanted::Anyone;
        }
        let judged = self.in_force.as_deref().filter(|_| self.followers.go_by_requests());
        judged.map_or(Wanted::Known, Wanted::Judged)
    }
}

/// What is asked of an instance.
enum Wanted<'a> {
    /// Nothing: most calls' messages nobody reads.
    Anyone,
    /// That it is known what it means by the call's messages, where that is known of some.
    Known,
    /// That its definition is one of those by which the call's messages are judged.
    Judged(&'a Types),
}

/// The method of a call, with its service.
pub(super) fn called(info: &CallInfo) -> (&str, &str) {
    (&info.service, &info.method)
}

pub(super) fn overloaded() -> Box<Refusal> {
    let message =
        "every instance has as many calls as it may (limits.requests, limits.pending): come back a little later";
    let refusal = Refusal::new(Code::ResourceExhausted, Reason::Overloaded, message);
    Box::new(refusal.with(Detail::RetryAfter(std::time::Duration::from_millis(250))))
}

fn no_instance() -> Box<Refusal> {
    let message = "no instance can take the call: none is registered or healthy; see /instances on the admin port";
    Box::new(Refusal::new(Code::Unavailable, Reason::NoInstance, message))
}
