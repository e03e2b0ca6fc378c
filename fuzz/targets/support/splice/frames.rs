//! Frames and heads as peers make them, by hand: no engine of ours is in between that would only make good ones.

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// END_STREAM, and ACK of SETTINGS and PING.
pub(crate) const END: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// An input that is used up from its front. Where it ends, it goes on with zeros.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn octet(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn octets(&mut self, count: usize) -> &'a [u8] {
        let (now, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        now
    }

    /// A few, or many.
    pub(crate) fn size(&mut self) -> usize {
        match self.octet() {
            large @ 0xc0.. => usize::from(large - 0xbf) * 1_200,
            small => usize::from(small),
        }
    }

    /// A number of four octets that is small, middling or as large as there is.
    pub(crate) fn number(&mut self) -> u32 {
        let octet = u32::from(self.octet());
        match octet >> 6 {
            0 => octet,
            1 => (octet & 0x3f) << 10,
            2 => (octet & 0x3f) << 20,
            _ => u32::MAX >> (octet & 0x3f).min(31),
        }
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let mut octets = vec![length[1], length[2], length[3], kind, flags];
    octets.extend(stream.to_be_bytes());
    octets.extend(payload);
    octets
}

/// A head whole, or in pieces of `piece` octets.
pub(crate) fn head(stream: u32, end: bool, block: &[u8], piece: usize) -> Vec<u8> {
    let mut pieces = block.chunks(piece.max(1)).peekable();
    let first = pieces.next().unwrap_or_default();
    let last = |more: bool| if more { 0 } else { END_HEADERS };
    let mut octets = frame(HEADERS, u8::from(end) | last(pieces.peek().is_some()), stream, first);
    while let Some(piece) = pieces.next() {
        octets.extend(frame(CONTINUATION, last(pieces.peek().is_some()), stream, piece));
    }
    octets
}

/// A gRPC message of zeros with its prefix; `off` makes the prefix lie about the length.
pub(crate) fn message(size: usize, off: u8) -> Vec<u8> {
    let told = u32::try_from(size).unwrap_or_default().wrapping_add(u32::from(off));
    let mut octets = vec![0];
    octets.extend(told.to_be_bytes());
    octets.resize(5 + size, 0);
    octets
}

/// The head of a request. Bits of `what`: 2 and 4 the route, 8 a deadline, 10 fields for the table, 20 a long field, 40 a
/// credential, both of these a route whose messages are read, 80 one that is no gRPC.
pub(crate) fn request(what: u8) -> Vec<u8> {
    let read = what & 0x60 == 0x60;
    let paths = if read { ["/a.B/M", "/a.K/M", "/a.F/M", "/a.G/M"] } else { ["/a.A/M", "/a.T/M", "/a.L/M", "/x"] };
    let path = paths[usize::from(what >> 1 & 3)];
    let mut block = vec![0x83, 0x86];
    literal(&mut block, what, ":path", path);
    literal(&mut block, what, ":authority", "a");
    if what & 0x80 == 0 {
        literal(&mut block, what, "content-type", "application/grpc");
    }
    literal(&mut block, what, "te", "trailers");
    if what & 8 != 0 {
        literal(&mut block, what, "grpc-timeout", "1500m");
    }
    if read {
        literal(&mut block, what, "grpc-encoding", "gzip");
        return block;
    }
    if what & 0x20 != 0 {
        literal(&mut block, what, "x-long", &"y".repeat(1_500));
    }
    if what & 0x40 != 0 {
        block.push(0x10);
        string(&mut block, "authorization");
        string(&mut block, &"z".repeat(120));
    }
    block
}

/// The head of an answer. Bits of `what`: 2 and 4 what it is, 8 with a status, so that it is all, 10 fields for the table, 20 a
/// long field, 80 one that is no gRPC.
pub(crate) fn answer(what: u8) -> Vec<u8> {
    let mut block = Vec::new();
    match what >> 1 & 3 {
        1 => block.push(0x8d),
        2 => literal(&mut block, 0, ":status", "100"),
        _ => block.push(0x88),
    }
    if what & 0x80 == 0 {
        literal(&mut block, what, "content-type", "application/grpc");
    }
    if what >> 1 & 3 == 3 {
        literal(&mut block, what, "content-length", "11");
    }
    if what & 8 != 0 {
        literal(&mut block, what, "grpc-status", "5");
    }
    if what & 0x20 != 0 {
        literal(&mut block, what, "x-long", &"y".repeat(1_500));
    }
    block
}

/// Trailers. The low five bits of `what` are the status; 20 leaves it out, 40 adds a long field.
pub(crate) fn trailers(what: u8) -> Vec<u8> {
    let mut block = Vec::new();
    if what & 0x20 == 0 {
        literal(&mut block, 0, "grpc-status", &(what & 0x1f).to_string());
    }
    if what & 0x40 != 0 {
        literal(&mut block, 0, "grpc-message", &"m".repeat(900));
    }
    block
}

/// A field with a name of its own, for the table where `what` has bit 10.
fn literal(block: &mut Vec<u8>, what: u8, name: &str, value: &str) {
    block.push(if what & 0x10 == 0 { 0 } else { 0x40 });
    string(block, name);
    string(block, value);
}

fn string(block: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(short @ ..0x7f) => block.push(short),
        _ => {
            let mut rest = text.len() - 0x7f;
            block.push(0x7f);
            while rest >= 0x80 {
                block.push(0x80 | (rest & 0x7f) as u8);
                rest >>= 7;
            }
            block.push(rest as u8);
        }
    }
    block.extend(text.as_bytes());
}
