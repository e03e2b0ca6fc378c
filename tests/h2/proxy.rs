//! What a proxy does with the engine, and nothing more: what one connection gives, another takes, and credit flows back only for
//! what has gone on.

use std::collections::HashMap;

use crate::calls::tag_of;
use crate::engine::{Connection, ErrorCode, Event, Given, Millis, StreamError, StreamId};
use crate::link::End;

/// A call between two connections.
#[derive(Clone, Copy, Debug)]
struct Pair {
    front: (usize, StreamId),
    back: (usize, StreamId),
    answered: bool,
}

/// Calls by tag, the same on both sides.
#[derive(Default)]
pub(crate) struct Proxy {
    pairs: HashMap<u64, Pair>,
    last: u64,
    pub(crate) refused: usize,
}

impl Proxy {
    pub(crate) fn is_idle(&self) -> bool {
        self.pairs.is_empty()
    }

    /// An event of a connection towards callers.
    pub(crate) fn front(
        &mut self,
        at: usize,
        front: &mut Connection,
        backs: &mut [End],
        event: Event<'_>,
        now: Millis,
    ) {
        if let Event::Request { stream, head, end } = event {
            let back = (self.last as usize) % backs.len();
            self.last += 1;
            match backs[back].connection.open(&head, end, self.last, now) {
                Ok(id) => {
                    front.set_tag(stream, self.last);
                    self.pairs.insert(self.last, Pair { front: (at, stream), back: (back, id), answered: false });
                }
                Err(_) => {
                    self.refused += 1;
                    front.reset(stream, ErrorCode::REFUSED_STREAM);
                }
            }
            return;
        }
        let Some(tag) = tag_of(&event) else { return };
        let Some(pair) = self.pairs.get(&tag).copied() else { return Self::late(&event) };
        let (stream, id) = (pair.front.1, pair.back.1);
        let back = &mut backs[pair.back.0].connection;
        match event {
            Event::Data { bytes, end, .. } => {
                // Nobody wants the rest of a request whose call is answered.
                let given = back.data(id, bytes, end, now).unwrap_or(Given { bytes: bytes.len(), end });
                front.release(stream, given.bytes);
            }
            Event::Trailers { fields, .. } => drop(back.trailers(id, &fields)),
            Event::Reset { .. } => {
                back.reset(id, ErrorCode::CANCEL);
                self.pairs.remove(&tag);
            }
            Event::Went { bytes, end, .. } => {
                back.release(id, bytes);
                self.answered(tag, end, back);
            }
            Event::Settled | Event::Request { .. } | Event::Response { .. } => {}
        }
    }

    /// An event of a connection towards servers.
    pub(crate) fn back(&mut self, back: &mut Connection, fronts: &mut [End], event: Event<'_>, now: Millis) {
        let Some(tag) = tag_of(&event) else { return };
        let Some(pair) = self.pairs.get(&tag).copied() else { return Self::late(&event) };
        let (stream, id) = (pair.front.1, pair.back.1);
        let front = &mut fronts[pair.front.0].connection;
        match event {
            Event::Response { head, end, .. } => {
                front.respond(stream, &head, end).unwrap();
                self.pairs.get_mut(&tag).unwrap().answered = end;
                self.answered(tag, end, back);
            }
            Event::Data { bytes, end, .. } => {
                let given = front.data(stream, bytes, end, now).unwrap();
                back.release(id, given.bytes);
                self.pairs.get_mut(&tag).unwrap().answered = end;
                self.answered(tag, given.end, back);
            }
            Event::Trailers { fields, .. } => {
                let gone = front.trailers(stream, &fields).unwrap();
                self.pairs.get_mut(&tag).unwrap().answered = true;
                self.answered(tag, gone, back);
            }
            Event::Went { bytes, .. } => drop(front.release(stream, bytes)),
            // What has come of a complete answer still goes on.
            Event::Reset { .. } if pair.answered => {}
            Event::Reset { error, .. } => {
                let code = if error == StreamError::NotStarted { ErrorCode::REFUSED_STREAM } else { ErrorCode::CANCEL };
                front.reset(stream, code);
                self.pairs.remove(&tag);
            }
            Event::Settled | Event::Request { .. } => {}
        }
    }

    /// What went before the end may be told behind it; nothing else may come.
    fn late(event: &Event<'_>) {
        assert!(matches!(event, Event::Went { .. }), "an event for nobody: {:.60}", format!("{event:?}"));
    }

    /// The whole answer is on its way: the call is over.
    fn answered(&mut self, tag: u64, end: bool, back: &mut Connection) {
        if end && let Some(pair) = self.pairs.remove(&tag) {
            back.reset(pair.back.1, ErrorCode::CANCEL);
        }
    }
}
