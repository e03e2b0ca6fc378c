//! One direction of a call: bytes come from one stream and go to another.
//!
//! What has come is taken at once, even while the other side takes nothing: bytes that sit unread in h2 count against
//! their whole connection (FIELD.md T1), and small ones merge while they wait. Credit goes back to the source only for
//! what has gone on, so that the source's window bounds what waits here, and flow control is end to end.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fields::Fields;
use filter_api::Message;

use super::stop::Stop;
use super::waiting::Waiting;
use crate::h2::{Receiver, Sender};
use crate::wire::Scanner;

/// Where bytes come from, and those that wait.
#[derive(Debug)]
pub(super) struct Half {
    from: Receiver,
    waiting: Waiting,
    /// Bytes at the front of what waits whose credit was given back when they went on the first time.
    repaid: usize,
    scanner: Scanner,
    /// The source has said all; what waits is the rest.
    ended: bool,
    trailers: Option<Fields>,
}

/// What a look at the sink found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// Nothing waits.
    All,
    /// The sink takes no more; what waits is moot.
    Closed,
}

impl Half {
    pub(super) fn new(from: Receiver) -> Self {
        let ended = from.is_end();
        Self { from, waiting: Waiting::default(), repaid: 0, scanner: Scanner::default(), ended, trailers: None }
    }

    /// Whether the source ended without a byte.
    pub(super) fn is_empty(&self) -> bool {
        self.ended && self.waiting.is_empty()
    }

    /// Whether the source has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether all that came has gone on.
    pub(super) fn waits_for_nothing(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The trailers, once the source has ended.
    pub(super) fn take_trailers(&mut self) -> Option<Fields> {
        self.trailers.take()
    }

    /// Whether all that came is whole messages.
    pub(super) fn is_between_messages(&self) -> bool {
        self.scanner.is_between_messages()
    }

    /// Takes everything that has come, and tells of each message before its bytes go on. Ready once the source has ended.
    pub(super) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        mut on_message: impl FnMut(Message) -> Result<(), Stop>,
    ) -> Poll<Result<(), Taken>> {
        while !self.ended {
            match ready!(self.from.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    self.scanner.scan(&bytes, &mut on_message).map_err(Taken::Stop)?;
                    self.waiting.push(bytes);
                }
                Some(Err(error)) => return Poll::Ready(Err(Taken::Source(error))),
                None => {
                    let trailers = ready!(self.from.poll_trailers(cx)).map_err(Taken::Source)?;
                    self.trailers = trailers;
                    self.ended = true;
                }
            }
            // Saves a turn where the last bytes carried the end; a source with trailers is not at its end yet.
            self.ended |= self.from.is_end();
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the sink what it takes. `ends` says that the end of the source ends the sink too, with the last bytes.
    pub(super) fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Sender,
        ends: bool,
        mut on_piece: impl FnMut(&Bytes),
    ) -> Poll<Given> {
        while !self.waiting.is_empty() {
            let Some(credit) = ready!(to.poll_credit(cx, self.waiting.len())) else {
                return Poll::Ready(Given::Closed);
            };
            let piece = self.waiting.take(credit);
            let len = piece.len();
            on_piece(&piece);
            let last = ends && self.ended && self.waiting.is_empty();
            let sent = to.send(piece, last);
            // Also where it failed: the piece is no longer here, and if it goes again, it goes as a repeated one.
            let again = len.min(self.repaid);
            self.repaid -= again;
            self.from.release(len - again);
            if sent.is_err() {
                return Poll::Ready(Given::Closed);
            }
        }
        Poll::Ready(Given::All)
    }

    /// Puts bytes that were sent once in front of those that wait, for another try.
    pub(super) fn put_back(&mut self, pieces: Vec<Bytes>) {
        let mut waiting = Waiting::default();
        for piece in pieces {
            // Giving credit back twice makes h2 refuse the whole release, and the source's window shrinks for good.
            self.repaid += piece.len();
            waiting.push(piece);
        }
        while !self.waiting.is_empty() {
            waiting.push(self.waiting.take(usize::MAX));
        }
        self.waiting = waiting;
    }
}

/// Why taking ended early.
#[derive(Debug)]
pub(super) enum Taken {
    /// The source failed.
    Source(crate::h2::StreamError),
    /// A message must not go on.
    Stop(Stop),
}
