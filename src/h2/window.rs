//! Credit for what the peer sends (RFC 9113 §5.2, §6.9): each stream's, and the connection's.
//!
//! A stream gets credit back only for what has gone on, so that its window bounds what it can have here, and flow control is end to
//! end. The connection gets it back at once, or a few streams that do not move would stop all others (FIELD.md T2), up to a bound.

use super::connection::Connection;
use super::frame::put_window_update;
use super::stream::{Recv, StreamId};

impl Connection {
    /// Gives credit back for octets of a stream that have gone on; true if there is output for it.
    pub fn release(&mut self, stream: StreamId, octets: usize) -> bool {
        let Some(found) = self.streams.get(stream) else { return false };
        let mut told = false;
        let octets = octets.min(found.held);
        found.held -= octets;
        self.held -= octets;
        let passed = u32::try_from(octets).unwrap_or(u32::MAX);
        found.passed = found.passed.saturating_add(passed);
        if found.recv != Recv::Closed && found.passed >= (found.size / 2).max(1) {
            let mut by = std::mem::take(&mut found.passed);
            // Four times as large each time, and at once as large as those before it were: a transfer that goes on should not need
            // many steps to its speed.
            let largest = self.config.largest_stream_window;
            let goals = [self.usual, found.size.saturating_mul(4).min(largest)];
            let mut steps = goals.map(|goal| goal.saturating_sub(found.size)).into_iter();
            if let Some(more) = steps.find(|more| *more > 0 && self.growth.take(*more)) {
                found.size += more;
                by += more;
                self.usual = self.usual.max(found.size);
            }
            found.left += i64::from(by);
            put_window_update(self.out.frames(), stream.number, by);
            told = true;
        }
        self.settle_credit() || told
    }

    /// Octets came on the connection that need no credit of a stream: padding, or DATA of a stream that is gone.
    pub(super) fn passed_by(&mut self, octets: u32) {
        self.credit_owed += octets;
        self.settle_credit();
    }

    /// Gives the connection's credit back, in steps, while not too much is held; true if there is output for it.
    pub(super) fn settle_credit(&mut self) -> bool {
        if self.credit_owed >= (self.config.connection_window / 2).max(1) && self.held <= self.config.held {
            let by = std::mem::take(&mut self.credit_owed);
            self.left += i64::from(by);
            put_window_update(self.out.frames(), 0, by);
            return true;
        }
        false
    }
}
