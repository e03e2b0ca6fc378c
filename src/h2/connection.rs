//! One end of a connection: its state, and what it tells its owner.

use std::collections::VecDeque;

use fields::{Fields, RequestHead, ResponseHead};
use hpack::{Decoder, Encoder};

use super::frame::PREFACE;
use super::goodbye::Leaving;
use super::growth::Growth;
use super::guard::{FRAME_PATIENCE, Guard, SERVED, WRITE_PATIENCE};
use super::memo::Memos;
use super::output::Output;
use super::pace::Pace;
use super::receive::{Block, Reading};
use super::settings::{Config, FIRST_WINDOW, Peer};
use super::stream::{Gone, Past, Streams};
use super::{ErrorCode, Fatal, Limit, Millis, Role, StreamError, StreamId, Tag};

/// One end of an HTTP/2 connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) role: Role,
    pub(super) config: Config,
    pub(super) peer: Peer,
    pub(super) decoder: Decoder,
    pub(super) memos: Memos,
    pub(super) encoder: Encoder,
    pub(super) streams: Streams,
    pub(super) out: Output,
    /// Streams with bytes that their own windows take, in turn.
    pub(super) line: VecDeque<StreamId>,
    /// Streams whose answer is complete and whose request is not: since the last tick, and since the one before.
    pub(super) lingering: Vec<StreamId>,
    pub(super) overdue: Vec<StreamId>,
    /// Events that need no input.
    pub(super) events: VecDeque<Happened>,
    pub(super) guard: Guard,
    pub(super) pace: Pace,
    pub(super) growth: Growth,

    // What is being read.
    pub(super) reading: Reading,
    /// Of a frame's head, or of a frame that must be whole: what has come.
    pub(super) partial: Vec<u8>,
    /// Frames that came so far.
    pub(super) frames: usize,
    /// Heads and trailers that were too large, of which the owner has not been told.
    pub(super) cut: u32,
    /// A head whose CONTINUATION is to come.
    pub(super) block: Option<Block>,
    /// When what is partial began to be.
    pub(super) partial_since: Option<Millis>,
    /// The peer's first SETTINGS have come.
    pub(super) settled: bool,
    /// The peer has acknowledged ours.
    pub(super) heard: bool,

    /// What the peer takes on the whole connection.
    pub(super) window: i64,
    /// Octets that went since this window last stopped them.
    pub(super) run: u32,
    /// What the peer may still send on it.
    pub(super) left: i64,
    /// What windows of streams grew to lately: the next that moves gets as much in one step.
    pub(super) usual: u32,
    /// What came and is not credited yet.
    pub(super) credit_owed: u32,
    /// What all streams hold.
    pub(super) held: usize,

    /// The highest number of the peer's streams, in the server's role; the next one of ours, in the client's.
    pub(super) last: u32,
    pub(super) leaving: Leaving,
    /// The peer said goodbye: it takes no new streams.
    pub(super) peer_leaves: bool,
    /// It is over, and why; the owner hears of it at its next turn.
    pub(super) doomed: Option<Fatal>,
    /// When output was last taken, or began to wait.
    pub(super) moved: Millis,
}

/// Something that happened on a connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// The peer's first SETTINGS: it is there, and has said how many streams it takes.
    Settled,
    /// A request begins. The owner gives the stream its tag, or answers or resets it, before it asks for the next event.
    Request {
        /// Its stream.
        stream: StreamId,
        /// Its head.
        head: RequestHead,
        /// It has no DATA.
        end: bool,
    },
    /// The head of an answer.
    Response {
        /// Of which stream.
        tag: Tag,
        /// The head.
        head: ResponseHead,
        /// There is nothing more.
        end: bool,
    },
    /// Octets, as many as came together.
    Data {
        /// Of which stream.
        tag: Tag,
        /// The octets: to be passed on, and then released.
        bytes: &'a [u8],
        /// They are the last.
        end: bool,
    },
    /// Trailers, which end the peer's half.
    Trailers {
        /// Of which stream.
        tag: Tag,
        /// The trailers.
        fields: Fields,
    },
    /// A stream is over before its time, and gone.
    Reset {
        /// Of which stream.
        tag: Tag,
        /// Why.
        error: StreamError,
    },
    /// Octets that waited for a window of the peer's have gone to the output.
    Went {
        /// Of which stream.
        tag: Tag,
        /// How many.
        bytes: usize,
        /// And with them the end of our half.
        end: bool,
    },
}

