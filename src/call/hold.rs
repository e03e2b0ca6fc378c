//! Messages that somebody reads, on their way: each is held until it is whole, is shown to the filters that read it, and goes on once
//! it has passed, as it came or with another body. Whatever no filter reads takes [`splice`](super::splice)'s way, past all of this.
//!
//! Filters that last judge a message of the request once, before any try; those of a try see it anew at each, since what is kept for
//! another try is what the caller sent.

use filter_api::{Depth, MethodKind, Reads};

use super::context::Call;
use super::gather::{Next, Outgoing, body, shown};
use super::head;
use super::passage::{Passage, Stage, Try};
use super::splice::Ending;
use super::stop::Stop;
use super::turn::Turn;
use super::worker::{CallKey, Hub};
use crate::wire::{Encoding, Prefix, prefix_of};

/// Messages of the request as they go on in a try, and how many they are.
pub(super) struct Rewritten {
    outgoing: Outgoing,
    messages: u64,
    octets: usize,
}

impl Turn<'_> {
    /// Octets of a request whose messages are held.
    pub(super) fn hold_request(&mut self, key: CallKey, octets: &[u8]) {
        let now = self.now;
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        passage.moved(now);
        if !passage.upload.push(octets, &passage.origin.buffered) {
            return self.stop(key, Stop::overloaded());
        }
        let judged = passage.judge_requests();
        let (gathered, sent) = (passage.has_gathered(), passage.up.is_some());
        let gathering = matches!(passage.stage, Stage::Gathering);
        // Before a message that does not pass go those that did.
        let sent = if sent { self.send_on(key) } else { Ok(()) };
        if let Err(stop) = judged.and(sent) {
            return self.stop(key, stop);
        }
        if gathering && gathered {
            self.set_stage(key, Stage::Sent);
            self.advance(key);
        }
        self.credit_request(key);
    }

    /// What is held of a message that is not whole is credited: it may be larger than the caller's window.
    pub(super) fn credit_request(&mut self, key: CallKey) {
        let Some(passage) = self.hub.calls.get_mut(key.0).filter(|passage| passage.upload.holds()) else { return };
        let (due, down) = (passage.upload.credit(), passage.down);
        self.release(Some(down), due);
    }

    /// Messages that have passed go on in the try that is under way.
    fn send_on(&mut self, key: CallKey) -> Result<(), Stop> {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return Ok(()) };
        match passage.rewrite_requests() {
            Ok(rewritten) => self.send_passed(key, &rewritten),
            Err((rewritten, stop)) => self.send_passed(key, &rewritten).and(Err(stop)),
        }
    }

    /// Gives the stream of a try what was rewritten for it.
    pub(super) fn send_passed(&mut self, key: CallKey, rewritten: &Rewritten) -> Result<(), Stop> {
        let Hub { calls, links, .. } = &mut *self.hub;
        let Some(passage) = calls.get_mut(key.0) else { return Ok(()) };
        let Some(Try { leg, .. }) = passage.up else { return Ok(()) };
        let upload = &mut passage.upload;
        let passed = upload.to_send();
        let whole = rewritten.octets == passed.len();
        let octets = rewritten.outgoing.octets(passed.get(..rewritten.octets).unwrap_or_default());
        let end = upload.ended && whole && upload.is_between_messages();
        if octets.is_empty() && !end {
            return Ok(());
        }
        let Some(link) = links.get_mut(leg.link.0) else { return Ok(()) };
        link.wake();
        let out = octets.len();
        // A stream that is over takes none: its own end tells why.
        let given = link.engine.data(leg.stream, octets, end, self.millis).unwrap_or_default();
        upload.sent_held(rewritten.messages, out, rewritten.octets);
        self.request_went(key, given.bytes);
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return Ok(()) };
        if passage.upload.settle(&passage.origin.buffered) { Ok(()) } else { Err(Stop::overloaded()) }
    }

    /// Octets of an answer whose messages are held.
    pub(super) fn hold_answer(&mut self, key: CallKey, octets: &[u8], end: bool) {
        let now = self.now;
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        passage.moved(now);
        let Some(download) = passage.download.as_mut() else { return };
        if !download.push(octets, &passage.origin.buffered) {
            return self.stop(key, Stop::overloaded());
        }
        let (judged, outgoing) = passage.judge_answers();
        if let Err(stop) = self.answer_on(key, &outgoing).and(judged) {
            return self.stop(key, stop.by_the_instance());
        }
        if end {
            self.end_answer(key, Ending::Refused(head::no_status()));
        }
    }

    /// Gives the caller the messages that have passed; the head before the first.
    fn answer_on(&mut self, key: CallKey, outgoing: &Outgoing) -> Result<(), Stop> {
        self.release_head(key, |passage| passage.download.as_ref().is_some_and(|one| !one.passed().is_empty()));
        let Hub { calls, links, .. } = &mut *self.hub;
        let Some(passage) = calls.get_mut(key.0) else { return Ok(()) };
        let (down, up) = (passage.down, passage.up.as_ref().map(|attempt| attempt.leg));
        let (Some(download), Some(link)) = (&mut passage.download, links.get_mut(down.link.0)) else { return Ok(()) };
        let octets = outgoing.octets(download.passed());
        let mut fits = true;
        if !octets.is_empty() {
            let given = link.engine.data(down.stream, octets, false, self.millis).unwrap_or_default();
            link.wake();
            let out = octets.len();
            fits = download.sent(out, given.bytes, &passage.origin.buffered);
        }
        let due = download.credit();
        self.release(up, due);
        if fits { Ok(()) } else { Err(Stop::overloaded()) }
    }

    /// A head that was withheld goes to the caller, where it may.
    pub(super) fn release_head(&mut self, key: CallKey, may: impl FnOnce(&Passage) -> bool) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        if !matches!(passage.stage, Stage::Withheld(_)) || !may(passage) {
            return;
        }
        let Stage::Withheld(head) = std::mem::replace(&mut passage.stage, Stage::Answering) else { return };
        let down = passage.down;
        if let Some(link) = self.hub.links.get_mut(down.link.0) {
            link.engine.respond(down.stream, &head, false).ok();
            link.wake();
        }
        self.hub.spare.put(head.fields);
    }
}

