//! The frames that steer a connection and its streams: PRIORITY, SETTINGS, WINDOW_UPDATE, RST_STREAM (RFC 9113 §6.3 to §6.9).

use super::connection::{Connection, Happened};
use super::frame::{self, FrameHead, flag, kind, number};
use super::guard::RAPID;
use super::settings::{FIRST_WINDOW, LARGEST_WINDOW};
use super::stream::{Gone, Send};
use super::{ErrorCode, Fatal, Limit, Millis, Role, StreamError};

impl Connection {
    /// PRIORITY is checked and ignored (RFC 9113 §5.3.2).
    pub(super) fn take_priority(&mut self, head: FrameHead, payload: &[u8], now: Millis) -> Result<(), Fatal> {
        if head.stream == 0 || number(payload) & LARGEST_WINDOW == head.stream {
            return self.refuse_priority(head.stream, ErrorCode::PROTOCOL_ERROR, now);
        }
        self.count(Limit::Noise, now)
    }

    /// A PRIORITY that cannot be: an error of its stream, and of the connection where there is no stream that a reset could name
    /// (RFC 9113 §5.4.1, §6.3, §6.4).
    pub(super) fn refuse_priority(&mut self, id: u32, code: ErrorCode, now: Millis) -> Result<(), Fatal> {
        let code = if id == 0 { ErrorCode::PROTOCOL_ERROR } else { code };
        self.not_idle(id).map_err(|_| Fatal::broken(code, "a PRIORITY that cannot be (§6.3)"))?;
        self.violate(id, code, now)
    }

    pub(super) fn take_settings(&mut self, head: FrameHead, payload: &[u8], now: Millis) -> Result<(), Fatal> {
        on_connection(head, "SETTINGS on a stream (§6.5)")?;
        if head.has(flag::ACK) {
            sized(payload, 0, "SETTINGS with ACK is empty (§6.5)")?;
            self.settings_heard();
            return self.count(Limit::Noise, now);
        }
        if !payload.len().is_multiple_of(6) {
            return Err(Fatal::broken(ErrorCode::FRAME_SIZE_ERROR, "SETTINGS come by six octets (§6.5)"));
        }
        self.count(Limit::Settings, now)?;
        let first = !std::mem::replace(&mut self.settled, true);
        let changes = self.peer.take(payload, first, self.role)?;
        if let Some((smallest, last)) = changes.table {
            // The encoder owes the peer the smallest that there was (RFC 7541 §4.2).
            self.encoder.set_peer_table_size(smallest as usize);
            self.encoder.set_peer_table_size(last as usize);
        }
        if changes.window != 0 {
            self.move_windows(changes.window)?;
        }
        frame::put(self.out.frames(), kind::SETTINGS, flag::ACK, 0, &[]);
        if first {
            self.events.push_back(Happened::Settled);
        }
        if changes.window > 0 {
            self.pump(now);
        }
        Ok(())
    }

    /// The peer knows our SETTINGS. Where our windows are smaller than those that everybody begins with, what it sent before counted
    /// against the larger ones (RFC 9113 §6.9.3).
    fn settings_heard(&mut self) {
        if !std::mem::replace(&mut self.heard, true) {
            let by = i64::from(FIRST_WINDOW.saturating_sub(self.config.stream_window));
            for (_, stream) in self.streams.iter_mut() {
                stream.left -= by;
            }
        }
    }

    /// SETTINGS_INITIAL_WINDOW_SIZE moves the window of every stream (RFC 9113 §6.9.2).
    fn move_windows(&mut self, by: i64) -> Result<(), Fatal> {
        for (id, stream) in self.streams.iter_mut() {
            stream.window += by;
            if stream.window > i64::from(LARGEST_WINDOW) {
                return Err(Fatal::broken(ErrorCode::FLOW_CONTROL_ERROR, "a window over 2^31 - 1 (§6.9.2)"));
            }
            if stream.window > 0 && !stream.waiting.is_empty() && !stream.queued {
                stream.queued = true;
                self.line.push_back(id);
            }
        }
        Ok(())
    }

    pub(super) fn take_window_update(&mut self, head: FrameHead, payload: &[u8], now: Millis) -> Result<(), Fatal> {
        sized(payload, 4, "WINDOW_UPDATE has 4 octets (§6.9)")?;
        self.count(Limit::WindowUpdate, now)?;
        let by = i64::from(number(payload) & LARGEST_WINDOW);
        let most = i64::from(LARGEST_WINDOW);
        if head.stream == 0 {
            if by == 0 {
                return Err(Fatal::broken(ErrorCode::PROTOCOL_ERROR, "WINDOW_UPDATE by 0 (§6.9)"));
            }
            self.window += by;
            if self.window > most {
                return Err(Fatal::broken(ErrorCode::FLOW_CONTROL_ERROR, "a window over 2^31 - 1 (§6.9.1)"));
            }
            self.pump(now);
            return Ok(());
        }
        self.not_idle(head.stream)?;
        // Credit for a stream that is gone: whoever still reads what it was sent gives some, and it was counted above.
        let Some(id) = self.streams.find(head.stream) else { return Ok(()) };
        let Some(stream) = self.streams.get(id) else { return Ok(()) };
        if by == 0 {
            return self.violate(head.stream, ErrorCode::PROTOCOL_ERROR, now);
        }
        stream.window += by;
        if stream.window > most {
            return self.violate(head.stream, ErrorCode::FLOW_CONTROL_ERROR, now);
        }
        if stream.window > 0 && !stream.waiting.is_empty() && !stream.queued {
            stream.queued = true;
            self.line.push_back(id);
            self.pump(now);
        }
        Ok(())
    }

    pub(super) fn take_reset(&mut self, head: FrameHead, payload: &[u8], now: Millis) -> Result<(), Fatal> {
        sized(payload, 4, "RST_STREAM has 4 octets (§6.4)")?;
        self.not_idle(head.stream)?;
        let Some(stream) = self.forget_numbered(head.stream, Gone::Over) else {
            return self.count_stray(now);
        };
        if stream.tag != 0 {
            let error = StreamError::of_reset(ErrorCode(number(payload)));
            self.events.push_back(Happened::Reset { tag: stream.tag, error });
        }
        let answered = stream.send == Send::Closed;
        if self.role == Role::Server && !answered && now.saturating_sub(stream.opened) < RAPID {
            self.count(Limit::RapidReset, now)?;
        }
        Ok(())
    }
}

pub(super) fn sized(payload: &[u8], octets: usize, what: &'static str) -> Result<(), Fatal> {
    if payload.len() == octets { Ok(()) } else { Err(Fatal::broken(ErrorCode::FRAME_SIZE_ERROR, what)) }
}

pub(super) fn on_connection(head: FrameHead, what: &'static str) -> Result<(), Fatal> {
    if head.stream == 0 { Ok(()) } else { Err(Fatal::broken(ErrorCode::PROTOCOL_ERROR, what)) }
}
