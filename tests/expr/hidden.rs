//! A second opinion on what a redaction did, on the wire: goes through the octets before and after side by side, with a reader of its
//! own. What is named must be the mask in every occurrence, and all else what it was, octet by octet. The fuzz target `redact` uses this
//! file too.

use std::collections::BTreeMap;

use portunus::schema::{Field, Item, Kind, MessageType, Scalar, Shape, default};

/// Paths by their names.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// Something ends here, and hides all of it.
    pub(crate) whole: bool,
    pub(crate) fields: BTreeMap<String, Named>,
}

/// A field on the wire.
#[derive(Debug)]
struct Occurrence<'w> {
    number: u32,
    form: u8,
    /// All of it.
    octets: &'w [u8],
    /// Without its tag, its length and the tag that ends it.
    content: &'w [u8],
}

impl Named {
    pub(crate) fn by(paths: &[String]) -> Self {
        let mut root = Self::default();
        for path in paths {
            let end = path.split('.').fold(&mut root, |at, name| at.fields.entry(name.to_owned()).or_default());
            end.whole = true;
        }
        root
    }

    /// Panics where something that is named is left, or something else is changed.
    pub(crate) fn judge(&self, kind: MessageType<'_>, mask: &str, before: &[u8], after: &[u8]) {
        let judge = Judge { mask };
        judge.message(kind, self, before, after);
    }
}

struct Judge<'m> {
    mask: &'m str,
}

impl Judge<'_> {
    fn message(&self, kind: MessageType<'_>, named: &Named, before: &[u8], after: &[u8]) {
        let after = fields_of(after);
        let mut after = after.iter();
        for was in &fields_of(before) {
            let field = kind.numbered(was.number);
            match field.and_then(|field| Some((field, named.fields.get(field.name())?))) {
                Some((field, named)) => self.field(field, named, was, &mut after),
                None => assert_eq!(after.next().map(|is| is.octets), Some(was.octets), "{kind:?}: nobody named it"),
            }
        }
        assert!(after.next().is_none(), "{kind:?}: there is more than there was");
    }

    fn field<'a, 'w: 'a>(
        &self,
        field: Field<'_>,
        named: &Named,
        was: &Occurrence<'_>,
        after: &mut impl Iterator<Item = &'a Occurrence<'w>>,
    ) {
        let is_map = matches!(field.shape(), Shape::Map(_));
        let packed = field.shape() == Shape::List && was.form == 2 && form_of(field) != 2 && form_of(field) != 3;
        let right = if is_map { was.form == 2 } else { was.form == form_of(field) || packed };
        if !right || (is_map && named.whole) {
            // It is gone.
            return;
        }
        let is = after.next().unwrap_or_else(|| panic!("{field:?} is gone"));
        assert_eq!((is.number, is.form), (was.number, was.form), "{field:?}");
        if is_map {
            self.entry(field, named, was.content, is.content);
        } else if packed && named.whole {
            self.numbers(field, was.content, is.content);
        } else {
            self.value(field, named, was.content, is.content);
        }
    }

    fn entry(&self, field: Field<'_>, named: &Named, before: &[u8], after: &[u8]) {
        let values = &named.fields["*"];
        let after = fields_of(after);
        let mut after = after.iter();
        for was in &fields_of(before) {
            // Decoders do not agree on what such an entry has.
            match (was.number, field.shape()) {
                (1, Shape::Map(key)) => {
                    assert_eq!(was.form, form_of_scalar(key), "{field:?}: a key of another wire type")
                }
                (2, _) => assert_eq!(was.form, form_of(field), "{field:?}: a value of another wire type"),
                _ => {}
            }
            let is = after.next().unwrap_or_else(|| panic!("{field:?} lacks something of an entry"));
            match was.number {
                2 => {
                    assert_eq!((is.number, is.form), (was.number, was.form), "{field:?}");
                    self.value(field, values, was.content, is.content);
                }
                _ => assert_eq!(is.octets, was.octets, "{field:?}: a key, or unknown"),
            }
        }
        assert!(after.next().is_none(), "{field:?}: an entry has more than it had");
    }

    fn value(&self, field: Field<'_>, named: &Named, before: &[u8], after: &[u8]) {
        match field.kind() {
            Kind::Message(_) if named.whole => assert!(after.is_empty(), "{field:?} is not empty"),
            Kind::Message(kind) => self.message(kind, named, before, after),
            Kind::Scalar(Scalar::String) => assert_eq!(after, self.mask.as_bytes(), "{field:?}"),
            Kind::Scalar(Scalar::Bytes) => assert!(after.is_empty(), "{field:?} is not empty"),
            Kind::Enum(_) => assert_eq!(numbers(after), [first(field)], "{field:?}"),
            Kind::Scalar(_) => assert!(after.iter().all(|octet| *octet == 0), "{field:?}: {after:?}"),
        }
    }

    fn numbers(&self, field: Field<'_>, before: &[u8], after: &[u8]) {
        match form_of(field) {
            0 => {
                let (before, after) = (numbers(before), numbers(after));
                assert_eq!(before.len(), after.len(), "{field:?}");
                assert!(after.iter().all(|number| *number == first(field)), "{field:?}: {after:?}");
            }
            _ => assert_eq!(after, vec![0; before.len()], "{field:?}"),
        }
    }
}

