//! What a peer can make a connection hold: each buffer at its bound, with a peer that does its worst.

use fields::{Fields, ResponseHead};

use crate::engine::{Config, Connection, Growth, Limit, Role, Spare};
use crate::script::{Owner, Script};
use crate::wire::{
    CONTINUATION, HEADERS, PING, PREFACE, WINDOW, data, frame, headers, literal, padded, request, rst, settings, window,
};

const KIB: usize = 1 << 10;

fn server(config: Config) -> Script {
    let mut script = Script::with(Role::Server, Owner::Listens, config);
    script.send(&Script::greeting(Role::Server), 0);
    script
}

fn open(stream: u32) -> Vec<u8> {
    headers(stream, &request(&[]), false)
}

fn answer(script: &mut Script) {
    let head = ResponseHead { status: 200, fields: Fields::default() };
    for stream in std::mem::take(&mut script.streams) {
        script.connection.respond(stream, &head, false).unwrap();
    }
}

#[test]
fn a_connection_without_calls_holds_little() {
    let mut script = server(Config::server(100, 16 << 10));
    script.take_frames(0);
    assert!(script.connection.allocated() < KIB, "{}", script.connection.allocated());
    // After a busy time too.
    for at in 0..100 {
        script.send(&open(at * 2 + 1), 0);
    }
    answer(&mut script);
    for at in 0..100 {
        script.send(&rst(at * 2 + 1, 8), 2_000);
    }
    script.take_frames(2_000);
    script.connection.tick(3_000).unwrap();
    assert!(script.connection.allocated() < 12 * KIB, "{}", script.connection.allocated());
}

#[test]
fn a_thousand_heads_that_stall_hold_what_came() {
    // Each connection holds its piece of a head, at most four times the limit for heads, and for ten seconds.
    let mut script = server(Config::server(100, 16 << 10));
    script.take_frames(0);
    script.send(&frame(HEADERS, 0, 1, &[0; 1 << 14])[..100], 0);
    assert!(script.connection.allocated() < KIB, "{}", script.connection.allocated());
    let mut script = server(Config::server(100, 16 << 10));
    script.take_frames(0);
    script.send(&frame(HEADERS, 0, 1, &[0; 1 << 14]), 0);
    for at in 0..4 {
        let now = at * 2_000;
        let piece = frame(CONTINUATION, 0, 1, &[0; 1 << 14]);
        script.send(&piece[..piece.len() - usize::from(at == 3)], now);
        assert!(script.connection.allocated() < 160 * KIB, "{}", script.connection.allocated());
    }
    assert_eq!(script.fatal.map(|fatal| fatal.limit), Some(Some(Limit::HeaderBlock)));
}

#[test]
fn a_peer_that_reads_nothing_holds_one_mebibyte_and_then_is_not_read() {
    let mut connection = Connection::new(Role::Server, Config::server(100, 16 << 10), Growth::default(), 0);
    let greeting = [PREFACE, &settings(&[]), &open(1)].concat();
    let mut spare = Spare::default();
    let mut now = 0;
    let feed = |connection: &mut Connection, octets: &[u8], now, spare: &mut Spare| {
        let mut input = octets;
        while let Ok(Some(_)) = connection.receive(&mut input, now, spare) {}
    };
    feed(&mut connection, &greeting, 0, &mut spare);
    // PINGs just below their rate, in reads of 64 KiB.
    let read: Vec<u8> = (0..3_800).flat_map(|_| frame(PING, 0, 0, &[0; 8])).collect();
    while !connection.is_backed_up() && !connection.is_over() {
        now += 60_000;
        feed(&mut connection, &read[..17 * 900], now, &mut spare);
        connection.wrote(0, true, now);
    }
    assert!(connection.is_backed_up());
    assert!(
        connection.output().len() < 1_100 * KIB && connection.allocated() < 2_200 * KIB,
        "{}",
        connection.allocated()
    );
    assert_eq!(connection.tick(now + 60_001).unwrap_err().limit, Some(Limit::SlowReader));
}

#[test]
fn answers_that_nobody_reads_stay_with_their_streams() {
    let mut script = server(Config::server(100, 16 << 10));
    script.send(&[settings(&[(4, 1 << 30)]), window(0, 1 << 30)].concat(), 0);
    for at in 0..100 {
        script.send(&open(at * 2 + 1), 0);
    }
    let streams = script.streams.clone();
    answer(&mut script);
    script.connection.wrote(0, true, 0);
    // What the owner hands over waits; it hands over no more than the other side's windows let it.
    for stream in streams {
        script.connection.data(stream, &[0; 32 << 10], false, 0).unwrap();
    }
    let waits = 100 * 32 * KIB;
    assert!(script.connection.output().len() < 140 * KIB, "{}", script.connection.output().len());
    assert!(script.connection.allocated() < waits + 320 * KIB, "{}", script.connection.allocated());
    for at in 0..100 {
        script.send(&rst(at * 2 + 1, 8), 2_000);
    }
    let left = script.connection.allocated();
    assert!(left < 300 * KIB, "{left}");
}

