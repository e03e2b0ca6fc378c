//! Follows what the proxy says to a peer, frame by frame, and finds fault with it: whatever a peer does, the proxy keeps to HTTP/2.

use std::collections::BTreeMap;

use super::frames::{
    CONTINUATION, DATA, END, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

/// The window that a stream and a connection have before anybody says otherwise, and the largest frame.
const WINDOW: u64 = 65_535;
const FRAME: usize = 16_384;

/// Cuts octets into frames.
#[derive(Default)]
pub(crate) struct Cutter {
    rest: Vec<u8>,
}

/// One frame.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Cutter {
    pub(crate) fn feed(&mut self, octets: &[u8]) {
        self.rest.extend_from_slice(octets);
    }

    /// Takes off what is no frame, once it is whole.
    fn skip(&mut self, count: usize) -> Option<Vec<u8>> {
        (self.rest.len() >= count).then(|| self.rest.drain(..count).collect())
    }

    fn next(&mut self) -> Option<Frame> {
        let [a, b, c, kind, flags, stream @ ..] = *self.rest.first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = self.rest.get(9..9 + length)?.to_vec();
        self.rest.drain(..9 + length);
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1), payload })
    }
}

/// What the peer itself has said, as far as the proxy has to keep to it: never less than what the proxy may do.
#[derive(Default)]
pub(crate) struct Allowed {
    cutter: Cutter,
    begun: bool,
    /// The largest window that new streams ever had, the largest frame, and credit by stream.
    window: u64,
    frame: usize,
    /// A PRIORITY that cannot be is an error of its stream, also where that is reset (§6.3).
    priority: bool,
    credit: BTreeMap<u32, u64>,
}

impl Allowed {
    /// The peer says this. `caller`: it has a preface first.
    pub(crate) fn said(&mut self, octets: &[u8], caller: bool) {
        self.cutter.feed(octets);
        if !self.begun {
            self.begun = !caller || self.cutter.skip(PREFACE.len()).is_some();
        }
        while self.begun
            && let Some(frame) = self.cutter.next()
        {
            match (frame.kind, &*frame.payload) {
                (WINDOW_UPDATE, [a, b, c, d]) => {
                    *self.credit.entry(frame.stream).or_default() +=
                        u64::from(u32::from_be_bytes([*a, *b, *c, *d]) & (u32::MAX >> 1));
                }
                (SETTINGS, payload) => {
                    for [_, id, value @ ..] in payload.as_chunks::<6>().0 {
                        let value = u32::from_be_bytes(*value);
                        match id {
                            4 => self.window = self.window.max(value.into()),
                            5 => self.frame = self.frame.max(value as usize),
                            _ => {}
                        }
                    }
                }
                (PRIORITY, _) => self.priority = true,
                _ => {}
            }
        }
    }

    fn credit(&self, stream: u32) -> u64 {
        self.credit.get(&stream).copied().unwrap_or_default()
    }
}

/// What the proxy has said about a stream.
#[derive(Default)]
pub(crate) struct Stream {
    /// END_STREAM, or a reset.
    pub(crate) ended: bool,
    pub(crate) reset: bool,
    /// The peer has answered it.
    pub(crate) answered: bool,
    data: u64,
}

/// What the proxy has said on a connection.
#[derive(Default)]
pub(crate) struct Follower {
    cutter: Cutter,
    /// Past the preface that an instance gets.
    begun: bool,
    settled: bool,
    /// It said that it does not speak HTTP/1.1.
    lost: bool,
    block: Option<u32>,
    data: u64,
    pub(crate) streams: BTreeMap<u32, Stream>,
}

impl Follower {
    /// The proxy said this. Gives what a peer that behaves answers.
    pub(crate) fn heard(&mut self, octets: &[u8], caller: bool, allowed: &Allowed) -> Vec<Frame> {
        if !self.begun && !self.lost {
            self.lost = caller && octets.starts_with(b"HTTP/1.1 505");
        }
        if self.lost {
            return Vec::new();
        }
        self.cutter.feed(octets);
        if !self.begun {
            self.begun = caller;
            if let Some(preface) = (!caller).then(|| self.cutter.skip(PREFACE.len())).flatten() {
                assert_eq!(preface, PREFACE, "a preface");
                self.begun = true;
            }
        }
        let mut frames = Vec::new();
        while self.begun
            && let Some(frame) = self.cutter.next()
        {
            self.check(&frame, caller, allowed);
            frames.push(frame);
        }
        frames
    }

    fn check(&mut self, frame: &Frame, caller: bool, allowed: &Allowed) {
        let Frame { kind, flags, stream, payload } = frame;
        let (kind, flags, stream) = (*kind, *flags, *stream);
        assert!(self.settled || (kind == SETTINGS && flags == 0), "SETTINGS come first, not {kind}");
        assert!(payload.len() <= FRAME.max(allowed.frame), "a frame of {} octets", payload.len());
        assert_eq!(self.block.is_some(), kind == CONTINUATION, "a head in one piece, not {kind}");
        match kind {
            DATA | HEADERS => {
                assert_eq!(flags & PADDED, 0, "padding");
                if !caller && kind == HEADERS && !self.streams.contains_key(&stream) {
                    let last = self.streams.last_key_value().map_or(0, |(last, _)| *last);
                    assert!(stream > last && stream % 2 == 1, "stream {stream} behind {last}");
                }
                let known = self.streams.entry(stream).or_default();
                assert!(!known.ended, "a frame {kind} behind the end of stream {stream}");
                known.ended = flags & END != 0;
                if kind == HEADERS {
                    self.block = (flags & super::frames::END_HEADERS == 0).then_some(stream);
                    return;
                }
                known.data += payload.len() as u64;
                self.data += payload.len() as u64;
                let most = WINDOW.max(allowed.window) + allowed.credit(stream);
                assert!(known.data <= most, "{} octets on stream {stream}, not {most}", known.data);
                let most = WINDOW + allowed.credit(0);
                assert!(self.data <= most, "{} octets on the connection, not {most}", self.data);
            }
            CONTINUATION => {
                assert_eq!(self.block, Some(stream));
                if flags & super::frames::END_HEADERS != 0 {
                    self.block = None;
                }
            }
            RST_STREAM => {
                assert_eq!(payload.len(), 4);
                let known = self.streams.entry(stream).or_default();
                assert!(!known.reset || allowed.priority, "stream {stream} is reset twice");
                (known.reset, known.ended) = (true, true);
            }
            SETTINGS if flags & END != 0 => assert!(payload.is_empty()),
            SETTINGS => assert!(!std::mem::replace(&mut self.settled, true), "SETTINGS again"),
            PING => assert_eq!(payload.len(), 8),
            GOAWAY => assert!(payload.len() >= 8),
            WINDOW_UPDATE => assert!(payload.len() == 4 && **payload != [0; 4], "a window that grows by {payload:?}"),
            _ => panic!("a frame of kind {kind}"),
        }
    }
}
