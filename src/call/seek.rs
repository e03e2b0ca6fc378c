//! Which instance a try goes to: one that has room, and by whose definition of the messages the filters read them, or will.

use std::sync::Arc;

use filter_api::{CallInfo, Code, Depth, Detail, Reads, Reason, Refusal, Types, Unread};

use super::context::Call;
use super::forward::TRIES;
use crate::balance::{Fit, Seeker};
use crate::registry::{InFlight, Instance};

impl Call {
    /// An instance that may take one more call: it is entered.
    pub(super) fn pick(&self, now_ms: u64) -> Result<InFlight, Box<Refusal>> {
        let Some(forward) = &self.forward else { return Err(no_instance()) };
        let mut full = self.tried.clone();
        for _ in 0..TRIES {
            let Some(instance) = self.seek(&full, now_ms) else { break };
            if let Some(in_flight) = instance.try_enter(forward.cluster.limits.requests) {
                return Ok(in_flight);
            }
            if full.contains(&instance.id) {
                return Err(overloaded());
            }
            full.push(instance.id);
        }
        Err(if full.len() > self.tried.len() {
            overloaded()
        } else if self.wanted().is_some_and(|wanted| wanted.only) && self.seek_any(now_ms) {
            Box::new(Unread::NoSchema.refusal(true))
        } else {
            no_instance()
        })
    }

    /// An instance for the call; one of `tried`, which failed it, only where there is no other.
    pub(super) fn seek(&self, tried: &[u64], now_ms: u64) -> Option<Arc<Instance>> {
        let forward = self.forward.as_ref()?;
        let wanted = self.wanted();
        let has = |instance: &Instance| wanted.is_none_or(|wanted| self.is_read_as(instance.id, wanted.judged));
        let fit = match wanted {
            None => Fit::All,
            Some(Wanted { only: true, .. }) => Fit::Only(&has),
            Some(_) => Fit::Rather(&has),
        };
        let seeker = Seeker { key: forward.key, tried, excluded: &[], fit, now_ms };
        forward.cluster.pick(forward.agent.as_deref(), called(&self.info), seeker)
    }

    /// Whether filters have judged, or will judge, the call's messages by other definitions than this instance's: it must not get them.
    pub(super) fn is_judged_otherwise(&self, instance: u64) -> bool {
        self.wanted().is_some_and(|wanted| wanted.only && !self.is_read_as(instance, wanted.judged))
    }

    fn seek_any(&self, now_ms: u64) -> bool {
        self.forward.as_ref().is_some_and(|forward| {
            let seeker = Seeker { key: None, tried: &[], excluded: &[], fit: Fit::All, now_ms };
            forward.cluster.pick(forward.agent.as_deref(), called(&self.info), seeker).is_some()
        })
    }

    fn is_read_as(&self, instance: u64, judged: Option<&Types>) -> bool {
        let (service, method) = called(&self.info);
        self.forward.as_ref().is_some_and(|forward| {
            let methods = &forward.cluster.methods;
            methods.is_read_as(instance, service, method, judged)
        })
    }

    /// What is asked of an instance, beyond that it is there: most calls' messages nobody reads.
    fn wanted(&self) -> Option<Wanted<'_>> {
        let each_try = self.forward.as_ref()?.each_try.reads();
        let Reads { request, response } = self.followers.reads().or(each_try);
        if request.max(response) != Depth::Bodies {
            return None;
        }
        let judged = self.in_force.as_deref().filter(|_| self.followers.go_by_requests());
        Some(Wanted { only: judged.is_some(), judged })
    }
}

/// What is asked of an instance.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    /// No other will do.
    only: bool,
    /// The definitions by which the call's messages are judged, of which its own must be one; any that is known, without them.
    judged: Option<&'a Types>,
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