/// An event without borrowed octets, until it is asked for.
#[derive(Debug)]
pub(super) enum Happened {
    Settled,
    Reset { tag: Tag, error: StreamError },
    Went { tag: Tag, bytes: usize, end: bool },
}

impl Connection {
    /// A connection as it begins: its first frames are in its output. The server reads the client's preface itself.
    pub fn new(role: Role, config: Config, growth: Growth, now: Millis) -> Self {
        let mut out = Output::default();
        if role == Role::Client {
            out.frames().extend_from_slice(PREFACE);
        }
        config.put(out.frames(), role);
        Self {
            role,
            config,
            peer: Peer::default(),
            decoder: Decoder::judging(super::kind::judge),
            memos: Memos::default(),
            encoder: Encoder::default(),
            streams: Streams::default(),
            out,
            line: VecDeque::new(),
            lingering: Vec::new(),
            overdue: Vec::new(),
            events: VecDeque::new(),
            guard: Guard::new(now),
            pace: Pace::default(),
            growth,
            reading: if role == Role::Server { Reading::Preface(0) } else { Reading::Head },
            partial: Vec::new(),
            frames: 0,
            cut: 0,
            block: None,
            // The preface and the SETTINGS behind it must come too.
            partial_since: (role == Role::Server).then_some(now),
            settled: false,
            // A server has read our SETTINGS before it reads our first request.
            heard: role == Role::Client,
            window: i64::from(FIRST_WINDOW),
            run: 0,
            left: i64::from(config.connection_window.max(FIRST_WINDOW)),
            usual: 0,
            credit_owed: 0,
            held: 0,
            last: if role == Role::Server { 0 } else { 1 },
            leaving: Leaving::No,
            peer_leaves: false,
            doomed: None,
            moved: now,
        }
    }

    /// What is to be written to the socket.
    pub fn output(&self) -> &[u8] {
        self.out.pending()
    }

    /// The first `count` octets of the output are written; `blocked` says that the socket takes no more now.
    pub fn wrote(&mut self, count: usize, blocked: bool, now: Millis) {
        let was_empty = self.out.pending().is_empty();
        self.out.wrote(count, blocked);
        if count > 0 || was_empty || self.out.pending().is_empty() {
            self.moved = now;
        }
        self.count_output();
        if !self.line.is_empty() {
            self.pump(now);
        }
    }

    /// What the socket did not take counts among what the worker's connections hold.
    fn count_output(&mut self) {
        let now = self.out.pending().len();
        self.growth.output_moved(std::mem::replace(&mut self.out.counted, now), now);
    }

    /// Whether the peer lets so much output wait that nothing more must be read from it.
    pub fn is_backed_up(&self) -> bool {
        self.out.is_backed_up()
    }

    /// Streams that are open.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Streams that the peer takes at once.
    pub fn max_streams(&self) -> usize {
        self.peer.streams as usize
    }

    /// Frames that came so far: for owners who give each connection its turn.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Heads and trailers since the last look of which fields were dropped, because they were too large.
    pub fn take_cut(&mut self) -> u32 {
        std::mem::take(&mut self.cut)
    }

    /// Octets that came and have not gone on.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Octets that this connection holds from the allocator, whatever for: what a peer can make it hold is bounded.
    pub fn allocated(&self) -> usize {
        self.out.allocated()
            + self.partial.capacity()
            + self.block.as_ref().map_or(0, |block| block.fragment.capacity())
            + self.streams.allocated()
            + (self.line.capacity() + self.lingering.capacity() + self.overdue.capacity()) * size_of::<StreamId>()
            + self.events.capacity() * size_of::<Happened>()
            + self.decoder.allocated()
            + self.memos.allocated()
            + self.pace.allocated()
            + self.encoder.allocated()
    }

    /// A call of this peer's was answered by an instance. Its owner has to say so: an answer of the proxy's own costs the caller
    /// nothing, and must not pay for resets.
    pub fn served(&mut self) {
        self.guard.give_back(Limit::RapidReset, SERVED);
    }

    /// Octets that wait for the peer's windows, on all streams.
    pub fn waiting(&self) -> usize {
        self.streams.waiting()
    }

    /// Octets that wait on one stream.
    pub fn waiting_on(&mut self, stream: StreamId) -> usize {
        self.streams.get(stream).map_or(0, |stream| stream.waiting.len())
    }

    /// Whether it has ended with an error: nothing is left but its last words.
    pub fn is_dead(&self) -> bool {
        self.leaving == Leaving::Dead
    }

