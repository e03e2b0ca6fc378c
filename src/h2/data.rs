//! DATA as it comes, however its frame is cut: counted, checked against its stream, handed on (RFC 9113 §6.1, §6.9).

use super::connection::{Connection, Event};
use super::frame::{FrameHead, flag};
use super::receive::{Reading, Step};
use super::stream::{Gone, Recv, Send};
use super::{ErrorCode, Fatal, Limit, Millis, Role};

/// A DATA frame on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataFrame {
    stream: u32,
    /// Octets left in the frame, padding included.
    left: u32,
    padded: bool,
    padding: u32,
    end: bool,
    /// Nobody takes it: the stream is gone.
    unwanted: bool,
}

/// What a request may still send, unread, once its answer is complete.
const MOST_LINGERING: usize = 16 * 1024;

impl Connection {
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
        let mut unwanted = true;
        match self.streams.get(head.stream).map(|stream| (stream.recv, stream)) {
            // Without an octet it needs no window, not even one (§6.9): a window can be below zero.
            Some((Recv::Open, stream)) if length == 0 || length <= stream.left => {
                stream.left -= length;
                unwanted = false;
            }
            Some((Recv::Open, _)) => self.violate(head.stream, ErrorCode::FLOW_CONTROL_ERROR, now)?,
            Some((Recv::Closed, _)) => self.violate(head.stream, ErrorCode::STREAM_CLOSED, now)?,
            Some((Recv::Head, _)) => self.violate(head.stream, ErrorCode::PROTOCOL_ERROR, now)?,
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
        if head.length > 0 && !padded && !unwanted {
            self.guard.earn();
        }
        let mut data = DataFrame { stream: head.stream, left: head.length, padded, padding: 0, end, unwanted };
        if !padded {
            self.check_length(&mut data, now)?;
        }
        self.reading = Reading::Data(data);
        Ok(())
    }

    /// How many octets a frame has is known: whether `content-length` promised them. Checked once a frame, or what is handed on of
    /// one that breaks the promise would depend on how it is cut.
    fn check_length(&mut self, data: &mut DataFrame, now: Millis) -> Result<(), Fatal> {
        let octets = (data.left - data.padding) as usize;
        let stream = self.streams.get(data.stream).filter(|_| !data.unwanted);
        if stream.is_none_or(|stream| stream.is_as_long_as_said(octets, data.end)) {
            return Ok(());
        }
        data.unwanted = true;
        self.violate(data.stream, ErrorCode::PROTOCOL_ERROR, now)
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
            if data.padding < data.left && !data.unwanted {
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
        if data.unwanted {
            self.passed_by(u32::try_from(bytes.len()).unwrap_or_default());
            return Ok(Step::On);
        }
        Ok(Step::of(self.hand_on(data.stream, bytes, over && data.end)))
    }

    /// Padding needs no one to pass it on.
    fn pass_padding(&mut self, data: &DataFrame, octets: u32) {
        if let Some(stream) = self.streams.get(data.stream).filter(|_| !data.unwanted) {
            stream.held += octets as usize;
            self.held += octets as usize;
            self.credit_owed += octets;
            self.release(super::StreamId(data.stream), octets as usize);
        } else {
            self.passed_by(octets);
        }
    }

    fn hand_on<'a>(&mut self, id: u32, bytes: &'a [u8], end: bool) -> Option<Event<'a>> {
        let octets = u32::try_from(bytes.len()).unwrap_or_default();
        self.credit_owed += octets;
        // It may have been reset since the frame began.
        let Some(stream) = self.streams.get(id) else {
            self.settle_credit();
            return None;
        };
        stream.held += bytes.len();
        self.held += bytes.len();
        let tag = stream.tag;
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
    pub(super) fn close_recv(&mut self, id: u32) {
        if let Some(stream) = self.streams.get(id) {
            stream.recv = Recv::Closed;
            if stream.send == Send::Closed {
                self.forget(id, Gone::Over);
            }
        }
    }
}
