//! Another snapshot is in force: calls that are open are judged again by it ([`standing`](super::standing)), and those end that it would
//! not let in. A few at a time, so that others have their turns in between. What is not decided yet is judged once it is.

use std::time::Duration;

use filter_api::Reason;
use tokio::time::Instant;

use super::link::Link;
use super::passage::{Passage, Stage};
use super::standing::{Room, Standing};
use super::stop::Stop;
use super::turn::Turn;
use super::worker::CallKey;

/// The most calls that are judged in one turn, and for how long.
const AT_ONCE: usize = 64;
const FOR: Duration = Duration::from_micros(500);
/// How long keys of an issuer are waited for that the snapshot does not have yet: it takes one fetch.
const KEYS_PATIENCE: Duration = Duration::from_secs(5);

/// Calls that are to be judged again.
#[derive(Default)]
pub(super) struct Unjudged {
    calls: Vec<CallKey>,
    /// Those for whose tokens there are no keys yet. They are asked for every second.
    postponed: Vec<CallKey>,
    until: Option<Instant>,
    room: Room,
}

impl Turn<'_> {
    /// Another snapshot may be in force: what is open is to be judged by it.
    pub(super) fn judge_all(&mut self) {
        let (_, era) = self.hub.config.look();
        let since = |passage: &Passage| passage.call.as_ref().is_some_and(|call| call.era != era);
        let open = self.hub.calls.iter().filter(|(_, passage)| since(passage)).map(|(key, _)| CallKey(key));
        // In the room of the last time: what a reload takes is not to grow with calls.
        let Unjudged { calls, postponed, until, .. } = &mut self.hub.unjudged;
        calls.clear();
        calls.extend(open);
        postponed.clear();
        *until = Some(self.now + KEYS_PATIENCE);
        // Whether a connection may stay is its owner's to see.
        self.hub.links.values_mut().for_each(Link::wake);
    }

    /// Judges some. Answers whether there are more.
    pub(super) fn judge_some(&mut self) -> bool {
        for _ in 0..AT_ONCE {
            let Some(key) = self.hub.unjudged.calls.pop() else { break };
            self.judge_again(key, true);
            if self.now.elapsed() > FOR {
                break;
            }
        }
        !self.hub.unjudged.calls.is_empty()
    }

    /// Those whose keys were not there are to be judged once more. Called every second. Answers whether there are any.
    pub(super) fn judge_postponed(&mut self) -> bool {
        let Unjudged { calls, postponed, .. } = &mut self.hub.unjudged;
        calls.append(postponed);
        !calls.is_empty()
    }

    /// Whether a call that begins only now is one that the snapshot in force lets in. If not, it ends with this.
    pub(super) fn is_let_in(&mut self, key: CallKey) -> bool {
        self.judge_again(key, false)
    }

    fn judge_again(&mut self, key: CallKey, patient: bool) -> bool {
        let (in_force, era) = self.hub.config.look();
        let snapshot = &*in_force.snapshot;
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return false };
        let Some(call) = passage.call.as_mut().filter(|call| call.era != era) else { return true };
        // Not let in yet, or nothing more is said.
        if matches!(passage.stage, Stage::Awaiting(_) | Stage::Draining(_) | Stage::Over(_)) {
            return true;
        }
        // A listener that is gone drains.
        let Some(listener) = snapshot.listeners.get(&passage.origin.listener) else { return true };
        let room = &mut self.hub.unjudged.room;
        match Standing::of(call, room).holds(room, &passage.origin, (snapshot, listener), |_, _| Ok(())) {
            Ok(()) => call.era = era,
            Err(refusal)
                if patient
                    && refusal.reason == Reason::KeysUnavailable
                    && self.hub.unjudged.until.is_some_and(|until| self.now < until) =>
            {
                self.hub.unjudged.postponed.push(key);
            }
            Err(refusal) => {
                tracing::debug!(listener = %listener.name, reason = refusal.reason.as_str(), "an open call is ended: it would not be let in any more");
                self.stop(key, Stop(refusal));
                return false;
            }
        }
        true
    }
}
