//! SETTINGS (RFC 9113 §6.5): what we say of ourselves, and what the peer said of itself.

use super::frame::{self, SMALLEST_MAX_FRAME, kind};
use super::{ErrorCode, Fatal, Role};

/// Windows end here (RFC 9113 §6.9.1).
pub(super) const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// What every window begins with, before any setting (RFC 9113 §6.9.2).
pub(super) const FIRST_WINDOW: u32 = 65_535;
/// What a peer takes before its SETTINGS have said more (RFC 9113 §6.5.2 recommends no less).
const STREAMS_BEFORE_SETTINGS: u32 = 100;

mod id {
    pub(super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(super) const ENABLE_PUSH: u16 = 2;
    pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(super) const MAX_FRAME_SIZE: u16 = 5;
    pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// How a connection behaves. Octets everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Streams that the peer may have open at once. A client takes none.
    pub streams: u32,
    /// A head: names, values and 32 octets a field (RFC 9113 §10.5.1).
    pub headers: u32,
    /// The largest frame that we take. DATA is passed on as it comes, so a large one holds no memory; a head does.
    pub frame: u32,
    /// What a stream may send ahead at first. It grows for streams that move (see [`super::Growth`]).
    pub stream_window: u32,
    /// What a stream may send ahead at most.
    pub largest_stream_window: u32,
    /// What all streams may have on the wire.
    pub connection_window: u32,
    /// What all streams may have here that has not gone on, until the connection's window shrinks by it.
    pub held: usize,
    /// The connection is by TLS, and so what a client asks for is `https`: some servers look.
    pub secure: bool,
}

impl Config {
    /// Towards callers, who are strangers. 16 KiB frames are what everybody sends anyway.
    pub fn server(streams: u32, headers: u32) -> Self {
        Self {
            streams,
            headers,
            frame: SMALLEST_MAX_FRAME,
            stream_window: 64 * 1024,
            largest_stream_window: 512 * 1024,
            connection_window: 1 << 20,
            held: 16 << 20,
            secure: false,
        }
    }

    /// Towards instances, whose answers for all callers share few connections. A head is status details of 64 KiB in base64,
    /// and room for the rest (FIELD.md T11).
    pub fn client() -> Self {
        Self {
            streams: 0,
            headers: 256 * 1024,
            frame: 1 << 20,
            stream_window: 16 * 1024,
            largest_stream_window: 1 << 20,
            connection_window: 16 << 20,
            held: 64 << 20,
            secure: false,
        }
    }

    /// Appends our SETTINGS, and the WINDOW_UPDATE that makes the connection's window what it should be.
    pub(super) fn put(&self, out: &mut Vec<u8>, role: Role) {
        let mut payload = Vec::with_capacity(5 * 6);
        let mut say = |id: u16, value: u32| {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        };
        match role {
            Role::Server => say(id::MAX_CONCURRENT_STREAMS, self.streams),
            // A server that pushed would push at every call; we forward nothing that was not asked for.
            Role::Client => say(id::ENABLE_PUSH, 0),
        }
        say(id::INITIAL_WINDOW_SIZE, self.stream_window);
        say(id::MAX_FRAME_SIZE, self.frame);
        say(id::MAX_HEADER_LIST_SIZE, self.headers);
        frame::put(out, kind::SETTINGS, 0, 0, &payload);
        let more = self.connection_window.saturating_sub(FIRST_WINDOW);
        if more > 0 {
            frame::put_window_update(out, 0, more);
        }
    }
}

/// What the peer said, or what holds until it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) streams: u32,
    pub(super) initial_window: u32,
    pub(super) max_frame: u32,
}

/// What a peer's SETTINGS change besides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    /// Its table for our heads: the smallest that they say, and the last.
    pub(super) table: Option<(u32, u32)>,
    /// By how much every stream's window moves.
    pub(super) window: i64,
}

impl Default for Peer {
    fn default() -> Self {
        Self { streams: STREAMS_BEFORE_SETTINGS, initial_window: FIRST_WINDOW, max_frame: SMALLEST_MAX_FRAME }
    }
}

impl Peer {
    /// Takes a payload whose length is a multiple of six.
    pub(super) fn take(&mut self, payload: &[u8], first: bool, role: Role) -> Result<Changes, Fatal> {
        let mut changes = Changes::default();
        if first {
            // Unlimited where they do not say (RFC 9113 §6.5.2).
            self.streams = u32::MAX;
        }
        let before = self.initial_window;
        for setting in payload.as_chunks::<6>().0 {
            let [a, b, value @ ..] = *setting;
            let value = u32::from_be_bytes(value);
            match u16::from_be_bytes([a, b]) {
                id::HEADER_TABLE_SIZE => {
                    let smallest = changes.table.map_or(value, |(smallest, _)| smallest.min(value));
                    changes.table = Some((smallest, value));
                }
                id::ENABLE_PUSH if value > 1 || (value == 1 && role == Role::Client) => {
                    return Err(Fatal::broken(
                        ErrorCode::PROTOCOL_ERROR,
                        "SETTINGS_ENABLE_PUSH cannot be that (§6.5.2)",
                    ));
                }
                id::MAX_CONCURRENT_STREAMS => self.streams = value,
                id::INITIAL_WINDOW_SIZE if value > LARGEST_WINDOW => {
                    return Err(Fatal::broken(
                        ErrorCode::FLOW_CONTROL_ERROR,
                        "SETTINGS_INITIAL_WINDOW_SIZE over 2^31 - 1 (§6.5.2)",
                    ));
                }
                id::INITIAL_WINDOW_SIZE => self.initial_window = value,
                id::MAX_FRAME_SIZE if !(SMALLEST_MAX_FRAME..1 << 24).contains(&value) => {
                    return Err(Fatal::broken(
                        ErrorCode::PROTOCOL_ERROR,
                        "SETTINGS_MAX_FRAME_SIZE cannot be that (§6.5.2)",
                    ));
                }
                id::MAX_FRAME_SIZE => self.max_frame = value,
                // Others are unknown, or (the largest list) advice that we cannot follow for somebody else's head.
                _ => {}
            }
        }
        changes.window = i64::from(self.initial_window) - i64::from(before);
        Ok(changes)
    }
}
