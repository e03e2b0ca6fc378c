//! A table of all rules of protovalidate's own.

use super::Built;

/// A field with its rule, a value that fits, one that does not, and what is told of it.
type Row = (&'static str, &'static str, &'static str, &'static str);

const NUMBERS: &[Row] = &[
    ("int32 v = 1 [R.int32.const = 7]", "7", "8", "must equal 7 [int32.const]"),
    ("int32 v = 1 [R.int32.lt = 7]", "6", "7", "must be less than 7 [int32.lt]"),
    ("int64 v = 1 [R.int64.lte = 7]", "7", "8", "must be less than or equal to 7 [int64.lte]"),
    ("uint32 v = 1 [R.uint32.gt = 7]", "8", "7", "must be greater than 7 [uint32.gt]"),
    ("uint64 v = 1 [R.uint64.gte = 7]", "7", "6", "must be greater than or equal to 7 [uint64.gte]"),
    ("sint32 v = 1 [R.sint32 = {gt: -2, lt: 2}]", "-1", "2", "must be greater than -2 and less than 2 [sint32.gt_lt]"),
    (
        "sint64 v = 1 [R.sint64 = {gt: 2, lt: -2}]",
        "3",
        "0",
        "must be greater than 2 or less than -2 [sint64.gt_lt_exclusive]",
    ),
    (
        "fixed32 v = 1 [R.fixed32 = {gte: 2, lte: 3}]",
        "3",
        "4",
        "must be greater than or equal to 2 and less than or equal to 3 [fixed32.gte_lte]",
    ),
    (
        "fixed64 v = 1 [R.fixed64 = {gte: 9, lte: 3}]",
        "3",
        "4",
        "must be greater than or equal to 9 or less than or equal to 3 [fixed64.gte_lte_exclusive]",
    ),
    (
        "sfixed32 v = 1 [R.sfixed32 = {gt: 2, lte: 3}]",
        "3",
        "2",
        "must be greater than 2 and less than or equal to 3 [sfixed32.gt_lte]",
    ),
    (
        "sfixed64 v = 1 [R.sfixed64 = {gte: 2, lt: 3}]",
        "2",
        "3",
        "must be greater than or equal to 2 and less than 3 [sfixed64.gte_lt]",
    ),
    ("int32 v = 1 [R.int32 = {in: [1, 3]}]", "3", "2", "must be in list [1, 3] [int32.in]"),
    ("uint64 v = 1 [R.uint64 = {not_in: [1, 3]}]", "2", "3", "must not be in list [1, 3] [uint64.not_in]"),
    ("float v = 1 [R.float.lt = 1.5]", "1.25", "1.5", "must be less than 1.5 [float.lt]"),
    ("float v = 1 [R.float.lt = 1.5]", "1.25", "\"NaN\"", "must be less than 1.5 [float.lt]"),
    ("double v = 1 [R.double.finite = true]", "1e300", "\"Infinity\"", "must be finite [double.finite]"),
    ("float v = 1 [R.float.finite = true]", "1", "\"NaN\"", "must be finite [float.finite]"),
    ("double v = 1 [R.double = {in: [0.5, 1]}]", "0.5", "2", "must be in list [0.5, 1] [double.in]"),
    ("bool v = 1 [R.bool.const = true]", "true", "false", "must equal true [bool.const]"),
    ("E v = 1 [R.enum.const = 1]", "\"E_A\"", "\"E_B\"", "must equal 1 [enum.const]"),
    (
        "E v = 1 [R.enum.defined_only = true]",
        "2",
        "3",
        "value must be one of the defined enum values [enum.defined_only]",
    ),
    ("E v = 1 [R.enum = {in: [1, 2]}]", "1", "0", "must be in list [1, 2] [enum.in]"),
    ("E v = 1 [R.enum = {not_in: [0]}]", "1", "0", "must not be in list [0] [enum.not_in]"),
];

