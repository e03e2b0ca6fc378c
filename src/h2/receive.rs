//! From octets to events: frames are found, checked against the state of their stream, and taken (RFC 9113 §4 to §6).
//!
//! DATA is handed on as it comes, however its frame is cut. Other frames must be whole, and wait in a buffer until they are.

use super::connection::{Connection, Event, Happened};
use super::control::{on_connection, sized};
use super::data::DataFrame;
use super::frame::{FrameHead, HEAD, PREFACE, SMALLEST_MAX_FRAME, flag, kind, number};
use super::goodbye::Leaving;
use super::settings::LARGEST_WINDOW;
use super::{ErrorCode, Fatal, Limit, Millis, Role, Spare};

/// Room that a connection keeps for frames that come in pieces.
const PARTIAL_KEPT: usize = 1_024;

/// Where in the octets the connection is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// In the client's preface, of which so much has come.
    Preface(usize),
    /// Before or in a frame's head.
    Head,
    /// In a frame that must be whole.
    Whole(FrameHead),
    /// In DATA: first the length of the padding, if there is one, then the octets, then the padding.
    Data(DataFrame),
    /// In a frame that is of no use; so many octets are left.
    Skip(u32),
}

/// A head in pieces (HEADERS without END_HEADERS).
#[derive(Debug)]
pub(super) struct Block {
    pub(super) head: FrameHead,
    /// It says that its stream depends on itself.
    pub(super) own_parent: bool,
    pub(super) fragment: Vec<u8>,
    /// What of it counts among what the worker's connections hold.
    pub(super) counted: u32,
    pub(super) continuations: u32,
}

/// What a step of reading came to.
pub(super) enum Step<'a> {
    /// Something that the owner must hear of.
    Event(Event<'a>),
    /// On with the next.
    On,
    /// More octets are needed.
    Short,
}

