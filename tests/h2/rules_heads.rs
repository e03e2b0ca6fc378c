//! RFC 9113 §8: what heads and trailers may say, and what DATA must then come to.

use crate::rules::Must::{Pass, Reset};
use crate::rules::Rule;
use crate::wire::{block, data, headers, literal, padded, request, response};

const PROTOCOL: u32 = 1;

type Pairs<'a> = &'a [(&'a str, &'a str)];

pub(crate) fn rules() -> Vec<Rule> {
    [requests(), fields(), lengths(), responses(), large()].into_iter().flatten().collect()
}

/// A request that is malformed, whole.
fn bad(section: &'static str, what: &'static str, fields: Pairs<'_>) -> Rule {
    Rule::server(section, what, &[&headers(1, &block(fields), true)], Reset(1, PROTOCOL)).sees("")
}

fn good(section: &'static str, what: &'static str, fields: Pairs<'_>) -> Rule {
    Rule::server(section, what, &[&headers(1, &block(fields), true)], Pass).sees("request1.")
}

fn requests() -> Vec<Rule> {
    const M: (&str, &str) = (":method", "POST");
    const S: (&str, &str) = (":scheme", "http");
    const P: (&str, &str) = (":path", "/");
    const A: (&str, &str) = (":authority", "a");
    const X: (&str, &str) = ("x", "y");
    vec![
        good("§8.3.1", "all four", &[M, S, P, A, X]),
        good("§8.3.1", "no :authority", &[M, S, P]),
        good("§8.3.1", "in another order", &[P, A, S, M]),
        bad("§8.3.1", "no :method", &[S, P, A]),
        bad("§8.3.1", "no :scheme", &[M, P, A]),
        bad("§8.3.1", "no :path", &[M, S, A]),
        bad("§8.3.1", "an empty :path", &[M, S, (":path", ""), A]),
        bad("§8.3", "nothing at all", &[]),
        bad("§8.3", "two :method", &[M, M, S, P]),
        bad("§8.3", "two :scheme", &[M, S, S, P]),
        bad("§8.3", "two :path", &[M, S, P, P]),
        bad("§8.3", "two :authority", &[M, S, P, A, A]),
        bad("§8.3", "an unknown pseudo-field", &[M, S, P, (":test", "a")]),
        bad("§8.3", ":status in a request", &[M, S, P, (":status", "200")]),
        bad("§8.3", ":protocol that was not offered", &[M, S, P, A, (":protocol", "a")]),
        bad("§8.3", "a pseudo-field behind a field", &[M, S, X, P]),
        bad("§8.3", "the name of a lone colon", &[M, S, P, (":", "a")]),
        bad("§8.3", ":method with a blank", &[(":method", " POST"), S, P]),
        bad("§8.3", ":path with a line break", &[M, S, (":path", "/\r\n")]),
        good("§8.5", "CONNECT", &[(":method", "CONNECT"), A]),
        bad("§8.5", "CONNECT with :path", &[(":method", "CONNECT"), A, P]),
        bad("§8.5", "CONNECT with :scheme", &[(":method", "CONNECT"), A, S]),
        bad("§8.5", "CONNECT without :authority", &[(":method", "CONNECT")]),
    ]
}

