//! Random conversations: what a peer may send and what it may not, with a word for each frame that must not come.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand::rngs::SmallRng;

use crate::engine::Role;
use crate::wire::{
    ACK, CONTINUATION, END, HEADERS, PADDED, PING, PRIO, PRIORITY, PUSH, RST, SETTINGS, WHOLE, WINDOW, block, data,
    frame, goaway, headers, padded, request, response, rst, settings, window,
};

/// A client that leaves.
pub(crate) const GOODBYE: &str = "GOAWAY, legal";

/// What the peer did on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// An answer's head is to come.
    Head,
    Open,
    /// The peer ended its half; ours is open.
    Half,
    /// The peer reset it.
    Reset,
    /// Both have ended it.
    Over,
}

pub(crate) struct Peer {
    role: Role,
    pub(crate) streams: BTreeMap<u32, State>,
    left: BTreeMap<u32, usize>,
    next: u32,
}

/// Octets, and what is wrong with them.
pub(crate) struct Sent {
    pub(crate) octets: Vec<u8>,
    pub(crate) wrong: Option<&'static str>,
}

fn fine(octets: Vec<u8>) -> Sent {
    Sent { octets, wrong: None }
}

impl Peer {
    /// The peer of an end in `role`.
    pub(crate) fn new(role: Role) -> Self {
        let streams =
            if role == Role::Client { BTreeMap::from([1, 3, 5].map(|id| (id, State::Head))) } else { BTreeMap::new() };
        let left = [1, 3, 5].map(|id| (id, 60_000)).into();
        Self { role, streams, left, next: if role == Role::Client { 7 } else { 1 } }
    }

    fn pick(&self, rng: &mut SmallRng, states: &[State]) -> Option<u32> {
        let all: Vec<u32> =
            self.streams.iter().filter(|(_, state)| states.contains(state)).map(|(id, _)| *id).collect();
        (!all.is_empty()).then(|| all[rng.random_range(0..all.len())])
    }

    fn close(&mut self, id: u32) {
        // Our client has one request that goes on, and nobody answers at our server.
        let over = self.role == Role::Client && id > 1;
        self.streams.insert(id, if over { State::Over } else { State::Half });
    }

    pub(crate) fn legal(&mut self, rng: &mut SmallRng) -> Sent {
        let end = rng.random_bool(0.3);
        match rng.random_range(0..14) {
            0..3 if self.role == Role::Server
                && self.streams.values().filter(|state| **state != State::Reset).count() < 4 =>
            {
                let id = self.next;
                self.next += 2 * rng.random_range(1..3);
                self.streams.insert(id, State::Open);
                self.left.insert(id, 60_000);
                if end {
                    self.close(id);
                }
                let list = request(&some_fields(rng));
                fine(head(rng, id, &list, end))
            }
            0..3 if self.role == Role::Client => {
                let Some(id) = self.pick(rng, &[State::Head]) else { return fine(Vec::new()) };
                if rng.random_bool(0.2) {
                    return fine(headers(id, &block(&[(":status", "103"), ("link", "a")]), false));
                }
                self.streams.insert(id, State::Open);
                if end {
                    self.close(id);
                }
                let list = response(&some_fields(rng));
                fine(head(rng, id, &list, end))
            }
            3..8 => {
                let Some(id) = self.pick(rng, &[State::Open]) else { return fine(Vec::new()) };
                let left = self.left.get_mut(&id).unwrap();
                let size = rng.random_range(0..=(*left).min(8_000)) / [1, 1, 100, 8_000][rng.random_range(0..4)];
                let padding = if rng.random_bool(0.3) { Some(rng.random()) } else { None };
                if size + 256 > *left {
                    return fine(Vec::new());
                }
                *left -= size + padding.map_or(0, |padding| usize::from(padding) + 1);
                if end {
                    self.close(id);
                }
                let bytes: Vec<u8> = (0..size).map(|_| rng.random()).collect();
                fine(padding.map_or_else(|| data(id, &bytes, end), |padding| padded(id, &bytes, padding, end)))
            }
            8 => {
                let Some(id) = self.pick(rng, &[State::Open]) else { return fine(Vec::new()) };
                self.close(id);
                let list = block(&some_fields(rng));
                fine(head(rng, id, &list, true))
            }
            9 => {
                let Some(id) = self.pick(rng, &[State::Open, State::Half, State::Head]) else {
                    return fine(Vec::new());
                };
                self.streams.insert(id, State::Reset);
                fine(rst(id, [0, 2, 7, 8, 11, 99][rng.random_range(0..6)]))
            }
            10 => fine(window(0, rng.random_range(1..100_000))),
            11 => {
                let Some(id) = self.pick(rng, &[State::Open, State::Half, State::Head]) else {
                    return fine(Vec::new());
                };
                fine(window(id, rng.random_range(1..100_000)))
            }
            12 => fine(frame(PRIORITY, 0, rng.random_range(1..20), &[0, 0, 0, 77, rng.random()])),
            _ => fine(self.beside(rng)),
        }
    }

