//! Random messages through redactions of random paths: judged on the wire, and by what a decoder makes of them before and after.

use buffa_descriptor::reflect::{DynamicMessage, MapKey, Value};
use portunus::schema::{Field, Item, Kind, MessageType, Meter, Octets, Redaction, Schema};
use portunus::schema::{Shape, Unreadable, View, Writer, default};

use crate::generate::Generator;
use crate::hidden::Named;
use crate::oracle::Oracle;
use crate::rounds;
use crate::support::{DESCRIBED, EDITION, SCHEMA};

const MASK: &str = "*** größe";

/// A path from a type to some field, through what lies between.
fn path(generator: &mut Generator, kind: MessageType<'_>, depth: u32) -> String {
    let fields: Vec<_> = kind.fields().collect();
    let field = fields[generator.under(u32::try_from(fields.len()).unwrap()) as usize];
    let mut path = field.name().to_owned();
    let is_map = matches!(field.shape(), Shape::Map(_));
    if is_map && generator.under(4) != 0 {
        path.push_str(".*");
    } else if is_map {
        return path;
    }
    if let Kind::Message(inner) = field.kind()
        && depth > 0
        && generator.under(4) != 0
        && !["Any", "Struct", "Value"].contains(&inner.name().trim_start_matches("google.protobuf."))
        && inner.fields().next().is_some()
    {
        path.push('.');
        path.push_str(&self::path(generator, inner, depth - 1));
    }
    path
}

fn hide(redaction: &Redaction, wire: &[u8]) -> Option<Vec<u8>> {
    redaction.apply(wire, &mut Meter::new(u64::MAX)).unwrap()
}

/// What a decoder makes of a message before and after.
struct Decoded<'s> {
    schema: &'s Schema,
    /// Values that were hidden, and were not the mask before.
    hidden: usize,
}

impl Decoded<'_> {
    fn messages(&mut self, kind: MessageType<'_>, named: &Named, before: &DynamicMessage, after: &DynamicMessage) {
        let is_named = |number| kind.numbered(number).is_some_and(|field| named.fields.contains_key(field.name()));
        let unknown = |message: &DynamicMessage| -> Vec<_> {
            message.unknown_fields().iter().filter(|field| !is_named(field.number)).cloned().collect()
        };
        assert_eq!(unknown(before), unknown(after), "{kind:?}: unknown fields");
        for field in kind.fields() {
            // What a closed enum does not know is known once it is hidden, and unsets others of its oneof.
            let odd = |other: Field<'_>| is_closed(other) && is_named(other.number());
            let number = field.number();
            if odd(field) || kind.fields().any(|other| field.excludes(other) && odd(other)) {
                continue;
            }
            let (was, is) = (before.field_by_number(number), after.field_by_number(number));
            match named.fields.get(field.name()) {
                None => assert_eq!(was, is, "{field:?}: nobody named it"),
                Some(named) => self.fields(field, named, was, is),
            }
        }
    }

    fn fields(&mut self, field: Field<'_>, named: &Named, was: Option<&Value>, is: Option<&Value>) {
        match (field.shape(), was, is) {
            (_, None, None) => {}
            (Shape::Single, Some(was), Some(is)) => self.values(field, named, was, is),
            (Shape::List, Some(Value::List(was)), Some(Value::List(is))) => {
                assert_eq!(was.len(), is.len(), "{field:?}");
                was.iter().zip(is).for_each(|(was, is)| self.values(field, named, was, is));
            }
            (Shape::Map(_), Some(Value::Map(was)), is) if named.whole => {
                self.hidden += was.len();
                assert!(is.is_none_or(|is| matches!(is, Value::Map(map) if map.is_empty())), "{field:?}: {is:?}");
            }
            (Shape::Map(_), Some(Value::Map(was)), Some(Value::Map(is))) => {
                let keys = |map: &buffa_descriptor::reflect::MapValue| -> Vec<MapKey> {
                    map.iter().map(|(key, _)| key.clone()).collect()
                };
                assert_eq!(keys(was), keys(is), "{field:?}");
                for (key, was) in was.iter() {
                    let is = is.get(key).unwrap();
                    // An entry without a value has nothing to hide.
                    let nothing = matches!(was, Value::String(text) if text.is_empty()) && was == is;
                    if !nothing {
                        self.values(field, &named.fields["*"], was, is);
                    }
                }
            }
            (_, was, is) => panic!("{field:?} was {was:?} and is {is:?}"),
        }
    }

    fn values(&mut self, field: Field<'_>, named: &Named, was: &Value, is: &Value) {
        if let (false, Kind::Message(kind), Value::Message(was), Value::Message(is)) =
            (named.whole, field.kind(), was, is)
        {
            return self.messages(kind, named, was, is);
        }
        self.hidden += usize::from(was != is);
        let masked = match (is, default(field.kind())) {
            (Value::String(is), _) => is == MASK,
            (Value::Bytes(is), _) => is.is_empty(),
            (Value::Bool(is), _) => !is,
            (Value::I32(0) | Value::I64(0) | Value::U32(0) | Value::U64(0), _) => true,
            (Value::F32(is), _) => is.to_bits() == 0,
            (Value::F64(is), _) => is.to_bits() == 0,
            (Value::EnumNumber(is), Item::Enum(first)) => *is == first,
            (Value::Message(is), Item::Message(kind)) => {
                let empty = self.schema.message_type(kind.kind().name()).unwrap();
                empty.fields().all(|field| is.field_by_number(field.number()).is_none()) && is.encoded_len() == 0
            }
            _ => false,
        };
        assert!(masked, "{field:?} was {was:?} and is {is:?}");
    }
}

