//! The end of a connection: GOAWAY in two phases (RFC 9113 §6.8), ours and the peer's.

use super::connection::{Connection, Happened};
use super::frame::{self, flag, kind};
use super::settings::LARGEST_WINDOW;
use super::stream::Gone;
use super::{ErrorCode, Fatal, Role, StreamError};

/// The PING between the two phases: once it is answered, the peer has seen the first.
const MARK: [u8; 8] = *b"goodbye!";

/// How far our own goodbye is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Not begun.
    No,
    /// Announced, without a last stream: requests go on being taken.
    Announced,
    /// The same, and the peer is asked whether it has heard it: requests that were on the wire are still taken.
    Said,
    /// The peer has heard it. Streams above this number never start.
    Heard(u32),
    /// Over, with an error.
    Dead,
}

impl Connection {
    /// Announces the goodbye: the peer is to begin its next calls elsewhere. Those that it begins all the same are served until
    /// [`goodbye`](Self::goodbye) is said and heard.
    pub fn announce_goodbye(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Announced;
            // The largest number of a stream is 2^31 - 1, as the largest window is.
            frame::put_goaway(self.out.frames(), LARGEST_WINDOW, ErrorCode::NO_ERROR);
        }
    }

    /// Says goodbye: calls under way and on the wire are served, then the connection is over.
    pub fn goodbye(&mut self) {
        self.announce_goodbye();
        if self.leaving == Leaving::Announced {
            self.leaving = Leaving::Said;
            frame::put(self.out.frames(), kind::PING, 0, 0, &MARK);
        }
    }

    /// Says goodbye at once: what is open may end, and no stream begins any more, even of those that are on the wire.
    pub fn farewell(&mut self) {
        if matches!(self.leaving, Leaving::No | Leaving::Announced | Leaving::Said) {
            let last = self.last_taken();
            self.leaving = Leaving::Heard(last);
            frame::put_goaway(self.out.frames(), last, ErrorCode::NO_ERROR);
        }
    }

    /// Ends the connection now, with this code.
    pub fn abort(&mut self, code: ErrorCode) {
        self.die(Fatal::broken(code, "ended by its owner"));
    }

    /// Whether nothing is left to do but to close the socket, once the output is written.
    pub fn is_over(&self) -> bool {
        match self.leaving {
            Leaving::Dead => true,
            Leaving::Heard(_) => self.streams.len() == 0,
            Leaving::No | Leaving::Announced | Leaving::Said => {
                // One whose numbers have run out is of no more use than one that its peer has said goodbye to.
                let used_up = self.peer_leaves || self.last > LARGEST_WINDOW;
                self.role == Role::Client && used_up && self.streams.len() == 0
            }
        }
    }

    /// A PING of ours was answered.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        if self.leaving == Leaving::Said && payload == MARK {
            let last = self.last_taken();
            self.leaving = Leaving::Heard(last);
            frame::put_goaway(self.out.frames(), last, ErrorCode::NO_ERROR);
        }
    }

    /// The highest of the peer's streams that was or may be processed: a server has none, and what was said once only goes down.
    pub(super) fn last_taken(&self) -> u32 {
        match (self.role, self.leaving) {
            (Role::Client, _) => 0,
            (Role::Server, Leaving::Heard(last)) => last,
            (Role::Server, _) => self.last,
        }
    }

    /// A new stream of the peer's: whether it comes too late.
    pub(super) fn is_too_late(&self, id: u32) -> bool {
        matches!(self.leaving, Leaving::Heard(last) if id > last)
    }

    /// PING.
    pub(super) fn take_ping(&mut self, flags: u8, payload: &[u8]) {
        if flags & flag::ACK == 0 {
            frame::put(self.out.frames(), kind::PING, flag::ACK, 0, payload);
        } else {
            self.pong(payload);
        }
    }

    /// GOAWAY: streams of ours above the last one provably never start.
    pub(super) fn take_goaway(&mut self, last: u32) {
        self.peer_leaves = true;
        if self.role == Role::Server {
            return;
        }
        let mut above = self.streams.above(last);
        above.sort_unstable_by_key(|id| id.number);
        for id in above {
            if let Some(stream) = self.forget(id, Gone::ResetByUs).filter(|stream| stream.tag != 0) {
                self.events.push_back(Happened::Reset { tag: stream.tag, error: StreamError::NotStarted });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fields::{Method, RequestHead};

    use super::super::{Config, Connection, ErrorCode, Growth, Role, Spare, StreamError};
    use super::{LARGEST_WINDOW, frame, kind};

    #[test]
    fn t20_a_connection_whose_numbers_run_out_is_over_with_its_last_call() {
        let mut connection = Connection::new(Role::Client, Config::client(), Growth::default(), 0);
        let mut settings = Vec::new();
        frame::put(&mut settings, kind::SETTINGS, 0, 0, &[]);
        assert!(connection.receive(&mut &settings[..], 0, &mut Spare::default()).is_ok());
        connection.last = LARGEST_WINDOW - 2;
        let head = RequestHead::new(Method::Post, "/a.B/C", "a", (0, 0));
        let last_but_one = connection.open(&head, true, 1, 0).unwrap();
        let last = connection.open(&head, true, 2, 0).unwrap();
        assert_eq!((last_but_one.number(), last.number()), (LARGEST_WINDOW - 2, LARGEST_WINDOW));
        assert_eq!(connection.open(&head, true, 3, 0), Err(StreamError::NotStarted));
        assert!(!connection.is_open() && !connection.is_over());
        connection.reset(last, ErrorCode::CANCEL);
        assert!(!connection.is_over());
        connection.reset(last_but_one, ErrorCode::CANCEL);
        assert!(connection.is_over());
    }
}
