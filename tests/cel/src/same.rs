//! When a value is the one that is wanted: "value equality" as cel-spec's `simple.proto` defines it for tests. Maps have no
//! order, NaN matches NaN, messages are compared by their fields, and kinds are never mixed.

use std::sync::Arc;

use buffa_descriptor::DescriptorPool;
use buffa_descriptor::reflect::{DynamicMessage, ReflectMessage as _, Value};

use crate::value::Wanted;

/// The types of messages.
pub(crate) struct Types {
    pool: Arc<DescriptorPool>,
}

impl Types {
    /// Those of an encoded descriptor set.
    pub(crate) fn of(set: &[u8]) -> Result<Self, crate::Error> {
        Ok(Self { pool: Arc::new(DescriptorPool::decode(set)?) })
    }

    pub(crate) fn same(&self, wanted: &Wanted, got: &Wanted) -> bool {
        use Wanted as W;
        match (wanted, got) {
            (W::Null, W::Null) => true,
            (W::Bool(a), W::Bool(b)) => a == b,
            (W::Int(a), W::Int(b)) => a == b,
            (W::Uint(a), W::Uint(b)) => a == b,
            (W::Double(a), W::Double(b)) => same_double(*a, *b),
            (W::String(a), W::String(b)) | (W::Type(a), W::Type(b)) => a == b,
            (W::Bytes(a), W::Bytes(b)) => a == b,
            (W::List(a), W::List(b)) => all_same(a, b, |a, b| self.same(a, b)),
            (W::Map(a), W::Map(b)) => {
                let has = |(key, value): &(W, W)| b.iter().any(|(k, v)| self.same(key, k) && self.same(value, v));
                a.len() == b.len() && a.iter().all(has)
            }
            (W::Message { name, wire }, W::Message { name: got_name, wire: got }) => {
                name == got_name && self.decode(name, wire).zip(self.decode(name, got)).is_some_and(same_messages)
            }
            (W::Duration { seconds, nanos }, W::Duration { seconds: s, nanos: n })
            | (W::Timestamp { seconds, nanos }, W::Timestamp { seconds: s, nanos: n }) => (seconds, nanos) == (s, n),
            _ => false,
        }
    }

    fn decode(&self, name: &str, wire: &[u8]) -> Option<DynamicMessage> {
        let index = self.pool.message_index(name)?;
        DynamicMessage::decode(Arc::clone(&self.pool), index, wire).ok()
    }
}

