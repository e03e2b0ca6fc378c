//! RFC 9113 §3 to §6: the preface, frames, the states of streams, and what each kind of frame may be.

use crate::engine::Role;
use crate::rules::Must::{Goaway, Pass, Reset};
use crate::rules::Rule;
use crate::script::Owner;
use crate::wire::{
    ACK, CONTINUATION, DATA, END, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIO, PRIORITY, PUSH, RST, SETTINGS, WHOLE,
    WINDOW, data, frame, goaway, headers, padded, request, response, rst, settings, window,
};

const PROTOCOL: u32 = 1;
const FLOW: u32 = 3;
const CLOSED: u32 = 5;
const SIZE: u32 = 6;
const REFUSED: u32 = 7;
const COMPRESSION: u32 = 9;

pub(crate) fn rules() -> Vec<Rule> {
    [
        preface(),
        frames(),
        states(),
        client_states(),
        data_and_heads(),
        small_frames(),
        settings_and_windows(),
        continuation(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A request that goes on, and one that does not.
fn open(stream: u32) -> Vec<u8> {
    headers(stream, &request(&[]), false)
}

fn whole(stream: u32) -> Vec<u8> {
    headers(stream, &request(&[]), true)
}

fn answer(stream: u32) -> Vec<u8> {
    headers(stream, &response(&[]), false)
}

fn preface() -> Vec<Rule> {
    let raw = |what, octets: Vec<u8>, must| Rule::raw("§3.4", what, Role::Server, octets, must);
    vec![
        raw("no preface", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), Goaway(PROTOCOL)),
        raw("a preface with one octet wrong", [&PREFACE[..23], b"x"].concat(), Goaway(PROTOCOL)),
        raw("HEADERS before SETTINGS", [PREFACE, &whole(1)].concat(), Goaway(PROTOCOL)),
        raw("PING before SETTINGS", [PREFACE, &frame(PING, 0, 0, &[0; 8])].concat(), Goaway(PROTOCOL)),
        raw("an acknowledgement before SETTINGS", [PREFACE, &frame(SETTINGS, ACK, 0, &[])].concat(), Goaway(PROTOCOL)),
        Rule::raw("§3.4", "a server that begins with PING", Role::Client, frame(PING, 0, 0, &[0; 8]), Goaway(PROTOCOL)),
        Rule::server("§3.4", "a good one", &[&whole(1)], Pass).sees("request1."),
    ]
}

fn frames() -> Vec<Rule> {
    let server = Rule::server;
    vec![
        server("§4.1", "an unknown kind", &[&frame(0xbe, 0xff, 7, &[1; 100]), &whole(1)], Pass).sees("request1."),
        server("§4.1", "an unknown kind without payload", &[&frame(0xbe, 0, 0, &[]), &whole(1)], Pass)
            .sees("request1."),
        server("§4.1", "the reserved bit", &[&headers(1 | 1 << 31, &request(&[]), true)], Pass).sees("request1."),
        server("§4.1", "flags that PING does not have", &[&frame(PING, 0xfe, 0, &[0; 8])], Pass),
        server(
            "§4.1",
            "flags that HEADERS does not have",
            &[&frame(HEADERS, WHOLE | END | 0xd2, 1, &request(&[]))],
            Pass,
        )
        .sees("request1."),
        server("§4.2", "DATA of the largest size", &[&open(1), &data(1, &[0; 1 << 14], true)], Pass)
            .sees("request1 16384of1."),
        server("§4.2", "DATA over the largest size", &[&open(1), &data(1, &[0; (1 << 14) + 1], true)], Goaway(SIZE)),
        server("§4.2", "HEADERS over the largest size", &[&headers(1, &[0; (1 << 14) + 1], true)], Goaway(SIZE)),
        server("§4.2", "SETTINGS over the largest size", &[&frame(SETTINGS, 0, 0, &[0; 16_386])], Goaway(SIZE)),
        server("§4.2", "an unknown kind over the largest size", &[&frame(0xbe, 0, 0, &[0; 16_386])], Goaway(SIZE)),
        server("§4.3", "a block that is no HPACK", &[&headers(1, &[0x80], true)], Goaway(COMPRESSION)),
        server("§4.3", "a string longer than its block", &[&headers(1, &[0, 9, b'a'], true)], Goaway(COMPRESSION)),
        server("§4.3", "a table larger than we said", &[&headers(1, &[0x3f, 0xe2, 0x1f], true)], Goaway(COMPRESSION)),
        server("§4.3", "a size update behind a field", &[&headers(1, &[0x82, 0x20], true)], Goaway(COMPRESSION)),
        server("§4.3", "no HPACK in trailers", &[&open(1), &headers(1, &[0x80], true)], Goaway(COMPRESSION)),
        server(
            "§4.3",
            "no HPACK for a stream that is refused",
            &[&open(1), &open(3), &open(5), &open(7), &headers(9, &[0x80], true)],
            Goaway(COMPRESSION),
        ),
    ]
}

fn states() -> Vec<Rule> {
    let server = Rule::server;
    let reset = rst(1, 8);
    vec![
        server("§5.1", "idle: DATA", &[&data(1, b"a", true)], Goaway(PROTOCOL)),
        server("§5.1", "idle: RST_STREAM", &[&rst(1, 8)], Goaway(PROTOCOL)),
        server("§5.1", "idle: WINDOW_UPDATE", &[&window(1, 1)], Goaway(PROTOCOL)),
        server("§5.1", "idle: CONTINUATION", &[&frame(CONTINUATION, WHOLE, 1, &request(&[]))], Goaway(PROTOCOL)),
        server("§5.1", "idle: PRIORITY", &[&frame(PRIORITY, 0, 1, &[0, 0, 0, 9, 1]), &whole(1)], Pass)
            .sees("request1."),
        server("§5.1", "idle above others: DATA", &[&open(1), &data(3, b"a", true)], Goaway(PROTOCOL)),
        server("§5.1", "half-closed: DATA", &[&whole(1), &data(1, b"a", true)], Reset(1, CLOSED))
            .sees("request1. violated1:5"),
        server("§5.1", "half-closed: HEADERS", &[&whole(1), &whole(1)], Reset(1, CLOSED)).sees("request1. violated1:5"),
        server(
            "§5.1",
            "half-closed: CONTINUATION",
            &[&whole(1), &frame(CONTINUATION, WHOLE, 1, &[])],
            Goaway(PROTOCOL),
        ),
        server("§5.1", "half-closed: WINDOW_UPDATE", &[&whole(1), &window(1, 1)], Pass),
        server("§5.1", "half-closed: PRIORITY", &[&whole(1), &frame(PRIORITY, 0, 1, &[0, 0, 0, 9, 1])], Pass),
        server("§5.1", "half-closed: RST_STREAM", &[&whole(1), &reset], Pass).sees("request1. reset1:8"),
        server("§5.1", "reset by the peer: DATA", &[&open(1), &reset, &data(1, b"a", true)], Goaway(CLOSED)),
        server("§5.1", "reset by the peer: HEADERS", &[&open(1), &reset, &whole(1)], Goaway(CLOSED)),
        server("§5.1", "reset by the peer: WINDOW_UPDATE", &[&open(1), &reset, &window(1, 1)], Pass),
        server("§5.1", "reset by the peer: PRIORITY", &[&open(1), &reset, &frame(PRIORITY, 0, 1, &[0; 5])], Pass),
        server("§5.1", "reset by the peer: RST_STREAM", &[&open(1), &reset, &reset], Pass).sees("request1 reset1:8"),
        server("§5.1", "ended by both: DATA", &[&whole(1), &data(1, b"a", true)], Goaway(CLOSED)).owner(Owner::Answers),
        server("§5.1", "ended by both: HEADERS", &[&whole(1), &whole(1)], Goaway(CLOSED)).owner(Owner::Answers),
        server("§5.1", "ended by both: WINDOW_UPDATE", &[&whole(1), &window(1, 1)], Pass).owner(Owner::Answers),
        server("§5.1", "ended by both: RST_STREAM", &[&whole(1), &reset], Pass).owner(Owner::Answers),
        server("§5.1", "reset by us: DATA", &[&open(1), &data(1, b"a", false), &data(1, b"a", true)], Pass)
            .owner(Owner::Resets)
            .sees("request1"),
        server("§5.1", "reset by us: HEADERS", &[&open(1), &headers(1, &[], true), &whole(3)], Pass)
            .owner(Owner::Resets)
            .sees("request1 request3."),
        server("§5.1", "reset by us: WINDOW_UPDATE and RST_STREAM", &[&open(1), &window(1, 1), &reset], Pass)
            .owner(Owner::Resets)
            .sees("request1"),
        server("§5.1", "reset by us: no HPACK", &[&open(1), &headers(1, &[0x80], true)], Goaway(COMPRESSION))
            .owner(Owner::Resets),
        server("§5.1.1", "a stream of the server's", &[&whole(2)], Goaway(PROTOCOL)),
        server("§5.1.1", "a lower number than before", &[&whole(5), &whole(3)], Goaway(PROTOCOL)).sees("request5."),
        server("§5.1.1", "numbers left out", &[&whole(1), &whole(101)], Pass).sees("request1. request101."),
        server("§5.1.1", "DATA on a number left out", &[&whole(5), &data(3, b"", false)], Pass),
        server(
            "§5.1.2",
            "one stream too many",
            &[&open(1), &open(3), &open(5), &open(7), &whole(9)],
            Reset(9, REFUSED),
        )
        .sees("request1 request3 request5 request7"),
        server(
            "§5.1.2",
            "as many again after they ended",
            &[&whole(1), &whole(3), &whole(5), &whole(7), &whole(9), &whole(11)],
            Pass,
        )
        .owner(Owner::Answers),
    ]
}

fn client_states() -> Vec<Rule> {
    let client = Rule::client;
    vec![
        client("§5.1", "a whole answer", &[&answer(3), &data(3, b"abc", false), &data(3, b"", true)], Pass)
            .sees("200for3 3of3."),
        client("§5.1", "trailers only", &[&headers(3, &response(&[("grpc-status", "0")]), true)], Pass)
            .sees("200for3."),
        client("§5.1", "idle: HEADERS", &[&answer(7)], Goaway(PROTOCOL)),
        client("§5.1", "idle: DATA", &[&data(7, b"", true)], Goaway(PROTOCOL)),
        client("§5.1", "idle: RST_STREAM", &[&rst(7, 8)], Goaway(PROTOCOL)),
        client("§5.1", "idle: WINDOW_UPDATE", &[&window(7, 8)], Goaway(PROTOCOL)),
        client("§5.1.1", "HEADERS on a stream of the server's", &[&answer(2)], Goaway(PROTOCOL)),
        client(
            "§5.1",
            "DATA behind the end, half-closed",
            &[&headers(1, &response(&[]), true), &data(1, b"a", true)],
            Reset(1, CLOSED),
        ),
        client(
            "§5.1",
            "HEADERS behind the end, half-closed",
            &[&headers(1, &response(&[]), true), &headers(1, &response(&[]), true)],
            Reset(1, CLOSED),
        ),
        client(
            "§5.1",
            "DATA behind the end, closed",
            &[&headers(3, &response(&[]), true), &data(3, b"a", true)],
            Goaway(CLOSED),
        ),
        client("§8.1", "DATA before a head", &[&data(3, b"a", false)], Reset(3, PROTOCOL)).sees("violated3:1"),
        client("§5.4", "a reset", &[&rst(3, 2), &answer(1)], Pass).sees("reset3:2 200for1"),
        client("§8.7", "a reset that says that nothing was done", &[&rst(3, 7)], Pass).sees("reset3:NotStarted"),
        client("§8.1", "no more of the request is needed", &[&headers(1, &response(&[]), true), &rst(1, 0)], Pass)
            .sees("200for1. reset1:0"),
        client(
            "§6.6",
            "PUSH_PROMISE",
            &[&frame(PUSH, WHOLE, 3, &[&[0, 0, 0, 2][..], &request(&[])].concat())],
            Goaway(PROTOCOL),
        ),
        client("§6.8", "GOAWAY: what is above never starts", &[&goaway(1, 0), &answer(1), &data(1, b"a", true)], Pass)
            .sees("reset3:NotStarted reset5:NotStarted 200for1 1of1."),
        client("§6.8", "the first of two phases", &[&goaway(i32::MAX as u32, 0), &answer(5)], Pass).sees("200for5"),
        client("§6.8", "both phases", &[&goaway(i32::MAX as u32, 0), &answer(5), &goaway(3, 0), &answer(3)], Pass)
            .sees("200for5 reset5:NotStarted 200for3"),
        client("§6.8", "what crossed the goodbye", &[&goaway(1, 0), &answer(3), &data(3, b"a", true)], Pass)
            .sees("reset3:NotStarted reset5:NotStarted"),
        client("§6.8", "GOAWAY with words", &[&frame(GOAWAY, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 0, b'b', b'y', b'e'])], Pass),
    ]
}

fn data_and_heads() -> Vec<Rule> {
    let server = Rule::server;
    let priority = |parent: u32| [&parent.to_be_bytes()[..], &[16], &request(&[])].concat();
    vec![
        server("§6.1", "DATA on stream 0", &[&data(0, b"a", false)], Goaway(PROTOCOL)),
        server("§6.1", "padding", &[&open(1), &padded(1, b"abc", 200, true)], Pass).sees("request1 3of1."),
        server("§6.1", "nothing but padding", &[&open(1), &padded(1, b"", 200, true)], Pass).sees("request1 0of1."),
        server("§6.1", "padding of no octets", &[&open(1), &padded(1, b"abc", 0, false), &data(1, b"", true)], Pass)
            .sees("request1 3of1."),
        server("§6.1", "as much padding as payload", &[&open(1), &frame(DATA, PADDED, 1, &[3, 0, 0, 0])], Pass),
        server(
            "§6.1",
            "more padding than payload",
            &[&open(1), &frame(DATA, PADDED, 1, &[4, 0, 0, 0])],
            Goaway(PROTOCOL),
        ),
        server("§6.1", "padding without its length", &[&open(1), &frame(DATA, PADDED, 1, &[])], Goaway(PROTOCOL)),
        server("§6.2", "HEADERS on stream 0", &[&whole(0)], Goaway(PROTOCOL)),
        server(
            "§6.2",
            "padding",
            &[&frame(HEADERS, WHOLE | END | PADDED, 1, &[&[2][..], &request(&[]), &[0; 2]].concat())],
            Pass,
        )
        .sees("request1."),
        server(
            "§6.2",
            "more padding than payload",
            &[&frame(HEADERS, WHOLE | PADDED, 1, &[3, 0, 0])],
            Goaway(PROTOCOL),
        ),
        server("§6.2", "padding without its length", &[&frame(HEADERS, WHOLE | PADDED, 1, &[])], Goaway(PROTOCOL)),
        server("§6.2", "a priority", &[&frame(HEADERS, WHOLE | END | PRIO, 1, &priority(0))], Pass).sees("request1."),
        server("§6.2", "half a priority", &[&frame(HEADERS, WHOLE | PRIO, 1, &[0; 4])], Goaway(PROTOCOL)),
        server(
            "§5.3.1 of RFC 7540",
            "HEADERS on itself",
            &[&frame(HEADERS, WHOLE | PRIO, 1, &priority(1))],
            Reset(1, PROTOCOL),
        ),
        server(
            "§5.3.1 of RFC 7540",
            "HEADERS in pieces on itself",
            &[&frame(HEADERS, PRIO, 1, &priority(1)), &frame(CONTINUATION, WHOLE, 1, &[])],
            Reset(1, PROTOCOL),
        )
        .sees(""),
        server("§8.1", "trailers", &[&open(1), &data(1, b"a", false), &headers(1, &[], true)], Pass)
            .sees("request1 1of1 trailers1"),
        server("§8.1", "trailers that do not end", &[&open(1), &headers(1, &[], false)], Reset(1, PROTOCOL)),
    ]
}

fn small_frames() -> Vec<Rule> {
    let server = Rule::server;
    vec![
        server("§6.3", "PRIORITY on stream 0", &[&frame(PRIORITY, 0, 0, &[0; 5])], Goaway(PROTOCOL)),
        server("§6.3", "PRIORITY of four octets", &[&open(1), &frame(PRIORITY, 0, 1, &[0; 4])], Reset(1, SIZE)),
        server("§6.3", "PRIORITY of a hundred octets", &[&open(1), &frame(PRIORITY, 0, 1, &[0; 100])], Reset(1, SIZE)),
        server("§6.3, §5.4.1", "PRIORITY of four octets, idle", &[&frame(PRIORITY, 0, 1, &[0; 4])], Goaway(SIZE)),
        server(
            "§5.3.1 of RFC 7540",
            "PRIORITY on itself",
            &[&open(1), &frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0])],
            Reset(1, PROTOCOL),
        ),
        server("§6.4", "RST_STREAM on stream 0", &[&rst(0, 8)], Goaway(PROTOCOL)),
        server("§6.4", "RST_STREAM of three octets", &[&open(1), &frame(RST, 0, 1, &[0; 3])], Goaway(SIZE)),
        server("§6.4", "RST_STREAM of five octets", &[&open(1), &frame(RST, 0, 1, &[0; 5])], Goaway(SIZE)),
        server("§7", "RST_STREAM with an unknown code", &[&open(1), &rst(1, 0xff)], Pass).sees("request1 reset1:255"),
        server("§6.6", "PUSH_PROMISE", &[&open(1), &frame(PUSH, WHOLE, 1, &[0, 0, 0, 2])], Goaway(PROTOCOL)),
        server("§6.7", "PING on a stream", &[&frame(PING, 0, 1, &[0; 8])], Goaway(PROTOCOL)),
        server("§6.7", "PING of seven octets", &[&frame(PING, 0, 0, &[0; 7])], Goaway(SIZE)),
        server("§6.7", "PING of nine octets", &[&frame(PING, 0, 0, &[0; 9])], Goaway(SIZE)),
        server("§6.7", "PING of no octets", &[&frame(PING, 0, 0, &[])], Goaway(SIZE)),
        server("§6.7", "an answer to a PING that nobody sent", &[&frame(PING, ACK, 0, &[0; 8])], Pass),
        server("§6.8", "GOAWAY on a stream", &[&frame(GOAWAY, 0, 1, &[0; 8])], Goaway(PROTOCOL)),
        server("§6.8", "GOAWAY of seven octets", &[&frame(GOAWAY, 0, 0, &[0; 7])], Goaway(SIZE)),
        server("§6.8", "GOAWAY: its calls go on", &[&open(1), &goaway(0, 0), &data(1, b"a", true)], Pass)
            .sees("request1 1of1."),
        server("§7", "GOAWAY with an unknown code", &[&goaway(0, 0xff)], Pass),
    ]
}