fn is_closed(field: Field<'_>) -> bool {
    matches!(field.kind(), Kind::Enum(known) if !known.takes(100))
}

/// How many messages were changed.
fn random_messages_of(schema: &Schema, name: &str, count: u64) -> usize {
    let (oracle, kind) = (Oracle::of(schema), schema.message_type(name).unwrap());
    let mut decoded = Decoded { schema, hidden: 0 };
    let mut changed = 0;
    for seed in 0..rounds(count) {
        let mut generator = Generator::new(5_000_000 + seed);
        let before = generator.message(kind, 2);
        let paths: Vec<_> = (0..=generator.under(4)).map(|_| path(&mut generator, kind, 2)).collect();
        let redaction =
            Redaction::compile(kind, &paths, MASK).unwrap_or_else(|why| panic!("{name} {seed} {paths:?}: {why}"));
        let hidden = hide(&redaction, &before);
        changed += usize::from(hidden.is_some());
        assert_ne!(hidden.as_ref(), Some(&before), "{name} {seed} {paths:?}: what is as it was is not made anew");
        let after = hidden.unwrap_or_else(|| before.clone());
        let named = Named::by(&paths);
        named.judge(kind, MASK, &before, &after);
        assert_eq!(hide(&redaction, &after), None, "{name} {seed} {paths:?}: it has the value already");
        let was = oracle.decode(name, &before).unwrap_or_else(|| panic!("{name} {seed}: it is well made"));
        let is = oracle.decode(name, &after).unwrap_or_else(|| panic!("{name} {seed} {paths:?}: is it still?"));
        decoded.messages(kind, &named, &was, &is);
    }
    assert!(decoded.hidden as u64 > rounds(count) / 10, "{name}: {} values of {count} messages", decoded.hidden);
    changed
}

#[test]
fn what_is_named_is_masked_and_all_else_is_as_it_was() {
    for (schema, name) in [(&*SCHEMA, "kinds.Plain"), (&*SCHEMA, "old.Old"), (&*EDITION, "edition.New")] {
        let changed = random_messages_of(schema, name, 10_000);
        assert!(changed as u64 > rounds(2_000), "{name}: {changed} were changed");
    }
}

#[test]
fn known_types_are_masked_as_others_are() {
    random_messages_of(&SCHEMA, "kinds.Known", 10_000);
}

#[test]
fn descriptors_are_masked_as_others_are() {
    random_messages_of(&DESCRIBED, "google.protobuf.DescriptorProto", 10_000);
}

