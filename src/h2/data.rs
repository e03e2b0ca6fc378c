//! DATA as it comes, however its frame is cut: counted, checked against its stream, handed on (RFC 9113 §6.1, §6.9).

use super::connection::{Connection, Event};
use super::frame::{FrameHead, SMALLEST_MAX_FRAME, flag, kind};
use super::receive::{Reading, Step};
use super::stream::{Gone, Recv, Send};
use super::{ErrorCode, Fatal, Limit, Millis, Role, StreamId};

/// A DATA frame on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataFrame {
    /// Who takes it; nobody, if the stream is gone.
    stream: Option<StreamId>,
    /// Octets left in the frame, padding included.
    left: u32,
    padded: bool,
    padding: u32,
    end: bool,
}

/// What a request may still send, unread, once its answer is complete.
const MOST_LINGERING: usize = 16 * 1024;

impl Connection {
    /// What most frames are, in one step and with one look at the stream: DATA that is all there, unpadded, within its windows, of a
    /// stream whose length nobody promised. Everything else takes the long way, which would come to the same here.
    #[inline]
    pub(super) fn take_plain_data<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        let between_frames = matches!(self.reading, Reading::Head) && self.partial.is_empty() && self.block.is_none();
        let (head, rest) = input.split_first_chunk().filter(|_| between_frames)?;
        let head = FrameHead::read(head);
        let (bytes, rest) = rest.split_at_checked(head.length as usize)?;
        let plain = head.kind == kind::DATA && !head.has(flag::PADDED) && !bytes.is_empty();
        let length = i64::from(head.length);
        if !plain || length > self.left || head.length > self.config.frame.max(SMALLEST_MAX_FRAME) {
            return None;
        }
        let id = self.streams.find(head.stream)?;
        let stream = self.streams.get(id)?;
        let unbound = stream.recv == Recv::Open && stream.content.is_none() && stream.tag != 0;
        if !unbound || length > stream.left {
            return None;
        }
        stream.left -= length;
        stream.held += bytes.len();
        let tag = stream.tag;
        self.left -= length;
        self.held += bytes.len();
        self.credit_owed += head.length;
        self.guard.earn();
        self.frames = self.frames.wrapping_add(1);
        self.partial_since = None;
        *input = rest;
        let end = head.has(flag::END_STREAM);
        if end {
            self.close_recv(id);
        }
        self.settle_credit();
        Some(Event::Data { tag, bytes, end })
    }

    /// The head of a DATA frame: it takes its credit here, whole, as the peer did when it sent it.
    pub(super) fn begin_data(&mut self, head: FrameHead, now: Millis) -> Result<(), Fatal> {
        if head.stream == 0 {
            return Err(Fatal::broken(ErrorCode::PROTOCOL_ERROR, "DATA on stream 0 (§6.1)"));
        }
        self.not_idle(head.stream)?;
        let (padded, length) = (head.has(flag::PADDED), i64::from(head.length));
        if padded && head.length == 0 {
            return Err(Fatal::broken(ErrorCode::PROTOCOL_ERROR, "padding without its length (§6.1)"));
        }
        if length > self.left {
            return Err(Fatal::broken(ErrorCode::FLOW_CONTROL_ERROR, "DATA over the connection's window (§6.9)"));
        }
        self.left -= length;
        let mut stream = self.streams.find(head.stream);
        let (mut promised, open) = (false, stream.and_then(|open| self.streams.get(open)));
        match open.map(|open| (open.recv, open)) {
            // Without an octet it needs no window, not even one (§6.9): a window can be below zero.
            Some((Recv::Open, open)) if length == 0 || length <= open.left => {
                open.left -= length;
                promised = open.content.is_some();
            }
            Some((recv, _)) => {
                let code = match recv {
                    Recv::Open => ErrorCode::FLOW_CONTROL_ERROR,
                    Recv::Closed => ErrorCode::STREAM_CLOSED,
                    Recv::Head => ErrorCode::PROTOCOL_ERROR,
                };
                self.violate(head.stream, code, now)?;
                stream = None;
            }
            None => match self.streams.gone(head.stream) {
                Some(Gone::Over) => {
                    return Err(Fatal::broken(ErrorCode::STREAM_CLOSED, "DATA on a stream that is over (§5.1)"));
                }
                Some(Gone::ResetByUs) => {}
                None => self.count_stray(now)?,
            },
        }
        let end = head.has(flag::END_STREAM);
        if head.length == 0 && !end {
            self.count(Limit::EmptyData, now)?;
            self.reading = Reading::Head;
            return Ok(());
        }
        if head.length > 0 && !padded && stream.is_some() {
            self.guard.earn();
        }
        let mut data = DataFrame { stream, left: head.length, padded, padding: 0, end };
        if promised && !padded {
            self.check_length(&mut data, now)?;
        }
        self.reading = Reading::Data(data);
        Ok(())
    }

    /// How many octets a frame has is known: whether `content-length` promised them. Checked once a frame, or what is handed on of
    /// one that breaks the promise would depend on how it is cut.
    fn check_length(&mut self, data: &mut DataFrame, now: Millis) -> Result<(), Fatal> {
        let octets = (data.left - data.padding) as usize;
        let Some(id) = data.stream else { return Ok(()) };
        if self.streams.get(id).is_none_or(|stream| stream.is_as_long_as_said(octets, data.end)) {
            return Ok(());
        }
        data.stream = None;
        self.violate(id.number, ErrorCode::PROTOCOL_ERROR, now)
    }

    /// As much of a DATA frame as is there.
    pub(super) fn read_data<'a>(
        &mut self,
        input: &mut &'a [u8],
        mut data: DataFrame,
        now: Millis,
    ) -> Result<Step<'a>, Fatal> {
        if data.padded {
            let Some((length, rest)) = input.split_first() else { return Ok(Step::Short) };
            *input = rest;
            data.padded = false;
            data.left -= 1;
            data.padding = u32::from(*length);
            if data.padding > data.left {
                return Err(Fatal::broken(ErrorCode::PROTOCOL_ERROR, "more padding than payload (§6.1)"));
            }
            self.pass_padding(&data, 1);
            self.check_length(&mut data, now)?;
            if data.padding < data.left && data.stream.is_some() {
                self.guard.earn();
            } else if data.padding == data.left && !data.end {
                self.count(Limit::EmptyData, now)?;
            }
        }
        let wanted = (data.left - data.padding) as usize;
        let (bytes, rest) = input.split_at(wanted.min(input.len()));
        *input = rest;
        let mut taken = u32::try_from(bytes.len()).unwrap_or_default();
        if bytes.len() == wanted && data.padding > 0 {
            let padding = input.len().min(data.padding as usize);
            *input = &input[padding..];
            let padding = u32::try_from(padding).unwrap_or_default();
            self.pass_padding(&data, padding);
            data.padding -= padding;
            taken += padding;
        }
        data.left -= taken;
        let over = data.left == 0;
        self.reading = if over { Reading::Head } else { Reading::Data(data) };
        if bytes.is_empty() && !(over && data.end) {
            return Ok(if over { Step::On } else { Step::Short });
        }
        let Some(stream) = data.stream else {
            self.passed_by(u32::try_from(bytes.len()).unwrap_or_default());
            return Ok(Step::On);
        };
        Ok(Step::of(self.hand_on(stream, bytes, over && data.end)))
    }

    /// Padding needs no one to pass it on.
    fn pass_padding(&mut self, data: &DataFrame, octets: u32) {
        if let Some(id) = data.stream
            && let Some(stream) = self.streams.get(id)
        {
            stream.held += octets as usize;
            self.held += octets as usize;
            self.credit_owed += octets;
            self.release(id, octets as usize);
        } else {
            self.passed_by(octets);
        }
    }

    fn hand_on<'a>(&mut self, id: StreamId, bytes: &'a [u8], end: bool) -> Option<Event<'a>> {
        let octets = u32::try_from(bytes.len()).unwrap_or_default();
        self.credit_owed += octets;
        // It may have been reset since the frame began.
        let Some(stream) = self.streams.get(id) else {
            self.settle_credit();
            return None;
        };
        let tag = stream.tag;
        if tag == 0 && self.role == Role::Client {
            // Its reset is about to go.
            if end {
                self.close_recv(id);
            }
            self.settle_credit();
            return None;
        }
        stream.held += bytes.len();
        self.held += bytes.len();
        let too_long = stream.send == Send::Closed && stream.held > MOST_LINGERING;
        if end {
            self.close_recv(id);
        } else if too_long && self.role == Role::Server {
            self.cut_request(id);
        }
        self.settle_credit();
        (tag != 0).then_some(Event::Data { tag, bytes, end })
    }

    /// The peer has ended its half.
    pub(super) fn close_recv(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get(id) {
            stream.recv = Recv::Closed;
            if stream.send == Send::Closed {
                self.forget(id, Gone::Over);
            }
        }
    }
}