    /// What concerns no stream.
    fn beside(&self, rng: &mut SmallRng) -> Vec<u8> {
        match rng.random_range(0..4) {
            0 => frame(PING, 0, 0, &rng.random::<[u8; 8]>()),
            1 => frame(rng.random_range(16..200), rng.random(), rng.random_range(0..9), &[7; 30]),
            2 => settings(&[
                (4, rng.random_range(0..1 << 20)),
                (5, rng.random_range(1 << 14..1 << 24)),
                (6, rng.random()),
                (99, 1),
            ]),
            _ => settings(&[(1, rng.random_range(0..10_000)), (3, rng.random_range(10..100))]),
        }
    }

    /// Something that must not come; `None` where the streams are not as it needs them.
    pub(crate) fn illegal(&mut self, rng: &mut SmallRng) -> Option<Sent> {
        let octets = |wrong, octets| Some(Sent { octets, wrong: Some(wrong) });
        let idle = self.next + 20;
        let good = if self.role == Role::Server { request(&[]) } else { response(&[]) };
        match rng.random_range(0..44) {
            0 => octets("DATA, idle", data(idle, b"a", false)),
            1 => octets("DATA, half-closed", data(self.pick(rng, &[State::Half])?, b"a", false)),
            2 => octets("HEADERS, half-closed", headers(self.pick(rng, &[State::Half])?, &good, true)),
            3 => octets("DATA, reset", data(self.pick(rng, &[State::Reset])?, b"a", false)),
            4 => octets("HEADERS, reset", headers(self.pick(rng, &[State::Reset])?, &good, true)),
            5 => octets("HEADERS, an even stream", headers(2, &good, true)),
            6 => octets("RST_STREAM, idle", rst(idle, 8)),
            7 => octets("WINDOW_UPDATE, idle", window(idle, 8)),
            8 => octets("WINDOW_UPDATE by 0, stream", window(self.pick(rng, &[State::Open])?, 0)),
            9 => octets("WINDOW_UPDATE by 0, connection", window(0, 0)),
            10 => octets("WINDOW_UPDATE too large, stream", window(self.pick(rng, &[State::Open])?, i32::MAX as u32)),
            11 => octets("WINDOW_UPDATE too large, connection", window(0, i32::MAX as u32)),
            12 => octets("WINDOW_UPDATE, length", frame(WINDOW, 0, 0, &[0; 3])),
            13 => octets("PING, length", frame(PING, 0, 0, &[0; 7])),
            14 => octets("PING, stream", frame(PING, 0, 1, &[0; 8])),
            15 => octets("SETTINGS, length", frame(SETTINGS, 0, 0, &[0; 7])),
            16 => octets("SETTINGS, stream", frame(SETTINGS, 0, 1, &[])),
            17 => octets("SETTINGS, acknowledged with payload", frame(SETTINGS, ACK, 0, &[0; 6])),
            18 => octets("SETTINGS, push", settings(&[(2, 2)])),
            19 => octets("SETTINGS, window", settings(&[(4, 1 << 31)])),
            20 => octets("SETTINGS, frame", settings(&[(5, [100, 1 << 24][rng.random_range(0..2)])])),
            21 => octets("RST_STREAM, length", frame(RST, 0, self.pick(rng, &[State::Open])?, &[0; 5])),
            22 => octets("RST_STREAM, stream 0", rst(0, 8)),
            23 => octets("PRIORITY, stream 0", frame(PRIORITY, 0, 0, &[0; 5])),
            24 => octets("PRIORITY, length", frame(PRIORITY, 0, self.pick(rng, &[State::Open])?, &[0; 4])),
            25 => {
                let id = self.pick(rng, &[State::Open])?;
                octets("PRIORITY, itself", frame(PRIORITY, 0, id, &[0, 0, 0, id as u8, 3]))
            }
            26 => octets("CONTINUATION, alone", frame(CONTINUATION, WHOLE, 1, &[])),
            27 => {
                octets("PING inside a head", [frame(HEADERS, 0, self.next, &good), frame(PING, 0, 0, &[0; 8])].concat())
            }
            28 => octets("DATA, stream 0", data(0, b"a", false)),
            29 => octets("DATA, padding", frame(0, PADDED, self.pick(rng, &[State::Open])?, &[9, 0, 0])),
            30 => octets("HEADERS, stream 0", headers(0, &good, true)),
            31 => octets("HEADERS, padding", frame(HEADERS, PADDED | WHOLE, self.next, &[200, 0x82])),
            32 => octets("HEADERS, priority", frame(HEADERS, PRIO | WHOLE, self.next, &[0, 0])),
            33 => octets("a frame too large", frame(0x77, 0, 0, &[0; (1 << 14) + 1])),
            34 => octets("no HPACK", headers(self.pick(rng, &[State::Open])?, &[0x80], true)),
            35 => octets("PUSH_PROMISE", frame(PUSH, WHOLE, 1, &[&[0, 0, 0, 2][..], &request(&[])].concat())),
            36 => octets("GOAWAY, stream", frame(7, 0, 1, &[0; 8])),
            37 => octets("GOAWAY, length", frame(7, 0, 0, &[0; 7])),
            38 => octets("trailers that do not end", headers(self.pick(rng, &[State::Open])?, &[], false)),
            39 => octets(
                "trailers with a pseudo-field",
                headers(self.pick(rng, &[State::Open])?, &block(&[(":path", "/")]), true),
            ),
            40 if self.role == Role::Client => {
                octets("DATA, no head", data(self.pick(rng, &[State::Head])?, b"a", false))
            }
            41 => octets("DATA, over", data(self.pick(rng, &[State::Over])?, b"a", false)),
            42 if self.role == Role::Server => octets(GOODBYE, goaway(0, 0)),
            _ => self.malformed(rng),
        }
    }

