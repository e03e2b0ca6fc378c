//! A call among those of a worker: its two streams, how far it is, and what it waits for. What is known of the call itself is in
//! [`Call`], which is away while something that takes its time looks at it.

use std::sync::Arc;
use std::time::Duration;

use fields::ResponseHead;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::time::delay_queue;

use super::begin::Undecided;
use super::context::{Call, End, Origin};
use super::download::Download;
use super::registrar::Registering;
use super::upload::Upload;
use super::worker::LinkKey;
use crate::h2::StreamId;
use crate::registry::{InFlight, Waiting};
use crate::wire::Scanner;

/// One call.
pub(super) struct Passage {
    pub(super) origin: Arc<Origin>,
    /// The caller's stream.
    pub(super) down: Leg,
    /// The instance's, while there is one.
    pub(super) up: Option<Try>,
    pub(super) call: Option<Box<Call>>,
    pub(super) stage: Stage,
    pub(super) upload: Upload,
    /// Messages of the answer.
    pub(super) answer: Scanner,
    /// The answer, where its messages are held because somebody reads them.
    pub(super) download: Option<Box<Download>>,
    /// Octets that a message may have, in the request and in the answer.
    pub(super) limits: (u64, u64),
    pub(super) deadline: Option<Instant>,
    /// When what shows who its caller is runs out, where that ends the call.
    pub(super) expires: Option<Instant>,
    /// What of the answer waited for the caller when it was complete.
    pub(super) unread: usize,
    pub(super) idle: Option<Idle>,
    pub(super) alarm: Option<Alarm>,
}

/// A stream of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leg {
    pub(super) link: LinkKey,
    pub(super) stream: StreamId,
}

/// A try that has been sent.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) leg: Leg,
    pub(super) in_flight: InFlight,
    pub(super) started: Instant,
}

/// How far a call is.
pub(super) enum Stage {
    /// Filters look at its head, and take their time.
    Deciding(AbortHandle),
    /// What is to be decided depends on its first message, which has not come.
    Awaiting(Box<Undecided>),
    /// It is one for the registrar.
    Registering(Registering),
    /// Its head goes upstream once its first message has passed, and that has not come; or once the request is whole.
    Gathering,
    /// It waits for a place on a connection to an instance.
    Placing(Placing),
    /// Filters look at what goes upstream, and take their time.
    Transforming(AbortHandle, Ready),
    /// Between two of the others, or sent, and the head of the answer is to come.
    Sent,
    /// The head of the answer is here, and goes to the caller with its first message, or its end.
    Withheld(ResponseHead),
    /// The head of the answer has gone to the caller.
    Answering,
    /// All has been said to the caller, who has not taken it yet.
    Draining(End),
    /// It is over; what has the [`Call`] still has to let go of it.
    Over(End),
}

/// A call that waits for a place.
pub(super) struct Placing {
    pub(super) in_flight: InFlight,
    pub(super) started: Instant,
    pub(super) until: Instant,
    pub(super) _counted: Waiting,
}

/// A place on a connection, for a try that is about to be sent.
pub(super) struct Ready {
    pub(super) link: LinkKey,
    pub(super) in_flight: InFlight,
    pub(super) started: Instant,
}

/// A bound on silence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    pub(super) limit: Duration,
    pub(super) moved: Instant,
}

/// When it is looked at again, whatever happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alarm {
    pub(super) key: delay_queue::Key,
    pub(super) at: Instant,
}

impl Passage {
    /// Whether all has come that a call waits for before it goes upstream.
    pub(super) fn has_gathered(&self) -> bool {
        let whole = self.upload.ended || self.call.as_ref().is_none_or(|call| call.whole_by.is_none());
        whole && !self.upload.to_send().is_empty()
    }

    /// Octets went on, in either direction.
    pub(super) fn moved(&mut self, now: Instant) {
        if let Some(idle) = &mut self.idle {
            idle.moved = now;
        }
    }

    /// When it has to be looked at next.
    pub(super) fn next_alarm(&self) -> Option<Instant> {
        let stage = match &self.stage {
            Stage::Placing(placing) => Some(placing.until),
            Stage::Registering(registering) => registering.until(),
            Stage::Gathering => self.call.as_ref().and_then(|call| call.whole_by),
            _ => None,
        };
        let idle = self.idle.and_then(|idle| idle.moved.checked_add(idle.limit));
        [self.deadline, self.expires, idle, stage].into_iter().flatten().min()
    }

    /// Octets of messages that it has from the allocator.
    pub(super) fn allocated(&self) -> usize {
        self.upload.allocated() + self.download.as_ref().map_or(0, |download| download.allocated())
    }

    /// The most that a message of the request, or of the answer, may have where it is read: what cannot be held cannot be read.
    pub(super) fn most_read(&self) -> (u64, u64) {
        let budget = self.origin.buffered.most() as u64;
        (self.limits.0.min(budget), self.limits.1.min(budget))
    }

    /// Whether the caller has the head of an answer.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.stage, Stage::Answering | Stage::Draining(_))
    }
}

impl Drop for Passage {
    /// What it held of the listener's budget is the listener's again, however it ends.
    fn drop(&mut self) {
        self.upload.let_go(&self.origin.buffered);
        if let Some(download) = &mut self.download {
            download.let_go(&self.origin.buffered);
        }
    }
}
