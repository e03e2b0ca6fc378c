//! Heads as they come: HEADERS and CONTINUATION, what they begin and end (RFC 9113 §6.2, §6.10, §8.1).

use hpack::Error as HpackError;

use super::connection::{Connection, Event};
use super::frame::{FrameHead, flag, number};
use super::guard::{BLOCK_FACTOR, CONTINUATIONS};
use super::heads::{self, Form, Read};
use super::receive::Block;
use super::settings::{FIRST_WINDOW, LARGEST_WINDOW};
use super::stream::{Gone, Recv, Send, Stream};
use super::{ErrorCode, Fatal, Limit, Millis, Role, Spare, StreamId};

type Taken<'a> = Result<Option<Event<'a>>, Fatal>;

/// What HEADERS says of a stream that it opens, beside the head.
struct Opening {
    id: u32,
    /// It is to depend on itself (§5.3.1 of RFC 7540).
    own_parent: bool,
    end: bool,
}

impl Connection {
    pub(super) fn take_headers<'a>(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        now: Millis,
        spare: &mut Spare,
    ) -> Taken<'a> {
        let mut rest = payload;
        if head.has(flag::PADDED) {
            let (length, after) = rest.split_first().ok_or(PADDING)?;
            rest = after.len().checked_sub(usize::from(*length)).and_then(|end| after.get(..end)).ok_or(PADDING)?;
        }
        let mut own_parent = false;
        if head.has(flag::PRIORITY) {
            let (priority, after) = rest.split_at_checked(5).ok_or(PADDING)?;
            own_parent = number(priority) & LARGEST_WINDOW == head.stream;
            rest = after;
        }
        if !head.has(flag::END_HEADERS) {
            self.block = Some(Block { head, own_parent, fragment: rest.to_vec(), counted: 0, continuations: 0 });
            return Ok(None);
        }
        self.take_block(head, own_parent, rest, now, spare)
    }

    pub(super) fn take_continuation<'a>(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        now: Millis,
        spare: &mut Spare,
    ) -> Taken<'a> {
        let Some(mut block) = self.block.take() else { return Ok(None) };
        block.continuations += 1;
        if block.continuations > CONTINUATIONS {
            self.growth.give_back_pieces(block.counted);
            return Err(Fatal::limit(Limit::Continuation));
        }
        if head.has(flag::END_HEADERS) {
            self.growth.give_back_pieces(block.counted);
            block.fragment.extend_from_slice(payload);
            return self.take_block(block.head, block.own_parent, &block.fragment, now, spare);
        }
        // One frame of a head is each caller's own; what follows must not be held a thousand times. Instances are few, and their
        // connections shared.
        if self.role == Role::Server {
            let more = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            if !self.growth.take_piece(more) {
                self.growth.give_back_pieces(block.counted);
                return Err(Fatal::limit(Limit::HeaderBlock));
            }
            block.counted += more;
        }
        block.fragment.extend_from_slice(payload);
        self.block = Some(block);
        Ok(None)
    }

    /// Checked before anything of a frame is kept.
    pub(super) fn within_block(&self, octets: usize) -> Result<(), Fatal> {
        let most = (self.config.headers as usize).saturating_mul(BLOCK_FACTOR);
        if octets > most { Err(Fatal::limit(Limit::HeaderBlock)) } else { Ok(()) }
    }

    /// A head that is whole.
    fn take_block<'a>(
        &mut self,
        head: FrameHead,
        own_parent: bool,
        block: &[u8],
        now: Millis,
        spare: &mut Spare,
    ) -> Taken<'a> {
        let (id, end) = (head.stream, head.has(flag::END_STREAM));
        if let Some(stream) = self.streams.find(id) {
            return match self.streams.get(stream).map_or(Recv::Closed, |stream| stream.recv) {
                Recv::Head => self.take_response(stream, block, end, now, spare),
                Recv::Open => self.take_trailers(stream, block, end, now, spare),
                Recv::Closed => {
                    self.read_past(block)?;
                    self.violate(id, ErrorCode::STREAM_CLOSED, now).map(|()| None)
                }
            };
        }
        match self.role {
            Role::Server if id % 2 == 0 => {
                Err(Fatal::broken(ErrorCode::PROTOCOL_ERROR, "a caller opens a stream of the server's (§5.1.1)"))
            }
            Role::Server if id > self.last => self.take_request(Opening { id, own_parent, end }, block, now, spare),
            _ => {
                self.not_idle(id)?;
                match self.streams.gone(id) {
                    Some(Gone::Over) => {
                        return Err(Fatal::broken(ErrorCode::STREAM_CLOSED, "HEADERS on a stream that is over (§5.1)"));
                    }
                    None if self.role == Role::Server => {
                        return Err(Fatal::broken(ErrorCode::PROTOCOL_ERROR, "stream numbers go up (§5.1.1)"));
                    }
                    Some(Gone::ResetByUs) | None => self.count_stray(now)?,
                }
                self.read_past(block).map(|()| None)
            }
        }
    }

    fn take_request<'a>(
        &mut self,
        Opening { id, own_parent, end }: Opening,
        block: &[u8],
        now: Millis,
        spare: &mut Spare,
    ) -> Taken<'a> {
        self.last = id;
        if self.is_too_late(id) {
            // Not processed, as our GOAWAY said; what else comes on it is passed by (§6.8).
            self.streams.remember(id, Gone::ResetByUs);
            self.count(Limit::RefusedStreams, now)?;
            return self.read_past(block).map(|()| None);
        }
        let Self { decoder, memos, config, .. } = self;
        let read = memos.request.recall(decoder, block, config.headers, spare.take(), heads::read_request);
        let Read { list: head, form, content } = read.map_err(lost)?;
        if self.streams.len() >= self.config.streams as usize {
            super::frame::put_reset(self.out.frames(), id, ErrorCode::REFUSED_STREAM);
            self.streams.remember(id, Gone::ResetByUs);
            spare.put(head.fields);
            return self.count(Limit::RefusedStreams, now).map(|()| None);
        }
        let recv = if end { Recv::Closed } else { Recv::Open };
        let mut stream = Stream::new(id, (recv, Send::Head), self.peer.initial_window, &self.config, now);
        stream.content = content;
        if !self.heard {
            stream.left = stream.left.max(i64::from(FIRST_WINDOW));
        }
        let wrong = own_parent || (end && !stream.is_as_long_as_said(0, true));
        match form {
            Form::Good if !wrong => {
                self.guard.earn();
                let stream = self.streams.insert(stream);
                return Ok(Some(Event::Request { stream, head, end }));
            }
            Form::TooLarge => {
                let stream = self.streams.insert(stream);
                self.refuse_large(stream);
                self.count(Limit::ProvokedReset, now)?;
            }
            Form::Good | Form::Malformed(_) => self.violate(id, ErrorCode::PROTOCOL_ERROR, now)?,
        }
        spare.put(head.fields);
        Ok(None)
    }

    /// 431, as HTTP has it for heads that are too large (RFC 6585 §5): there is no call yet that could get a gRPC status.
    fn refuse_large(&mut self, stream: StreamId) {
        let head = fields::ResponseHead { status: 431, fields: fields::Fields::default() };
        // The stream was just made, so that it takes an answer.
        self.respond(stream, &head, true).ok();
    }

    fn take_response<'a>(
        &mut self,
        id: StreamId,
        block: &[u8],
        end: bool,
        now: Millis,
        spare: &mut Spare,
    ) -> Taken<'a> {
        let Self { decoder, memos, config, .. } = self;
        let read = memos.response.recall(decoder, block, config.headers, spare.take(), heads::read_response);
        let Read { list: head, form, content } = read.map_err(lost)?;
        self.cut += u32::from(form == Form::TooLarge);
        let informational = (100..200).contains(&head.status);
        if matches!(form, Form::Malformed(_)) || (informational && (end || head.status == 101)) {
            spare.put(head.fields);
            return self.violate(id.number, ErrorCode::PROTOCOL_ERROR, now).map(|()| None);
        }
        if informational {
            // Swallowed: gRPC knows none (FIELD.md T16).
            spare.put(head.fields);
            return self.count(Limit::Noise, now).map(|()| None);
        }
        let Some(stream) = self.streams.get(id) else { return Ok(None) };
        self.guard.earn();
        stream.recv = Recv::Open;
        stream.content = content;
        let tag = stream.tag;
        if end {
            if !stream.is_as_long_as_said(0, true) {
                return self.violate(id.number, ErrorCode::PROTOCOL_ERROR, now).map(|()| None);
            }
            self.close_recv(id);
        }
        if tag == 0 {
            // Its reset is about to go.
            spare.put(head.fields);
            return Ok(None);
        }
        Ok(Some(Event::Response { tag, head, end }))
    }

    fn take_trailers<'a>(
        &mut self,
        id: StreamId,
        block: &[u8],
        end: bool,
        now: Millis,
        spare: &mut Spare,
    ) -> Taken<'a> {
        let Self { decoder, memos, config, .. } = self;
        let read = memos.trailers.recall(decoder, block, config.headers, spare.take(), heads::read_trailers);
        let Read { list: fields, form, .. } = read.map_err(lost)?;
        self.cut += u32::from(form == Form::TooLarge);
        let Some(stream) = self.streams.get(id) else { return Ok(None) };
        if !end || matches!(form, Form::Malformed(_)) || !stream.is_as_long_as_said(0, true) {
            spare.put(fields);
            return self.violate(id.number, ErrorCode::PROTOCOL_ERROR, now).map(|()| None);
        }
        let tag = stream.tag;
        self.guard.earn();
        self.close_recv(id);
        Ok((tag != 0).then_some(Event::Trailers { tag, fields }))
    }

    fn read_past(&mut self, block: &[u8]) -> Result<(), Fatal> {
        heads::read_past(&mut self.decoder, block, self.config.headers).map_err(lost)
    }
}

const PADDING: Fatal = Fatal::broken(ErrorCode::PROTOCOL_ERROR, "more padding or priority than payload (§6.2)");

/// After any error of HPACK the tables differ, and so the connection ends (RFC 9113 §4.3).
fn lost(error: HpackError) -> Fatal {
    match error {
        HpackError::ListTooLarge => Fatal::limit(Limit::HeaderList),
        _ => Fatal::broken(ErrorCode::COMPRESSION_ERROR, "a head that is no HPACK (§4.3)"),
    }
}