    /// A frame of any kind, flags, stream and payload: nearly always illegal, and nobody says how.
    pub(crate) fn garbage(&self, rng: &mut SmallRng) -> Vec<u8> {
        let (kind, stream) = (rng.random_range(0..11), rng.random_range(0..12));
        let flags = if rng.random_bool(0.5) { rng.random::<u8>() & 0x2d } else { 0 };
        let length = [0, 4, 5, 6, 8, rng.random_range(0..40)][rng.random_range(0..6)];
        let mut payload: Vec<u8> = (0..length).map(|_| if rng.random_bool(0.5) { 0 } else { rng.random() }).collect();
        if kind == HEADERS && rng.random_bool(0.7) {
            payload = if self.role == Role::Server { request(&[]) } else { response(&[]) };
        }
        frame(kind, flags, stream, &payload)
    }

    fn malformed(&mut self, rng: &mut SmallRng) -> Option<Sent> {
        const FIELDS: [(&str, &str, &str); 9] = [
            ("an upper-case name", "X-y", "a"),
            ("connection", "connection", "close"),
            ("transfer-encoding", "transfer-encoding", "chunked"),
            ("te", "te", "gzip"),
            ("a name with a blank", "x y", "a"),
            ("a value with CR", "x", "a\rb"),
            ("an unknown pseudo-field", ":test", "a"),
            ("content-length, letters", "content-length", "abc"),
            ("a value that begins with a blank", "x", " a"),
        ];
        let (wrong, name, value) = FIELDS[rng.random_range(0..FIELDS.len())];
        let id = if self.role == Role::Server {
            if self.streams.values().filter(|state| **state != State::Reset).count() >= 4 {
                return None;
            }
            self.next += 2;
            self.next - 2
        } else {
            self.pick(rng, &[State::Head])?
        };
        let head = if self.role == Role::Server { request(&[(name, value)]) } else { response(&[(name, value)]) };
        self.streams.remove(&id);
        Some(Sent { octets: headers(id, &head, false), wrong: Some(wrong) })
    }
}

/// HEADERS in one piece or more, with padding and priority or without.
fn head(rng: &mut SmallRng, id: u32, block: &[u8], end: bool) -> Vec<u8> {
    let end = if end { END } else { 0 };
    let cut = rng.random_range(0..=block.len());
    match rng.random_range(0..4) {
        0 => [frame(HEADERS, end, id, &block[..cut]), frame(CONTINUATION, WHOLE, id, &block[cut..])].concat(),
        1 => frame(HEADERS, end | WHOLE | PADDED, id, &[&[3][..], block, &[0; 3]].concat()),
        2 => frame(HEADERS, end | WHOLE | PRIO, id, &[&[0, 0, 0, 99, 5][..], block].concat()),
        _ => frame(HEADERS, end | WHOLE, id, block),
    }
}

fn some_fields(rng: &mut SmallRng) -> Vec<(&'static str, &'static str)> {
    const FIELDS: [(&str, &str); 6] =
        [("te", "trailers"), ("x-a", ""), ("x-a", "b c"), ("cookie", "a=b"), ("grpc-status", "0"), ("x-bin", "AAEC")];
    (0..rng.random_range(0..5)).map(|_| FIELDS[rng.random_range(0..FIELDS.len())]).collect()
}
