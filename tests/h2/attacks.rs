//! Each limit of the guard, met by octets as an attacker sends them: the right error, at the right count; and the legal neighbour just
//! below it passes.

use fields::{Fields, ResponseHead};

use crate::engine::{ErrorCode, Limit, Role};
use crate::script::{Owner, Script};
use crate::wire::{
    ACK, CONTINUATION, HEADERS, PING, PRIORITY, SETTINGS, WHOLE, data, frame, headers, literal, request, rst, settings,
    window,
};

fn server(owner: Owner) -> Script {
    let mut script = Script::new(Role::Server, owner);
    script.send(&Script::greeting(Role::Server), 0);
    script
}

fn open(stream: u32) -> Vec<u8> {
    headers(stream, &request(&[]), false)
}

/// Sends what `make` makes until the connection ends, and says after how many that was.
fn until_the_end(script: &mut Script, most: u32, mut make: impl FnMut(u32) -> Vec<u8>) -> u32 {
    for at in 0..most {
        script.send(&make(at), 0);
        if script.fatal.is_some() {
            return at;
        }
        script.take_frames(0);
        script.seen.clear();
    }
    most
}

fn assert_ends(owner: Owner, limit: Limit, burst: u32, before: &[u8], make: impl FnMut(u32) -> Vec<u8>) {
    let mut script = server(owner);
    script.send(before, 0);
    let at = until_the_end(&mut script, 20_000, make);
    let fatal = script.fatal.expect("it ends");
    assert_eq!((fatal.limit, fatal.code), (Some(limit), ErrorCode::ENHANCE_YOUR_CALM));
    assert!((burst..=burst + 2).contains(&at), "{limit:?} after {at}");
}

#[test]
fn rapid_resets_are_paid_for_by_instances_answers_alone() {
    let pair = |at: u32| {
        let id = at * 4 + 1;
        [headers(id, &request(&[]), true), open(id + 2), rst(id + 2, 8)].concat()
    };
    // Answers of the proxy's own cost the caller nothing.
    assert_ends(Owner::Answers, Limit::RapidReset, 200, &[], pair);
    // A caller that cancels one call in six, at any speed.
    let mut script = server(Owner::Answers);
    for at in 0..5_000 {
        for _ in 0..5 {
            script.connection.served();
        }
        script.send(&pair(at), 0);
        script.take_frames(0);
        script.seen.clear();
    }
    assert_eq!(script.fatal, None);
}

#[test]
fn t08_rapid_reset() {
    let one = |at: u32| [open(at * 2 + 1), rst(at * 2 + 1, 8)].concat();
    assert_ends(Owner::Listens, Limit::RapidReset, 200, &[], one);
    // As many that live for longer are calls like others.
    let mut script = server(Owner::Listens);
    for at in 0..5_000 {
        let now = u64::from(at) * 100;
        script.send(&open(at * 2 + 1), now);
        if let Some(old) = (at * 2 + 1).checked_sub(2) {
            script.send(&rst(old, 8), now + 1_000);
        }
        script.take_frames(now);
    }
    assert_eq!(script.fatal, None);
}

#[test]
fn provoked_resets() {
    // MadeYouReset: each way to break a rule on one stream.
    for break_rule in [
        |id: u32| window(id, 0),
        |id: u32| window(id, i32::MAX as u32),
        |id: u32| frame(PRIORITY, 0, id, &[0; 4]),
        |id: u32| frame(PRIORITY, 0, id, &[id.to_be_bytes().as_slice(), &[0]].concat()),
        |id: u32| headers(id, &[], false),
        |id: u32| [data(id, b"", true), data(id, b"a", true)].concat(),
    ] {
        let make = |at: u32| [open(at * 2 + 1), break_rule(at * 2 + 1)].concat();
        assert_ends(Owner::Listens, Limit::ProvokedReset, 100, &[], make);
    }
    let malformed = |at: u32| headers(at * 2 + 1, &request(&[("X", "y")]), true);
    assert_ends(Owner::Listens, Limit::ProvokedReset, 100, &[], malformed);
    let long = "v".repeat(5_000);
    let too_large = |at: u32| headers(at * 2 + 1, &request(&[("x", &long)]), true);
    assert_ends(Owner::Listens, Limit::ProvokedReset, 100, &[], too_large);
    // A caller that gets each tenth request wrong, at ten a second, lives.
    let mut script = server(Owner::Answers);
    for at in 0..5_000_u32 {
        let field = if at % 10 == 0 { ("X", "y") } else { ("x", "y") };
        script.send(&headers(at * 2 + 1, &request(&[field]), true), u64::from(at) * 10);
        script.take_frames(u64::from(at) * 10);
    }
    assert_eq!(script.fatal, None);
}