fn settings_and_windows() -> Vec<Rule> {
    let server = Rule::server;
    let most = i32::MAX as u32;
    let chunk = [0; 1 << 14];
    let full: Vec<u8> = (0..4).flat_map(|_| data(1, &chunk, false)).collect();
    let over: Vec<u8> = [1, 3]
        .into_iter()
        .flat_map(|id| [open(id), (0..3).flat_map(|_| data(id, &chunk, false)).collect()].concat())
        .collect();
    vec![
        server("§6.5", "SETTINGS on a stream", &[&frame(SETTINGS, 0, 1, &[])], Goaway(PROTOCOL)),
        server("§6.5", "an acknowledgement with payload", &[&frame(SETTINGS, ACK, 0, &[0; 6])], Goaway(SIZE)),
        server("§6.5", "half a setting", &[&frame(SETTINGS, 0, 0, &[0; 3])], Goaway(SIZE)),
        server("§6.5.2", "ENABLE_PUSH of 2", &[&settings(&[(2, 2)])], Goaway(PROTOCOL)),
        server("§6.5.2", "ENABLE_PUSH of 1", &[&settings(&[(2, 1)])], Pass),
        Rule::client("§6.5.2", "ENABLE_PUSH of 1 from a server", &[&settings(&[(2, 1)])], Goaway(PROTOCOL)),
        Rule::client("§6.5.2", "ENABLE_PUSH of 0 from a server", &[&settings(&[(2, 0)])], Pass),
        server("§6.5.2", "INITIAL_WINDOW_SIZE of 2^31", &[&settings(&[(4, 1 << 31)])], Goaway(FLOW)),
        server("§6.5.2", "INITIAL_WINDOW_SIZE of 2^31 - 1", &[&settings(&[(4, most)])], Pass),
        server("§6.5.2", "MAX_FRAME_SIZE of 16,383", &[&settings(&[(5, 16_383)])], Goaway(PROTOCOL)),
        server("§6.5.2", "MAX_FRAME_SIZE of 2^24", &[&settings(&[(5, 1 << 24)])], Goaway(PROTOCOL)),
        server("§6.5.2", "an unknown setting", &[&settings(&[(0xbeef, u32::MAX)])], Pass),
        server("§6.5.3", "one setting twice", &[&settings(&[(4, 1), (4, 2)])], Pass),
        server("§6.9", "WINDOW_UPDATE by 0 on the connection", &[&window(0, 0)], Goaway(PROTOCOL)),
        server("§6.9", "WINDOW_UPDATE by 0 on a stream", &[&open(1), &window(1, 0)], Reset(1, PROTOCOL)),
        server("§6.9", "the reserved bit of WINDOW_UPDATE", &[&open(1), &window(1, 1 << 31)], Reset(1, PROTOCOL)),
        server("§6.9", "WINDOW_UPDATE of three octets", &[&frame(WINDOW, 0, 0, &[0; 3])], Goaway(SIZE)),
        server("§6.9", "WINDOW_UPDATE of five octets", &[&open(1), &frame(WINDOW, 0, 1, &[0; 5])], Goaway(SIZE)),
        server("§6.9.1", "the connection's window over 2^31 - 1", &[&window(0, most)], Goaway(FLOW)),
        server("§6.9.1", "a stream's window over 2^31 - 1", &[&open(1), &window(1, most)], Reset(1, FLOW)),
        server("§6.9.1", "a stream's window of 2^31 - 1", &[&open(1), &window(1, most - 65_535)], Pass),
        server(
            "§6.9.2",
            "a setting that makes a window too large",
            &[&open(1), &window(1, 1), &settings(&[(4, most)])],
            Goaway(FLOW),
        ),
        server("§6.9.1", "DATA over a stream's window", &[&open(1), &full], Reset(1, FLOW)),
        server(
            "§6.9.1",
            "DATA up to a stream's window",
            &[&open(1), &full[..full.len() - chunk.len() - 9], &data(1, &chunk[1..], true)],
            Pass,
        )
        .sees("request1 65535of1."),
        server(
            "§6.9.1",
            "padding counts",
            &[&open(1), &full[..full.len() - chunk.len() - 9], &padded(1, &chunk[256..], 255, true)],
            Reset(1, FLOW),
        ),
        server(
            "§6.9.1",
            "DATA up to the connection's window",
            &[&over, &data(3, &[0; 100_000 - 6 * (1 << 14)], true)],
            Pass,
        ),
    ]
}