impl Call {
    /// A try on this instance begins: what its filters read is read as the instance means it.
    pub(super) fn learn_types(&mut self, instance: u64) {
        let Reads { request, response } = self.followers.reads();
        if request.max(response) == Depth::Bodies
            && let Some(forward) = &self.forward
        {
            self.of_instance = forward.cluster.methods.of_instance(instance, &self.info.service, &self.info.method);
        }
    }
}

impl Passage {
    /// Shows filters that last what is new of the request: sizes when a prefix has come, bodies when a message is whole.
    pub(super) fn judge_requests(&mut self) -> Result<(), Stop> {
        let (limit, most) = (self.limits.0, self.most_read().0);
        let Some(call) = &mut self.call else { return Ok(()) };
        let one = call.kind.is_some_and(MethodKind::has_one_request);
        let judge = call.followers.judge_requests();
        let Call { followers, tally, head, in_force, info, .. } = &mut **call;
        let Some((octets, gather, ledger)) = self.upload.gathered() else { return Ok(()) };
        while let Some(next) = gather.next(octets)? {
            match next {
                Next::Begins(number, prefix) => {
                    if one && number > 1 {
                        return Err(Stop::cardinality("more"));
                    }
                    if u64::from(prefix.size) > limit {
                        return Err(Stop::too_large("request", prefix.size, limit));
                    }
                    followers.request_message(&shown(number, prefix, None, None)).map_err(Stop)?;
                }
                Next::Whole(number, prefix) => {
                    if judge {
                        let message = gather.message(octets, prefix);
                        let body = body("request", (prefix, message), || Encoding::of(&head.fields), most)?;
                        let mut shown = shown(number, prefix, Some(&body), in_force.as_deref());
                        shown.request = Some((info, head));
                        followers.request_body(&shown).map_err(Stop)?;
                    }
                    gather.pass(prefix);
                    ledger.passed(prefix.framed());
                    tally.request_messages += 1;
                    tally.request_bytes += u64::from(prefix.size);
                }
            }
        }
        self.check_end_of_request()
    }

