//! Work is bounded: whatever a message has in it, an evaluation ends within its steps, and a step takes about as long wherever it is
//! spent.

use portunus::expr::MAX_COST;
use portunus::schema::{Meter, Writer};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;

use crate::support::{Call, program_within, shown};

const LARGE: usize = 4 << 20;

/// Evaluates with as many steps as there are by default, whatever the guess at load is.
fn timed(what: &str, text: &str, call: &Call) -> String {
    let program = program_within(text, u64::MAX).unwrap_or_else(|problems| panic!("{text}: {problems}"));
    let (began, mut meter) = (Instant::now(), Meter::new(MAX_COST));
    let outcome = match program.run(&call, &mut meter) {
        Ok(value) => shown(&value).chars().take(40).collect(),
        Err(failure) => format!("! {failure}"),
    };
    let (took, steps) = (began.elapsed(), MAX_COST - meter.left());
    println!("{what}: {text}: {took:?}, {steps} steps, {outcome}");
    assert!(took.as_millis() < 1000, "{what}: {text}: {took:?} for {steps} steps");
    outcome
}

fn of_message(fill: impl FnOnce(&mut Writer)) -> Call {
    let mut writer = Writer::default();
    fill(&mut writer);
    Call { message: writer.finish(), ..Call::new() }
}

const COSTLY: &str = "! it takes more steps than `expr.max_cost` allows";

/// So many octets of the same, or of `a` and `b` as they come.
fn text(of: &str, size: usize) -> String {
    if !of.is_empty() {
        return of.repeat(size / of.len());
    }
    let mut random = SmallRng::seed_from_u64(7);
    (0..size).map(|_| if random.random() { 'a' } else { 'b' }).collect()
}

#[test]
fn patterns() {
    for (fill, patterns) in [
        (
            "a",
            &["(a+)+b", "(a|aa)*b", "a*a*a*a*a*a*a*a*a*a*b", "(a?){100}a{100}b", "(.*)(.*)(.*)(.*)(.*)[^a]b", "[^b]*b"]
                [..],
        ),
        (
            "ab",
            &["(a|b)*a(a|b){12}c", "[ab]*a[ab]{200}c", "(?s).*a.{90}c", r"\\w+@\\w+\\.\\w{2,90}c", r"(\\pL\\d?){1,9}!"]
                [..],
        ),
        (
            "",
            &[
                "(?:a|b)*a(?:a|b){20}$",
                "[ab]*a[ab]{13}[^ab]",
                "a[ab]{900}[^ab]",
                "(?s)a.{300}[^ab]",
                "a.{30}b.{30}a.{30}[^ab]",
                r"\\w{1,40}x",
                "(a[ab]{90}|b[ab]{80}){2}[^ab]",
                r"(\\b[ab]*\\b)*$",
            ][..],
        ),
        ("größe ", &[r"(\\w+\\s)*x", r"\\w{1,40}x", r"(?i)GRÖSSE"][..]),
    ] {
        for size in [1 << 10, 64 << 10, 1 << 20, LARGE] {
            let call = Call { large: text(fill, size), ..Call::new() };
            for pattern in patterns {
                match program_within(&format!("large.matches(\"{pattern}\")"), u64::MAX) {
                    Ok(_) => timed(&format!("{size}"), &format!("large.matches(\"{pattern}\")"), &call),
                    Err(problem) => {
                        println!("{problem}");
                        String::new()
                    }
                };
            }
        }
    }
}

#[test]
fn patterns_made_on_the_way() {
    let call = Call::new();
    for pattern in [r"\\w{90}", r"(\\pL{20}){9}", r"(a?){1000}", "(((a{9}){9}){9})", "abc", r"(?i)\\pL\\pL\\pL\\pL"] {
        timed("once", &format!("\"abc\".matches(\"{pattern}\" + \"\")"), &call);
        let tens = "[1,2,3,4,5,6,7,8,9,0]";
        timed(
            "often",
            &format!(
                "{tens}.all(a, {tens}.all(b, {tens}.all(c, {tens}.all(d, !\"abc\".matches(\"{pattern}\" + \"x\")))))"
            ),
            &call,
        );
    }
}