#[test]
fn streams_over_the_limit() {
    let full: Vec<u8> = (0..4).flat_map(|at| open(at * 2 + 1)).collect();
    assert_ends(Owner::Listens, Limit::RefusedStreams, 1_000, &full, |at| open(at * 2 + 9));
    // A client opens a thousand before it has read our SETTINGS: those over the limit are refused, and may come again.
    let mut script = server(Owner::Listens);
    let all: Vec<u8> = (0..1_000).flat_map(|at| open(at * 2 + 1)).collect();
    script.send(&all, 0);
    assert_eq!((script.fatal, script.connection.open_streams()), (None, 4));
    assert_eq!(script.take_frames(0).iter().filter(|frame| frame.kind == crate::wire::RST).count(), 996);
}

#[test]
fn t10_continuation() {
    let mut script = server(Owner::Listens);
    script.send(&frame(HEADERS, 0, 1, &[]), 0);
    let at = until_the_end(&mut script, 100, |_| frame(CONTINUATION, 0, 1, &[]));
    assert_eq!((script.fatal.unwrap().limit, at), (Some(Limit::Continuation), 32));
    // A head of 64 KiB in four frames, as others send it, to a server that takes such heads.
    let mut config = crate::script::config(Role::Server);
    config.headers = 68 << 10;
    let mut script = Script::with(Role::Server, Owner::Listens, config);
    script.send(&Script::greeting(Role::Server), 0);
    let head = request(&[("grpc-tags-bin", &"v".repeat(64 << 10))]);
    let mut pieces = head.chunks(1 << 14).enumerate().peekable();
    while let Some((at, piece)) = pieces.next() {
        let flags = if pieces.peek().is_none() { WHOLE } else { 0 };
        script.send(&frame(if at == 0 { HEADERS } else { CONTINUATION }, flags, 1, piece), 0);
    }
    assert_eq!(script.outcome().words(), "request1");
}

#[test]
fn header_block() {
    // Four times the limit of 4 KiB is too much, whatever it would read as.
    let mut script = server(Owner::Listens);
    script.send(&frame(HEADERS, 0, 1, &[0; 1 << 14]), 0);
    assert_eq!(script.fatal, None);
    script.send(&frame(CONTINUATION, WHOLE, 1, &[0])[..9], 0);
    assert_eq!(script.fatal.unwrap().limit, Some(Limit::HeaderBlock), "at the frame's head");
}

#[test]
fn header_list() {
    // A field of 3 KB in the table, and an octet for each time that it is meant (an HPACK bomb).
    let mut block = request(&[]);
    let at = block.len();
    literal(&mut block, b"x", &[b'v'; 3_000]);
    block[at] = 0x40;
    let mut bomb = block.clone();
    bomb.extend([0xbe; 4]);
    let mut script = server(Owner::Listens);
    script.send(&headers(1, &bomb, true), 0);
    assert_eq!(script.outcome().words(), "", "15 KiB: refused, 431");
    bomb.extend([0xbe; 10_000]);
    let mut script = server(Owner::Listens);
    script.send(&headers(1, &bomb, true), 0);
    let fatal = script.fatal.unwrap();
    assert_eq!((fatal.limit, fatal.code), (Some(Limit::HeaderList), ErrorCode::ENHANCE_YOUR_CALM));
    assert!(script.connection.allocated() < 64 << 10);
}

#[test]
fn t19_settings_and_ping() {
    assert_ends(Owner::Listens, Limit::Settings, 99, &[], |_| settings(&[]));
    assert_ends(Owner::Listens, Limit::Ping, 1_000, &[], |_| frame(PING, 0, 0, &[0; 8]));
    assert_ends(Owner::Listens, Limit::Ping, 1_000, &[], |_| frame(PING, ACK, 0, &[0; 8]));
    // grpc-go: a PING each round trip while data flows, here each DATA frame, for a hundred thousand frames.
    let mut script = server(Owner::Listens);
    script.send(&open(1), 0);
    let stream = script.streams[0];
    for _ in 0..100_000 {
        script.send(&[data(1, &[0; 10], false), frame(PING, 0, 0, &[0; 8])].concat(), 0);
        script.connection.release(stream, 10);
        script.take_frames(0);
        script.seen.clear();
    }
    assert_eq!((script.fatal, script.connection.open_streams()), (None, 1));
    // Keepalive of one a second, for a day.
    let mut script = server(Owner::Listens);
    for second in 0..86_400 {
        script.send(&[settings(&[]), frame(PING, 0, 0, &[0; 8])].concat(), second * 1_000);
        script.take_frames(second * 1_000);
    }
    assert_eq!(script.fatal, None);
}

