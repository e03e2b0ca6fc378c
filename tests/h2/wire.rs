//! Frames as octets, made and read without any code of the engine's.

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 0x1;
pub(crate) const END: u8 = 0x1;
pub(crate) const WHOLE: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const PRIO: u8 = 0x20;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The four octets at `at` as a number.
    pub(crate) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// Octets to frames, however they come.
#[derive(Clone, Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    preface: usize,
}

impl Reader {
    /// Of what a client sends: its preface goes first.
    pub(crate) fn of_client() -> Self {
        Self { bytes: Vec::new(), preface: PREFACE.len() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn next(&mut self) -> Option<Frame> {
        if self.preface > 0 {
            if self.bytes.len() < self.preface {
                return None;
            }
            assert_eq!(&self.bytes[..self.preface], PREFACE, "the preface");
            self.bytes.drain(..self.preface);
            self.preface = 0;
        }
        if self.bytes.len() < 9 {
            return None;
        }
        let length = usize::from(self.bytes[0]) << 16 | usize::from(self.bytes[1]) << 8 | usize::from(self.bytes[2]);
        if self.bytes.len() < 9 + length {
            return None;
        }
        let frame = Frame {
            kind: self.bytes[3],
            flags: self.bytes[4],
            stream: u32::from_be_bytes(self.bytes[5..9].try_into().unwrap()),
            payload: self.bytes[9..9 + length].to_vec(),
        };
        self.bytes.drain(..9 + length);
        Some(frame)
    }

    /// Every frame of these octets.
    pub(crate) fn all(bytes: &[u8]) -> Vec<Frame> {
        let mut reader = Self::default();
        reader.push(bytes);
        let frames = std::iter::from_fn(|| reader.next()).collect();
        assert!(reader.bytes.is_empty(), "part of a frame");
        frames
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

pub(crate) fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        pairs.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat()).collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub(crate) fn window(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW, 0, stream, &by.to_be_bytes())
}

pub(crate) fn rst(stream: u32, code: u32) -> Vec<u8> {
    frame(RST, 0, stream, &code.to_be_bytes())
}

pub(crate) fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

pub(crate) fn data(stream: u32, bytes: &[u8], end: bool) -> Vec<u8> {
    frame(DATA, if end { END } else { 0 }, stream, bytes)
}

/// DATA with padding.
pub(crate) fn padded(stream: u32, bytes: &[u8], padding: u8, end: bool) -> Vec<u8> {
    let payload = [&[padding][..], bytes, &vec![0; usize::from(padding)]].concat();
    frame(DATA, PADDED | if end { END } else { 0 }, stream, &payload)
}

/// HEADERS, whole.
pub(crate) fn headers(stream: u32, block: &[u8], end: bool) -> Vec<u8> {
    frame(HEADERS, WHOLE | if end { END } else { 0 }, stream, block)
}

/// A block of literals that no table knows (RFC 7541 §6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        literal(&mut out, name.as_bytes(), value.as_bytes());
    }
    out
}

pub(crate) fn literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    for text in [name, value] {
        length(out, text.len());
        out.extend_from_slice(text);
    }
}

/// A length with a prefix of seven bits (RFC 7541 §5.1).
fn length(out: &mut Vec<u8>, mut length: usize) {
    if length < 127 {
        return out.push(u8::try_from(length).unwrap());
    }
    out.push(127);
    length -= 127;
    while length >= 128 {
        out.push(u8::try_from(length % 128).unwrap() | 0x80);
        length /= 128;
    }
    out.push(u8::try_from(length).unwrap());
}

/// The head of a good gRPC request, and what else it should have.
pub(crate) fn request(more: &[(&str, &str)]) -> Vec<u8> {
    let mut out = block(&[(":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "a")]);
    out.extend(block(more));
    out
}

/// The head of a good answer.
pub(crate) fn response(more: &[(&str, &str)]) -> Vec<u8> {
    let mut out = block(&[(":status", "200")]);
    out.extend(block(more));
    out
}