const TEXTS: &[Row] = &[
    ("string v = 1 [R.string.const = \"x\"]", "\"x\"", "\"y\"", "must equal `x` [string.const]"),
    ("string v = 1 [R.string.len = 2]", "\"äö\"", "\"ä\"", "must be 2 characters [string.len]"),
    ("string v = 1 [R.string.min_len = 2]", "\"äö\"", "\"ä\"", "must be at least 2 characters [string.min_len]"),
    ("string v = 1 [R.string.max_len = 2]", "\"äö\"", "\"äöü\"", "must be at most 2 characters [string.max_len]"),
    ("string v = 1 [R.string.len_bytes = 2]", "\"ä\"", "\"a\"", "must be 2 bytes [string.len_bytes]"),
    ("string v = 1 [R.string.min_bytes = 2]", "\"ä\"", "\"a\"", "must be at least 2 bytes [string.min_bytes]"),
    ("string v = 1 [R.string.max_bytes = 2]", "\"ä\"", "\"äa\"", "must be at most 2 bytes [string.max_bytes]"),
    (
        "string v = 1 [R.string.pattern = \"^[a-z\\\\\\\"]+$\"]",
        "\"a\\\"\"",
        "\"A\"",
        "does not match regex pattern `^[a-z\\\"]+$` [string.pattern]",
    ),
    ("string v = 1 [R.string.prefix = \"ab\"]", "\"abc\"", "\"bc\"", "does not have prefix `ab` [string.prefix]"),
    ("string v = 1 [R.string.suffix = \"bc\"]", "\"abc\"", "\"ab\"", "does not have suffix `bc` [string.suffix]"),
    (
        "string v = 1 [R.string.contains = \"b\"]",
        "\"abc\"",
        "\"ac\"",
        "does not contain substring `b` [string.contains]",
    ),
    (
        "string v = 1 [R.string.not_contains = \"b\"]",
        "\"ac\"",
        "\"abc\"",
        "contains substring `b` [string.not_contains]",
    ),
    ("string v = 1 [R.string = {in: [\"a\", \"b\"]}]", "\"a\"", "\"c\"", "must be in list [a, b] [string.in]"),
    ("string v = 1 [R.string = {not_in: [\"a\"]}]", "\"b\"", "\"a\"", "must not be in list [a] [string.not_in]"),
    ("bytes v = 1 [R.bytes.const = \"a\"]", "\"YQ==\"", "\"Yg==\"", "must be 61 [bytes.const]"),
    ("bytes v = 1 [R.bytes.len = 1]", "\"YQ==\"", "\"\"", "must be 1 bytes [bytes.len]"),
    ("bytes v = 1 [R.bytes.min_len = 1]", "\"YQ==\"", "\"\"", "must be at least 1 bytes [bytes.min_len]"),
    ("bytes v = 1 [R.bytes.max_len = 1]", "\"YQ==\"", "\"YWI=\"", "must be at most 1 bytes [bytes.max_len]"),
    (
        "bytes v = 1 [R.bytes.pattern = \"^a+$\"]",
        "\"YWE=\"",
        "\"YWI=\"",
        "must match regex pattern `^a+$` [bytes.pattern]",
    ),
    ("bytes v = 1 [R.bytes.prefix = \"a\"]", "\"YWI=\"", "\"Yg==\"", "does not have prefix 61 [bytes.prefix]"),
    ("bytes v = 1 [R.bytes.suffix = \"b\"]", "\"YWI=\"", "\"YQ==\"", "does not have suffix 62 [bytes.suffix]"),
    ("bytes v = 1 [R.bytes.contains = \"b\"]", "\"YWI=\"", "\"YQ==\"", "does not contain 62 [bytes.contains]"),
    ("bytes v = 1 [R.bytes = {in: [\"a\"]}]", "\"YQ==\"", "\"Yg==\"", "must be in list [a] [bytes.in]"),
    ("bytes v = 1 [R.bytes = {not_in: [\"a\"]}]", "\"Yg==\"", "\"YQ==\"", "must not be in list [a] [bytes.not_in]"),
    ("bytes v = 1 [R.bytes.ip = true]", "\"AAAAAA==\"", "\"YQ==\"", "must be a valid IP address [bytes.ip]"),
    (
        "bytes v = 1 [R.bytes.ipv4 = true]",
        "\"AAAAAA==\"",
        "\"\"",
        "value is empty, which is not a valid IPv4 address [bytes.ipv4_empty]",
    ),
    (
        "bytes v = 1 [R.bytes.ipv6 = true]",
        "\"AAAAAAAAAAAAAAAAAAAAAA==\"",
        "\"AAAAAA==\"",
        "must be a valid IPv6 address [bytes.ipv6]",
    ),
    (
        "bytes v = 1 [R.bytes.uuid = true]",
        "\"AAAAAAAAAAAAAAAAAAAAAA==\"",
        "\"AAAAAA==\"",
        "must be a valid UUID [bytes.uuid]",
    ),
];