impl Connection {
    /// Takes octets off the front of `input`, and gives the next event. `None`: all of `input` is taken, and there is nothing to
    /// tell. With no input it gives the events that output caused. Once the connection has ended with an error, nothing that still
    /// comes means anything.
    ///
    /// # Errors
    /// The connection must end; GOAWAY is in the output.
    pub fn receive<'a>(
        &mut self,
        input: &mut &'a [u8],
        now: Millis,
        spare: &mut Spare,
    ) -> Result<Option<Event<'a>>, Fatal> {
        if self.leaving == Leaving::Dead {
            *input = &[];
            return Ok(None);
        }
        match self.next_event(input, now, spare) {
            Ok(event) => Ok(event),
            Err(fatal) => Err(self.die(fatal)),
        }
    }

    fn next_event<'a>(
        &mut self,
        input: &mut &'a [u8],
        now: Millis,
        spare: &mut Spare,
    ) -> Result<Option<Event<'a>>, Fatal> {
        loop {
            if let Some(happened) = self.events.pop_front() {
                return Ok(Some(match happened {
                    Happened::Settled => Event::Settled,
                    Happened::Reset { tag, error } => Event::Reset { tag, error },
                    Happened::Went { tag, bytes, end } => Event::Went { tag, bytes, end },
                }));
            }
            if let Some(fatal) = self.doomed.take() {
                return Err(fatal);
            }
            if let Some(data) = self.take_plain_data(input) {
                return Ok(Some(data));
            }
            match self.step(input, now, spare) {
                Ok(Step::Event(event)) => return Ok(Some(event)),
                Ok(Step::On) => {}
                // Streams that ended on the way are told of first: nobody else will.
                Err(fatal) => self.doomed = Some(fatal),
                // What the last frame caused comes first.
                Ok(Step::Short) if !self.events.is_empty() || self.doomed.is_some() => {}
                Ok(Step::Short) => return Ok(None),
            }
        }
    }

    fn step<'a>(&mut self, input: &mut &'a [u8], now: Millis, spare: &mut Spare) -> Result<Step<'a>, Fatal> {
        match self.reading {
            Reading::Preface(have) => self.read_preface(input, have),
            Reading::Head => {
                let Some(head) = self.read_head(input, now) else { return Ok(Step::Short) };
                self.frames = self.frames.wrapping_add(1);
                self.begin_frame(head, now)?;
                if let Reading::Whole(head) = self.reading {
                    return self.read_whole(input, head, now, spare);
                }
                // What is passed on as it comes, or skipped, needs no patience.
                self.partial_since = None;
                match self.reading {
                    Reading::Data(data) => self.read_data(input, data, now),
                    _ => Ok(Step::On),
                }
            }
            Reading::Whole(head) => self.read_whole(input, head, now, spare),
            Reading::Data(data) => self.read_data(input, data, now),
            Reading::Skip(left) => {
                let now_skipped = (left as usize).min(input.len());
                *input = &input[now_skipped..];
                let left = left - u32::try_from(now_skipped).unwrap_or(left);
                self.reading = if left == 0 { Reading::Head } else { Reading::Skip(left) };
                Ok(if left == 0 { Step::On } else { Step::Short })
            }
        }
    }

    fn read_preface<'a>(&mut self, input: &mut &'a [u8], have: usize) -> Result<Step<'a>, Fatal> {
        let (now, rest) = input.split_at((PREFACE.len() - have).min(input.len()));
        if PREFACE.get(have..have + now.len()) != Some(now) {
            return Err(Fatal::broken(ErrorCode::PROTOCOL_ERROR, "no HTTP/2 preface (§3.4)"));
        }
        *input = rest;
        let have = have + now.len();
        let whole = have == PREFACE.len();
        self.reading = if whole { Reading::Head } else { Reading::Preface(have) };
        Ok(if whole { Step::On } else { Step::Short })
    }

    /// The head of the next frame, once all nine octets are there.
    #[inline]
    fn read_head(&mut self, input: &mut &[u8], now: Millis) -> Option<FrameHead> {
        if self.partial.is_empty()
            && let Some((head, rest)) = input.split_first_chunk::<HEAD>()
        {
            *input = rest;
            return Some(FrameHead::read(head));
        }
        if input.is_empty() {
            return None;
        }
        let (part, rest) = input.split_at((HEAD - self.partial.len()).min(input.len()));
        self.partial.extend_from_slice(part);
        *input = rest;
        let head = self.partial.first_chunk::<HEAD>().map(FrameHead::read);
        match head {
            Some(_) => self.partial.clear(),
            None => self.note_partial(now),
        }
        head
    }

    /// Something that must become whole is not yet.
    fn note_partial(&mut self, now: Millis) {
        self.partial_since = self.partial_since.or(Some(now));
    }

    /// Checks what can be checked before the payload, and decides how it is read.
    fn begin_frame(&mut self, head: FrameHead, now: Millis) -> Result<(), Fatal> {
        let broken = |code, what| Err(Fatal::broken(code, what));
        if head.length > self.config.frame.max(SMALLEST_MAX_FRAME) {
            return broken(ErrorCode::FRAME_SIZE_ERROR, "a frame over SETTINGS_MAX_FRAME_SIZE (§4.2)");
        }
        if !self.settled && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return broken(ErrorCode::PROTOCOL_ERROR, "the first frame is not SETTINGS (§3.4)");
        }
        if let Some(block) = &self.block
            && (head.kind != kind::CONTINUATION || head.stream != block.head.stream)
        {
            return broken(ErrorCode::PROTOCOL_ERROR, "another frame inside a head (§6.10)");
        }
        let block = self.block.as_ref().map(|block| block.fragment.len());
        self.reading = match head.kind {
            kind::DATA => return self.begin_data(head, now),
            kind::HEADERS if head.stream == 0 => {
                return broken(ErrorCode::PROTOCOL_ERROR, "HEADERS on stream 0 (§6.2)");
            }
            kind::CONTINUATION if block.is_none() => {
                return broken(ErrorCode::PROTOCOL_ERROR, "CONTINUATION without HEADERS (§6.10)");
            }
            kind::PUSH_PROMISE => {
                return broken(ErrorCode::PROTOCOL_ERROR, "PUSH_PROMISE, which nobody asked for (§6.6)");
            }
            kind::HEADERS | kind::CONTINUATION => {
                self.within_block(block.unwrap_or_default() + head.length as usize)?;
                Reading::Whole(head)
            }
            kind::SETTINGS | kind::GOAWAY => Reading::Whole(head),
            kind::PRIORITY if head.length != 5 => {
                self.refuse_priority(head.stream, ErrorCode::FRAME_SIZE_ERROR, now)?;
                Reading::Skip(head.length)
            }
            kind::PRIORITY | kind::RST_STREAM | kind::PING | kind::WINDOW_UPDATE if head.length <= 8 => {
                Reading::Whole(head)
            }
            kind::RST_STREAM | kind::PING | kind::WINDOW_UPDATE => {
                return broken(ErrorCode::FRAME_SIZE_ERROR, "a frame of a wrong length (§4.2)");
            }
            _ => {
                self.count(Limit::Noise, now)?;
                Reading::Skip(head.length)
            }
        };
        if matches!(self.reading, Reading::Skip(0)) {
            self.reading = Reading::Head;
        }
        Ok(())
    }

    /// A frame whose payload must be whole.
    fn read_whole<'a>(
        &mut self,
        input: &mut &'a [u8],
        head: FrameHead,
        now: Millis,
        spare: &mut Spare,
    ) -> Result<Step<'a>, Fatal> {
        let length = head.length as usize;
        if self.partial.is_empty() && input.len() >= length {
            let (payload, rest) = input.split_at(length);
            *input = rest;
            return self.take_frame(head, payload, now, spare);
        }
        let (part, rest) = input.split_at((length - self.partial.len()).min(input.len()));
        self.partial.extend_from_slice(part);
        *input = rest;
        if self.partial.len() < length {
            self.note_partial(now);
            return Ok(Step::Short);
        }
        let mut payload = std::mem::take(&mut self.partial);
        let step = self.take_frame(head, &payload, now, spare);
        payload.clear();
        if payload.capacity() <= PARTIAL_KEPT {
            self.partial = payload;
        }
        step
    }

    fn take_frame<'a>(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        now: Millis,
        spare: &mut Spare,
    ) -> Result<Step<'a>, Fatal> {
        self.reading = Reading::Head;
        let since = self.partial_since.take().unwrap_or(now);
        let step = self.take_whole(head, payload, now, spare);
        if self.block.is_some() {
            // Still not whole: the patience is for the whole head, not for each piece.
            self.partial_since = Some(since);
        }
        step
    }

    fn take_whole<'a>(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        now: Millis,
        spare: &mut Spare,
    ) -> Result<Step<'a>, Fatal> {
        match head.kind {
            kind::HEADERS => return self.take_headers(head, payload, now, spare).map(Step::of),
            kind::CONTINUATION => return self.take_continuation(head, payload, now, spare).map(Step::of),
            kind::SETTINGS => self.take_settings(head, payload, now)?,
            kind::RST_STREAM => self.take_reset(head, payload, now)?,
            kind::WINDOW_UPDATE => self.take_window_update(head, payload, now)?,
            kind::PING => {
                sized(payload, 8, "PING has 8 octets (§6.7)")?;
                on_connection(head, "PING on a stream (§6.7)")?;
                if head.has(flag::ACK) && self.is_round(payload) {
                    self.next_round();
                } else {
                    self.count(Limit::Ping, now)?;
                    self.take_ping(head.flags, payload);
                }
            }
            kind::GOAWAY => {
                on_connection(head, "GOAWAY on a stream (§6.8)")?;
                if payload.len() < 8 {
                    return Err(Fatal::broken(ErrorCode::FRAME_SIZE_ERROR, "GOAWAY has 8 octets (§6.8)"));
                }
                self.count(Limit::Noise, now)?;
                self.take_goaway(number(payload) & LARGEST_WINDOW);
            }
            kind::PRIORITY => self.take_priority(head, payload, now)?,
            _ => {}
        }
        Ok(Step::On)
    }

    /// Frames on streams that never were are errors of the connection (RFC 9113 §5.1).
    pub(super) fn not_idle(&self, id: u32) -> Result<(), Fatal> {
        let was = match self.role {
            Role::Server => id % 2 == 1 && id <= self.last,
            Role::Client => id % 2 == 1 && id < self.last,
        };
        if was { Ok(()) } else { Err(Fatal::broken(ErrorCode::PROTOCOL_ERROR, "a frame on an idle stream (§5.1)")) }
    }
}

impl<'a> Step<'a> {
    pub(super) fn of(event: Option<Event<'a>>) -> Self {
        event.map_or(Step::On, Step::Event)
    }
}