/// A key of an `int32` with four octets, of which a decoder that does not look at its wire type reads one: in the others it finds the
/// value. To all others the value is unknown, and named by nothing.
#[test]
fn entries_that_decoders_disagree_on_are_refused() {
    let entry = b"\x0d\x05\x12\x24\x72\x22\x21SECRET SECRET SECRET SECRET SECRE";
    let mut wire = Writer::default();
    wire.octets(41, entry);
    let wire = wire.finish();
    let kind = SCHEMA.message_type("kinds.Plain").unwrap();
    let decoded = Oracle::of(&SCHEMA).decode("kinds.Plain", &wire).unwrap();
    assert!(format!("{decoded:?}").contains("SECRET"), "this decoder reads it: {decoded:?}");
    for path in ["by_number.*.text", "by_number.*"] {
        let redaction = Redaction::compile(kind, &[path.to_owned()], MASK).unwrap();
        let hidden = redaction.apply(&wire, &mut Meter::new(1_000));
        assert!(matches!(hidden, Err(Unreadable::Malformed(_))), "{path}: {hidden:?}");
    }
    let value = b"\xca\x02\x04\x08\x05\x10\x00";
    let redaction = Redaction::compile(kind, &["by_number.*.text".to_owned()], MASK).unwrap();
    assert!(matches!(redaction.apply(value, &mut Meter::new(1_000)), Err(Unreadable::Malformed(_))), "a value");
}

/// Wire, view, wire: a message of which nothing is named that it has goes on to the octet, in the form that senders give it and in the
/// one that a decoder gives it which wrote it again; and what its type does not know is there afterwards.
#[test]
fn ten_thousand_messages_a_type_survive_to_the_octet() {
    let known = ["Any", "Timestamp", "Duration", "Struct", "Value", "ListValue", "StringValue"];
    let known = known.map(|name| (&*SCHEMA, format!("google.protobuf.{name}")));
    let others = [("kinds.Plain", &*SCHEMA), ("kinds.Known", &*SCHEMA), ("old.Old", &*SCHEMA)];
    let others = others.map(|(name, schema)| (schema, name.to_owned()));
    let own = ["FileDescriptorProto", "FieldOptions"].map(|name| (&*DESCRIBED, format!("google.protobuf.{name}")));
    for (schema, name) in known.into_iter().chain(others).chain(own).chain([(&*EDITION, "edition.New".to_owned())]) {
        let (oracle, kind) = (Oracle::of(schema), schema.message_type(&name).unwrap());
        let (mut strange, mut untouched) = (0, 0);
        for seed in 0..rounds(10_000) {
            let mut generator = Generator::new(6_000_000 + seed);
            let sent = generator.message(kind, 1);
            let decoded = oracle.decode(&name, &sent).unwrap_or_else(|| panic!("{name} {seed}: it is well made"));
            for wire in [&sent, &decoded.encode_to_vec()] {
                let view = View::new(kind, Octets::Lent(wire));
                let unknown = view.unknown(&mut Meter::new(u64::MAX)).unwrap();
                let all: Vec<_> = kind.fields().map(|field| field.name().to_owned()).collect();
                let hidden = hide(&Redaction::compile(kind, &all, MASK).unwrap(), wire);
                let after = View::new(kind, Octets::from(hidden.unwrap_or_else(|| wire.clone())));
                assert_eq!(after.unknown(&mut Meter::new(u64::MAX)).unwrap(), unknown, "{name} {seed}");
                strange += usize::from(!unknown.is_empty());
                let absent = absent(kind, wire);
                untouched += usize::from(!absent.is_empty());
                let nothing = Redaction::compile(kind, &absent, MASK).unwrap();
                assert_eq!(hide(&nothing, wire), None, "{name} {seed}: {absent:?} are not there");
            }
        }
        assert!(strange > 1_000 && untouched > 1_000, "{name}: {strange} strange, {untouched} untouched");
    }
}

/// Fields that a message has no octet of.
fn absent(kind: MessageType<'_>, wire: &[u8]) -> Vec<String> {
    let numbers = crate::hidden::numbers_of(wire);
    let fields = kind.fields().filter(|field| !numbers.contains(&field.number()));
    fields.map(|field| field.name().to_owned()).collect()
}
