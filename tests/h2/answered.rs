//! Streams whose answer is complete before their request is, and what peers do around the ends of streams that is no attack.

use fields::{Fields, ResponseHead};

use crate::engine::{Limit, Role};
use crate::script::{Owner, Script};
use crate::wire::{Frame, PREFACE, RST, data, headers, request, rst, settings, window};

fn head() -> ResponseHead {
    ResponseHead { status: 200, fields: Fields::default() }
}

fn open(stream: u32) -> Vec<u8> {
    headers(stream, &request(&[]), false)
}

/// A server whose first request is answered, and goes on.
fn answered() -> Script {
    let mut script = Script::new(Role::Server, Owner::Listens);
    script.send(&[Script::greeting(Role::Server), open(1)].concat(), 0);
    script.connection.respond(script.streams[0], &head(), true).unwrap();
    assert_eq!(resets(&script.take_frames(0)), [], "not at once: some clients lose the answer by it");
    script
}

fn resets(frames: &[Frame]) -> Vec<(u32, u32)> {
    frames.iter().filter(|frame| frame.kind == RST).map(|frame| (frame.stream, frame.number(0))).collect()
}

#[test]
fn a_request_that_ends_soon_behind_its_answer_is_not_reset() {
    let mut script = answered();
    script.send(&data(1, &[0; 10_000], false), 0);
    script.connection.tick(1_000).unwrap();
    script.send(&data(1, &[0; 6_000], true), 1_500);
    script.connection.tick(2_000).unwrap();
    script.connection.tick(3_000).unwrap();
    assert_eq!((script.connection.open_streams(), script.connection.held()), (0, 0));
    let outcome = script.outcome();
    assert_eq!(resets(&outcome.frames), []);
    assert_eq!(outcome.words(), "request1", "nobody is told of the rest");
}

#[test]
fn a_request_that_does_not_end_behind_its_answer_is_reset() {
    let mut script = answered();
    script.connection.tick(1_000).unwrap();
    assert_eq!(script.connection.open_streams(), 1);
    script.connection.tick(2_000).unwrap();
    assert_eq!((script.connection.open_streams(), resets(&script.take_frames(0))), (0, vec![(1, 0)]));
}

#[test]
fn a_request_that_is_long_behind_its_answer_is_reset() {
    let mut script = answered();
    script.send(&data(1, &[0; 16_384], false), 0);
    assert_eq!(resets(&script.take_frames(0)), []);
    script.send(&data(1, &[0; 1], false), 0);
    assert_eq!(resets(&script.take_frames(0)), [(1, 0)]);
    // And cut in the middle of a frame.
    let mut script = answered();
    let long = [data(1, &[0; 16_000], false), data(1, &[0; 16_000], false)].concat();
    for piece in long.chunks(1_000) {
        script.send(piece, 0);
    }
    assert_eq!(resets(&script.take_frames(0)), [(1, 0)]);
    assert_eq!((script.fatal, script.connection.held(), script.connection.open_streams()), (None, 0, 0));
}

#[test]
fn answered_streams_hold_no_memory_between_two_ticks() {
    let mut script = Script::new(Role::Server, Owner::Listens);
    script.send(&Script::greeting(Role::Server), 0);
    for at in 0..10_000 {
        script.send(&open(at * 2 + 1), 0);
        script.connection.respond(script.streams.pop().unwrap(), &head(), true).unwrap();
        script.send(&rst(at * 2 + 1, 8), 0);
        script.take_frames(0);
        script.seen.clear();
    }
    assert_eq!(script.fatal, None, "their calls are answered: no rapid reset");
    assert!(script.connection.allocated() < 192 << 10, "{}", script.connection.allocated());
    script.connection.tick(1_000).unwrap();
    script.connection.tick(2_000).unwrap();
    assert!(script.connection.allocated() < 16 << 10, "{}", script.connection.allocated());
}

#[test]
fn what_an_instance_sends_for_calls_that_are_gone_costs_others_nothing() {
    let mut script = Script::new(Role::Client, Owner::Listens);
    script.send(&[Script::greeting(Role::Client), rst(3, 8)].concat(), 0);
    for _ in 0..5_000 {
        script.send(&rst(3, 8), 0);
    }
    assert_eq!((script.fatal, script.connection.open_streams()), (None, 2));
}

/// A stream of our server's that has a mebibyte to send, towards a peer with this window.
fn sending(initial: u32) -> Script {
    let mut script = Script::new(Role::Server, Owner::Listens);
    script.send(&[PREFACE, &settings(&[(4, initial)]), &window(0, 1 << 30), &open(1)].concat(), 0);
    let stream = script.streams[0];
    script.connection.respond(stream, &head(), false).unwrap();
    script.take_frames(0);
    script
}

#[test]
fn credit_by_four_kibibytes_is_no_flood() {
    let mut script = sending(1 << 20);
    let credit: Vec<u8> = (0..16).flat_map(|_| [window(0, 4_096), window(1, 4_096)].concat()).collect();
    for _ in 0..3_000 {
        let stream = script.streams[0];
        script.connection.data(stream, &[0; 1 << 16], false, 0).unwrap();
        script.take_frames(0);
        script.send(&credit, 0);
        assert_eq!(script.fatal, None);
        script.seen.clear();
    }
}

#[test]
fn a_window_for_a_prefix_and_then_for_the_message_is_no_small_window() {
    let mut script = sending(0);
    let stream = script.streams[0];
    for _ in 0..3_000 {
        script.connection.data(stream, &[0; 1_005], false, 0).unwrap();
        script.send(&window(1, 5), 0);
        // And the last octet of it with the next.
        script.send(&window(1, 999), 0);
        script.take_frames(0);
        script.seen.clear();
        assert_eq!(script.fatal, None);
    }
    let mut script = sending(0);
    let stream = script.streams[0];
    script.connection.data(stream, &[0; 1 << 16], false, 0).unwrap();
    while script.fatal.is_none() && script.connection.waiting() > 0 {
        script.send(&window(1, 5), 0);
        script.take_frames(0);
    }
    assert_eq!(script.fatal.map(|fatal| fatal.limit), Some(Some(Limit::SmallWindow)), "nothing but prefixes");
}