#[test]
fn empty_data() {
    assert_ends(Owner::Listens, Limit::EmptyData, 100, &open(1), |_| data(1, b"", false));
    // An empty frame that ends is how most streams end.
    let mut script = server(Owner::Answers);
    let each = |at: u32| [open(at * 2 + 1), data(at * 2 + 1, b"", true), rst(at * 2 + 1, 0)].concat();
    for at in 0..3_000 {
        script.send(&each(at), u64::from(at) * 100);
        script.connection.respond(*script.streams.last().unwrap(), &head(), true).ok();
        script.take_frames(0);
    }
    assert_eq!(script.fatal, None);
}

fn head() -> ResponseHead {
    ResponseHead { status: 200, fields: Fields::default() }
}

#[test]
fn window_updates() {
    assert_ends(Owner::Listens, Limit::WindowUpdate, 10_000, &open(1), |_| window(0, 1));
    assert_ends(Owner::Listens, Limit::WindowUpdate, 10_000, &open(1), |_| window(1, 1));
    // Two for each DATA frame of ours, as some send them, for as long as it takes.
    let mut script = server(Owner::Listens);
    script.send(&open(1), 0);
    let stream = script.streams[0];
    script.connection.respond(stream, &head(), false).unwrap();
    for _ in 0..50_000 {
        script.connection.data(stream, &[0; 100], false, 0).unwrap();
        script.take_frames(0);
        script.send(&[window(0, 100), window(1, 100)].concat(), 0);
    }
    assert_eq!(script.fatal, None);
}

#[test]
fn noise() {
    assert_ends(Owner::Listens, Limit::Noise, 1_000, &open(1), |_| frame(PRIORITY, 0, 1, &[0; 5]));
    assert_ends(Owner::Listens, Limit::Noise, 1_000, &open(1), |_| frame(PRIORITY, 0, 99, &[0; 5]));
    assert_ends(Owner::Listens, Limit::Noise, 1_000, &[], |_| frame(0xbe, 0, 0, b"grease"));
    assert_ends(Owner::Listens, Limit::Noise, 1_000, &[], |_| crate::wire::goaway(0, 0));
    assert_ends(Owner::Listens, Limit::Noise, 999, &[], |_| frame(SETTINGS, ACK, 0, &[]));
    let over = [open(1), rst(1, 8)].concat();
    // Credit for a stream that is gone is what slow readers give: bounded by its own limit alone.
    assert_ends(Owner::Listens, Limit::WindowUpdate, 10_000, &over, |_| window(1, 1));
    assert_ends(Owner::Listens, Limit::Noise, 1_000, &over, |_| rst(1, 8));
    // Four more than elsewhere: our own reset lets some cross it.
    assert_ends(Owner::Resets, Limit::Noise, 1_000, &open(1), |_| headers(1, &[], true));
    // A client that greets each request with a frame of a kind that nobody knows, and a priority.
    let mut script = server(Owner::Answers);
    let at = until_the_end(&mut script, 20_000, |at| {
        [frame(0xbe, 0, 0, b"grease"), headers(at * 2 + 1, &request(&[]), true)].concat()
    });
    assert_eq!((at, script.fatal), (20_000, None));
}

#[test]
fn what_crosses_our_own_resets_is_no_attack() {
    // An instance answers calls that we gave up: a head, DATA, trailers and a reset each, at thousands a second.
    let mut script = Script::new(Role::Client, Owner::Listens);
    script.send(&Script::greeting(Role::Client), 0);
    let mut tag = 5;
    for at in 0..20_000_u64 {
        let request = fields::RequestHead::new(fields::Method::Post, "/a.B/C", "a", (0, 0));
        tag += 2;
        let stream = script.connection.open(&request, true, tag, at / 5).unwrap();
        script.connection.reset(stream, ErrorCode::CANCEL);
        let id = stream.number();
        let ok = crate::wire::response(&[]);
        script.send(
            &[headers(id, &ok, false), data(id, &[0; 100], false), headers(id, &[], true), rst(id, 0)].concat(),
            at / 5,
        );
        assert_eq!(script.fatal, None, "after {at}");
        script.take_frames(at / 5);
    }
}

#[test]
fn what_crosses_our_resets_of_requests_is_no_attack() {
    // We refuse uploads, at once and many: the trailers of each, and its caller's own reset, are on their way by then.
    let mut script = server(Owner::Resets);
    let at = until_the_end(&mut script, 3_000, |at| {
        let id = at * 2 + 1;
        [open(id), data(id, &[0; 100], false), headers(id, &[], true), rst(id, 8)].concat()
    });
    assert_eq!((at, script.fatal), (3_000, None));
}