    /// Whether a request may end where it did, if it has.
    pub(super) fn check_end_of_request(&self) -> Result<(), Stop> {
        if !self.upload.ended {
            return Ok(());
        }
        if !self.upload.is_between_messages() {
            return Err(Stop::torn());
        }
        let Some(call) = self.call.as_ref().filter(|_| self.upload.messages() == 0) else { return Ok(()) };
        if call.followers.decide_by_message() {
            return Err(Stop::undecided());
        }
        if call.kind.is_some_and(MethodKind::has_one_request) {
            return Err(Stop::cardinality("none"));
        }
        Ok(())
    }

    /// Shows the filters of a try the messages that have passed and were not sent in it. Where one refuses, those
    /// before it come back too.
    pub(super) fn rewrite_requests(&mut self) -> Result<Rewritten, (Rewritten, Stop)> {
        let (most, first) = (self.most_read().0, self.upload.sent_messages());
        let octets = self.upload.to_send();
        let mut rewritten = Rewritten { outgoing: Outgoing::default(), messages: 0, octets: 0 };
        let Some(call) = self.call.as_mut().filter(|_| self.upload.holds()) else { return Ok(rewritten) };
        let decode = call.followers.rewrite_requests();
        let Call { followers, head, of_instance, .. } = &mut **call;
        while let Some(left) = octets.get(rewritten.octets..)
            && let Ok(Some(prefix)) = prefix_of(left)
        {
            let message = left.get(Prefix::SIZE..prefix.framed()).unwrap_or_default();
            let number = first + rewritten.messages + 1;
            let body = match decode {
                true => body("request", (prefix, message), || Encoding::of(&head.fields), most).map(Some),
                false => Ok(None),
            };
            let other = body.and_then(|body| {
                let shown = shown(number, prefix, body.as_deref(), of_instance.as_deref());
                followers.request_of_try(&shown).map_err(Stop)
            });
            match other {
                Ok(other) => rewritten.outgoing.push(octets, rewritten.octets, prefix, other.as_deref()),
                Err(stop) => return Err((rewritten, stop)),
            }
            rewritten.messages += 1;
            rewritten.octets += prefix.framed();
        }
        Ok(rewritten)
    }

    /// Shows filters what is new of the answer. What passed before one that did not comes back in any case.
    fn judge_answers(&mut self) -> (Result<(), Stop>, Outgoing) {
        let mut outgoing = Outgoing::default();
        let judged = self.judge_answers_into(&mut outgoing);
        (judged, outgoing)
    }

    fn judge_answers_into(&mut self, outgoing: &mut Outgoing) -> Result<(), Stop> {
        let (limit, most) = (self.limits.1, self.most_read().1);
        let (Some(call), Some(download)) = (&mut self.call, &mut self.download) else { return Ok(()) };
        let Call { followers, tally, of_instance, .. } = &mut **call;
        let encoding = download.encoding;
        let (octets, gather, ledger) = download.gathered();
        while let Some(next) = gather.next(octets)? {
            match next {
                Next::Begins(number, prefix) => {
                    if u64::from(prefix.size) > limit {
                        return Err(Stop::too_large("response", prefix.size, limit));
                    }
                    followers.response_message(&shown(number, prefix, None, None)).map_err(Stop)?;
                }
                Next::Whole(number, prefix) => {
                    let message = gather.message(octets, prefix);
                    let body = body("response", (prefix, message), || encoding, most)?;
                    let shown = shown(number, prefix, Some(&body), of_instance.as_deref());
                    let other = followers.response_body(&shown).map_err(Stop)?;
                    outgoing.push(octets, gather.passed(), prefix, other.as_deref());
                    gather.pass(prefix);
                    ledger.passed(prefix.framed());
                    tally.response_messages += 1;
                    tally.response_bytes += u64::from(prefix.size);
                }
            }
        }
        Ok(())
    }
}
