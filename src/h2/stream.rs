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
pub struct StreamId(pub(super) u32);

impl StreamId {
    /// Its number on the wire.
    pub fn number(self) -> u32 {
        self.0
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

/// All streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: FxHashMap<u32, Stream>,
    recent: VecDeque<(u32, Gone)>,
}

impl Streams {
    pub(super) fn insert(&mut self, stream: Stream) {
        self.open.insert(stream.id, stream);
    }

    #[inline]
    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        self.open.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: u32, how: Gone) -> Option<Stream> {
        let stream = self.open.remove(&id)?;
        self.remember(id, how);
        Some(stream)
    }

    /// Gives back the room of a busier moment.
    pub(super) fn tidy(&mut self) {
        if self.open.is_empty() && self.open.capacity() > KEPT {
            self.open.shrink_to(KEPT);
        }
    }

    /// Remembers how a stream ended, or that it never began.
    pub(super) fn remember(&mut self, id: u32, how: Gone) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((id, how));
    }

    /// How a stream ended, if that was lately.
    pub(super) fn gone(&self, id: u32) -> Option<Gone> {
        self.recent.iter().rev().find(|(known, _)| *known == id).map(|(_, how)| *how)
    }

    /// Octets held from the allocator, those that wait on streams included.
    pub(super) fn allocated(&self) -> usize {
        let waits = |stream: &Stream| {
            let tail = if let Tail::Trailers(fields) = &stream.tail { fields.allocated() } else { 0 };
            stream.waiting.allocated() + tail
        };
        self.open.capacity() * size_of::<(u32, Stream)>()
            + self.recent.capacity() * size_of::<(u32, Gone)>()
            + self.open.values().map(waits).sum::<usize>()
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.open.values_mut()
    }

    /// Octets that wait on all of them.
    pub(super) fn waiting(&self) -> usize {
        self.open.values().map(|stream| stream.waiting.len()).sum()
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = Tag> {
        self.open.values().map(|stream| stream.tag)
    }

    /// Streams that the peer will not process, by GOAWAY's last number.
    pub(super) fn above(&self, last: u32) -> Vec<u32> {
        self.open.keys().copied().filter(|id| *id > last).collect()
    }
}
