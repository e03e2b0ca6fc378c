//! HTTP/2 (RFC 9113) as a state machine without I/O: bytes in, events and bytes out. Knows no socket, no clock but the one it is
//! handed, no task, no call and no configuration. `call` begins connections and moves them.
//!
//! [`Connection`] is one end of a connection, in either role. [`Connection::receive`] takes what came and gives one [`Event`] at a
//! time; the rest are verbs on streams. Output gathers in the connection until its owner writes it, once a turn. docs/http2.md has
//! the state machine on a page, and each limit.

mod blocks;
mod connection;
mod control;
mod data;
mod error;
mod frame;
mod goodbye;
mod growth;
mod guard;
mod heads;
mod kind;
mod memo;
mod output;
mod pace;
mod receive;
mod send;
mod settings;
mod stream;
mod waiting;
mod window;

pub use connection::{Connection, Event};
pub use error::{ErrorCode, Fatal, StreamError};
pub use growth::Growth;
pub use guard::Limit;
pub use send::{Given, Over};
pub use settings::Config;
pub use stream::StreamId;

use fields::Fields;

/// Milliseconds of a clock that never goes back.
pub type Millis = u64;

/// What the owner of a connection calls a stream; 0 until it says.
pub type Tag = u64;

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes requests.
    Server,
    /// Makes them.
    Client,
}

/// Lists that are no longer used, kept for the next heads: one for all connections of a worker.
#[derive(Debug, Default)]
pub struct Spare(Vec<Fields>);

/// Lists kept, and octets that one may hold to be kept.
const SPARES: usize = 256;
const SPARE_BYTES: usize = 4 * 1024;

impl Spare {
    /// An empty list.
    pub fn take(&mut self) -> Fields {
        self.0.pop().unwrap_or_else(|| Fields::with_capacity(16, 512))
    }

    /// Keeps a list for the next head.
    pub fn put(&mut self, mut fields: Fields) {
        if self.0.len() < SPARES && fields.allocated() <= SPARE_BYTES {
            fields.clear();
            self.0.push(fields);
        }
    }
}