fn same_double(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

fn all_same<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

/// What an Any holds is compared as the message that it is, where its type is known.
fn same_messages((a, b): (DynamicMessage, DynamicMessage)) -> bool {
    if let (Ok(a), Ok(b)) = (a.unpack_any(), b.unpack_any()) {
        return same_messages((a, b));
    }
    let numbers = |message: &DynamicMessage| {
        let mut numbers = Vec::new();
        message.for_each_set(&mut |field, _| numbers.push(field.number()));
        numbers.sort_unstable();
        numbers
    };
    let same_field = |number: &u32| {
        a.field_by_number(*number).zip(b.field_by_number(*number)).is_some_and(|(a, b)| same_values(a, b))
    };
    a.message_index() == b.message_index()
        && a.unknown_fields() == b.unknown_fields()
        && numbers(&a) == numbers(&b)
        && numbers(&a).iter().all(same_field)
}

fn same_values(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::F32(a), Value::F32(b)) => same_double((*a).into(), (*b).into()),
        (Value::F64(a), Value::F64(b)) => same_double(*a, *b),
        (Value::Message(a), Value::Message(b)) => same_messages((a.clone(), b.clone())),
        (Value::List(a), Value::List(b)) => all_same(a, b, same_values),
        (Value::Map(a), Value::Map(b)) => {
            all_same(a.entries(), b.entries(), |(k, a), (l, b)| k == l && same_values(a, b))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use buffa::Message as _;
    use buffa_descriptor::generated::descriptor::field_descriptor_proto::{Label, Type};
    use buffa_descriptor::generated::descriptor::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    };

    use super::Types;
    use crate::value::Wanted::{self, Bytes, Double, Duration, Int, List, Map, Message, Null, String, Timestamp, Uint};

    fn field(name: &str, number: i32, kind: Type, message: Option<&str>) -> FieldDescriptorProto {
        FieldDescriptorProto {
            name: Some(name.into()),
            number: Some(number),
            label: Some(Label::LABEL_OPTIONAL),
            r#type: Some(kind),
            type_name: message.map(Into::into),
            ..FieldDescriptorProto::default()
        }
    }

    fn file(package: &str, name: &str, fields: Vec<FieldDescriptorProto>) -> FileDescriptorProto {
        FileDescriptorProto {
            name: Some(format!("{package}.proto")),
            package: Some(package.into()),
            syntax: Some("proto3".into()),
            message_type: vec![DescriptorProto {
                name: Some(name.into()),
                field: fields,
                ..DescriptorProto::default()
            }],
            ..FileDescriptorProto::default()
        }
    }

    /// `M {int64 n = 1; double d = 2; google.protobuf.Any any = 3}`
    fn types() -> Types {
        let any = file(
            "google.protobuf",
            "Any",
            vec![field("type_url", 1, Type::TYPE_STRING, None), field("value", 2, Type::TYPE_BYTES, None)],
        );
        let mut own = file(
            "m",
            "M",
            vec![
                field("n", 1, Type::TYPE_INT64, None),
                field("d", 2, Type::TYPE_DOUBLE, None),
                field("any", 3, Type::TYPE_MESSAGE, Some(".google.protobuf.Any")),
            ],
        );
        own.dependency = any.name.iter().cloned().collect();
        Types::of(&FileDescriptorSet { file: vec![any, own], ..FileDescriptorSet::default() }.encode_to_vec()).unwrap()
    }

    fn same(a: &Wanted, b: &Wanted) -> bool {
        let types = types();
        assert_eq!(types.same(a, b), types.same(b, a), "{a:?} {b:?}");
        types.same(a, b)
    }

    #[test]
    fn kinds_are_never_mixed() {
        let all = [
            Null,
            Wanted::Bool(false),
            Int(0),
            Uint(0),
            Double(0.0),
            String("0".into()),
            Bytes(b"0".to_vec()),
            List(vec![]),
            Map(vec![]),
            Message { name: "m.M".into(), wire: vec![] },
            Duration { seconds: 0, nanos: 0 },
            Timestamp { seconds: 0, nanos: 0 },
            Wanted::Type("0".into()),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(same(a, b), i == j, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn maps_have_no_order_and_nan_is_nan() {
        let map = |entries: &[(i64, f64)]| Map(entries.iter().map(|(k, v)| (Int(*k), Double(*v))).collect());
        assert!(same(&map(&[(1, f64::NAN), (2, 0.0)]), &map(&[(2, -0.0), (1, f64::NAN)])));
        assert!(!same(&map(&[(1, 1.0), (2, 2.0)]), &map(&[(1, 1.0), (3, 2.0)])));
        assert!(!same(&map(&[(1, 1.0)]), &map(&[(1, 1.0), (2, 2.0)])));
        assert!(!same(&List(vec![Int(1), Int(2)]), &List(vec![Int(2), Int(1)])));
    }

    #[test]
    fn messages_are_compared_by_their_fields() {
        let message = |wire: &[u8]| Message { name: "m.M".into(), wire: wire.to_vec() };
        let nan = [&[0x11][..], &f64::NAN.to_le_bytes()].concat();
        let [before, behind] = [[&[0x08, 5], &nan[..]].concat(), [&nan[..], &[0x08, 5]].concat()];
        assert!(same(&message(&before), &message(&behind)), "the order of fields");
        assert!(!same(&message(&before), &message(&nan)), "a field that only one has");
        assert!(!same(&message(&[0x08, 5]), &message(&[0x08, 6])), "a field's value");
        assert!(!same(&message(&[0x08, 5]), &message(&[0x08, 5, 0x48, 1])), "an unknown field");
        assert!(!same(&message(&[0x08, 5]), &message(&[0x08])), "what is no message");
        assert!(!same(&message(&[]), &Message { name: "google.protobuf.Any".into(), wire: vec![] }), "the type");

        let holding = |url: &[u8], wire: &[u8]| {
            let part = |tag: u8, octets: &[u8]| [&[tag, u8::try_from(octets.len()).unwrap()], octets].concat();
            message(&part(0x1a, &[part(0x0a, url), part(0x12, wire)].concat()))
        };
        let known = |wire: &[u8]| holding(b"type.googleapis.com/m.M", wire);
        assert!(same(&known(&before), &known(&behind)), "what an Any holds");
        assert!(!same(&known(&before), &known(&nan)), "what an Any holds");
        assert!(!same(&holding(b"m.Unknown", &before), &holding(b"m.Unknown", &behind)), "an Any of unknown type");
    }
}