#[test]
fn long_lists() {
    let call = of_message(|writer| writer.octets(30, &vec![1; LARGE - 16]));
    for text in [
        "size(message.truths) > 0",
        "message.truths.all(x, x)",
        "false in message.truths",
        "message.truths == [true]",
        "message.truths[0]",
        "has(message.truths)",
        "message.truths + message.truths == []",
    ] {
        timed("packed", text, &call);
    }
    let small = of_message(|writer| writer.octets(30, &vec![1; 100_000]));
    for text in [
        "message.truths.all(x, message.truths.all(y, x == y))",
        "message.truths.map(x, message.truths).size()",
        "message.truths.map(x, x).filter(x, x).size()",
        "message.truths.all(x, has(message.truths))",
    ] {
        timed("packed, small", text, &small);
    }
    let call = of_message(|writer| (0..LARGE / 3).for_each(|_| writer.octets(35, b"")));
    timed("texts", "message.texts.exists(x, x == \"a\")", &call);
    timed("texts", "size(message.texts) == 1", &call);
    let call = of_message(|writer| (0..LARGE / 3).for_each(|_| writer.octets(38, b"")));
    timed("messages", "message.inners.exists(x, x.truth)", &call);
    timed("messages", "message.inners == message.inners", &call);
    timed("messages", "message == message", &call);
}

#[test]
fn many_entries() {
    for count in [1000u32, 30_000, 400_000] {
        let call = of_message(|writer| {
            for number in 0..count {
                let mut entry = Writer::default();
                entry.octets(1, &number.to_le_bytes().map(|octet| b'a' + octet % 26));
                entry.octets(2, b"v");
                writer.octets(40, &entry.finish());
            }
        });
        for text in [
            "message.labels[\"none\"] == \"a\"",
            "size(message.labels) == 1",
            "message.labels.all(k, message.labels[k] == \"v\")",
            "message.labels == message.labels",
            "\"x\" in message.labels",
        ] {
            timed(&format!("{count}"), text, &call);
        }
    }
    let call = of_message(|writer| (0..LARGE / 3).for_each(|_| writer.octets(40, b"")));
    timed("empty", "message.labels[\"\"] == \"\"", &call);
}

#[test]
fn messages_in_parts() {
    let call = of_message(|writer| (0..LARGE / 5).for_each(|_| writer.octets(17, b"\x08\x01")));
    timed("parts", "message.inner.truth", &call);
    timed("parts", "[message.inner].all(x, [1,2,3,4].all(y, x.truth && x.i32 == 0 && x.text == \"\"))", &call);
    let call = of_message(|writer| (0..LARGE / 3).for_each(|_| writer.octets(17, b"")));
    timed("empty parts", "message.inner.truth", &call);
    let few = of_message(|writer| (0..30_000).for_each(|_| writer.octets(17, b"\x08\x01")));
    let many = "[1,2,3,4,5,6,7,8,9,0]";
    timed("few parts", &format!("[message.inner].all(x, {many}.all(y, {many}.all(z, x.truth)))"), &few);
}

#[test]
fn large_texts_and_groups_again_and_again() {
    let many = "[1,2,3,4,5,6,7,8,9,0]";
    let often =
        |test: &str| format!("{many}.all(a, {many}.all(b, {many}.all(c, {many}.all(d, {many}.all(e, {test})))))");
    let call = of_message(|writer| writer.octets(14, &vec![b'a'; LARGE]));
    timed("text", &often("message.text != \"a\""), &call);
    timed("text", &often("message.text != \"a\" + string(a)"), &call);
    timed("text", "message.text.size() > 3 && message.text.startsWith(\"aa\") && !message.text.contains(\"b\")", &call);
    let call = of_message(|writer| writer.octets(14, &"ö".repeat(LARGE / 2).into_bytes()));
    timed("text", &often("message.text != \"a\""), &call);
    let call = of_message(|writer| writer.group(99, &b"\x08\x01".repeat(LARGE / 2)));
    timed("group", &often("!message.truth"), &call);
    timed("group", &often("message != message"), &call);
    let call = of_message(|writer| (0..LARGE / 2).for_each(|_| writer.varint(3, 1)));
    timed("duplicates", &often("message.i64 == 1"), &call);
    timed("duplicates", "message == message", &call);
    let mut call = Call::new();
    for number in 0..1000 {
        call.metadata.push(&format!("x-{number}"), &[b'a'; 50]);
        call.metadata.push("x-many", &[b'b'; 50]);
    }
    timed("metadata", &often("size(metadata) > 1000"), &call);
    timed("metadata", &often("metadata[\"x-many\"] != \"a\""), &call);
    timed("metadata", &often("!(\"x-none\" in metadata)"), &call);
    timed("metadata", &often("metadata.exists(x, x == \"x-500\")"), &call);
    timed("metadata", &often("metadata == metadata"), &call);
}

