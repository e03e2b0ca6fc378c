//! Expressions and what comes of them.

use crate::support::{Call, evaluated};

/// Asserts that each gives what stands beside it; `!` and a text is a failure.
fn all(rows: &[(&str, &str)]) {
    let call = Call::new();
    let wrong: Vec<_> = rows
        .iter()
        .map(|(text, wanted)| (text, wanted, evaluated(text, &call)))
        .filter(|(_, wanted, got)| got != *wanted)
        .map(|(text, wanted, got)| format!("{text}\n  must give {wanted}\n  and gives {got}"))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn plain_values() {
    all(&[
        ("1 + 2 * 3", "7"),
        ("-7 / 2", "-3"),
        ("-7 % 3", "-1"),
        ("7u - 3u", "4u"),
        ("1.5 * 2.0", "3.0"),
        ("0x1F", "31"),
        ("'a' + \"b\"", "\"ab\""),
        ("'''a\n\"b\"'''", "\"a\\n\\\"b\\\"\""),
        ("r'\\d'", "\"\\\\d\""),
        ("b'\\xff' + b'a'", "b[255, 97]"),
        ("[1, 2] + [3]", "[1, 2, 3]"),
        ("{'a': 1, 'b': 2}", "map of \"a\", \"b\""),
        ("{'a': 1}.a", "1"),
        ("{1: 'x'}[1u]", "\"x\""),
        ("[1, 2, 3][1]", "2"),
        ("1 == 1.0 && 1u == 1 && 2u > 1.5", "true"),
        ("1 < 2 ? 'less' : 'more'", "\"less\""),
        ("!(true && false) || false", "true"),
        ("2 in [1, 2]", "true"),
        ("'a' in {'a': null}", "true"),
        ("null == null", "true"),
        ("size('größe')", "5"),
        ("size(b'gr\u{f6}')", "4"),
        ("'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')", "true"),
        ("'a1'.matches('^[a-z][0-9]$') && matches('ab', 'b')", "true"),
        ("'a'.matches('(a+)+b')", "false"),
        ("type(1) == int && type(null) == null_type && type('') == string", "true"),
        ("int('42') + int(3.9) + int(2u)", "47"),
        ("uint(7) + uint('3')", "10u"),
        ("double('1e3')", "1000.0"),
        ("string(1) + string(1.5) + string(true) + string(b'a')", "\"11.5truea\""),
        ("bytes('ä')", "b[195, 164]"),
        ("bool('true')", "true"),
        ("dyn(1) == dyn('a')", "false"),
        ("[1, 2, 3].all(x, x > 0)", "true"),
        ("[1, 2, 3].exists(x, x == 2)", "true"),
        ("[1, 2, 3].exists_one(x, x > 2)", "true"),
        ("[1, 2, 3].map(x, x * 2)", "[2, 4, 6]"),
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4, 6]"),
        ("[1, 2, 3].filter(x, x != 2)", "[1, 3]"),
        ("{'a': 1, 'b': 2}.all(k, k < 'c')", "true"),
        ("[[1], [2, 3]].map(x, x.map(y, y + size(x)))", "[[2], [4, 5]]"),
        // The inner one is meant where two have a name.
        ("[1].map(x, [2].map(x, x))", "[[2]]"),
        ("duration('1h30m') - duration('90s')", "5310000000000ns"),
        ("timestamp('2025-01-01T00:00:00Z') + duration('1s')", "1735689601.000000000"),
        ("timestamp('2025-06-15T12:00:00Z').getHours('Europe/Berlin')", "14"),
        ("timestamp('2025-06-15T12:00:00Z').getDayOfWeek()", "0"),
        ("duration('90m').getMinutes()", "90"),
        ("string(duration('1500ms'))", "\"1.5s\""),
    ]);
}

