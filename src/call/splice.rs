//! The moving of a call's octets, once it is decided where they go. What one stream has, the other is given within the same turn; what
//! its windows do not take waits there, and the source gets its credit back as it goes. No task and no channel; an allocation only
//! for what has to wait.

use std::time::Duration;

use fields::{Fields, ResponseHead};
use filter_api::{Code, Depth, MethodKind, Reason, Refusal, ResponseView};

use super::context::End;
use super::download::Download;
use super::gather::shown;
use super::passage::{Idle, Leg, Passage, Stage};
use super::stop::{Stop, late, refusal_of};
use super::turn::Turn;
use super::worker::{CallKey, Hub};
use super::{forward::Unstarted, head};
use crate::h2::{Given, StreamError};
use crate::wire::{Encoding, Prefix, refusal_trailers, trailers_only};

/// Octets of answers that may wait for the windows of one caller's connection once their calls are complete upstream.
const MOST_UNREAD: usize = 16 << 20;
/// The same of all connections of a worker.
const MOST_UNREAD_IN_ALL: usize = 256 << 20;
/// What a connection may have of it even then.
const FAIR_UNREAD: usize = 1 << 20;
/// How long such an answer waits for a caller that takes nothing of it.
const UNREAD_PATIENCE: Duration = Duration::from_secs(60);

