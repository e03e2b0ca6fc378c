//! The first message of a request where a decision waits for it: the route, the agent or the instance depends on what is in it. It is
//! held meanwhile, as messages are that filters read; deadline, limits and the caller's cancel hold too.

use super::begin::Undecided;
use super::context::Call;
use super::gather::body;
use super::passage::{Passage, Stage};
use super::plan::may_be_for_anybody;
use super::stop::Stop;
use super::turn::Turn;
use super::worker::CallKey;
use crate::wire::{Encoding, Prefix, prefix_of};

impl Turn<'_> {
    /// A decision goes no further without the first message.
    pub(super) fn await_message(&mut self, key: CallKey, call: Option<Box<Call>>, undecided: Undecided) {
        if !self.take_back(key, call) {
            return;
        }
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        passage.deadline = passage.call.as_ref().and_then(|call| call.deadline);
        if let Some(patience) = undecided.patience() {
            // A stranger holds nothing longer than this.
            passage.deadline = passage.deadline.into_iter().chain(self.now.checked_add(patience)).min();
        }
        passage.stage = Stage::Awaiting(Box::new(undecided));
        passage.upload.begin_holding();
        self.arm(key);
        self.await_data(key, &[]);
    }

    /// Octets of a request whose first message is awaited.
    pub(super) fn await_data(&mut self, key: CallKey, octets: &[u8]) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        let budget = &passage.origin.buffered;
        if !passage.upload.push(octets, budget) {
            return self.stop(key, Stop::overloaded());
        }
        if passage.names_service() {
            return self.decide_by(key, None);
        }
        match passage.first_message() {
            Err(stop) => self.stop(key, stop),
            Ok(None) => self.credit_request(key),
            Ok(Some(message)) => {
                if !passage.upload.copy_beside(message.len(), &passage.origin.buffered) {
                    return self.stop(key, Stop::overloaded());
                }
                self.decide_by(key, Some(message));
            }
        }
    }

    /// Goes on to decide: by the first message, or by what is known of it.
    fn decide_by(&mut self, key: CallKey, message: Option<Vec<u8>>) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        let Some(mut call) = passage.call.take() else { return };
        call.names_service |= message.is_none();
        call.first_message = message;
        match std::mem::replace(&mut passage.stage, Stage::Sent) {
            Stage::Awaiting(undecided) => self.decide(key, call, *undecided),
            other => passage.stage = other,
        }
    }
}

impl Passage {
    /// Whether it is to be seen already that the first message is none that somebody of whom nobody knows who that is may send. What
    /// strangers hold counts against what all calls of the listener may: the rest of it is not waited for.
    fn names_service(&mut self) -> bool {
        let at_the_door = matches!(&self.stage, Stage::Awaiting(undecided) if undecided.patience().is_some());
        let begins = self.upload.gathered().and_then(|(octets, ..)| prefix_of(octets).ok().flatten());
        at_the_door && begins.is_some_and(|prefix| !may_be_for_anybody(prefix))
    }

    /// What is in the first message, once it is whole.
    fn first_message(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        let (limit, most) = (self.limits.0, self.most_read().0);
        let ended = self.upload.ended;
        let (Some(call), Some((octets, ..))) = (&self.call, self.upload.gathered()) else { return Ok(None) };
        if ended && octets.is_empty() {
            return Err(Stop::cardinality("none"));
        }
        let whole = match prefix_of(octets)? {
            Some(prefix) if u64::from(prefix.size) > limit => {
                return Err(Stop::too_large("request", prefix.size, limit));
            }
            Some(prefix) => octets.get(Prefix::SIZE..prefix.framed()).map(|message| (prefix, message)),
            None => None,
        };
        match whole {
            Some(whole) => Ok(Some(body("request", whole, || Encoding::of(&call.head.fields), most)?.into_owned())),
            None if ended => Err(Stop::torn()),
            None => Ok(None),
        }
    }
}