#[test]
fn what_a_call_has() {
    all(&[
        ("metadata['x-tenant'] == 'acme' && request.service.startsWith('bindu.')", "true"),
        // Of several values all, as HTTP has it.
        ("metadata['x-twice']", "\"a,b\""),
        ("metadata['x-none']", "! no such key"),
        ("'x-none' in metadata", "false"),
        ("'x-tenant' in metadata && size(metadata) == 3", "true"),
        ("metadata['x-octets']", "! what it reads is malformed: metadata is no text"),
        ("metadata.exists(name, name.startsWith('x-t'))", "true"),
        ("claims.sub == 'did:web:acme' && claims.level >= 3", "true"),
        ("'writer' in claims.roles", "true"),
        ("claims.roles.exists(r, r == 'admin')", "false"),
        ("claims.org.name", "\"größe\""),
        ("has(claims.org.city)", "false"),
        ("has(claims.org) && has(claims.org.name)", "true"),
        ("claims.org.city", "! no such key"),
        ("claims.none == null", "true"),
        ("claims.huge", "18446744073709551615u"),
        ("claims.rate * 2.0", "1.0"),
        ("claims.ok ? 1 : 2", "1"),
        ("claims.sub ? 1 : 2", "! no such overload of `?:`"),
        ("claims.sub && true", "! no such overload of `&&`"),
        ("cidr(peer.address, '10.0.0.0/8')", "true"),
        ("cidr(peer.address, '192.168.0.0/16')", "false"),
        ("cidr('2001:db8::1', '2001:db8::/32')", "true"),
        ("cidr(request.method, '10.0.0.0/8')", "! a value cannot be made into a address"),
        ("cidr(peer.address, '10.' + '0.0.0/8')", "true"),
        ("request.time > timestamp('2025-01-01T00:00:00Z')", "true"),
        ("request.time.getMilliseconds()", "500"),
        ("absent", "! a name in it has no value for this call"),
        ("has(absent.field)", "! a name in it has no value for this call"),
        // One side that decides is enough.
        ("true || absent", "true"),
        ("absent || true", "true"),
        ("absent && false", "false"),
        ("absent || false", "! a name in it has no value for this call"),
        ("[1, 2].exists(x, x == 2 || 1 / (x - 1) > 5)", "true"),
        ("[1, 2].all(x, 1 / (x - 1) > 5)", "false"),
    ]);
}

#[test]
fn what_a_message_has() {
    all(&[
        ("message.truth", "true"),
        ("message.i32", "-7"),
        ("message.i64 + 1", "65"),
        ("message.u64", "18446744073709551615u"),
        ("message.s32", "-2"),
        ("message.single + message.wide", "1.75"),
        ("message.text", "\"größe\""),
        ("message.octets", "b[0, 255]"),
        ("message.colour == kinds.Colour.GREEN", "true"),
        ("message.colour", "2"),
        ("message.inner.text", "\"inner\""),
        // What is not there is its default.
        ("message.inner.inner.inner.i32", "0"),
        ("has(message.inner) && !has(message.inner.inner)", "true"),
        ("has(message.truth) && !has(message.f64)", "true"),
        ("has(message.maybe) && message.maybe == 0 && !has(message.maybe_text)", "true"),
        ("message.i32s", "[1, 2, 3]"),
        ("message.texts.exists(t, t == 'two')", "true"),
        ("message.inners.map(m, m.i32)", "[1, 2, 3]"),
        ("message.inners[1].i32", "2"),
        ("message.inners[3].i32", "! no such key"),
        ("message.labels.env", "\"prod\""),
        ("message.labels['env'] == 'prod' && !('zone' in message.labels)", "true"),
        ("message.by_number[5].text", "\"five\""),
        ("message.by_number[6].text", "! no such key"),
        ("has(message.number) && !has(message.word) && message.word == ''", "true"),
        ("message.number", "12"),
        ("type(message) == kinds.Plain", "true"),
        ("message == message && message != message.inner", "true"),
        ("kinds.Plain{i32: 5, texts: ['a']}.texts[0]", "\"a\""),
        ("kinds.Plain{inner: kinds.Plain{text: 'inner'}}.inner == message.inner", "true"),
        ("kinds.Plain{i32: 5000000000}", "! a number is out of range"),
        ("size(message.labels) + size(message.i32s)", "4"),
    ]);
}

