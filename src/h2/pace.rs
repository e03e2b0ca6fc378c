//! Our resets of streams, a few a round trip. Servers count resets of what they have not looked at yet, and end the connection over
//! too many of them (CVE-2023-44487: the h2 crate bears 20): for one caller that cancels much, all that share the connection would
//! lose their calls. So behind a few resets goes a PING, and the others wait for its answer: by then the server has seen those
//! before. A stream whose reset waits is nobody's any more, and counts among the server's for that while.

use std::collections::VecDeque;

use super::connection::Connection;
use super::frame::{self, kind, put_reset};
use super::stream::{Gone, StreamId};
use super::{ErrorCode, Role};

/// Resets between two answers.
const A_ROUND: u32 = 10;
/// Ticks for which an answer is waited for: one that never comes must not keep streams open.
const PATIENCE: u32 = 2;
/// Of those that wait then, ten for each so many go each tick.
const PART: usize = 100;
/// The PING behind them.
const MARK: [u8; 8] = *b"a round.";

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Pace {
    sent: u32,
    /// A PING is not answered yet, and since how many ticks.
    asked: Option<u32>,
    later: VecDeque<(StreamId, ErrorCode)>,
}

impl Pace {
    /// Octets held from the allocator.
    pub(super) fn allocated(&self) -> usize {
        self.later.capacity() * size_of::<(StreamId, ErrorCode)>()
    }
}

impl Connection {
    /// Ends a stream; false where it is over already, and nothing happens.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) -> bool {
        if self.role == Role::Server {
            return self.reset_now(stream, code);
        }
        if self.pace.sent < A_ROUND && self.pace.later.is_empty() {
            let open = self.reset_now(stream, code);
            if open {
                self.pace.sent += 1;
                self.ask();
            }
            return open;
        }
        let Some(found) = self.streams.get(stream) else { return false };
        found.tag = 0;
        found.discard();
        // What came is nobody's, and its window needs no room any more.
        let grown = found.grown(&self.config);
        found.size = self.config.stream_window;
        self.held -= std::mem::take(&mut found.held);
        self.growth.give_back(grown);
        self.settle_credit();
        self.pace.later.push_back((stream, code));
        true
    }

    /// Whether a PING's answer is that to ours.
    pub(super) fn is_round(&self, payload: &[u8]) -> bool {
        self.pace.asked.is_some() && payload == MARK
    }

    /// The peer has seen the resets so far: on with those that wait.
    pub(super) fn next_round(&mut self) {
        self.pace.asked = None;
        self.pace.sent = 0;
        while self.pace.sent < A_ROUND {
            let Some((stream, code)) = self.pace.later.pop_front() else { break };
            // It may have ended meanwhile.
            self.pace.sent += u32::from(self.reset_now(stream, code));
        }
        if self.pace.later.is_empty() {
            self.pace.later = VecDeque::new();
        }
        if self.pace.sent > 0 {
            self.ask();
        }
    }

    /// A peer that does not answer gets the next all the same, a part of them each second.
    pub(super) fn tick_pace(&mut self) {
        match &mut self.pace.asked {
            Some(ticks) if *ticks >= PATIENCE => {
                for _ in 0..=self.pace.later.len() / PART {
                    self.next_round();
                }
                if let Some(ticks) = &mut self.pace.asked {
                    *ticks = PATIENCE;
                }
            }
            Some(ticks) => *ticks += 1,
            None => {}
        }
    }

    fn ask(&mut self) {
        if self.pace.sent >= A_ROUND / 2 && self.pace.asked.is_none() {
            frame::put(self.out.frames(), kind::PING, 0, 0, &MARK);
            self.pace.asked = Some(0);
        }
    }

    fn reset_now(&mut self, stream: StreamId, code: ErrorCode) -> bool {
        let open = self.forget(stream, Gone::ResetByUs).is_some();
        if open {
            put_reset(self.out.frames(), stream.number, code);
        }
        open
    }
}
