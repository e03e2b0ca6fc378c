//! The end of a call: refused, left by its caller, or complete; and what makes it end by itself when its time has come.

use std::time::Duration;

use filter_api::{Code, Refusal};

use super::context::End;
use super::passage::{Alarm, Stage};
use super::splice::Ending;
use super::stop::Stop;
use super::turn::Turn;
use super::worker::CallKey;
use crate::h2::ErrorCode;

/// The farthest alarm that is set.
const FARTHEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Turn<'_> {
    /// Ends a call before its time: the instance is told, and the caller. What still waits of an answer is moot.
    pub(super) fn stop(&mut self, key: CallKey, Stop(refusal): Stop) {
        self.leave_lane(key);
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        if matches!(passage.stage, Stage::Over(_)) {
            return;
        }
        if passage.is_answered() {
            let down = passage.down;
            if let Some(link) = self.hub.links.get_mut(down.link.0) {
                link.engine.discard(down.stream);
            }
            return self.end_answer(key, Ending::Refused(refusal));
        }
        let down = passage.down;
        self.let_go(key, refusal.code);
        self.refuse(down, &refusal);
        self.finish(key, End::refused(&refusal));
    }

    /// Ends all calls: the proxy ends.
    pub(super) fn end_all(&mut self) {
        self.hub.is_ending = true;
        let open: Vec<_> = self.hub.calls.keys().map(CallKey).collect();
        for key in open {
            self.stop(key, Stop::draining("the proxy ends, and this call was open for too long: call again"));
        }
    }

    /// The caller reset its stream, or its connection is gone: nobody waits for an answer.
    pub(super) fn caller_left(&mut self, key: CallKey) {
        self.leave_lane(key);
        self.let_go(key, Code::Cancelled);
        self.finish(key, End::cancelled());
    }

    /// Ends the try that is under way, if one is, and counts it.
    pub(super) fn let_go(&mut self, key: CallKey, code: Code) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        let Some(attempt) = passage.up.take() else { return };
        let took = self.now.saturating_duration_since(attempt.started);
        if let Some(call) = &mut passage.call {
            call.path.upstream = Some(took);
            if code == Code::Unimplemented
                && let Some(forward) = &call.forward
            {
                let instance = attempt.in_flight.instance().id;
                forward.cluster.schemas.unimplemented(instance, &call.info.service, &call.info.method);
            }
        }
        let instance = attempt.in_flight.instance();
        instance.metrics.handled(code, took);
        let id = instance.id;
        drop(attempt.in_flight);
        if let Some(link) = self.hub.links.get_mut(attempt.leg.link.0) {
            // A stream that both sides have ended is gone, and nothing is sent.
            if link.engine.reset(attempt.leg.stream, ErrorCode::CANCEL) || link.retired {
                link.wake();
            }
        }
        self.serve_waiting(id);
    }

    /// Counts a call, writes it down, and forgets it.
    pub(super) fn finish(&mut self, key: CallKey, end: End) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        match &passage.stage {
            Stage::Deciding(task) | Stage::Transforming(task, _) if passage.call.is_none() => {
                // The call is finished when it comes back, which is when the task has been dropped.
                task.abort();
                passage.stage = Stage::Over(end);
                return;
            }
            Stage::Over(_) if passage.call.is_none() => return,
            Stage::Registering(registering) => registering.give_up(),
            _ => {}
        }
        let Some(mut passage) = self.hub.calls.remove(key.0) else { return };
        if let Some(alarm) = passage.alarm.take() {
            self.hub.timers.remove(&alarm.key);
        }
        self.hub.unread -= passage.unread;
        passage.upload.let_go(&passage.origin.buffered);
        self.hub.put_room(passage.upload.take_room());
        if let Some(mut call) = passage.call.take() {
            let by_instance = end.reason.is_none() && call.path.attempts > 0;
            if let Some(link) = self.hub.links.get_mut(passage.down.link.0).filter(|_| by_instance) {
                link.engine.served();
            }
            call.finish(&self.worker.shared, &passage.origin, end, self.now);
            self.hub.spare.put(std::mem::take(&mut call.head.fields));
        }
    }

    /// Sees to it that the call is looked at when its time comes. An alarm that is too early is only set anew when it rings.
    pub(super) fn arm(&mut self, key: CallKey) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        // The timers take no more than two years; an alarm that rings before its time is set anew.
        let Some(at) = passage.next_alarm().map(|at| at.min(self.now + FARTHEST)) else { return };
        match &mut passage.alarm {
            Some(alarm) if alarm.at <= at => {}
            Some(alarm) => {
                alarm.at = at;
                self.hub.timers.reset_at(&alarm.key, at);
            }
            None => passage.alarm = Some(Alarm { key: self.hub.timers.insert_at(key, at), at }),
        }
    }

    /// The alarm of a call rings.
    pub(super) fn ring(&mut self, key: CallKey) {
        let now = self.now;
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        passage.alarm = None;
        if passage.deadline.is_some_and(|deadline| deadline <= now) {
            return self.stop(key, Stop::deadline());
        }
        if passage.expires.is_some_and(|expires| expires <= now) {
            return self.stop(key, Stop::expired());
        }
        if let Some(idle) = passage.idle
            && idle.moved.checked_add(idle.limit).is_some_and(|until| until <= now)
        {
            return self.stop(key, Stop::idle(idle.limit));
        }
        match &passage.stage {
            Stage::Placing(placing) if placing.until <= now => self.waited_too_long(key),
            Stage::Registering(registering) if registering.until().is_some_and(|until| until <= now) => {
                self.stop(key, Stop::deadline());
            }
            Stage::Gathering if passage.next_alarm().is_some_and(|at| at <= now) => self.stop(key, Stop::deadline()),
            _ => {}
        }
        self.arm(key);
    }
}

impl End {
    /// The upstream's own answer went through.
    pub(super) fn upstream(trailers: &fields::Fields) -> Self {
        let code = trailers.get("grpc-status").and_then(Code::parse).unwrap_or(Code::Unknown);
        Self { code, reason: None }
    }

    pub(super) fn refused(refusal: &Refusal) -> Self {
        Self { code: refusal.code, reason: Some(refusal.reason) }
    }

    /// The caller went away.
    pub(super) fn cancelled() -> Self {
        Self { code: Code::Cancelled, reason: Some(filter_api::Reason::Cancelled) }
    }
}
