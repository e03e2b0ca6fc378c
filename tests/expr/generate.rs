//! Random messages of a type, as senders write them that do as they like: fields in any order and more than once, messages in parts,
//! lists packed or not, entries without a key, numbers that no enum has.

use portunus::schema::{Field, Kind, MessageType, Scalar, Shape, Writer};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// What makes messages.
pub(crate) struct Generator {
    random: SmallRng,
    /// Fields that no type here has, and fields with another wire type than theirs.
    pub(crate) strange: bool,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), strange: true }
    }

    pub(crate) fn under(&mut self, most: u32) -> u32 {
        self.random.random_range(0..most)
    }

    /// A message, and those in it up to this depth.
    pub(crate) fn message(&mut self, kind: MessageType<'_>, depth: u32) -> Vec<u8> {
        let fields: Vec<_> = kind.fields().collect();
        let mut writer = Writer::default();
        if fields.is_empty() || self.under(12) == 0 {
            return writer.finish();
        }
        for _ in 0..self.under(14) {
            let field = fields[self.random.random_range(0..fields.len())];
            if let (Kind::Message(_), 0) = (field.kind(), depth) {
                continue;
            }
            match (kind.name(), field.name()) {
                // So that what is in an `Any` is known now and then.
                ("google.protobuf.Any", "type_url") => writer.octets(1, b"type.googleapis.com/kinds.Plain"),
                ("google.protobuf.Any", "value") => {
                    let inner = kind.sibling("kinds.Plain").map(|plain| self.message(plain, 1));
                    writer.octets(2, &inner.unwrap_or_default());
                }
                ("google.protobuf.Timestamp" | "google.protobuf.Duration", _) => {
                    writer.varint(field.number(), self.under(999_999_999).into());
                }
                _ => self.field(&mut writer, field, depth),
            }
            if self.strange && self.under(6) == 0 {
                let number = 900 + self.under(4);
                self.unknown(&mut writer, number);
            }
            if self.strange && self.under(12) == 0 && matches!(field.kind(), Kind::Scalar(_)) {
                // Of a wire type that most are not.
                match (field.shape(), field.kind()) {
                    (Shape::Single, Kind::Scalar(Scalar::Fixed32 | Scalar::Sfixed32 | Scalar::Float)) => {
                        writer.varint(field.number(), 5);
                    }
                    (Shape::Single, _) => writer.fixed32(field.number(), 5),
                    _ => {}
                }
            }
        }
        writer.finish()
    }

    fn unknown(&mut self, writer: &mut Writer, number: u32) {
        match self.under(5) {
            0 => writer.varint(number, self.random.random()),
            1 => writer.fixed32(number, self.random.random()),
            2 => writer.fixed64(number, self.random.random()),
            3 => writer.octets(number, b"unknown"),
            _ => {
                let mut inside = Writer::default();
                inside.varint(1, 1);
                inside.group(2, &[]);
                inside.octets(3, b"\x0c");
                writer.group(number, &inside.finish());
            }
        }
    }

    fn field(&mut self, writer: &mut Writer, field: Field<'_>, depth: u32) {
        match field.shape() {
            Shape::Single => self.one(writer, field.number(), field, depth),
            Shape::List => {
                let count = self.under(4);
                if self.under(2) == 0 && packable(field) {
                    let mut packed = Vec::new();
                    for _ in 0..count {
                        let mut alone = Writer::default();
                        self.one(&mut alone, 1, field, depth);
                        // Without its tag, which is one octet for number 1.
                        packed.extend_from_slice(&alone.finish()[1..]);
                    }
                    return writer.octets(field.number(), &packed);
                }
                (0..count).for_each(|_| self.one(writer, field.number(), field, depth));
            }
            Shape::Map(key) => {
                let mut entry = Writer::default();
                // Few keys, so that one comes again.
                for _ in 0..[1, 1, 1, 1, 0, 2][self.random.random_range(0..6)] {
                    match key {
                        Scalar::String => entry.octets(1, [&b"a"[..], b"b", b""][self.random.random_range(0..3)]),
                        Scalar::Fixed32 | Scalar::Sfixed32 => entry.fixed32(1, self.under(3)),
                        Scalar::Fixed64 | Scalar::Sfixed64 => entry.fixed64(1, self.under(3).into()),
                        _ => entry.varint(1, self.under(3).into()),
                    }
                }
                // A decoder that gives a closed enum 0 for a value that is missing would not write what it read.
                let closed = !self.strange && matches!(field.kind(), Kind::Enum(known) if !known.takes(100));
                let counts = if closed { [1; 6] } else { [1, 1, 1, 1, 0, 2] };
                for _ in 0..counts[self.random.random_range(0..6)] {
                    self.one(&mut entry, 2, field, depth);
                }
                if self.strange && self.under(8) == 0 {
                    self.unknown(&mut entry, 9);
                }
                writer.octets(field.number(), &entry.finish());
            }
        }
    }

    fn one(&mut self, writer: &mut Writer, number: u32, field: Field<'_>, depth: u32) {
        match field.kind() {
            Kind::Scalar(kind) => self.scalar(writer, number, kind),
            Kind::Enum(_) => {
                let value = i64::from(self.under(8)) - 2;
                writer.varint(number, value.cast_unsigned());
            }
            Kind::Message(kind) => {
                let octets = self.message(kind, depth.saturating_sub(1));
                match field.is_delimited() {
                    true => writer.group(number, &octets),
                    false => writer.octets(number, &octets),
                }
            }
        }
    }

    fn scalar(&mut self, writer: &mut Writer, number: u32, kind: Scalar) {
        let zero = self.under(4) == 0;
        let any: u64 = if zero { 0 } else { self.random.random::<u64>() >> self.under(64) };
        match kind {
            // No NaN, which is not equal to itself.
            Scalar::Float => {
                writer.fixed32(number, if zero { 0 } else { (f64::from(self.under(1 << 20)) as f32).to_bits() })
            }
            Scalar::Double => {
                writer.fixed64(number, if zero { 0 } else { (f64::from(self.under(1 << 20)) / 3.0).to_bits() })
            }
            Scalar::Fixed32 | Scalar::Sfixed32 => writer.fixed32(number, (any & 0xffff_ffff) as u32),
            Scalar::Fixed64 | Scalar::Sfixed64 => writer.fixed64(number, any),
            Scalar::String => {
                writer.octets(number, ["", "acme", "größe", "\u{10348}\n"][self.random.random_range(0..4)].as_bytes());
            }
            Scalar::Bytes => writer.octets(number, [&b""[..], b"\x00\xff", b"abc"][self.random.random_range(0..3)]),
            // More bits than the type has are cut off.
            _ => writer.varint(number, any),
        }
    }
}

fn packable(field: Field<'_>) -> bool {
    match field.kind() {
        Kind::Scalar(kind) => !matches!(kind, Scalar::String | Scalar::Bytes),
        Kind::Enum(_) => true,
        Kind::Message(_) => false,
    }
}
