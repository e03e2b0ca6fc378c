//! Expressions that are refused, in which words, and where they are said to be wrong.

use crate::support::{program, program_within};

fn all(rows: &[(&str, &str)]) {
    let told =
        |text: &str| program(text).map_or_else(|problems| problems, |program| format!("fine, {:?}", program.kind()));
    let wrong: Vec<_> = rows
        .iter()
        .map(|(text, wanted)| (text, wanted, told(text)))
        .filter(|(_, wanted, got)| got != *wanted)
        .map(|(text, wanted, got)| format!("{text}\n  must be told   {wanted}\n  and is told    {got}"))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn what_is_no_expression() {
    all(&[
        ("", "1:1: the expression ends too early"),
        ("1 +", "1:4: the expression ends too early"),
        ("(1", "1:3: `)` is missing here"),
        ("a b", "1:3: `b` cannot stand here"),
        ("1 = 1", "1:3: `=` is no operator: write `==`, or `:` before the value of a field"),
        ("a & b", "1:3: `&` is no operator: write `&&`"),
        ("'abc", "1:1: the text that begins here has no end on its line"),
        ("true &&\n  'größe' == \"a\" ) ", "2:18: `)` cannot stand here"),
        ("[1, 2", "1:6: the expression ends too early"),
        ("x ? y", "1:6: the expression ends too early"),
        ("größe == 1", "1:3: `ö` can stand in a text, and nowhere else"),
        ("if (a) b", "1:1: `if` is a reserved word"),
        ("a.b.", "1:5: the expression ends too early"),
        ("1 + * 2", "1:5: `*` cannot stand here"),
        ("'\\q'", "1:1: in the text that begins here, a `\\` stands before what it cannot stand before"),
        ("99999999999999999999", "1:1: this number does not fit an int"),
        ("{'a' 1}", "1:6: `:` is missing here"),
        ("has(message)", "1:5: `has` takes a field or an entry: `has(x.y)`"),
        ("[1].map(1, 2)", "1:9: what comes first in a macro is a new name: `list.all(x, …)`"),
        ("message.text =~ 'a'", "1:14: `=~` is no operator: write `x.matches('…')`"),
        ("a and b", "1:3: `and` is no operator: write `&&`"),
        ("let x = 1", "1:1: `let` is a reserved word"),
        ("{'a': 1}{'b'}", "1:9: `{` cannot stand here"),
        ("kinds.Plain{i32 = 1}", "1:17: `=` is no operator: write `==`, or `:` before the value of a field"),
        ("1.2.3", "1:4: `.3` cannot stand here"),
        ("message.?text", "1:8: `.?` is not there"),
        ("message.\n\n5 && true", "3:1: `5` cannot stand here"),
        ("for", "1:1: `for` is a reserved word"),
    ]);
}

#[test]
fn names_that_are_unknown() {
    all(&[
        ("request.metod == 'a'", "1:9: `request.metod` is unknown here; did you mean `request.method`?"),
        ("metdata['a'] == 'b'", "1:1: `metdata` is unknown here; did you mean `metadata`?"),
        ("request == 'a'", "1:1: `request` is no value by itself: write request.service, request.method, request.time"),
        (
            "tenant",
            "1:1: `tenant` is unknown here; known are request.service, request.method, request.time, metadata, claims, peer.address, message, known, old, absent, large",
        ),
        ("message.txt == 'a'", "1:9: kinds.Plain has no field `txt`; did you mean `text`?"),
        (
            "message.nothing_like_it",
            "1:9: kinds.Plain has no field `nothing_like_it`; it has truth, i32, i64, u32, u64, s32, s64, f32, f64, sf32, …",
        ),
        ("message.inner.colur == 1", "1:15: kinds.Plain has no field `colur`; did you mean `colour`?"),
        ("has(message.txt)", "1:1: kinds.Plain has no field `txt`; did you mean `text`?"),
        ("message.inners.exists(m, m.txt == 'a')", "1:28: kinds.Plain has no field `txt`; did you mean `text`?"),
        ("message.text.size", "1:14: `size` is a function: write `.size()`"),
        ("message.i32.x", "1:13: `.x` is asked of int, which has no fields"),
        (
            "x.y.z == 1",
            "1:5: `x.y.z` is unknown here; known are request.service, request.method, request.time, metadata, claims, peer.address, message, known, old, absent, large",
        ),
        (
            "[1].map(x, y)",
            "1:12: `y` is unknown here; known are request.service, request.method, request.time, metadata, claims, peer.address, message, known, old, absent, large",
        ),
        (
            "[1].map(x, x) == [x]",
            "1:19: `x` is unknown here; known are request.service, request.method, request.time, metadata, claims, peer.address, message, known, old, absent, large",
        ),
        ("kinds.Colour.GREN", "1:14: kinds.Colour has no value `GREN`; did you mean `GREEN`?"),
        ("kinds.Plan{}", "1:11: there is no message type `kinds.Plan`"),
        ("kinds.Plain{txt: 'a'}", "1:16: kinds.Plain has no field `txt`; did you mean `text`?"),
        ("kinds.Plain{i32: 'a'}", "1:16: `i32` is int, and what it is set to is string"),
        ("old.inside.many[0].c", "1:20: old.Old.Inside.Many has no field `c`; did you mean `b`?"),
        ("known.object.a.b", "fine, Dyn"),
        ("known.at.seconds", "1:10: `.seconds` is asked of timestamp, which has no fields"),
    ]);
}

#[test]
fn functions_that_are_unknown_or_misused() {
    all(&[
        ("request.method.startswith('S')", "1:16: there is no function `startswith`; did you mean `startsWith`?"),
        ("lower(request.method)", "1:1: there is no function `lower`; docs/expressions.md lists those that there are"),
        ("peer.address.cidr('10.0.0.0/8')", "1:14: `cidr` is written `cidr(x)`, not `x.cidr()`"),
        ("contains(request.method, 'S')", "1:1: `contains` is written `x.contains()`, not `contains(x)`"),
        ("request.method.startsWith(1)", "1:16: `startsWith` takes (string, string), and is given (string, int)"),
        ("cidr(peer.address, '10.0.0.0')", "1:1: `10.0.0.0` is no network: write one as `10.0.0.0/8`"),
        ("cidr(peer.address, '10.0.0.0/33')", "1:1: `10.0.0.0/33` is no network: write one as `10.0.0.0/8`"),
        ("cidr(message.i32, '10.0.0.0/8')", "1:1: `cidr` takes (string, string), and is given (int, string)"),
        ("request.method.matches('(')", "1:16: `(` is no pattern: unclosed group"),
        (
            r"request.method.matches(r'^[\s-a]')",
            r"1:16: `^[\s-a]` is no pattern: invalid range boundary, must be a literal",
        ),
        (
            r"request.method.matches(r'^[!-\d]')",
            r"1:16: `^[!-\d]` is no pattern: invalid range boundary, must be a literal",
        ),
        ("request.method.matches('a{1000}{1000}')", "1:16: the pattern is too large once it is compiled: repeat less"),
        (
            "request.method.matches('(?=a)')",
            "1:16: `(?=a)` is no pattern: look-around, including look-ahead and look-behind, is not supported",
        ),
        ("size(1)", "1:1: `size` takes (string) or (bytes) or (list) or (map), and is given (int)"),
        ("size()", "1:1: `size` takes (string) or (bytes) or (list) or (map), and is given ()"),
        ("int(true)", "1:1: `int` takes (int) or (uint) or (double) or (string) or (timestamp), and is given (bool)"),
        ("'a'.getHours()", "1:5: `getHours` takes (timestamp) or (timestamp, string), and is given (string)"),
        (
            "message.at",
            "1:9: kinds.Plain has no field `at`; it has truth, i32, i64, u32, u64, s32, s64, f32, f64, sf32, …",
        ),
        ("[1].sum()", "1:5: there is no function `sum`; docs/expressions.md lists those that there are"),
        (
            "request.method.size(1)",
            "1:16: `size` takes (string) or (bytes) or (list) or (map), and is given (string, int)",
        ),
        ("timestamp(1.5)", "1:1: `timestamp` takes (string) or (int) or (timestamp), and is given (double)"),
        (
            "message.labels.map(k, v, k)",
            "1:23: `v` is unknown here; known are request.service, request.method, request.time, metadata, claims, peer.address, message, known, old, absent, large",
        ),
        ("1.map(x, x)", "1:3: macros are for lists and maps, and this is int"),
    ]);
}

#[test]
fn types_that_do_not_fit() {
    all(&[
        ("request.method && true", "1:16: `&&` is for bool, and one side is string"),
        ("true || message.i32", "1:6: `||` is for bool, and one side is int"),
        ("!request.method", "1:1: `!` does not take string"),
        ("message.i32 ? 1 : 2", "1:13: what stands before `?` is int, and must be bool"),
        (
            "message.i32 + message.u32",
            "1:13: `+` does not take int with uint; `int(x)`, `uint(x)` and `double(x)` make numbers of one type",
        ),
        (
            "message.i32 + 1.0",
            "1:13: `+` does not take int with double; `int(x)`, `uint(x)` and `double(x)` make numbers of one type",
        ),
        ("message.text + 1", "1:14: `+` does not take string with int; `string(x)` makes a text"),
        ("message.text == 1", "1:14: `==` does not take string with int"),
        ("message.inner == 'a'", "1:15: `==` does not take kinds.Plain with string"),
        ("message.text > null", "1:14: `>` does not take string with null"),
        ("message.labels[1] == 'a'", "1:15: a place in map(string, string) cannot be int"),
        ("message.i32s['a']", "1:13: a place in list(int) cannot be string"),
        ("message.i32s.all(x, x)", "1:14: the test of a macro is bool, and this one is int"),
        ("1 in 'abc'", "1:3: `in` does not take int with string"),
        ("'a' in message.i32s", "1:5: `in` does not take string with list(int)"),
        ("{1.5: 'a'}", "1:5: a key of a map is bool, int, uint or string, and this one is double"),
        ("known.at + 1", "1:10: `+` does not take timestamp with int"),
        ("known.i32 == 'a'", "1:11: `==` does not take int or null with string"),
        ("message.truth == 'true'", "1:15: `==` does not take bool with string"),
        ("-message.text", "1:1: `-` does not take string"),
        ("-message.u32", "1:1: `-` does not take uint"),
        ("message.i32.all(x, true)", "1:13: macros are for lists and maps, and this is int"),
        ("message < message", "1:9: `<` does not take kinds.Plain with kinds.Plain"),
    ]);
}

#[test]
fn several_at_once_and_where_they_are() {
    all(&[
        (
            "request.metod == 'a' &&\n  message.txt == 'b' ||\n\tnope",
            "1:9: `request.metod` is unknown here; did you mean `request.method`?\n2:11: kinds.Plain has no field `txt`; did you mean `text`?\n3:2: `nope` is unknown here; known are request.service, request.method, request.time, metadata, claims, peer.address, message, known, old, absent, large",
        ),
        ("'größe𐍈' == messag", "1:18: `messag` is unknown here; did you mean `message`?"),
        ("// größe\n  'ä' + 'ö' +\n    1", "3:3: `+` does not take string with int; `string(x)` makes a text"),
        (
            "message.text == 'ä' && message.inner.tet == ''",
            "1:38: kinds.Plain has no field `tet`; did you mean `text`?",
        ),
    ]);
}

#[test]
fn what_is_too_large() {
    all(&[
        (&"(".repeat(60), "1:49: the expression is nested deeper than 48 levels here"),
        (&"[".repeat(60), "1:49: the expression is nested deeper than 48 levels here"),
        (&format!("{}true", "!".repeat(60)), "1:49: the expression is nested deeper than 48 levels here"),
        (&format!("1{}", " + 1".repeat(160)), "1:599: more than 150 operators or fields in a row end here"),
        (&format!("'{}'", "a".repeat(9000)), "1:1: the expression has 9002 octets, and 8192 is the most"),
        // Brackets and signs in texts and remarks are none.
        (&format!("'{}' == '' // {}", "([{".repeat(60), "((".repeat(60)), "fine, Bool"),
        (&format!("'{}' == r'\\' && b'\\'{}' == b''", "a-b".repeat(99), "!(".repeat(60)), "fine, Bool"),
        (&format!("{}true", "true && ".repeat(900)), "fine, Bool"),
        (&format!("[{}1]", "-1, ".repeat(900)), "fine, List(Int)"),
        (&format!("1{}", " - 1".repeat(60)), "fine, Int"),
    ]);
}

#[test]
fn what_costs_too_much() {
    let told = |text: &str, most| {
        program_within(text, most).map_or_else(|problems| problems, |program| program.cost().to_string())
    };
    let nested = "message.inners.all(a, message.inners.all(b, message.inners.all(c, a == b && b == c)))";
    assert_eq!(
        told(nested, 1_000_000),
        "1:1: the expression may take 211090907 steps (lists of 100 elements, texts of 1,000 octets), and `expr.max_cost` is 1000000"
    );
    assert_eq!(
        told("message.truth", 1),
        "1:1: the expression may take 6 steps (lists of 100 elements, texts of 1,000 octets), and `expr.max_cost` is 1"
    );
    assert_eq!(told("message.truth", 100), "6");
    assert_eq!(told("metadata['x-tenant'] == 'acme' && request.service.startsWith('bindu.')", 1_000_000), "27");
}