#[test]
fn requests_that_go_nowhere_hold_their_windows_and_no_more() {
    // A hundred calls that send as much as they may, to an owner that passes nothing on.
    let growth = Growth::default();
    let mut connection = Connection::new(Role::Server, Config::server(100, 16 << 10), growth.clone(), 0);
    let mut spare = Spare::default();
    let mut octets = [PREFACE, &settings(&[])].concat();
    for at in 0..100 {
        octets.extend(open(at * 2 + 1));
    }
    for _ in 0..4 {
        for at in 0..100 {
            octets.extend(data(at * 2 + 1, &[0; 16_383], false));
        }
    }
    let mut input = &octets[..];
    while let Some(event) = connection.receive(&mut input, 0, &mut spare).unwrap() {
        if let crate::engine::Event::Request { stream, .. } = event {
            connection.set_tag(stream, 1);
        }
    }
    assert_eq!(connection.held(), 100 * 4 * 16_383);
    assert_eq!(growth.used(), 0, "what does not move does not grow");
    assert!(connection.allocated() < 128 * KIB, "the octets are the owner's: {}", connection.allocated());
}

#[test]
fn held_octets_take_the_connections_window() {
    let mut config = crate::script::config(Role::Server);
    (config.held, config.stream_window, config.largest_stream_window) = (20_000, 1 << 20, 1 << 20);
    let mut script = server(config);
    script.send(&open(1), 0);
    // 100,000 octets in all: above 20,000 that are held, none of them is given back.
    for _ in 0..6 {
        script.send(&data(1, &[0; 16_384], false), 0);
    }
    assert_eq!(script.fatal, None);
    script.send(&data(1, &[0; 1_697], false), 0);
    assert_eq!(script.fatal.unwrap().code.0, 3, "RFC 9113 §6.9.1");
    let mut script = server(config);
    script.send(&open(1), 0);
    for _ in 0..60 {
        script.send(&data(1, &[0; 16_384], false), 0);
        let stream = script.streams[0];
        script.connection.release(stream, 16_384);
    }
    assert_eq!((script.fatal, script.connection.held()), (None, 0));
}

#[test]
fn tables_and_lists_hold_what_they_may() {
    let mut script = server(Config::server(100, 16 << 10));
    // Fields that all enter the table, in heads as large as may be, and a peer that wants a table of 4 GiB from us.
    script.send(&settings(&[(1, u32::MAX)]), 0);
    for at in 0..200_u32 {
        let mut block = request(&[]);
        for field in 0..30_u32 {
            let place = block.len();
            literal(&mut block, format!("x-{at}-{field}").as_bytes(), &[b'v'; 300]);
            block[place] = 0x40;
        }
        script.send(&headers(at * 2 + 1, &block, true), 0);
        let stream = script.streams.pop().unwrap();
        let mut head = ResponseHead { status: 200, fields: Fields::default() };
        for _ in 0..2 {
            (0..50_u32).for_each(|field| head.fields.push(&format!("y-{at}-{field}"), &[b'w'; 100]));
        }
        script.connection.respond(stream, &head, true).unwrap();
        script.take_frames(0);
    }
    assert_eq!(script.fatal, None);
    script.connection.tick(1_000).unwrap();
    assert!(script.connection.allocated() < 40 * KIB, "{}", script.connection.allocated());
}

#[test]
fn what_nobody_takes_is_credited_to_the_connection() {
    // DATA of streams that we reset, its padding too: or streams that are gone would use the connection up (RFC 9113 §6.9).
    let mut script = Script::new(Role::Server, Owner::Resets);
    script.send(&[Script::greeting(Role::Server), open(1)].concat(), 0);
    script.take_frames(0);
    let mut credit = 0;
    for _ in 0..1_000 {
        script.send(&padded(1, &[0; 10], 255, false), 0);
        let frames = script.take_frames(0);
        credit += frames
            .iter()
            .filter(|frame| (frame.kind, frame.stream) == (WINDOW, 0))
            .map(|frame| frame.number(0))
            .sum::<u32>();
    }
    assert_eq!(script.fatal, None);
    assert!((1_000 * 266 - 50_000..=1_000 * 266).contains(&credit), "{credit}");
}

#[test]
fn a_stream_that_moves_gets_the_window_that_those_before_it_had_use_for() {
    let mut config = Config::server(100, 16 << 10);
    (config.stream_window, config.largest_stream_window) = (16 << 10, 512 << 10);
    let mut script = server(config);
    // What a stream's window is opened by while half of 16 KiB goes on at a time.
    let mut steps = |number: u32, octets: usize| {
        script.send(&open(number), 0);
        let stream = script.streams.pop().unwrap();
        let mut updates = Vec::new();
        for _ in 0..octets / (8 * KIB) {
            script.send(&data(number, &[0; 8 * KIB], false), 0);
            script.connection.release(stream, 8 * KIB);
            let frames = script.take_frames(0);
            let of_it = frames.iter().filter(|frame| frame.kind == WINDOW && frame.stream == number);
            updates.extend(of_it.map(|frame| frame.number(0) >> 10));
        }
        script.send(&rst(number, 8), 2_000);
        updates
    };
    assert_eq!(steps(1, 200 * KIB)[..3], [8 + 48, 32 + 192, 128 + 256], "step by step");
    assert_eq!(steps(3, 8 * KIB), [8 + 496], "at once");
    assert_eq!(steps(5, 0), [0; 0]);
    assert_eq!(steps(7, 8 * KIB), [8 + 240], "half of it after one that had no use for it");
    for number in (9..40).step_by(2) {
        steps(number, 0);
    }
    assert_eq!(steps(41, 8 * KIB), [8 + 48], "and in the end as if there had been none");
}
