//! The wire format, field by field, without a message being built. Says what is there, not what it means.

use std::ops::Range;

/// How deep groups may lie in each other. Decoders refuse what is deeper.
const MOST_GROUPS: usize = 100;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What a field on the wire has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// Octets with a length before them.
    Length(Range<usize>),
    /// What is between the two tags of a group.
    Group(Range<usize>),
}

/// Reads fields one after the other.
pub(super) struct Reader<'w> {
    wire: &'w [u8],
    at: usize,
}

const CUT: Malformed = Malformed("it ends in the middle of a field");

impl<'w> Reader<'w> {
    pub(super) fn new(wire: &'w [u8]) -> Self {
        Self { wire, at: 0 }
    }

    /// Where the next field begins.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next field's number and what it has; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Payload)>, Malformed> {
        if self.at >= self.wire.len() {
            return Ok(None);
        }
        match self.tag()? {
            (_, END_GROUP) => Err(Malformed("a group ends that has not begun")),
            (number, START_GROUP) => self.group(number).map(|range| Some((number, Payload::Group(range)))),
            (number, form) => self.payload(form).map(|payload| Some((number, payload))),
        }
    }

    /// A varint.
    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        // Most are one octet.
        if let Some(&octet) = self.wire.get(self.at)
            && octet < 0x80
        {
            self.at += 1;
            return Ok(u64::from(octet));
        }
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let octet = *self.wire.get(self.at).ok_or(CUT)?;
            self.at += 1;
            if shift == 63 && octet > 1 {
                return Err(Malformed("a number has more than 64 bits"));
            }
            value |= u64::from(octet & 0x7f) << shift;
            if octet < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("a number has more than ten octets"))
    }

    pub(super) fn fixed64(&mut self) -> Result<u64, Malformed> {
        self.fixed().map(u64::from_le_bytes)
    }

    pub(super) fn fixed32(&mut self) -> Result<u32, Malformed> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let octets = self.wire.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(CUT)?;
        self.at += N;
        Ok(*octets)
    }

    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        Ok((number.ok_or(Malformed("a field has a number that none can have"))?, (tag & 7) as u8))
    }

    fn payload(&mut self, form: u8) -> Result<Payload, Malformed> {
        match form {
            0 => self.varint().map(Payload::Varint),
            1 => self.fixed64().map(Payload::Fixed64),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| CUT)?;
                let end = self.at.checked_add(length).filter(|end| *end <= self.wire.len()).ok_or(CUT)?;
                let range = self.at..end;
                self.at = end;
                Ok(Payload::Length(range))
            }
            5 => self.fixed32().map(Payload::Fixed32),
            _ => Err(Malformed("a field has a wire type that there is not")),
        }
    }

    /// What is in a group, up to the tag that ends it.
    fn group(&mut self, number: u32) -> Result<Range<usize>, Malformed> {
        let begin = self.at;
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            let end = self.at;
            match self.tag()? {
                (number, END_GROUP) if number == innermost => {
                    open.pop();
                    if open.is_empty() {
                        return Ok(begin..end);
                    }
                }
                (_, END_GROUP) => return Err(Malformed("a group ends that is not the innermost")),
                (_, START_GROUP) if open.len() >= MOST_GROUPS => return Err(Malformed("groups lie too deep")),
                (number, START_GROUP) => open.push(number),
                (_, form) => {
                    self.payload(form)?;
                }
            }
        }
        Err(CUT)
    }
}

const START_GROUP: u8 = 3;
const END_GROUP: u8 = 4;

/// Writes fields one after the other.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// A number in as many octets as it needs.
    pub fn varint(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        self.put(value);
    }

    /// Eight octets.
    pub fn fixed64(&mut self, number: u32, value: u64) {
        self.tag(number, 1);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Four octets.
    pub fn fixed32(&mut self, number: u32, value: u32) {
        self.tag(number, 5);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Octets, a text or a message.
    pub fn octets(&mut self, number: u32, octets: &[u8]) {
        self.tag(number, 2);
        self.put(octets.len() as u64);
        self.out.extend_from_slice(octets);
    }

    /// A message between two tags.
    pub fn group(&mut self, number: u32, octets: &[u8]) {
        self.tag(number, START_GROUP);
        self.out.extend_from_slice(octets);
        self.tag(number, END_GROUP);
    }

    /// A number without a field, as one of several in one field.
    pub(super) fn bare(&mut self, value: u64) {
        self.put(value);
    }

    /// What is written.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    fn tag(&mut self, number: u32, form: u8) {
        self.put(u64::from(number) << 3 | u64::from(form));
    }

    fn put(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}