const OTHERS: &[Row] = &[
    (
        "repeated int32 v = 1 [R.repeated.min_items = 2]",
        "[1, 2]",
        "[1]",
        "must contain at least 2 item(s) [repeated.min_items]",
    ),
    (
        "repeated int32 v = 1 [R.repeated.max_items = 1]",
        "[1]",
        "[1, 1]",
        "must contain no more than 1 item(s) [repeated.max_items]",
    ),
    (
        "repeated double v = 1 [R.repeated.unique = true]",
        "[1, 2, \"NaN\", \"NaN\"]",
        "[0, -0.0]",
        "repeated value must contain unique items [repeated.unique]",
    ),
    (
        "repeated bytes v = 1 [R.repeated.unique = true]",
        "[\"YQ==\", \"Yg==\"]",
        "[\"YQ==\", \"YQ==\"]",
        "repeated value must contain unique items [repeated.unique]",
    ),
    (
        "map<string, int32> v = 1 [R.map.min_pairs = 1]",
        "{\"a\": 1}",
        "{}",
        "map must be at least 1 entries [map.min_pairs]",
    ),
    (
        "map<string, int32> v = 1 [R.map.max_pairs = 1]",
        "{\"a\": 1}",
        "{\"a\": 1, \"b\": 1}",
        "map must be at most 1 entries [map.max_pairs]",
    ),
    (
        "google.protobuf.Duration v = 1 [R.duration.lt.seconds = 5]",
        "\"4.9s\"",
        "\"5s\"",
        "must be less than 5s [duration.lt]",
    ),
    (
        "google.protobuf.Duration v = 1 [R.duration = {in: [{seconds: 1, nanos: 500000000}]}]",
        "\"1.5s\"",
        "\"5s\"",
        "must be in list [1.5s] [duration.in]",
    ),
    (
        "google.protobuf.Timestamp v = 1 [R.timestamp.const.seconds = 0]",
        "\"1970-01-01T00:00:00Z\"",
        "\"1970-01-01T00:00:01Z\"",
        "must equal 1970-01-01T00:00:00Z [timestamp.const]",
    ),
    (
        "google.protobuf.Timestamp v = 1 [R.timestamp.lt_now = true]",
        "\"1970-01-01T00:00:00Z\"",
        "\"9970-01-01T00:00:01Z\"",
        "must be less than now [timestamp.lt_now]",
    ),
    (
        "google.protobuf.Timestamp v = 1 [R.timestamp.gt_now = true]",
        "\"9970-01-01T00:00:00Z\"",
        "\"1970-01-01T00:00:01Z\"",
        "must be greater than now [timestamp.gt_now]",
    ),
    (
        "google.protobuf.Timestamp v = 1 [R.timestamp.within.seconds = 3155760000]",
        "\"2026-01-01T00:00:00Z\"",
        "\"1826-01-01T00:00:01Z\"",
        "must be within 3155760000s of now [timestamp.within]",
    ),
    (
        "google.protobuf.FieldMask v = 1 [R.field_mask = {in: [\"a\", \"b\"]}]",
        "\"a,b.c\"",
        "\"a,c\"",
        "must only contain paths in [a, b] [field_mask.in]",
    ),
    (
        "google.protobuf.FieldMask v = 1 [R.field_mask.const.paths = \"a\"]",
        "\"a\"",
        "\"b\"",
        "must equal paths [a] [field_mask.const]",
    ),
    (
        "google.protobuf.Any v = 1 [R.any = {in: [\"x/t.M0\"]}]",
        "{\"@type\": \"x/t.M0\"}",
        "{\"@type\": \"y/t.M0\"}",
        "type URL must be in the allow list [any.in]",
    ),
    (
        "google.protobuf.Any v = 1 [R.any = {not_in: [\"x/t.M0\"]}]",
        "{\"@type\": \"y/t.M0\"}",
        "{\"@type\": \"x/t.M0\"}",
        "type URL must not be in the block list [any.not_in]",
    ),
    (
        "google.protobuf.StringValue v = 1 [R.string.min_len = 2]",
        "\"ab\"",
        "\"\"",
        "must be at least 2 characters [string.min_len]",
    ),
    ("google.protobuf.Int64Value v = 1 [R.int64.gt = 2]", "3", "2", "must be greater than 2 [int64.gt]"),
    ("string v = 1 [R.required = true]", "\"a\"", "\"\"", "value is required [required]"),
    ("repeated string v = 1 [R.required = true]", "[\"\"]", "[]", "value is required [required]"),
    ("map<int32, int32> v = 1 [R.required = true]", "{\"0\": 0}", "{}", "value is required [required]"),
];