impl Turn<'_> {
    /// Octets of the request.
    pub(super) fn request_data(&mut self, key: CallKey, octets: &[u8], end: bool) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        passage.upload.ended |= end;
        match &passage.stage {
            Stage::Registering(_) => return self.register_data(key, octets),
            Stage::Awaiting(_) => return self.await_data(key, octets),
            // The caller has its answer: what it still sends is of no use, and its stream is about to be reset.
            Stage::Draining(_) | Stage::Over(_) => return,
            Stage::Deciding(_) | Stage::Transforming(..) => return passage.upload.hold(octets, false),
            Stage::Gathering | Stage::Placing(_) | Stage::Sent | Stage::Withheld(_) | Stage::Answering => {}
        }
        if passage.upload.holds() {
            return self.hold_request(key, octets);
        }
        if let Err(stop) = passage.read_request(octets, end) {
            return self.stop(key, stop);
        }
        let Some(leg) = passage.up.as_ref().map(|attempt| attempt.leg) else {
            return passage.upload.hold(octets, true);
        };
        passage.upload.keep(octets, &passage.origin.buffered);
        let given = self.give(leg, octets, end);
        if given.bytes > 0 {
            self.request_went(key, given.bytes);
        }
    }

    /// Octets of the request have gone on: the caller gets its credit back.
    pub(super) fn request_went(&mut self, key: CallKey, octets: usize) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        passage.moved(self.now);
        let (due, down) = (passage.upload.went(octets, &passage.origin.buffered), passage.down);
        self.release(Some(down), due);
    }

    /// The head of the answer.
    pub(super) fn answer_head(&mut self, key: CallKey, mut head: ResponseHead, end: bool) {
        let now = self.now;
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        let Some(call) = passage.call.as_mut().filter(|_| matches!(passage.stage, Stage::Sent)) else { return };
        // No other try will come.
        passage.upload.forget(&passage.origin.buffered);
        // An answer that the proxy has to end itself would contradict it, and HTTP/2 calls that malformed.
        head.fields.remove("content-length");
        if let Some(refusal) = head::not_grpc(&head).or_else(|| late(&head.fields, call.deadline, now)) {
            return self.stop(key, Stop(refusal));
        }
        let mut view = ResponseView { call: &call.info, metadata: &mut head.fields };
        if let Err(refusal) = call.followers.response_head(&mut view) {
            return self.stop(key, Stop(refusal));
        }
        let (reads, kind) = (call.followers.reads(), call.kind);
        passage.moved(now);
        let down = passage.down;
        if head.fields.contains("grpc-status") {
            // An answer that is all head: sent as such, whether or not the instance ended its stream there (FIELD.md T12).
            let outcome = End::upstream(&head.fields);
            self.let_go(key, outcome.code);
            self.respond_whole(down, &head);
            self.hub.spare.put(head.fields);
            return self.finish(key, outcome);
        }
        if reads.response == Depth::Bodies {
            passage.download = Some(Box::new(Download::new(Encoding::of(&head.fields))));
            // Where one message is the answer, its refusal is a clean one if the head has not gone. Where there may be more, or nobody
            // knows, the head goes at once: a caller may wait for it before it says what the instance answers to.
            if kind.is_some_and(MethodKind::has_one_response) {
                passage.stage = Stage::Withheld(head);
                if end {
                    self.stop(key, Stop(head::no_status()));
                }
                return;
            }
        }
        passage.stage = Stage::Answering;
        if let Some(link) = self.hub.links.get_mut(down.link.0) {
            link.engine.respond(down.stream, &head, false).ok();
            link.wake();
        }
        self.hub.spare.put(head.fields);
        if end {
            self.stop(key, Stop(head::no_status()));
        }
    }

    /// Octets of the answer.
    pub(super) fn answer_data(&mut self, key: CallKey, octets: &[u8], end: bool) {
        let now = self.now;
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        if !matches!(passage.stage, Stage::Answering | Stage::Withheld(_)) {
            return;
        }
        if passage.download.is_some() {
            return self.hold_answer(key, octets, end);
        }
        if let Err(stop) = passage.read_answer(octets) {
            return self.stop(key, stop.by_the_instance());
        }
        passage.moved(now);
        let (down, up) = (passage.down, passage.up.as_ref().map(|attempt| attempt.leg));
        let given = self.give(down, octets, false);
        self.release(up, given.bytes);
        if end {
            self.end_answer(key, Ending::Refused(head::no_status()));
        }
    }

    /// Octets of the answer that waited have gone on, or its end has.
    pub(super) fn answer_went(&mut self, key: CallKey, octets: usize, end: bool) {
        let now = self.now;
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        passage.moved(now);
        let read = octets.min(passage.unread);
        passage.unread -= read;
        self.hub.unread -= read;
        match passage.stage {
            Stage::Draining(outcome) if end => self.finish(key, outcome),
            _ => {
                let Passage { download, origin, .. } = passage;
                let due = download.as_mut().map_or(octets, |download| download.went(octets, &origin.buffered));
                let up = passage.up.as_ref().map(|attempt| attempt.leg);
                self.release(up, due);
            }
        }
    }

    /// Octets of a stream have gone on: its peer gets its credit back.
    pub(super) fn release(&mut self, leg: Option<Leg>, octets: usize) {
        if let Some(leg) = leg.filter(|_| octets > 0)
            && let Some(link) = self.hub.links.get_mut(leg.link.0)
            && link.engine.release(leg.stream, octets)
        {
            link.wake();
        }
    }

    /// The trailers of the answer.
    pub(super) fn answer_trailers(&mut self, key: CallKey, trailers: Fields) {
        let now = self.now;
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        if !matches!(passage.stage, Stage::Answering | Stage::Withheld(_)) {
            return;
        }
        let torn = passage.download.as_ref().is_some_and(|download| !download.is_between_messages());
        let ending = if !trailers.contains("grpc-status") {
            Ending::Refused(head::no_status())
        } else if let Some(refusal) = late(&trailers, passage.deadline, now) {
            Ending::Refused(refusal)
        } else if torn && trailers.get("grpc-status") == Some(b"0") {
            // What came of the message has not gone on: the caller would take what it has for all.
            Ending::Refused(Stop::torn().by_the_instance().0)
        } else {
            Ending::Upstream(trailers)
        };
        self.end_answer(key, ending);
    }

    /// Ends an answer that has begun, behind what still waits of it.
    pub(super) fn end_answer(&mut self, key: CallKey, ending: Ending) {
        let withheld = |passage: &Passage| matches!(passage.stage, Stage::Withheld(_));
        let (outcome, trailers) = match ending {
            Ending::Refused(refusal) if self.hub.calls.get(key.0).is_some_and(withheld) => {
                return self.stop(key, Stop(refusal));
            }
            Ending::Refused(refusal) => (End::refused(&refusal), refusal_trailers(&refusal)),
            Ending::Upstream(trailers) => (End::upstream(&trailers), trailers),
        };
        self.release_head(key, |_| true);
        self.let_go(key, outcome.code);
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        let down = passage.down;
        let sent = self.hub.links.get_mut(down.link.0).map(|link| {
            link.wake();
            link.engine.trailers(down.stream, &trailers)
        });
        self.hub.spare.put(trailers);
        match sent {
            Some(Ok(false)) if !self.may_wait(key, down) => self.give_up_draining(key, down),
            Some(Ok(false)) => self.drain(key, outcome),
            // Said, or nobody is there to hear it.
            Some(Ok(true) | Err(_)) | None => self.finish(key, outcome),
        }
    }

    /// Whether what a caller has not taken of a complete answer may wait for it: it counts nowhere else any more.
    fn may_wait(&mut self, key: CallKey, down: Leg) -> bool {
        let Hub { links, calls, unread, .. } = &mut *self.hub;
        let (Some(link), Some(passage)) = (links.get_mut(down.link.0), calls.get_mut(key.0)) else { return false };
        passage.unread = link.engine.waiting_on(down.stream);
        *unread += passage.unread;
        let own = link.engine.waiting();
        // Past the sum of all, those pay that have much of it.
        own <= MOST_UNREAD && (*unread <= MOST_UNREAD_IN_ALL || own <= FAIR_UNREAD)
    }

    /// The rest of a complete answer waits for its caller, for as long as that takes something of it.
    fn drain(&mut self, key: CallKey, outcome: End) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        passage.stage = Stage::Draining(outcome);
        let limit = passage.idle.map_or(UNREAD_PATIENCE, |idle| idle.limit.min(UNREAD_PATIENCE));
        passage.idle = Some(Idle { limit, moved: self.now });
        self.arm(key);
    }

    /// The end of an answer that its caller does not take.
    fn give_up_draining(&mut self, key: CallKey, down: Leg) {
        let message = "the answers that wait to be read on this connection are too much: read them, then call again";
        let refusal = Box::new(Refusal::new(Code::ResourceExhausted, Reason::Overloaded, message));
        if let Some(link) = self.hub.links.get_mut(down.link.0) {
            link.engine.discard(down.stream);
            link.engine.trailers(down.stream, &refusal_trailers(&refusal)).ok();
            link.wake();
        }
        self.finish(key, End::refused(&refusal));
    }

    /// The instance's stream broke, or never began.
    pub(super) fn instance_broke(&mut self, key: CallKey, error: StreamError) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        let Some(instance) = passage.up.as_ref().map(|attempt| attempt.in_flight.instance().id) else { return };
        let refusal = refusal_of(error, passage.deadline, self.now);
        match passage.stage {
            Stage::Answering => self.end_answer(key, Ending::Refused(refusal)),
            Stage::Sent if error == StreamError::NotStarted => {
                if let Some(call) = &mut passage.call {
                    call.tried.push(instance);
                }
                self.let_go(key, refusal.code);
                self.again(key, Unstarted("refused_stream", refusal));
            }
            _ => self.stop(key, Stop(refusal)),
        }
    }

    /// Gives octets to a stream. One that is over takes none: its own end tells why.
    fn give(&mut self, leg: Leg, octets: &[u8], end: bool) -> Given {
        let Some(link) = self.hub.links.get_mut(leg.link.0) else { return Given::default() };
        let given = link.engine.data(leg.stream, octets, end, self.millis);
        link.wake();
        given.unwrap_or_default()
    }

    /// Answers with a refusal alone.
    pub(super) fn refuse(&mut self, down: Leg, refusal: &Refusal) {
        self.respond_whole(down, &trailers_only(200, &refusal_trailers(refusal)));
    }

    /// Sends an answer that is all head.
    pub(super) fn respond_whole(&mut self, down: Leg, head: &ResponseHead) {
        if let Some(link) = self.hub.links.get_mut(down.link.0) {
            // A caller that is gone needs no answer.
            link.engine.respond(down.stream, head, true).ok();
            link.wake();
        }
    }
}

