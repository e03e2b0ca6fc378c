//! What the owner has a connection send: heads, octets, trailers, resets. Octets that no window takes wait with their stream.

use fields::{Fields, RequestHead, ResponseHead};

use super::connection::{Connection, Happened};
use super::frame::put_reset;
use super::goodbye::Leaving;
use super::guard::{SMALL, WHOLE};
use super::heads;
use super::settings::LARGEST_WINDOW;
use super::stream::{Gone, Recv, Send, Stream, Tail};
use super::{ErrorCode, Fatal, Limit, Millis, Role, StreamError, StreamId, Tag};

/// What a stream may send before the next in line has its turn.
const TURN: usize = 16 * 1024;

/// What of something that was to be sent is on its way. The rest waits with its stream, and [`super::Event::Went`] tells of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Octets.
    pub bytes: usize,
    /// The end of our half.
    pub end: bool,
}

/// The stream is over: nothing can be sent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

impl Connection {
    /// Whether new streams can be opened: not after the peer's goodbye, the end of the connection or of its numbers.
    pub fn is_open(&self) -> bool {
        self.settled && !self.peer_leaves && self.leaving == Leaving::No && self.last <= LARGEST_WINDOW
    }

    /// Opens a stream, named `tag`; with `end` it has no DATA.
    ///
    /// # Errors
    /// Nothing was sent: another connection may be tried.
    pub fn open(&mut self, head: &RequestHead, end: bool, tag: Tag, now: Millis) -> Result<StreamId, StreamError> {
        if !self.is_open() || self.streams.len() >= self.max_streams() {
            return Err(StreamError::NotStarted);
        }
        let id = self.last;
        self.last += 2;
        let send = if end { Send::Closed } else { Send::Open };
        let mut stream = Stream::new(id, (Recv::Head, send), self.peer.initial_window, &self.config, now);
        stream.tag = tag;
        let stream = self.streams.insert(stream);
        let Self { encoder, out, peer, config, .. } = self;
        let secure = config.secure;
        out.put_head(id, end, peer.max_frame as usize, |block| heads::write_request(encoder, block, head, secure));
        Ok(stream)
    }

    /// Sends the head of an answer; with `end` it is the whole answer.
    ///
    /// # Errors
    /// The stream is over.
    pub fn respond(&mut self, stream: StreamId, head: &ResponseHead, end: bool) -> Result<(), Over> {
        let found = self.streams.get(stream).filter(|found| found.send == Send::Head).ok_or(Over)?;
        found.send = Send::Open;
        let Self { encoder, out, peer, .. } = self;
        out.put_head(stream.number, end, peer.max_frame as usize, |block| heads::write_response(encoder, block, head));
        if end {
            self.close_send(stream);
        }
        Ok(())
    }

    /// Sends octets; `end` closes our half behind them.
    ///
    /// # Errors
    /// The stream is over.
    pub fn data(&mut self, stream: StreamId, bytes: &[u8], end: bool, now: Millis) -> Result<Given, Over> {
        let found = self.streams.get(stream).filter(|found| found.send == Send::Open).ok_or(Over)?;
        let mut direct = 0;
        if found.waiting.is_empty() && self.line.is_empty() {
            let window = usize::try_from(found.window.min(self.window)).unwrap_or_default();
            direct = bytes.len().min(window).min(self.out.room(self.growth.output()));
        }
        let (now_given, later) = bytes.split_at(direct);
        let whole = later.is_empty() && found.waiting.is_empty();
        if !now_given.is_empty() || (end && whole) {
            found.window -= now_given.len() as i64;
            self.window -= now_given.len() as i64;
            add(&mut found.run, direct);
            add(&mut self.run, direct);
            self.out.put_data(stream.number, now_given, end && whole, self.peer.max_frame as usize);
            self.guard.earn_sent(direct);
        }
        if whole {
            if end {
                self.close_send(stream);
            }
            return Ok(Given { bytes: direct, end });
        }
        found.waiting.push(later);
        if end {
            found.tail = Tail::End;
        }
        let shut =
            if direct > 0 { shut(&mut found.run, found.window).min(shut(&mut self.run, self.window)) } else { OPEN };
        if found.window > 0 && !found.queued {
            found.queued = true;
            self.line.push_back(stream);
        }
        self.note_shut(shut, now);
        Ok(Given { bytes: direct, end: false })
    }

    /// Sends trailers, which close our half; true if they are on their way.
    ///
    /// # Errors
    /// The stream is over.
    pub fn trailers(&mut self, stream: StreamId, trailers: &Fields) -> Result<bool, Over> {
        let found = self.streams.get(stream).filter(|found| found.send == Send::Open).ok_or(Over)?;
        if !found.waiting.is_empty() {
            found.tail = Tail::Trailers(trailers.clone());
            return Ok(false);
        }
        self.put_trailers(stream, trailers);
        Ok(true)
    }

