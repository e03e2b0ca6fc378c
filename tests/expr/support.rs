//! The schema, the names and the call that the tests of expressions share.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use buffa::Message as _;
use buffa_descriptor::generated::descriptor::feature_set::{EnumType, MessageEncoding, RepeatedFieldEncoding};
use buffa_descriptor::generated::descriptor::{Edition, FeatureSet, FileDescriptorSet, FileOptions};
use fields::Fields;
use portunus::expr::{Declared, MAX_COST, Moment, Names, Program, Scope, Type, Value, compile};
use portunus::schema::{Bounds, Collection, Meter, Octets, Schema, View, Writer, from_protos};
use serde_json::{Value as Json, json};

fn compiled(files: &[&str]) -> Schema {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/expr");
    let files: Vec<_> = files.iter().map(|file| root.join(file)).collect();
    from_protos(&files, &[root]).unwrap()
}

/// `kinds.proto` and `old.proto`.
pub(crate) static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(compiled(&["kinds.proto", "old.proto"])));

/// `described.proto`, and with it descriptor.proto.
pub(crate) static DESCRIBED: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(compiled(&["described.proto"])));

/// `edition.proto`, as edition 2023 with the features that make most of a difference.
pub(crate) static EDITION: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let mut set = FileDescriptorSet::decode_from_slice(&compiled(&["edition.proto"]).to_set()).unwrap();
    for file in &mut set.file {
        file.syntax = Some("editions".into());
        file.edition = Some(Edition::EDITION_2023);
        file.options = FileOptions {
            features: FeatureSet {
                enum_type: Some(EnumType::CLOSED),
                message_encoding: Some(MessageEncoding::DELIMITED),
                repeated_field_encoding: Some(RepeatedFieldEncoding::EXPANDED),
                ..FeatureSet::default()
            }
            .into(),
            ..FileOptions::default()
        }
        .into();
    }
    let mut collection = Collection::new(Bounds::LOCAL);
    collection.add_set(&set.encode_to_vec()).unwrap();
    Arc::new(collection.finish().unwrap())
});

/// What the tests declare.
pub(crate) fn names(schema: &Schema) -> Vec<Declared> {
    let message = |name: &str| schema.message_type(name).map_or(Type::Dyn, Type::of_message);
    let declared = |name: &'static str, kind| Declared::new(name, kind);
    vec![
        declared("request.service", Type::Text),
        declared("request.method", Type::Text),
        declared("request.time", Type::Time),
        declared("metadata", Type::Map(Box::new((Type::Text, Type::Text)))),
        declared("claims", Type::open_map()),
        declared("peer.address", Type::Text),
        declared("message", message("kinds.Plain")),
        declared("known", message("kinds.Known")),
        declared("old", message("old.Old")),
        declared("absent", Type::Dyn),
        declared("large", Type::Text),
    ]
}

/// What a call has under them.
pub(crate) struct Call {
    pub(crate) metadata: Fields,
    pub(crate) claims: Json,
    pub(crate) message: Vec<u8>,
    pub(crate) known: Vec<u8>,
    pub(crate) old: Vec<u8>,
    pub(crate) large: String,
}

impl Call {
    pub(crate) fn new() -> Self {
        let mut metadata = Fields::default();
        for (name, value) in [("x-tenant", &b"acme"[..]), ("x-twice", b"a"), ("x-twice", b"b"), ("x-octets", b"\xff")] {
            metadata.push(name, value);
        }
        let claims = json!({"sub": "did:web:acme", "level": 3, "roles": ["reader", "writer"], "org": {"name": "größe"},
            "none": null, "rate": 0.5, "huge": u64::MAX, "ok": true});
        Self { metadata, claims, message: plain(), known: known(), old: Vec::new(), large: String::new() }
    }
}

/// A message of `kinds.Plain` with a bit of everything.
fn plain() -> Vec<u8> {
    let mut writer = Writer::default();
    writer.varint(1, 1);
    writer.varint(2, (-7i64).cast_unsigned());
    writer.varint(3, 64);
    writer.varint(5, u64::MAX);
    writer.varint(6, 3);
    writer.fixed32(12, 1.5f32.to_bits());
    writer.fixed64(13, 0.25f64.to_bits());
    writer.octets(14, "größe".as_bytes());
    writer.octets(15, b"\x00\xff");
    writer.varint(16, 2);
    let mut inner = Writer::default();
    inner.octets(14, b"inner");
    writer.octets(17, &inner.finish());
    writer.varint(20, 0);
    writer.octets(31, &[1, 2, 3]);
    writer.octets(35, b"one");
    writer.octets(35, b"two");
    for number in 1..=3 {
        let mut inner = Writer::default();
        inner.varint(2, number);
        writer.octets(38, &inner.finish());
    }
    let mut entry = Writer::default();
    entry.octets(1, b"env");
    entry.octets(2, b"prod");
    writer.octets(40, &entry.finish());
    let mut entry = Writer::default();
    entry.varint(1, 5);
    let mut inner = Writer::default();
    inner.octets(14, b"five");
    entry.octets(2, &inner.finish());
    writer.octets(41, &entry.finish());
    writer.varint(51, 12);
    writer.finish()
}

