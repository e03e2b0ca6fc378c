//! Whatever lists go out, to a peer of whatever table sizes: our decoder and another one read the same, secrets stay out of
//! every table, and the encoder stays within its memory.
//!
//! The input is an octet for the cap, then steps: `ff` and two octets are the peer's table size, `fe` ends a list; else an
//! octet says how a field is made, as `field` reads it. What is left at the end is a list too.
#![no_main]

#[path = "support/hpack.rs"]
mod support;

use hpack::{Bounds, Decoder, Encoder, Field};
use libfuzzer_sys::fuzz_target;
use support::{Httlib, Input, Owned, owned};

const CAPS: [usize; 8] = [4096, 0, 32, 64, 300, 1000, 16_384, 65_536];
/// The time that httlib takes grows with the square of it.
const MOST_FIELDS: usize = 40;
const WIDE: Bounds = Bounds { list: 1 << 30, abort: 1 << 30 };

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut connection = Connection::new(CAPS[usize::from(input.octet() % 8)]);
    let mut list = Vec::new();
    while !input.is_empty() {
        match input.octet() {
            0xff => connection.set_table_size(input.number()),
            0xfe => connection.send(&std::mem::take(&mut list)),
            kind => list.push(field(kind, &mut input)),
        }
        if list.len() == MOST_FIELDS {
            connection.send(&std::mem::take(&mut list));
        }
    }
    connection.send(&list);
});

/// Names that the encoder has a policy for, one of each and some more, and names that it does not know.
const NAMES: [&[u8]; 16] = [
    b":path",
    b":status",
    b":method",
    b":authority",
    b"content-type",
    b"grpc-timeout",
    b"grpc-status",
    b"x-request-id",
    b"authorization",
    b"cookie",
    b"x-api-key",
    b"x-trace-bin",
    b"accept-encoding",
    b"date",
    b"x-tenant",
    b"",
];
const VALUES: [&[u8]; 4] = [b"", b"200", b"application/grpc", b"/pkg.Service/Method"];
/// Of a value: more than the usual table holds, and little enough for many runs a second.
const LONGEST: usize = 6000;

/// All of them: an input can spell out any name.
const SECRETS: [&[u8]; 9] = [
    b"authorization",
    b"cookie",
    b"set-cookie",
    b"proxy-authorization",
    b"api-key",
    b"x-api-key",
    b"x-goog-api-key",
    b"x-auth-token",
    b"x-amz-security-token",
];

/// Of `kind`, the lower four bits are one of `NAMES`; 0x40 says that octets of the input follow in the name; 0x30 says what the
/// value is: octets of the input, one of `VALUES`, or one octet many times (large fields in short inputs); 0x80 is the flag.
fn field(kind: u8, input: &mut Input<'_>) -> Owned {
    let mut name = NAMES[usize::from(kind & 0x0f)].to_vec();
    if kind & 0x40 != 0 {
        let len = usize::from(input.octet());
        name.extend(input.octets(len));
    }
    let value = match kind >> 4 & 0x03 {
        0 => {
            let len = usize::from(input.octet());
            input.octets(len).to_vec()
        }
        1 => VALUES[usize::from(input.octet() % 4)].to_vec(),
        2 => vec![input.octet(); usize::from(input.octet())],
        _ => vec![input.octet(); input.number() % LONGEST],
    };
    (name, value, kind & 0x80 != 0)
}

struct Connection {
    cap: usize,
    encoder: Encoder,
    decoder: Decoder,
    httlib: Httlib,
}

impl Connection {
    fn new(cap: usize) -> Self {
        Self { cap, encoder: Encoder::new(cap), decoder: Decoder::new(), httlib: Httlib::new() }
    }

    fn set_table_size(&mut self, size: usize) {
        self.encoder.set_peer_table_size(size);
        self.decoder.set_table_size(size);
        self.httlib.set_table_size(size);
    }

    fn send(&mut self, list: &[Owned]) {
        let mut out = Vec::new();
        let mut block = self.encoder.block(&mut out);
        for (name, value, never_indexed) in list {
            block.push(Field { never_indexed: *never_indexed, ..Field::new(name, value) });
        }
        // Table and index have at most this many octets for each octet of the cap: 5 and 2.
        assert!(self.encoder.allocated() <= 7 * self.cap + 256, "{} octets", self.encoder.allocated());
        let wanted: Vec<Owned> = list.iter().cloned().map(marked).collect();

        let mut read = Vec::new();
        let outcome = self.decoder.decode(&out, WIDE, |field| read.push(owned(field)));
        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!(read, wanted);

        if let Some(read) = self.httlib.decode(&out) {
            assert_eq!(read.unwrap_or_else(|error| panic!("httlib: {error:?}")), wanted);
        }
    }
}

/// As it arrives: secrets are never indexed, whatever they came as.
fn marked((name, value, never_indexed): Owned) -> Owned {
    let secret = SECRETS.contains(&name.as_slice());
    (name, value, never_indexed || secret)
}
