//! The first message of a request where a decision waits for it: the route, the agent or the instance depends on what is in it. It is
//! held meanwhile, as messages are that filters read; deadline, limits and the caller's cancel hold too.

use super::begin::Undecided;
use super::context::Call;
use super::gather::body;
use super::passage::{Passage, Stage};
use super::stop::Stop;
use super::turn::Turn;
use super::worker::CallKey;
use crate::wire::{Encoding, Prefix, prefix_of};

/// The longest message of somebody of whom nobody knows who that is. It names a service at most; what strangers hold counts against what
/// all calls of the listener may.
const STRANGERS_MESSAGE: u64 = 1 << 10;

impl Turn<'_> {
    /// A decision goes no further without the first message.
    pub(super) fn await_message(&mut self, key: CallKey, call: Option<Box<Call>>, undecided: Undecided) {
        if !self.take_back(key, call) {
            return;
        }
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        passage.deadline = passage.call.as_ref().and_then(|call| call.deadline);
        if let Some(patience) = undecided.patience() {
            // A stranger holds no more than this, and no longer.
            passage.limits.0 = passage.limits.0.min(STRANGERS_MESSAGE);
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
        match passage.first_message() {
            Err(stop) => self.stop(key, stop),
            Ok(None) => self.credit_request(key),
            Ok(Some(message)) => {
                if !passage.upload.copy_beside(message.len(), &passage.origin.buffered) {
                    return self.stop(key, Stop::overloaded());
                }
                let Some(mut call) = passage.call.take() else { return };
                call.first_message = Some(message);
                match std::mem::replace(&mut passage.stage, Stage::Sent) {
                    Stage::Awaiting(undecided) => self.decide(key, call, *undecided),
                    other => passage.stage = other,
                }
            }
        }
    }
}

impl Passage {
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