/// A message of `kinds.Known`.
fn known() -> Vec<u8> {
    let mut writer = Writer::default();
    writer.octets(2, b"\x08\x05");
    writer.octets(8, b"");
    writer.octets(10, b"\x08\x80\xe1\x9c\xc3\x06");
    writer.octets(11, b"\x08\x5a\x10\x80\xca\xb5\xee\x01");
    // {"a": {"b": [1.5, "x", null]}}
    let list =
        [&b"\x0a\x09\x11\x00\x00\x00\x00\x00\x00\xf8\x3f"[..], b"\x0a\x03\x1a\x01x", b"\x0a\x02\x08\x00"].concat();
    let object = |name: &[u8], value: &[u8]| {
        let mut entry = Writer::default();
        entry.octets(1, name);
        entry.octets(2, value);
        let mut object = Writer::default();
        object.octets(1, &entry.finish());
        object.finish()
    };
    let value = |number: u32, octets: &[u8]| {
        let mut writer = Writer::default();
        writer.octets(number, octets);
        writer.finish()
    };
    let inner = object(b"b", &value(6, &list));
    writer.octets(12, &object(b"a", &value(5, &inner)));
    writer.octets(13, b"\x20\x01");
    let mut any = Writer::default();
    any.octets(1, b"type.googleapis.com/kinds.Plain");
    any.octets(2, b"\x72\x03any");
    writer.octets(15, &any.finish());
    let mut any = Writer::default();
    any.octets(1, b"type.googleapis.com/who.Knows");
    writer.octets(21, &any.finish());
    writer.octets(20, b"");
    writer.octets(20, b"\x08\x02");
    writer.finish()
}

impl<'a> Names<'a> for &'a Call {
    fn value(&self, at: usize) -> Option<Value<'a>> {
        let call: &'a Call = self;
        let view = |name: &str, wire: &'a [u8]| {
            Some(Value::Message(View::new(SCHEMA.message_type(name)?, Octets::Lent(wire))))
        };
        match at {
            0 => Some(Value::text("bindu.grpc.BinduService")),
            1 => Some(Value::text("SendMessage")),
            2 => Moment::new(1_750_000_000, 500_000_000).ok().map(Value::Time),
            3 => Some(Value::Map(portunus::expr::Map::Metadata(&call.metadata))),
            4 => Some(Value::json(&call.claims)),
            5 => Some(Value::text("[::ffff:10.1.2.3]:4711")),
            6 => view("kinds.Plain", &call.message),
            7 => view("kinds.Known", &call.known),
            8 => view("old.Old", &call.old),
            10 => Some(Value::text(&call.large)),
            _ => None,
        }
    }
}

/// Compiles as policies are.
pub(crate) fn program(text: &str) -> Result<Program, String> {
    program_within(text, MAX_COST)
}

pub(crate) fn program_within(text: &str, max_cost: u64) -> Result<Program, String> {
    let names = names(&SCHEMA);
    let scope = Scope::over(&names);
    compile(text, scope, Some(&SCHEMA), max_cost)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// What comes of an expression, as text.
pub(crate) fn evaluated(text: &str, call: &Call) -> String {
    match program(text) {
        Ok(program) => match program.run(&call, &mut Meter::new(MAX_COST)) {
            Ok(value) => shown(&value),
            Err(failure) => format!("! {failure}"),
        },
        Err(problems) => problems,
    }
}

/// A value as CEL would write it.
pub(crate) fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => format!("{value}u"),
        Value::Double(value) => format!("{value:?}"),
        Value::Text(text) => format!("{:?}", &**text),
        Value::Bytes(octets) => format!("b{:?}", &**octets),
        Value::Duration(nanos) => format!("{nanos}ns"),
        Value::Time(moment) => format!("{}.{:09}", moment.seconds(), moment.nanos()),
        Value::List(list) => {
            let items: Vec<_> = (0..list.len()).filter_map(|at| list.at(at)).map(|item| shown(&item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let keys: Vec<_> = map.keys().iter().map(shown).collect();
            format!("map of {}", keys.join(", "))
        }
        Value::Message(view) => {
            format!("{} of {}", view.kind().name(), view.parts().iter().map(|p| p.len()).sum::<usize>())
        }
        Value::Type(name) => format!("type {}", &**name),
    }
}
