//! The streams of a connection: their states (RFC 9113 §5.1), their windows, and what is remembered of those that are gone.

use std::collections::VecDeque;

use fields::Fields;
use rustc_hash::FxHashMap;

use super::settings::Config;
use super::waiting::Waiting;
use super::{Millis, Tag};

/// Streams that are gone and still known. What crosses a reset comes within a round trip.
const REMEMBERED: usize = 128;

/// A table that has more room than this gives it back when it is found empty: a connection keeps the room of its busiest moment
/// only while it is busy.
const KEPT: usize = 16;

/// A stream of a connection. HTTP/2 never uses a number twice, so that one that is gone is never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId {
    pub(super) number: u32,
    /// Where it is kept: whoever has this needs no look-up.
    slot: u32,
}

impl StreamId {
    /// Its number on the wire.
    pub fn number(self) -> u32 {
        self.number
    }
}

/// The half on which the peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recv {
    /// An answer whose head is to come.
    Head,
    /// DATA or trailers are to come.
    Open,
    /// The peer has ended it.
    Closed,
}

/// The half on which we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Send {
    /// The head of an answer is to go.
    Head,
    /// DATA or trailers are to go.
    Open,
    /// We have ended it.
    Closed,
}

/// What goes behind the bytes that wait.
#[derive(Debug, Default)]
pub(super) enum Tail {
    #[default]
    None,
    End,
    Trailers(Fields),
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) tag: Tag,
    pub(super) recv: Recv,
    pub(super) send: Send,
    /// What the peer still takes; below zero where it made its window smaller.
    pub(super) window: i64,
    /// Octets that went since this window last stopped them.
    pub(super) run: u32,
    pub(super) waiting: Waiting,
    pub(super) tail: Tail,
    /// It stands in the line of those that can go on.
    pub(super) queued: bool,
    /// What the peer may still send.
    pub(super) left: i64,
    /// The window that we keep open for the peer.
    pub(super) size: u32,
    /// What has gone on since the peer was last told.
    pub(super) passed: u32,
    /// What has come and not gone on.
    pub(super) held: usize,
    /// What `content-length` says is still to come.
    pub(super) content: Option<u64>,
    pub(super) opened: Millis,
}

impl Stream {
    pub(super) fn new(id: u32, (recv, send): (Recv, Send), window: u32, config: &Config, now: Millis) -> Self {
        Self {
            id,
            tag: 0,
            recv,
            send,
            window: i64::from(window),
            run: 0,
            waiting: Waiting::default(),
            tail: Tail::None,
            queued: false,
            left: i64::from(config.stream_window),
            size: config.stream_window,
            passed: 0,
            held: 0,
            content: None,
            opened: now,
        }
    }

    /// Forgets what waits to be sent.
    pub(super) fn discard(&mut self) {
        self.waiting = Waiting::default();
        self.tail = Tail::None;
    }

    /// By how much its window is larger than it began.
    pub(super) fn grown(&self, config: &Config) -> u32 {
        self.size - config.stream_window
    }

    /// Takes octets off what `content-length` promised; false where there are more, or fewer at the end.
    #[must_use]
    pub(super) fn is_as_long_as_said(&mut self, came: usize, end: bool) -> bool {
        let Some(content) = &mut self.content else { return true };
        match content.checked_sub(came as u64) {
            Some(left) => {
                *content = left;
                !end || left == 0
            }
            None => false,
        }
    }
}

/// How a stream that is gone ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// We reset it: frames of the peer may have crossed that.
    ResetByUs,
    /// The peer reset it or both sides ended it: nothing may follow.
    Over,
}

/// What is left to say of a stream that is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) tag: Tag,
    pub(super) send: Send,
    pub(super) opened: Millis,
}

/// All streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Open ones, and between them free places, which have number 0.
    slots: Vec<Stream>,
    free: Vec<u32>,
    /// By number, for frames.
    by_number: FxHashMap<u32, u32>,
    recent: VecDeque<(u32, Gone)>,
}

impl Streams {
    /// Takes in a stream that begins.
    pub(super) fn insert(&mut self, stream: Stream) -> StreamId {
        let number = stream.id;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            // Never more than streams at once: a peer's limit is 2^32 - 1.
            None => u32::try_from(self.slots.len()).unwrap_or(u32::MAX),
        };
        match self.slots.get_mut(slot as usize) {
            Some(place) => *place = stream,
            None => self.slots.push(stream),
        }
        self.by_number.insert(number, slot);
        StreamId { number, slot }
    }

    /// The open stream of this number.
    #[inline]
    pub(super) fn find(&self, number: u32) -> Option<StreamId> {
        self.by_number.get(&number).map(|slot| StreamId { number, slot: *slot })
    }

    #[inline]
    pub(super) fn get(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.slots.get_mut(id.slot as usize).filter(|stream| stream.id == id.number)
    }

    pub(super) fn remove(&mut self, id: StreamId, how: Gone) -> Option<Past> {
        let stream = self.get(id)?;
        let past = Past { tag: stream.tag, send: stream.send, opened: stream.opened };
        stream.id = 0;
        stream.discard();
        self.free.push(id.slot);
        self.by_number.remove(&id.number);
        self.remember(id.number, how);
        Some(past)
    }

    /// Gives back the room of a busier moment.
    pub(super) fn tidy(&mut self) {
        if self.len() == 0 && self.slots.capacity() > KEPT {
            self.slots = Vec::new();
            self.free = Vec::new();
            self.by_number = FxHashMap::default();
        }
    }

    /// Remembers how a stream ended, or that it never began.
    pub(super) fn remember(&mut self, number: u32, how: Gone) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((number, how));
    }

    /// How a stream ended, if that was lately.
    pub(super) fn gone(&self, number: u32) -> Option<Gone> {
        self.recent.iter().rev().find(|(known, _)| *known == number).map(|(_, how)| *how)
    }

    /// Octets held from the allocator, those that wait on streams included.
    pub(super) fn allocated(&self) -> usize {
        let waits = |stream: &Stream| {
            let tail = if let Tail::Trailers(fields) = &stream.tail { fields.allocated() } else { 0 };
            stream.waiting.allocated() + tail
        };
        self.slots.capacity() * size_of::<Stream>()
            + self.free.capacity() * size_of::<u32>()
            + self.by_number.capacity() * size_of::<(u32, u32)>()
            + self.recent.capacity() * size_of::<(u32, Gone)>()
            + self.open().map(waits).sum::<usize>()
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    fn open(&self) -> impl Iterator<Item = &Stream> {
        self.slots.iter().filter(|stream| stream.id != 0)
    }

    /// Every open stream, with its name.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Stream)> {
        let open = self.slots.iter_mut().zip(0..).filter(|(stream, _)| stream.id != 0);
        open.map(|(stream, slot)| (StreamId { number: stream.id, slot }, stream))
    }

    /// Octets that wait on all of them.
    pub(super) fn waiting(&self) -> usize {
        self.open().map(|stream| stream.waiting.len()).sum()
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = Tag> {
        self.open().map(|stream| stream.tag)
    }

    /// Streams that the peer will not process, by GOAWAY's last number.
    pub(super) fn above(&self, last: u32) -> Vec<StreamId> {
        let named = self.by_number.iter().map(|(number, slot)| StreamId { number: *number, slot: *slot });
        named.filter(|id| id.number > last).collect()
    }
}