/// Every well-known format of a text: what fits, and what does not.
const FORMATS: &[(&str, &str, &[&str], &[&str])] = &[
    (
        "email",
        "must be a valid email address",
        &["a@b", "a.b+c@example.com", "foo@x--y.de"],
        &["a", "a@", "@b", "a@-b", "a@b.", "a b@c", "a@b@c", "\u{e4}@b"],
    ),
    (
        "hostname",
        "must be a valid hostname",
        &["a", "a.b-c.", "1a", "A.de"],
        &[".", "a..b", "-a", "a-", "a.1", "127.0.0.1", "a_b", "\u{e4}"],
    ),
    ("ip", "must be a valid IP address", &["1.2.3.4", "::1", "fe80::1%eth0"], &["1.2.3", "01.2.3.4", "::1%", "x"]),
    ("ipv4", "must be a valid IPv4 address", &["1.2.3.4"], &["::1", "1.2.3.256", "1.2.3.4.5", " 1.2.3.4"]),
    (
        "ipv6",
        "must be a valid IPv6 address",
        &["::", "1:2:3:4:5:6:7::", "::ffff:1.2.3.4", "::1%en0"],
        &["1.2.3.4", "1:2:3:4:5:6:7:8:9", "::1::", "12345::", "[::1]"],
    ),
    (
        "uri",
        "must be a valid URI",
        &["http://a", "https://u:p@a.de:8/p/q?x=/?#f", "urn:x:y", "a:", "http://[::1]:1/", "http://[v1.x]", "a:/b//c"],
        &["//a", "a", "1a:b", "a:b c", "http://a b", "a:%4", "http://a:b", "http://[::1", "http://%ff", "a:#b#c"],
    ),
    (
        "uri_ref",
        "must be a valid URI Reference",
        &["", "a/b", "/a?b", "//a", "./x:y", "#f", "http://a", "http://[fe80::1%25en0]"],
        &["1:b", "a b", "%", "^", "//a:b/"],
    ),
    ("address", "must be a valid hostname, or ip address", &["a.de", "1.2.3.4", "::1"], &["a_", "1.2.3"]),
    (
        "uuid",
        "must be a valid UUID",
        &["8b72987e-d1ab-4a1c-9ed6-6b2dfcad3a45", "8B72987E-D1AB-4A1C-9ED6-6B2DFCAD3A45"],
        &["8b72987ed1ab4a1c9ed66b2dfcad3a45", "8b72987e-d1ab-4a1c-9ed6-6b2dfcad3a4g"],
    ),
    ("tuuid", "must be a valid trimmed UUID", &["8b72987ed1ab4a1c9ed66b2dfcad3a45"], &["8b72987e"]),
    (
        "ip_with_prefixlen",
        "must be a valid IP prefix",
        &["1.2.3.4/8", "::1/128", "1.2.3.4/0"],
        &["1.2.3.4", "1.2.3.4/33", "1.2.3.4/08", "::1/129", "::1%e/8", "1.2.3.4/"],
    ),
    (
        "ipv4_with_prefixlen",
        "must be a valid IPv4 address with prefix length",
        &["1.2.3.4/32"],
        &["::1/8", "1.2.3.4/+8"],
    ),
    ("ipv6_with_prefixlen", "must be a valid IPv6 address with prefix length", &["::1/8"], &["1.2.3.4/8"]),
    ("ip_prefix", "must be a valid IP prefix", &["1.0.0.0/8", "::/0", "0.0.0.0/0"], &["1.2.0.0/8", "::1/127"]),
    ("ipv4_prefix", "must be a valid IPv4 prefix", &["1.2.3.4/32", "128.0.0.0/1"], &["1.2.3.4/31x", "1.2.3.5/31"]),
    ("ipv6_prefix", "must be a valid IPv6 prefix", &["ff00::/8", "::1/128"], &["ff00::1/8", "1.0.0.0/8"]),
    (
        "host_and_port",
        "must be a valid host (hostname or IP address) and port pair",
        &["a:0", "1.2.3.4:65535", "[::1]:80", "[fe80::1%x]:1"],
        &["a", "a:", "a:65536", "a:01", "::1:80", "[::1]", "[::1]x:1", "[1.2.3.4]:1", ":1"],
    ),
    ("ulid", "must be a valid ULID", &["01ARZ3NDEKTSV4RRFFQ69G5FAV"], &["81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ"]),
    ("protobuf_fqn", "must be a valid fully-qualified Protobuf name", &["a.b_1.C"], &["1a", ".a", "a..b"]),
    (
        "protobuf_dot_fqn",
        "must be a valid fully-qualified Protobuf name with a leading dot",
        &[".a.b"],
        &["a.b", ".", ".a."],
    ),
];