/// What a number that is hidden becomes.
fn first(field: Field<'_>) -> u64 {
    match (field.kind(), default(field.kind())) {
        (Kind::Enum(_), Item::Enum(number)) => i64::from(number).cast_unsigned(),
        _ => 0,
    }
}

/// The wire type that it should have, when it is not packed.
fn form_of(field: Field<'_>) -> u8 {
    match field.kind() {
        Kind::Enum(_) => 0,
        Kind::Message(_) => {
            if field.is_delimited() {
                3
            } else {
                2
            }
        }
        Kind::Scalar(scalar) => form_of_scalar(scalar),
    }
}

fn form_of_scalar(scalar: Scalar) -> u8 {
    match scalar {
        Scalar::String | Scalar::Bytes => 2,
        Scalar::Fixed64 | Scalar::Sfixed64 | Scalar::Double => 1,
        Scalar::Fixed32 | Scalar::Sfixed32 | Scalar::Float => 5,
        _ => 0,
    }
}

fn numbers(mut octets: &[u8]) -> Vec<u64> {
    let mut numbers = Vec::new();
    while !octets.is_empty() {
        numbers.push(varint(&mut octets));
    }
    numbers
}

fn varint(octets: &mut &[u8]) -> u64 {
    let end = octets.iter().position(|octet| octet & 0x80 == 0).expect("a varint ends") + 1;
    let (number, rest) = octets.split_at(end);
    *octets = rest;
    number.iter().rev().fold(0, |value, octet| value << 7 | u64::from(octet & 0x7f))
}

/// The fields of a message that is known to be well made.
fn fields_of(mut octets: &[u8]) -> Vec<Occurrence<'_>> {
    let mut fields = Vec::new();
    while !octets.is_empty() {
        fields.push(next(&mut octets));
    }
    fields
}

fn next<'w>(rest: &mut &'w [u8]) -> Occurrence<'w> {
    let all = *rest;
    let tag = varint(rest);
    let (number, form) = (u32::try_from(tag >> 3).expect("a number of a field"), (tag & 7) as u8);
    let begin = *rest;
    let (content, after) = match form {
        0 => {
            varint(rest);
            (&begin[..begin.len() - rest.len()], *rest)
        }
        1 => begin.split_at(8),
        2 => {
            let length = usize::try_from(varint(rest)).expect("a length");
            rest.split_at(length)
        }
        5 => begin.split_at(4),
        3 => {
            // Groups end by tags, those in it too.
            let mut depth = 1;
            loop {
                let before = *rest;
                let form = varint(rest) & 7;
                match form {
                    3 => depth += 1,
                    4 => depth -= 1,
                    _ => {
                        *rest = before;
                        next(rest);
                    }
                }
                if depth == 0 {
                    break (&begin[..begin.len() - before.len()], *rest);
                }
            }
        }
        form => panic!("wire type {form}"),
    };
    *rest = after;
    Occurrence { number, form, octets: &all[..all.len() - after.len()], content }
}

/// The numbers of a message's fields.
#[allow(dead_code, reason = "the fuzz target does not ask")]
pub(crate) fn numbers_of(octets: &[u8]) -> Vec<u32> {
    fields_of(octets).iter().map(|field| field.number).collect()
}