    /// Forgets what waits on a stream: its end is to come at once, and what was to come before it is moot.
    pub fn discard(&mut self, stream: StreamId) {
        if let Some(found) = self.streams.get(stream) {
            found.discard();
        }
    }

    /// Sends what waits, as far as the windows and the output take it: each stream in its turn.
    pub(super) fn pump(&mut self, now: Millis) {
        while self.window > 0 && self.out.room(self.growth.output()) > 0 {
            let Some(id) = self.line.pop_front() else { return };
            self.give_turn(id, now);
        }
    }

    fn give_turn(&mut self, id: StreamId, now: Millis) {
        let Some(stream) = self.streams.get(id) else { return };
        stream.queued = false;
        let window = usize::try_from(stream.window.min(self.window)).unwrap_or_default();
        let mut left = window.min(self.out.room(self.growth.output())).min(TURN);
        let mut given = 0;
        while left > 0 && !stream.waiting.is_empty() {
            let front = stream.waiting.front();
            let piece = front.get(..front.len().min(left)).unwrap_or_default();
            let octets = piece.len();
            let end = octets == stream.waiting.len() && matches!(stream.tail, Tail::End);
            self.out.put_data(id.number, piece, end, self.peer.max_frame as usize);
            stream.waiting.advance(octets);
            given += octets;
            left -= octets;
        }
        stream.window -= given as i64;
        self.window -= given as i64;
        let (tag, done) = (stream.tag, stream.waiting.is_empty());
        if !done && stream.window > 0 {
            stream.queued = true;
            self.line.push_back(id);
        }
        add(&mut stream.run, given);
        add(&mut self.run, given);
        let shut = if !done && given > 0 {
            shut(&mut stream.run, stream.window).min(shut(&mut self.run, self.window))
        } else {
            OPEN
        };
        let tail = if done { std::mem::take(&mut stream.tail) } else { Tail::None };
        let end = !matches!(tail, Tail::None);
        match tail {
            Tail::Trailers(trailers) => self.put_trailers(id, &trailers),
            // Its flag went with the last octets.
            Tail::End => self.close_send(id),
            Tail::None => {}
        }
        if given > 0 {
            self.guard.earn_sent(given);
        }
        self.note_shut(shut, now);
        if tag != 0 && (given > 0 || end) {
            self.events.push_back(Happened::Went { tag, bytes: given, end });
        }
    }

    fn put_trailers(&mut self, id: StreamId, trailers: &Fields) {
        let Self { encoder, out, peer, .. } = self;
        out.put_head(id.number, true, peer.max_frame as usize, |block| heads::write_trailers(encoder, block, trailers));
        self.close_send(id);
    }

    /// Our half is closed.
    fn close_send(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(id) else { return };
        stream.send = Send::Closed;
        if stream.recv == Recv::Closed {
            self.forget(id, Gone::Over);
        } else if self.role == Role::Server {
            // The answer is complete, and its owner done with the stream. The rest of the request is of no use, but some clients
            // lose an answer that a reset follows at once (curl 7.88): only a rest that does not end soon, or is long, is reset.
            stream.tag = 0;
            self.lingering.push(id);
        }
    }

    /// Ends a stream whose answer is complete and whose request is not (RFC 9113 §8.1).
    pub(super) fn cut_request(&mut self, id: StreamId) {
        let lingers = |stream: &mut Stream| stream.send == Send::Closed && stream.recv != Recv::Closed;
        if self.streams.get(id).is_some_and(lingers) {
            put_reset(self.out.frames(), id.number, ErrorCode::NO_ERROR);
            self.forget(id, Gone::ResetByUs);
        }
    }

    /// A window that takes a few octets at a time makes many frames of few. One that is opened for a prefix of five octets, and then
    /// for the message, is how some read: what went in a large run makes good for a small one.
    fn note_shut(&mut self, run: u32, now: Millis) {
        if run == OPEN {
            return;
        }
        if run >= SMALL {
            self.guard.give_back(Limit::SmallWindow, WHOLE);
        } else if !self.guard.count(Limit::SmallWindow, now) {
            self.doomed = self.doomed.or(Some(Fatal::limit(Limit::SmallWindow)));
        }
    }
}

/// No window is shut.
const OPEN: u32 = u32::MAX;

fn add(run: &mut u32, octets: usize) {
    *run = run.saturating_add(u32::try_from(octets).unwrap_or(u32::MAX));
}

/// Octets went, and more wait: how many a window took since it was last shut, if it now is. A large window too shuts behind a few
/// octets when a large piece went just before them, and that is no attack.
fn shut(run: &mut u32, window: i64) -> u32 {
    if window <= 0 { std::mem::take(run) } else { OPEN }
}