/// How an answer ends that has begun.
pub(super) enum Ending {
    /// As the instance says.
    Upstream(Fields),
    /// By the proxy.
    Refused(Box<Refusal>),
}

impl Passage {
    /// Looks for messages in octets of the request, and tells filters and counters of each.
    pub(super) fn read_request(&mut self, octets: &[u8], end: bool) -> Result<(), Stop> {
        let Some(call) = &mut self.call else { return Ok(()) };
        let one = call.kind.is_some_and(MethodKind::has_one_request);
        let (limit, super::context::Call { followers, tally, .. }) = (self.limits.0, &mut **call);
        self.upload.scanner.scan(octets, |number, prefix: Prefix| {
            if one && number > 1 {
                return Err(Stop::cardinality("more"));
            }
            if u64::from(prefix.size) > limit {
                return Err(Stop::too_large("request", prefix.size, limit));
            }
            followers.request_message(&shown(number, prefix, None, None)).map_err(Stop)?;
            tally.request_messages += 1;
            tally.request_bytes += u64::from(prefix.size);
            Ok(())
        })?;
        if end { self.check_end_of_request() } else { Ok(()) }
    }

    /// The same for the answer.
    fn read_answer(&mut self, octets: &[u8]) -> Result<(), Stop> {
        let Some(call) = &mut self.call else { return Ok(()) };
        let (limit, super::context::Call { followers, tally, .. }) = (self.limits.1, &mut **call);
        self.answer.scan(octets, |number, prefix: Prefix| {
            if u64::from(prefix.size) > limit {
                return Err(Stop::too_large("response", prefix.size, limit));
            }
            followers.response_message(&shown(number, prefix, None, None)).map_err(Stop)?;
            tally.response_messages += 1;
            tally.response_bytes += u64::from(prefix.size);
            Ok(())
        })
    }
}
