//! The kinds of attack that a caller can make (docs/http2.md, "Limits"), as octets.

use super::wire::{
    CONTINUATION, DATA, END, HEADERS, PING, PRIORITY, RST, SETTINGS, WHOLE, WINDOW, field, frame, greeting, head,
};

/// One kind.
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// What it has to meet.
    pub(super) limit: &'static str,
    /// What a connection says first.
    pub(super) begins: fn() -> Vec<u8>,
    /// What it says then, so many times.
    pub(super) round: fn(u32) -> Vec<u8>,
    pub(super) rounds: u32,
}

const PATH: &str = "/portunus.test.Echo/Unary";

pub(super) const KINDS: &[Attack] = &[
    Attack { name: "rapid reset", limit: "rapid_reset", begins: hello, round: rapid_reset, rounds: 200 },
    Attack {
        name: "resets that we are made to send",
        limit: "provoked_reset",
        begins: hello,
        round: provoked,
        rounds: 200,
    },
    Attack { name: "streams over the limit", limit: "refused_streams", begins: hello, round: open, rounds: 400 },
    Attack {
        name: "CONTINUATION without end",
        limit: "continuation",
        begins: begun_head,
        round: continuation,
        rounds: 100,
    },
    Attack {
        name: "a head that is too large",
        limit: "header_block",
        begins: begun_head,
        round: large_piece,
        rounds: 40,
    },
    Attack { name: "an HPACK bomb", limit: "header_list", begins: hello, round: bomb, rounds: 20 },
    Attack { name: "SETTINGS", limit: "settings", begins: hello, round: settings, rounds: 200 },
    Attack { name: "PING", limit: "ping", begins: hello, round: pings, rounds: 200 },
    Attack { name: "empty DATA", limit: "empty_data", begins: begun_call, round: empty, rounds: 200 },
    Attack { name: "WINDOW_UPDATE", limit: "window_update", begins: begun_call, round: windows, rounds: 400 },
    Attack {
        name: "windows of one octet",
        limit: "small_window",
        begins: shut_call,
        round: octet_by_octet,
        rounds: 4_000,
    },
    Attack { name: "PRIORITY", limit: "noise", begins: hello, round: priorities, rounds: 200 },
];

fn hello() -> Vec<u8> {
    greeting(&[])
}

/// A hundred pieces in one write.
fn hundred(piece: impl Fn(&mut Vec<u8>, u32)) -> Vec<u8> {
    let mut octets = Vec::new();
    (0..100).for_each(|at| piece(&mut octets, at));
    octets
}

fn stream(round: u32, at: u32) -> u32 {
    (round * 100 + at) * 2 + 1
}

fn rapid_reset(round: u32) -> Vec<u8> {
    hundred(|octets, at| {
        frame(octets, HEADERS, WHOLE, stream(round, at), &head(PATH));
        frame(octets, RST, 0, stream(round, at), &8_u32.to_be_bytes());
    })
}

fn provoked(round: u32) -> Vec<u8> {
    hundred(|octets, at| {
        frame(octets, HEADERS, WHOLE, stream(round, at), &head(PATH));
        // A stream's window must not move by nothing (RFC 9113 §6.9).
        frame(octets, WINDOW, 0, stream(round, at), &0_u32.to_be_bytes());
    })
}

fn open(round: u32) -> Vec<u8> {
    hundred(|octets, at| frame(octets, HEADERS, WHOLE, stream(round, at), &head(PATH)))
}

fn begun_head() -> Vec<u8> {
    let mut octets = hello();
    frame(&mut octets, HEADERS, 0, 1, &head(PATH));
    octets
}

fn continuation(_: u32) -> Vec<u8> {
    let mut octets = Vec::new();
    frame(&mut octets, CONTINUATION, 0, 1, &[]);
    octets
}

fn large_piece(_: u32) -> Vec<u8> {
    let (mut octets, mut block) = (Vec::new(), Vec::new());
    (0..70).for_each(|_| field(&mut block, 0, "x-large", &"v".repeat(220)));
    frame(&mut octets, CONTINUATION, 0, 1, &block);
    octets
}

/// A field of 4 KiB that enters the table, and then sixteen thousand times its index.
fn bomb(round: u32) -> Vec<u8> {
    let (mut octets, mut block) = (Vec::new(), head(PATH));
    (0..14).for_each(|at| field(&mut block, 0x40, &format!("x-{at}"), &"v".repeat(250)));
    block.extend([0xbe; 12_000]);
    frame(&mut octets, HEADERS, WHOLE | END, round * 2 + 1, &block);
    octets
}

fn settings(_: u32) -> Vec<u8> {
    hundred(|octets, _| frame(octets, SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]))
}

fn pings(_: u32) -> Vec<u8> {
    hundred(|octets, _| frame(octets, PING, 0, 0, b"attacked"))
}

fn begun_call() -> Vec<u8> {
    let mut octets = hello();
    frame(&mut octets, HEADERS, WHOLE, 1, &head(PATH));
    octets
}

fn empty(_: u32) -> Vec<u8> {
    hundred(|octets, _| frame(octets, DATA, 0, 1, &[]))
}

fn windows(_: u32) -> Vec<u8> {
    hundred(|octets, _| frame(octets, WINDOW, 0, 1, &1_u32.to_be_bytes()))
}

/// A call with a long answer, of which no octet may come yet.
fn shut_call() -> Vec<u8> {
    let mut octets = greeting(&[(4, 0)]);
    frame(&mut octets, HEADERS, WHOLE, 1, &head(PATH));
    let mut message = vec![0, 0, 0, 0x20, 0x03, 0x0a, 0x80, 0x40];
    message.resize(5 + 0x2003, 7);
    frame(&mut octets, DATA, END, 1, &message);
    octets
}

fn octet_by_octet(_: u32) -> Vec<u8> {
    let mut octets = Vec::new();
    frame(&mut octets, WINDOW, 0, 1, &1_u32.to_be_bytes());
    octets
}

fn priorities(_: u32) -> Vec<u8> {
    hundred(|octets, at| frame(octets, PRIORITY, 0, at * 2 + 1, &[0, 0, 0, 0, 16]))
}