#[test]
fn what_known_types_have() {
    all(&[
        ("known.i32", "5"),
        ("known.i32 + 1", "6"),
        ("known.i64", "null"),
        ("known.i64 == null", "true"),
        ("known.text == ''", "true"),
        ("has(known.text) && !has(known.octets)", "true"),
        ("known.truth == null ? 'unset' : 'set'", "\"unset\""),
        ("known.at", "1751593088.000000000"),
        ("known.at < request.time", "false"),
        ("known.span > duration('1m')", "true"),
        ("known.span", "90500000000ns"),
        ("known.object.a.b[0]", "1.5"),
        ("known.object.a.b[1] == 'x' && known.object.a.b[2] == null", "true"),
        ("has(known.object.a) && !has(known.object.z)", "true"),
        ("known.json", "true"),
        ("known.any.text", "\"any\""),
        ("type(known.any) == kinds.Plain", "true"),
        ("known.any == kinds.Plain{text: 'any'}", "true"),
        // What is of a type that is not known is an `Any`.
        ("known.anys[0].type_url", "\"type.googleapis.com/who.Knows\""),
        ("known.nothing == null", "true"),
        ("known.i64s", "[0, 2]"),
        ("known.list", "[]"),
        ("known.plain.i32", "0"),
    ]);
}

#[test]
fn what_proto2_has() {
    all(&[
        ("old.number", "41"),
        ("old.text", "\"te\\\"xt\\n\""),
        ("old.octets", "b[1, 255, 122]"),
        ("old.wide", "-inf"),
        ("old.single > 1.0 && old.single < 1.2", "true"),
        ("old.truth", "true"),
        ("old.shade == old.Shade.DARK", "true"),
        ("old.plain_shade", "3"),
        ("old.large", "18446744073709551615u"),
        ("has(old.number)", "false"),
        ("old.inside.a", "0"),
        ("old.inside.deeper.number", "41"),
        ("old.Old{number: 0}.number", "0"),
        ("has(old.Old{number: 0}.number)", "true"),
        ("old.Old{inside: old.Old.Inside{a: 3}}.inside.a", "3"),
    ]);
}

#[test]
fn what_fails() {
    all(&[
        ("1 / 0", "! division by zero"),
        ("1u % 0u", "! division by zero"),
        ("9223372036854775807 + 1", "! a number is out of range"),
        ("-(-9223372036854775807 - 1)", "! a number is out of range"),
        ("0u - 1u", "! a number is out of range"),
        ("int('x')", "! a value cannot be made into a int"),
        ("int(1e19)", "! a number is out of range"),
        ("timestamp('today')", "! a value cannot be made into a timestamp"),
        ("duration('1 day')", "! a value cannot be made into a duration"),
        ("[1][-1]", "! no such key"),
        ("{'a': 1, 'a': 2}", "! a value cannot be made into a map: it has a key twice"),
        ("[1, 2].map(x, x / (x - 1))", "! division by zero"),
        ("dyn('a') + dyn(1)", "! no such overload of `+`"),
        ("dyn('a') < dyn(1)", "! no such overload of `<`"),
        ("string(b'\\xff')", "! a value cannot be made into a string"),
        ("'a'.matches('(' + '')", "! a value cannot be made into a pattern"),
    ]);
}

/// Patterns are RE2's, as CEL says: classes are about ASCII.
#[test]
fn patterns() {
    all(&[
        (r"'a_1'.matches(r'^\w{1,64}$')", "true"),
        (r"'ä'.matches(r'\w') || '٣'.matches(r'\d')", "false"),
        (r"'ä'.matches(r'^[^\w-]$') && 'ä'.matches(r'^\W$') && 'ä'.matches('^.$')", "true"),
        (r"'a-b'.matches(r'^[\w-]+$') && 'a]'.matches(r'^[]\w]+$')", "true"),
        (r"'a b'.matches(r'\bb\b') && 'a.b'.matches(r'^a\.b$')", "true"),
        (r"'\\w'.matches(r'^\\w$')", "true"),
        (r"'ab'.matches(r'a\Bb') && !'a b'.matches(r'a\B')", "true"),
        (r"' '.matches(r'(?x) ^ [\s] $') && 'a'.matches('(?x) # [\n ^\\w$')", "true"),
        (r"'GRÖSSE'.matches('(?i)größe') || 'GRÖẞE'.matches('(?i)größe')", "true"),
        (r"'x'.matches(r'^[[:alpha:]]$') && 'ä'.matches(r'^\pL$')", "true"),
    ]);
}