fn fields() -> Vec<Rule> {
    let with = |section, what, name: &[u8], value: &[u8], fine: bool| {
        let mut head = request(&[]);
        literal(&mut head, name, value);
        let rule =
            Rule::server(section, what, &[&headers(1, &head, true)], if fine { Pass } else { Reset(1, PROTOCOL) });
        rule.sees(if fine { "request1." } else { "" })
    };
    let mut rules = vec![
        with("§8.2.1", "an upper-case name", b"X-y", b"a", false),
        with("§8.2.1", "an empty name", b"", b"a", false),
        with("§8.2.1", "a name with a blank", b"x y", b"a", false),
        with("§8.2.1", "a name with a colon", b"x:y", b"a", false),
        with("§8.2.1", "a name with a control character", b"x\x01", b"a", false),
        with("§8.2.1", "a name with an octet above 0x7e", b"x\x80", b"a", false),
        with("§8.2.1", "a value with NUL", b"x", b"a\0b", false),
        with("§8.2.1", "a value with CR", b"x", b"a\rb", false),
        with("§8.2.1", "a value with LF", b"x", b"a\nb", false),
        with("§8.2.1", "a value that begins with a blank", b"x", b" a", false),
        with("§8.2.1", "a value that ends with a tab", b"x", b"a\t", false),
        with("§8.2.1", "an empty value", b"x", b"", true),
        with("§8.2.1", "a value with blanks inside", b"x", b"a \tb", true),
        with("§8.2.1", "a value that is no ASCII", b"x", b"\xc3\xa4", true),
        with("§8.2.2", "te: trailers", b"te", b"trailers", true),
        with("§8.2.2", "te: gzip", b"te", b"gzip", false),
        with("§8.2.2", "te: trailers, deflate", b"te", b"trailers, deflate", false),
        with("§8.2.3", "cookie in pieces", b"cookie", b"a=b", true),
    ];
    for name in ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"] {
        rules.push(with("§8.2.2", "a field of one connection", name.as_bytes(), b"a", false));
    }
    let open = headers(1, &request(&[]), false);
    for (what, list) in [
        ("trailers with a pseudo-field", &[(":path", "/")][..]),
        ("trailers with an upper-case name", &[("X", "y")]),
        ("trailers with a field of one connection", &[("connection", "close")]),
    ] {
        rules.push(
            Rule::server("§8.1", what, &[&open, &headers(1, &block(list), true)], Reset(1, PROTOCOL))
                .sees("request1 violated1:1"),
        );
    }
    rules.push(
        Rule::server(
            "§8.1",
            "one bad request among good ones",
            &[&headers(1, &request(&[("X", "y")]), true), &headers(3, &request(&[]), true)],
            Reset(1, PROTOCOL),
        )
        .sees("request3."),
    );
    rules
}

fn lengths() -> Vec<Rule> {
    let said = |what, said: Pairs<'_>, frames: &[&[u8]], fine: bool| {
        let open = headers(1, &request(said), false);
        let all = [&[&open[..]], frames].concat();
        Rule::server("§8.1.1", what, &all, if fine { Pass } else { Reset(1, PROTOCOL) })
    };
    let four = ("content-length", "4");
    vec![
        said("as said, in two", &[four], &[&data(1, b"ab", false), &data(1, b"cd", true)], true).sees("request1 4of1."),
        said("as said, with an empty end", &[four], &[&data(1, b"abcd", false), &data(1, b"", true)], true),
        said("as said, with trailers", &[four], &[&data(1, b"abcd", false), &headers(1, &[], true)], true),
        said("more in one", &[four], &[&data(1, b"abcde", true)], false).sees("request1 violated1:1"),
        said("more in two", &[four], &[&data(1, b"abc", false), &data(1, b"de", true)], false),
        said("as said, with padding", &[four], &[&padded(1, b"abcd", 9, true)], true).sees("request1 4of1."),
        said("more, with padding", &[four], &[&padded(1, b"abcde", 9, true)], false).sees("request1 violated1:1"),
        said("fewer, with padding", &[four], &[&padded(1, b"abc", 9, true)], false).sees("request1 violated1:1"),
        said("fewer", &[four], &[&data(1, b"abc", true)], false),
        said("fewer, with trailers", &[four], &[&data(1, b"abc", false), &headers(1, &[], true)], false),
        said("twice the same", &[four, four], &[&data(1, b"abcd", true)], true),
        said("twice, not the same", &[four, ("content-length", "5")], &[], false),
        said("no number", &[("content-length", "4,4")], &[], false),
        said("below zero", &[("content-length", "-1")], &[], false),
        said("with a plus", &[("content-length", "+4")], &[], false),
        said("more than any number", &[("content-length", "99999999999999999999")], &[], false),
        Rule::server("§8.1.1", "none, but said", &[&headers(1, &request(&[four]), true)], Reset(1, PROTOCOL)).sees(""),
        Rule::server("§8.1.1", "none, as said", &[&headers(1, &request(&[("content-length", "0")]), true)], Pass),
        Rule::client(
            "§8.1.1",
            "an answer with fewer",
            &[&headers(3, &response(&[four]), false), &data(3, b"a", true)],
            Reset(3, PROTOCOL),
        )
        .sees("200for3 violated3:1"),
        Rule::client("§8.1.1", "an answer with none", &[&headers(3, &response(&[four]), true)], Reset(3, PROTOCOL))
            .sees("violated3:1"),
    ]
}