fn continuation() -> Vec<Rule> {
    let server = Rule::server;
    let head = request(&[]);
    let begin = frame(HEADERS, END, 1, &head[..5]);
    vec![
        server(
            "§6.10",
            "a head in three pieces",
            &[&begin, &frame(CONTINUATION, 0, 1, &head[5..9]), &frame(CONTINUATION, WHOLE, 1, &head[9..])],
            Pass,
        )
        .sees("request1."),
        server(
            "§6.10",
            "empty pieces",
            &[
                &begin,
                &frame(CONTINUATION, 0, 1, &[]),
                &frame(CONTINUATION, 0, 1, &head[5..]),
                &frame(CONTINUATION, WHOLE, 1, &[]),
            ],
            Pass,
        )
        .sees("request1."),
        server("§6.10", "without HEADERS", &[&whole(1), &frame(CONTINUATION, WHOLE, 1, &[])], Goaway(PROTOCOL)),
        server("§6.10", "on stream 0", &[&begin, &frame(CONTINUATION, WHOLE, 0, &head[5..])], Goaway(PROTOCOL)),
        server("§6.10", "on another stream", &[&begin, &frame(CONTINUATION, WHOLE, 3, &head[5..])], Goaway(PROTOCOL)),
        server("§6.10", "HEADERS inside a head", &[&begin, &whole(3)], Goaway(PROTOCOL)),
        server("§6.10", "DATA inside a head", &[&begin, &data(1, b"a", true)], Goaway(PROTOCOL)),
        server("§6.10", "PRIORITY inside a head", &[&begin, &frame(PRIORITY, 0, 1, &[0; 5])], Goaway(PROTOCOL)),
        server("§6.10", "PING inside a head", &[&begin, &frame(PING, 0, 0, &[0; 8])], Goaway(PROTOCOL)),
        server("§5.5", "an unknown kind inside a head", &[&begin, &frame(0xbe, 0, 1, &[])], Goaway(PROTOCOL)),
        server(
            "§6.10",
            "behind DATA",
            &[&open(1), &data(1, b"a", false), &frame(CONTINUATION, WHOLE, 1, &[])],
            Goaway(PROTOCOL),
        ),
    ]
}