#[test]
fn every_rule_takes_what_fits_and_tells_what_does_not() {
    let rows: Vec<&Row> = [NUMBERS, TEXTS, OTHERS].concat().leak().iter().collect();
    let mut text = String::from("enum E { E_0 = 0; E_A = 1; E_B = 2; }\n");
    for (at, (field, ..)) in rows.iter().enumerate() {
        let field = field.replace("[R.", "[(buf.validate.field).");
        text.push_str(&format!("message M{at} {{ {field}; }}\n"));
    }
    let built = Built::of("rows", &text);
    for (at, (field, good, bad, told)) in rows.iter().enumerate() {
        let message = format!("M{at}");
        assert_eq!(built.told(&message, &format!("{{\"v\": {good}}}")), Vec::<String>::new(), "{field}: {good}");
        assert_eq!(built.told(&message, &format!("{{\"v\": {bad}}}")), [format!("v: {told}")], "{field}: {bad}");
    }
}

#[test]
fn every_format_takes_what_is_one_and_nothing_else() {
    let mut text = String::new();
    for (name, ..) in FORMATS {
        text.push_str(&format!("message M{name} {{ string v = 1 [(buf.validate.field).string.{name} = true]; }}\n"));
    }
    let built = Built::of("formats", &text);
    for (name, told, good, bad) in FORMATS {
        let message = format!("M{name}");
        let json = |value: &str| serde_json::json!({ "v": value }).to_string();
        for value in *good {
            assert_eq!(built.told(&message, &json(value)), Vec::<String>::new(), "{name}: {value}");
        }
        for value in *bad {
            assert_eq!(built.told(&message, &json(value)), [format!("v: {told} [string.{name}]")], "{name}: {value}");
        }
        if *name != "uri_ref" {
            let [empty] = &built.told(&message, "{}")[..] else { panic!("{name}: one violation for an empty text") };
            assert!(empty.ends_with(&format!("[string.{name}_empty]")), "{empty}");
        }
    }
}

#[test]
fn header_names_and_values_are_strict_unless_told_otherwise() {
    let built = Built::of(
        "headers",
        r#"
message Mname { string v = 1 [(buf.validate.field).string.well_known_regex = KNOWN_REGEX_HTTP_HEADER_NAME]; }
message Mloose { string v = 1 [(buf.validate.field).string = {well_known_regex: KNOWN_REGEX_HTTP_HEADER_NAME, strict: false}]; }
message Mvalue { string v = 1 [(buf.validate.field).string.well_known_regex = KNOWN_REGEX_HTTP_HEADER_VALUE]; }
"#,
    );
    let name = "v: must be a valid HTTP header name [string.well_known_regex.header_name]";
    assert_eq!(built.told("Mname", r#"{"v": ":path"}"#), Vec::<String>::new());
    assert_eq!(built.told("Mname", r#"{"v": "a b"}"#), [name]);
    assert_eq!(built.told("Mloose", r#"{"v": "a b"}"#), Vec::<String>::new());
    assert_eq!(built.told("Mloose", r#"{"v": "a\nb"}"#), [name]);
    assert_eq!(built.told("Mvalue", r#"{"v": "a\tb"}"#), Vec::<String>::new());
    let value = "v: must be a valid HTTP header value [string.well_known_regex.header_value]";
    assert_eq!(built.told("Mvalue", r#"{"v": "a\u0001b"}"#), [value]);
}