fn responses() -> Vec<Rule> {
    let answer = |what, fields: Pairs<'_>, fine: bool| {
        Rule::client(
            "§8.3.2",
            what,
            &[&headers(3, &block(fields), false)],
            if fine { Pass } else { Reset(3, PROTOCOL) },
        )
    };
    let early = |status: &str, end| headers(3, &block(&[(":status", status)]), end);
    let client = Rule::client;
    vec![
        answer("any status", &[(":status", "999")], true).sees("999for3"),
        answer("no :status", &[("x", "y")], false).sees("violated3:1"),
        answer("two :status", &[(":status", "200"), (":status", "200")], false),
        answer(":status behind a field", &[("x", "y"), (":status", "200")], false),
        answer(":status of two digits", &[(":status", "20")], false),
        answer(":status of four digits", &[(":status", "2000")], false),
        answer(":status of letters", &[(":status", "2xx")], false),
        answer(":path in an answer", &[(":status", "200"), (":path", "/")], false),
        answer("an upper-case name", &[(":status", "200"), ("X", "y")], false),
        answer("a field of one connection", &[(":status", "200"), ("connection", "close")], false),
        client("§8.1", "100 and 103 first", &[&early("100", false), &early("103", false), &early("200", true)], Pass)
            .sees("200for3."),
        client("§8.1", "100 that ends", &[&early("100", true)], Reset(3, PROTOCOL)),
        client("§8.6", "101", &[&early("101", false)], Reset(3, PROTOCOL)),
        client("§8.1", "DATA behind 100", &[&early("100", false), &data(3, b"a", true)], Reset(3, PROTOCOL)),
        client("§8.1", "trailers", &[&early("200", false), &headers(3, &block(&[("grpc-status", "0")]), true)], Pass)
            .sees("200for3 trailers3"),
        client(
            "§8.1",
            "trailers that do not end",
            &[&early("200", false), &headers(3, &[], false)],
            Reset(3, PROTOCOL),
        ),
        client("§8.1", "trailers with :status", &[&early("200", false), &early("200", true)], Reset(3, PROTOCOL)),
    ]
}

/// Over SETTINGS_MAX_HEADER_LIST_SIZE, which is 4 KiB here.
fn large() -> Vec<Rule> {
    let value = "v".repeat(1_000);
    let list = |fields: usize| vec![("x", value.as_str()); fields];
    vec![
        Rule::server("§10.5.1", "a head below the limit", &[&headers(1, &request(&list(3)), true)], Pass)
            .sees("request1."),
        Rule::server("§10.5.1", "a head over the limit", &[&headers(1, &request(&list(4)), true)], Pass).sees(""),
        Rule::server(
            "§10.5.1",
            "a head over the limit, with more to come",
            &[&headers(1, &request(&list(4)), false)],
            Pass,
        )
        .sees(""),
        Rule::client(
            "§10.5.1",
            "an answer over the limit keeps its status",
            &[&headers(3, &response(&[list(4), vec![("grpc-status", "0")]].concat()), true)],
            Pass,
        )
        .sees("200for3."),
        Rule::client(
            "§10.5.1",
            "trailers over the limit keep their status",
            &[
                &headers(3, &response(&[]), false),
                &headers(3, &block(&[list(5), vec![("grpc-status", "0")]].concat()), true),
            ],
            Pass,
        )
        .sees("200for3 trailers3"),
    ]
}
