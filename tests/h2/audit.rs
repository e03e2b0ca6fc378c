//! Whether an end keeps to the windows that the other gave it, by the frames on the wire alone.

use std::collections::HashMap;

use crate::wire::{ACK, DATA, END, Frame, GOAWAY, HEADERS, RST, Reader, SETTINGS, WINDOW};

const FIRST_WINDOW: i64 = 65_535;

/// The account of one end: what it may send, and what it has sent.
pub(crate) struct Audit {
    /// What this end writes.
    sent: Reader,
    /// What reaches it.
    came: Reader,
    connection: i64,
    initial: i64,
    /// What is left of each stream's window; credit may come before the first DATA.
    streams: HashMap<u32, i64>,
    /// Streams on which this end has said that nothing follows.
    ended: HashMap<u32, bool>,
    pub(crate) data_frames: u64,
    pub(crate) resets: Vec<(u32, u32)>,
    pub(crate) goaway: Option<(u32, u32)>,
}

impl Audit {
    pub(crate) fn new(client: bool) -> Self {
        let (sent, came) =
            if client { (Reader::of_client(), Reader::default()) } else { (Reader::default(), Reader::of_client()) };
        Self {
            sent,
            came,
            connection: FIRST_WINDOW,
            initial: FIRST_WINDOW,
            streams: HashMap::new(),
            ended: HashMap::new(),
            data_frames: 0,
            resets: Vec::new(),
            goaway: None,
        }
    }

    /// This end has been handed these octets.
    pub(crate) fn came(&mut self, bytes: &[u8]) {
        self.came.push(bytes);
        while let Some(frame) = self.came.next() {
            match frame.kind {
                WINDOW => {
                    let by = i64::from(frame.number(0));
                    assert!(by > 0, "WINDOW_UPDATE by 0");
                    let window = if frame.stream == 0 {
                        &mut self.connection
                    } else {
                        self.streams.entry(frame.stream).or_insert(self.initial)
                    };
                    *window += by;
                    assert!(*window <= i64::from(i32::MAX), "a window over 2^31 - 1");
                }
                SETTINGS if !frame.has(ACK) => {
                    for setting in frame.payload.chunks(6) {
                        if setting[..2] == [0, 4] {
                            let to = i64::from(u32::from_be_bytes(setting[2..].try_into().unwrap()));
                            self.streams.values_mut().for_each(|window| *window += to - self.initial);
                            self.initial = to;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// This end has written these octets.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        self.sent.push(bytes);
        while let Some(frame) = self.sent.next() {
            self.check(&frame);
        }
    }

    /// What it has made and not yet written must fit too.
    pub(crate) fn check_pending(&self, bytes: &[u8]) {
        let mut reader = self.sent.clone();
        reader.push(bytes);
        let (mut connection, mut streams) = (0, HashMap::new());
        while let Some(frame) = reader.next() {
            if frame.kind == DATA {
                connection += frame.payload.len() as i64;
                *streams.entry(frame.stream).or_insert(0) += frame.payload.len() as i64;
            }
        }
        assert!(connection <= self.connection, "DATA over the connection's window in the output");
        for (stream, octets) in streams {
            let window = self.streams.get(&stream).copied().unwrap_or(self.initial);
            assert!(octets == 0 || octets <= window, "DATA over the window of stream {stream} in the output");
        }
    }

    fn check(&mut self, frame: &Frame) {
        assert!(frame.payload.len() <= 1 << 14, "a frame over what the other end takes");
        match frame.kind {
            DATA | HEADERS => {
                assert!(!self.ended.get(&frame.stream).copied().unwrap_or(false), "a frame behind the end: {frame:?}");
                if frame.kind == DATA {
                    self.take(frame);
                }
                self.ended.insert(frame.stream, frame.has(END));
            }
            RST => {
                // A reset may follow an end; nothing follows a reset.
                self.ended.insert(frame.stream, true);
                self.resets.push((frame.stream, frame.number(0)));
            }
            GOAWAY => self.goaway = Some((frame.number(0), frame.number(4))),
            _ => {}
        }
    }

    fn take(&mut self, frame: &Frame) {
        let octets = frame.payload.len() as i64;
        self.data_frames += 1;
        self.connection -= octets;
        assert!(self.connection >= 0, "DATA over the connection's window by {}", -self.connection);
        let window = self.streams.entry(frame.stream).or_insert(self.initial);
        *window -= octets;
        assert!(octets == 0 || *window >= 0, "DATA over the window of stream {} by {}", frame.stream, -*window);
    }
}
