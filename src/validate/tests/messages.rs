//! Messages in messages, lists, maps; what is passed over; expressions of somebody's own; and where it ends.

use super::super::MOST_VIOLATIONS;
use super::{Built, STEPS};
use crate::expr::{Failure, Moment};
use crate::schema::{Meter, Writer};

const NONE: [&str; 0] = [];

#[test]
fn paths_lead_through_messages_lists_and_maps() {
    let built = Built::of(
        "paths",
        r#"
message Item { string name = 1 [(buf.validate.field).string.min_len = 1]; Item inner = 2; }
message Plain { string name = 1; Plain again = 2; Item item = 3; }
message M {
  Item one = 1;
  repeated Item items = 2;
  map<string, Item> labels = 3 [(buf.validate.field).map.keys.string.max_len = 3];
  map<int32, string> numbers = 4 [(buf.validate.field).map.values.string.min_len = 1];
  repeated string texts = 5 [(buf.validate.field).repeated.items.string.max_len = 1];
  Plain plain = 6;
}
message Mnone { Mnone again = 1; repeated Mnone more = 2; }
"#,
    );
    let short = |place: &str| format!("{place}: must be at least 1 characters [string.min_len]");
    assert_eq!(built.told("M", r#"{"one": {"name": "a", "inner": {}}}"#), [short("one.inner.name")]);
    assert_eq!(built.told("M", r#"{"items": [{"name": "a"}, {"inner": {"name": "x"}}]}"#), [short("items[1].name")]);
    assert_eq!(built.told("M", r#"{"labels": {"a\"b": {}}}"#), [short(r#"labels["a\"b"].name"#)]);
    assert_eq!(built.told("M", r#"{"numbers": {"-5": ""}}"#), [short("numbers[-5]")]);
    assert_eq!(
        built.told("M", r#"{"texts": ["a", "", "ab"]}"#),
        ["texts[2]: must be at most 1 characters [string.max_len]"]
    );
    assert_eq!(
        built.told("M", r#"{"plain": {"again": {"again": {"item": {}}}}}"#),
        [short("plain.again.again.item.name")]
    );
    assert_eq!(built.told("M", "{}"), NONE);
    let found = built.check("M", r#"{"labels": {"long": {"name": "a"}}}"#).unwrap();
    let [found] = &found[..] else { panic!("{found:?}") };
    assert!(found.for_key && found.field == r#"labels["long"]"# && found.rule == "string.max_len", "{found:?}");
    assert!(built.validator("Mnone").unwrap().is_empty() && !built.validator("M").unwrap().is_empty());
}

#[test]
fn what_is_passed_over_is_what_protovalidate_passes_over() {
    let built = Built::of(
        "ignore",
        r#"
enum E { E_0 = 0; E_1 = 1; }
message Inner { string name = 1 [(buf.validate.field).required = true]; }
message M {
  optional string there = 1 [(buf.validate.field).string.min_len = 1];
  string zero = 2 [(buf.validate.field) = {ignore: IGNORE_IF_ZERO_VALUE, string: {min_len: 2}}];
  Inner never = 3 [(buf.validate.field) = {ignore: IGNORE_ALWAYS, required: true}];
  repeated int32 items = 4 [(buf.validate.field).repeated.items = {ignore: IGNORE_IF_ZERO_VALUE, int32: {gt: 5}}];
  repeated E kinds = 5 [(buf.validate.field).repeated.items = {ignore: IGNORE_IF_ZERO_VALUE, enum: {in: [5]}}];
  repeated int32 some = 6 [(buf.validate.field) = {ignore: IGNORE_IF_ZERO_VALUE, repeated: {min_items: 2}}];
  google.protobuf.StringValue text = 7 [(buf.validate.field).string.min_len = 1];
  oneof which { string a = 8 [(buf.validate.field).string.min_len = 2]; int32 b = 9; }
}
"#,
    );
    assert_eq!(built.told("M", "{}"), NONE);
    assert_eq!(built.told("M", r#"{"zero": "", "never": {}, "items": [0, 6], "kinds": ["E_0"]}"#), NONE);
    let told = built.told(
        "M",
        r#"{"there": "", "zero": "a", "items": [0, 5], "kinds": ["E_1"], "some": [1], "text": "", "a": "x"}"#,
    );
    assert_eq!(
        told,
        [
            "there: must be at least 1 characters [string.min_len]",
            "zero: must be at least 2 characters [string.min_len]",
            "items[1]: must be greater than 5 [int32.gt]",
            "kinds[0]: must be in list [5] [enum.in]",
            "some: must contain at least 2 item(s) [repeated.min_items]",
            "text: must be at least 1 characters [string.min_len]",
            "a: must be at least 2 characters [string.min_len]",
        ]
    );
}

#[test]
fn oneofs_of_both_kinds() {
    let built = Built::of(
        "oneofs",
        r#"
message M { oneof which { option (buf.validate.oneof).required = true; string a = 1; int32 b = 2; } }
message Mo {
  option (buf.validate.message).oneof = {fields: ["a", "b"], required: true};
  string a = 1 [(buf.validate.field).string.min_len = 2];
  repeated int32 b = 2;
}
"#,
    );
    assert_eq!(built.told("M", "{}"), ["which: exactly one field is required in oneof [required]"]);
    assert_eq!(built.told("M", r#"{"b": 0}"#), NONE);
    assert_eq!(built.told("Mo", "{}"), [": one of a, b must be set [message.oneof]"]);
    assert_eq!(built.told("Mo", r#"{"a": "xy", "b": [1]}"#), [": only one of a, b can be set [message.oneof]"]);
    // `a` is passed over where it is not set.
    assert_eq!(built.told("Mo", r#"{"b": [1]}"#), NONE);
}

#[test]
fn expressions_of_somebodys_own() {
    let built = Built::of(
        "custom",
        r#"
message M {
  option (buf.validate.message).cel = {id: "order", message: "from is before to", expression: "this.from < this.to"};
  option (buf.validate.message).cel_expression = "this.tags.all(t, t != this.name)";
  int32 from = 1;
  int32 to = 2;
  string name = 3 [(buf.validate.field).cel = {
    id: "name", expression: "this.isHostname() || this.startsWith('_') ? '' : 'is no name: %s'.format([this])"
  }];
  repeated string tags = 4 [(buf.validate.field).cel = {id: "tags", expression: "this.unique() && size(this) < 3"}];
  google.protobuf.Timestamp when = 5 [(buf.validate.field).cel = {id: "when", message: "is past", expression: "this > now"}];
  map<string, int32> counts = 6 [(buf.validate.field).map.values.cel = {id: "even", message: "even", expression: "this % 2 == 0"}];
}
"#,
    );
    assert_eq!(built.told("M", r#"{"from": 1, "to": 2, "name": "a", "tags": ["x"], "counts": {"a": 2}}"#), NONE);
    assert_eq!(
        built.told(
            "M",
            r#"{"from": 2, "to": 2, "name": "a b", "tags": ["x", "x"], "when": "1990-01-01T00:00:00Z", "counts": {"a": 3}}"#
        ),
        [
            "name: is no name: a b [name]",
            "tags: \"this.unique() && size(this) < 3\" returned false [tags]",
            "when: is past [when]",
            "counts[\"a\"]: even [even]",
            ": from is before to [order]",
        ]
    );
    assert_eq!(
        built.told("M", r#"{"to": 1, "name": "a", "tags": ["a"]}"#),
        [": \"this.tags.all(t, t != this.name)\" returned false [this.tags.all(t, t != this.name)]"]
    );
}

#[test]
fn what_cannot_be_evaluated_is_told_with_its_place_and_is_no_pass() {
    let built = Built::of(
        "fails",
        r#"
message Inner { int32 n = 1 [(buf.validate.field).cel = {id: "div", expression: "10 / this > 1"}]; }
message M { repeated Inner inner = 1; string text = 2 [(buf.validate.field).string.max_len = 5000000]; }
message Mb { bytes v = 1 [(buf.validate.field).bytes.pattern = "a"]; }
message Md { google.protobuf.Duration v = 1 [(buf.validate.field).duration.lt.seconds = 5]; }
"#,
    );
    let failed = built.check("M", r#"{"inner": [{"n": 1}, {"n": 0}]}"#).unwrap_err();
    assert_eq!(failed.to_string(), "inner[1].n cannot be checked by the rule div: division by zero");
    assert_eq!(built.check("Mb", r#"{"v": "/w=="}"#).unwrap_err().field, "v");
    // More seconds than a span can have, and not in the JSON form.
    let validator = built.validator("Md").unwrap();
    let (mut span, mut far) = (Writer::default(), Writer::default());
    span.varint(1, u64::MAX >> 1);
    far.octets(1, &span.finish());
    let far = far.finish();
    let failed = validator.check(&far, Moment::now(), &mut Meter::new(STEPS)).unwrap_err();
    assert_eq!(failed.failure, Failure::Overflow);
    let validator = built.validator("M").unwrap();
    let failed = validator.check(&[0x0a, 0x05, 0x08], Moment::now(), &mut Meter::new(STEPS)).unwrap_err();
    assert!(matches!(failed.failure, Failure::Malformed(_)), "{failed:?}");
}

#[test]
fn the_meter_ends_what_takes_too_long() {
    let built = Built::of(
        "meter",
        r#"message M { repeated string v = 1 [(buf.validate.field).repeated.items.string.min_len = 0]; }"#,
    );
    let validator = built.validator("M").unwrap();
    let body = [0x0a, 0x00].repeat(1_000_000);
    let run = |steps| validator.check(&body, Moment::now(), &mut Meter::new(steps));
    assert_eq!(run(1_000_000).unwrap_err().failure, Failure::TooCostly);
    assert_eq!(run(u64::MAX / 64), Ok(Vec::new()));
}

#[test]
fn violations_and_depth_have_a_bound() {
    let built = Built::of(
        "bounds",
        r#"
message M { repeated string v = 1 [(buf.validate.field).repeated.items.string.min_len = 1]; M inner = 2; }
"#,
    );
    let validator = built.validator("M").unwrap();
    let run = |body: &[u8]| validator.check(body, Moment::now(), &mut Meter::new(STEPS));
    assert_eq!(run(&[0x0a, 0x00].repeat(500)).unwrap().len(), MOST_VIOLATIONS);
    let nested = |depth: usize| {
        let mut body = vec![0x0a, 0x00];
        for _ in 0..depth {
            let mut writer = Writer::default();
            writer.octets(2, &body);
            body = writer.finish();
        }
        body
    };
    assert_eq!(run(&nested(99)).unwrap().len(), 1);
    assert!(matches!(run(&nested(100)).unwrap_err().failure, Failure::Malformed(_)));
}

#[test]
fn what_is_sent_twice_is_checked_as_decoders_have_it() {
    let built = Built::of(
        "twice",
        r#"
message M {
  string v = 1 [(buf.validate.field).string.min_len = 2];
  map<string, string> m = 2 [(buf.validate.field).map.values.string.min_len = 2];
}
"#,
    );
    let validator = built.validator("M").unwrap();
    let run = |body: &[u8]| validator.check(body, Moment::now(), &mut Meter::new(STEPS)).unwrap();
    // The last counts: `ab`, then `c`; and an entry `k` of `ab`, then of `c`.
    assert_eq!(run(&[0x0a, 2, b'a', b'b', 0x0a, 1, b'c']).len(), 1);
    assert_eq!(run(&[0x0a, 1, b'c', 0x0a, 2, b'a', b'b']).len(), 0);
    let (long, short) = ([0x12, 7, 0x0a, 1, b'k', 0x12, 2, b'a', b'b'], [0x12, 6, 0x0a, 1, b'k', 0x12, 1, b'c']);
    let text = [0x0a, 2, b'a', b'b'];
    assert_eq!(run(&[&text[..], &long, &short].concat()).len(), 1);
    assert_eq!(run(&[&text[..], &short, &long].concat()).len(), 0);
}

#[test]
fn proto2_and_editions() {
    let built = Built::file(
        "proto2",
        r#"
syntax = "proto2";
package t;
import "buf/validate/validate.proto";
enum E { E_2 = 2; E_3 = 3; }
message M {
  optional int32 n = 1 [default = 7, (buf.validate.field).int32.gt = 8];
  repeated E kinds = 2 [(buf.validate.field).repeated.items = {ignore: IGNORE_IF_ZERO_VALUE, enum: {in: [3]}}];
  optional group Part = 3 { optional string v = 1 [(buf.validate.field).string.min_len = 1]; }
}
"#,
    );
    assert_eq!(built.told("M", r#"{"kinds": ["E_2", "E_3"]}"#), NONE);
    let validator = built.validator("M").unwrap();
    let found = validator.check(&[0x08, 7, 0x1b, 0x0a, 0, 0x1c], Moment::now(), &mut Meter::new(STEPS)).unwrap();
    let places: Vec<_> = found.iter().map(|found| &*found.field).collect();
    assert_eq!(places, ["n", "part.v"]);
}
