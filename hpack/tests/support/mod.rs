//! What the tests of this crate share: a seeded source of numbers, lists of fields as gRPC calls have them, and worse ones.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod others;

use hpack::{Bounds, Decoder, Encoder, Error, Field, Outcome};

/// A field that owns its octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) never_indexed: bool,
}

impl Owned {
    pub(crate) fn new(name: &[u8], value: &[u8]) -> Self {
        Self { name: name.to_vec(), value: value.to_vec(), never_indexed: false }
    }

    pub(crate) fn field(&self) -> Field<'_> {
        Field { never_indexed: self.never_indexed, ..Field::new(&self.name, &self.value) }
    }
}

impl From<Field<'_>> for Owned {
    fn from(field: Field<'_>) -> Self {
        Self { name: field.name.to_vec(), value: field.value.to_vec(), never_indexed: field.never_indexed }
    }
}

/// Bounds that no list of these tests meets.
pub(crate) const WIDE: Bounds = Bounds { list: 1 << 24, abort: 1 << 24 };

/// Decodes a block whose list is in bounds.
pub(crate) fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Owned>, Error> {
    let mut list = Vec::new();
    let outcome = decoder.decode(block, WIDE, |field| list.push(Owned::from(field)))?;
    assert_eq!(outcome, Outcome::Complete { size: list.iter().map(|owned| owned.field().size()).sum() });
    Ok(list)
}

/// Encodes a list as one block.
pub(crate) fn encode(encoder: &mut Encoder, list: &[Owned]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut block = encoder.block(&mut out);
    list.iter().for_each(|owned| block.push(owned.field()));
    out
}

/// splitmix64: the same numbers for the same seed, for ever.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn octets(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        match self.below(3) {
            0 => (0..len).map(|_| b'a' + self.below(26) as u8).collect(),
            1 => (0..len).map(|_| 0x20 + self.below(0x5f) as u8).collect(),
            _ => (0..len).map(|_| self.next() as u8).collect(),
        }
    }
}

const NAMES: [&str; 26] = [
    ":path",
    ":authority",
    ":status",
    ":method",
    "content-type",
    "te",
    "user-agent",
    "grpc-encoding",
    "grpc-accept-encoding",
    "grpc-status",
    "grpc-message",
    "grpc-timeout",
    "grpc-status-details-bin",
    "x-trace-bin",
    "authorization",
    "cookie",
    "set-cookie",
    "x-request-id",
    "traceparent",
    "x-tenant",
    "date",
    "server",
    "vary",
    "content-length",
    "accept-encoding",
    "x-b",
];

const VALUES: [&str; 14] = [
    "",
    "0",
    "200",
    "POST",
    "application/grpc",
    "trailers",
    "gzip",
    "/pkg.Service/Method",
    "/pkg.Other/Call",
    "agents.internal:443",
    "grpc-go/1.70.0",
    "identity,gzip",
    "gzip, deflate",
    "Bearer abc.def.ghi",
];

/// A list of fields: mostly names and values that come again, some that never do, a few that are large or of any octet.
pub(crate) fn list(rng: &mut Rng) -> Vec<Owned> {
    let len = rng.below(14);
    (0..len).map(|_| field(rng)).collect()
}

fn field(rng: &mut Rng) -> Owned {
    let name = if rng.one_in(8) { rng.octets(40) } else { rng.pick(&NAMES).as_bytes().to_vec() };
    let value = match rng.below(12) {
        0 => rng.octets(60),
        1 => {
            let most = if rng.one_in(6) { 5000 } else { 300 };
            rng.octets(most)
        }
        2 => format!("unique-{:x}", rng.next()).into_bytes(),
        _ => rng.pick(&VALUES).as_bytes().to_vec(),
    };
    Owned { name, value, never_indexed: rng.one_in(12) }
}

/// The octets that a line of hexadecimal digits stands for; blanks do not count.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}