#[test]
fn values_that_grow() {
    let call = Call::new();
    let doubled = |times: usize| "[\"aaaaaaaaaaaaaaaa\"]".to_owned() + &".map(x, x + x)".repeat(times);
    assert_eq!(timed("text", &format!("{}[0].size()", doubled(10)), &call), "16384");
    assert_eq!(timed("text", &format!("{}[0].size()", doubled(40)), &call), COSTLY);
    let lists = |times: usize| "[[1, 2, 3, 4]]".to_owned() + &".map(x, x + x)".repeat(times);
    assert_eq!(timed("list", &format!("{}[0].size()", lists(40)), &call), COSTLY);
    let nested = |times: usize| "[[1]]".to_owned() + &".map(x, [x, x, x])".repeat(times);
    timed("shared", &format!("{} == {}", nested(14), nested(14)), &call);
    let maps = |times: usize| "[{1: 1}]".to_owned() + &".map(x, {1: x, 2: x, 3: x})".repeat(times);
    timed("shared", &format!("{} == {}", maps(14), maps(14)), &call);
    let octets = |times: usize| "[b\"aaaaaaaaaaaaaaaa\"]".to_owned() + &".map(x, x + x)".repeat(times);
    assert_eq!(timed("octets", &format!("{}[0].size()", octets(40)), &call), COSTLY);
    let made =
        |times: usize| "[kinds.Plain{i32: 1}]".to_owned() + &".map(x, kinds.Plain{inners: [x, x]})".repeat(times);
    assert_eq!(timed("messages", &format!("{}[0].i32", made(30)), &call), COSTLY);
    let numbers = |count: u32| (0..count).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    timed("in", &format!("[{}].exists(x, !(x in [{}]))", numbers(1000), numbers(700)), &call);
    timed("map", &format!("{{{}}}.size()", (0..1000).map(|n| format!("{n}:1")).collect::<Vec<_>>().join(",")), &call);
}

fn nested(levels: usize, around: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut wire = Vec::new();
    for _ in 0..levels {
        wire = around(&wire);
        if wire.len() > LARGE {
            break;
        }
    }
    wire
}

fn field(number: u32, octets: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.octets(number, octets);
    writer.finish()
}

#[test]
fn deep_json_and_any() {
    let of_known = |wire: Vec<u8>| Call { known: wire, ..Call::new() };
    // A list in a list in a list.
    let json = nested(10_000, |inner| field(6, &field(1, inner)));
    let call = of_known(field(13, &json));
    timed("json", "known.json == null", &call);
    timed("json", "known == known", &call);
    let object = nested(10_000, |inner| field(5, &field(1, &[field(1, b"a"), field(2, inner)].concat())));
    let call = of_known(field(13, &object));
    timed("object", "known.json.a.a.a == null", &call);
    let any = nested(10_000, |inner| [field(1, b"/google.protobuf.Any"), field(2, inner)].concat());
    let call = of_known(field(15, &any));
    timed("any", "known.any == known.any", &call);
    let wide = nested(60, |inner| field(6, &[field(1, inner), field(1, &field(3, &[b'x'; 60_000]))].concat()));
    timed("wide json", "known.json == known.json", &of_known(field(13, &wide)));
    let many = field(6, &field(1, b"").repeat(LARGE / 3));
    let call = of_known(field(13, &many));
    timed("many", "known.json.size() > 0", &call);
    let deep = nested(10_000, |inner| field(17, inner));
    let call = Call { message: deep, ..Call::new() };
    timed("messages", "message == message", &call);
    timed("messages", &format!("message{} == message", ".inner".repeat(60)), &call);
    let call = of_message(|writer| writer.octets(99, &vec![0x0b; LARGE - 16]));
    timed("groups", "message == message", &call);
    let call = of_message(|writer| writer.group(99, &[[0x0b; 90], [0x0c; 90]].concat().repeat(LARGE / 200)));
    timed("groups", "message == message", &call);
}