    /// The tags of all open streams: for whoever has to tell them that the connection is lost.
    pub fn tags(&self) -> Vec<Tag> {
        self.streams.tags().filter(|tag| *tag != 0).collect()
    }

    /// Names a stream.
    pub fn set_tag(&mut self, stream: StreamId, tag: Tag) {
        if let Some(stream) = self.streams.get(stream) {
            stream.tag = tag;
        }
    }

    /// Called about once a second: ends a connection that stalls where it must not.
    ///
    /// # Errors
    /// The connection must end.
    pub fn tick(&mut self, now: Millis) -> Result<(), Fatal> {
        if self.leaving == Leaving::Dead {
            return Ok(());
        }
        let lingering = std::mem::take(&mut self.lingering);
        for id in std::mem::replace(&mut self.overdue, lingering) {
            self.cut_request(id);
        }
        self.tick_pace();
        self.out.tidy();
        self.streams.tidy();
        if self.streams.len() == 0 {
            self.memos = Memos::default();
        }
        if self.out.pending().is_empty() {
            // Nothing waits: what comes next begins to wait when it comes.
            self.moved = now;
        }
        if self.is_backed_up() {
            // It is we who do not read on.
            self.partial_since = self.partial_since.map(|_| now);
        }
        let stalled = |since: Millis, patience| now.saturating_sub(since) > patience;
        if self.partial_since.is_some_and(|since| stalled(since, FRAME_PATIENCE)) {
            return Err(self.die(Fatal::limit(Limit::StalledFrame)));
        }
        if !self.out.pending().is_empty() && stalled(self.moved, WRITE_PATIENCE) {
            return Err(self.die(Fatal::limit(Limit::SlowReader)));
        }
        Ok(())
    }

    /// Says why the connection ends, once.
    pub(super) fn die(&mut self, fatal: Fatal) -> Fatal {
        if self.leaving != Leaving::Dead {
            let last = self.last_taken();
            super::frame::put_goaway(self.out.frames(), last, fatal.code);
            self.leaving = Leaving::Dead;
        }
        fatal
    }

    /// Takes a stream out of the tables.
    pub(super) fn forget(&mut self, id: StreamId, how: Gone) -> Option<Past> {
        let stream = self.streams.get(id)?;
        let (queued, grown) = (stream.queued, stream.grown(&self.config));
        if grown == 0 {
            self.usual /= 2;
        }
        self.held -= stream.held;
        let past = self.streams.remove(id, how);
        if queued {
            // A window that never opens would let the line grow by every stream that ends in it.
            self.line.retain(|other| *other != id);
        }
        if how == Gone::ResetByUs {
            self.guard.expect_crossing();
        }
        self.growth.give_back(grown);
        self.settle_credit();
        past
    }

    /// The same, by the number that a frame has.
    pub(super) fn forget_numbered(&mut self, number: u32, how: Gone) -> Option<Past> {
        self.streams.find(number).and_then(|id| self.forget(id, how))
    }

    /// Ends a stream whose peer broke a rule on it alone (RFC 9113 §5.4.2).
    pub(super) fn violate(&mut self, id: u32, code: ErrorCode, now: Millis) -> Result<(), Fatal> {
        super::frame::put_reset(self.out.frames(), id, code);
        match self.forget_numbered(id, Gone::ResetByUs) {
            Some(past) if past.tag != 0 => {
                self.events.push_back(Happened::Reset { tag: past.tag, error: StreamError::Violation(code) });
            }
            Some(_) => {}
            None => self.streams.remember(id, Gone::ResetByUs),
        }
        self.count(Limit::ProvokedReset, now)
    }

    /// Counts a frame for a stream that is gone. Not those of an instance: when a caller with many calls leaves, all that is on the
    /// wire for them comes in vain, and the others' calls are on the same connection.
    pub(super) fn count_stray(&mut self, now: Millis) -> Result<(), Fatal> {
        if self.role == Role::Client { Ok(()) } else { self.count(Limit::Noise, now) }
    }

    /// Counts something that there may not be too much of.
    pub(super) fn count(&mut self, limit: Limit, now: Millis) -> Result<(), Fatal> {
        if self.guard.count(limit, now) { Ok(()) } else { Err(Fatal::limit(limit)) }
    }
}

impl Drop for Connection {
    /// What its peer made it hold is given back too.
    fn drop(&mut self) {
        for (_, stream) in self.streams.iter_mut() {
            self.growth.give_back(stream.grown(&self.config));
        }
        self.growth.give_back_pieces(self.block.as_ref().map_or(0, |block| block.counted));
        self.growth.output_moved(self.out.counted, 0);
    }
}
