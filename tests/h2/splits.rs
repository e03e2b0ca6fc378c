//! However the octets of a peer are cut on their way, the same comes of them: events, answers, and the end.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::engine::Role;
use crate::rounds;
use crate::rules;
use crate::script::{Outcome, Owner, Script};
use crate::wire::{
    CONTINUATION, HEADERS, WHOLE, WINDOW, data, frame, goaway, headers, padded, request, response, rst, settings,
    window,
};

/// What a peer sends, and who is there.
struct Recording {
    name: String,
    role: Role,
    owner: Owner,
    octets: Vec<u8>,
}

/// Every rule's octets, and conversations that go on for longer.
fn recordings() -> Vec<Recording> {
    let mut all: Vec<Recording> = rules::all()
        .into_iter()
        .map(|rule| Recording { name: rule.what.to_owned(), role: rule.role, owner: rule.owner, octets: rule.octets })
        .collect();
    for owner in [Owner::Listens, Owner::Answers, Owner::Resets] {
        all.push(Recording { name: format!("callers, {owner:?}"), role: Role::Server, owner, octets: callers() });
    }
    all.push(Recording { name: "answers".to_owned(), role: Role::Client, owner: Owner::Listens, octets: answers() });
    all
}

fn callers() -> Vec<u8> {
    let head = request(&[("content-length", "40000"), ("x-a", "b")]);
    [
        Script::greeting(Role::Server),
        headers(1, &request(&[]), true),
        frame(HEADERS, 0, 3, &head[..11]),
        frame(CONTINUATION, 0, 3, &head[11..40]),
        frame(CONTINUATION, WHOLE, 3, &head[40..]),
        padded(3, &[7; 10_000], 255, false),
        settings(&[(1, 0), (4, 10)]),
        data(3, &[8; 15_000], false),
        window(3, 100),
        frame(0x77, 0, 3, &[1; 3_000]),
        data(3, &[9; 15_000], true),
        rst(3, 8),
        headers(5, &request(&[("X", "bad")]), false),
        data(5, &[1; 5_000], true),
        padded(5, &[], 30, false),
        headers(7, &request(&[]), false),
        headers(7, &[], true),
        goaway(0, 0),
    ]
    .concat()
}

fn answers() -> Vec<u8> {
    [
        Script::greeting(Role::Client),
        headers(3, &response(&[("a", "b")]), false),
        data(3, &[1; 16_000], false),
        headers(5, &response(&[]), false),
        padded(3, &[2; 16_000], 100, false),
        data(5, &[3; 10], true),
        headers(3, &response(&[]), true),
        headers(1, &response(&[]), false),
        data(1, &[4; 9_000], false),
        rst(1, 2),
        data(7, b"", true),
    ]
    .concat()
}

fn in_pieces(recording: &Recording, mut next: impl FnMut() -> usize) -> Outcome {
    let mut script = Script::new(recording.role, recording.owner);
    let mut rest = &recording.octets[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(next().min(rest.len()));
        script.send(piece, 0);
        rest = after;
    }
    script.outcome()
}

/// How much credit the output gives, by stream. Its steps may differ, and what is not given yet.
fn credit(outcome: &Outcome, stream: u32) -> i64 {
    let of = |frame: &&crate::wire::Frame| frame.kind == WINDOW && frame.stream == stream;
    outcome.frames.iter().filter(of).map(|frame| i64::from(frame.number(0))).sum()
}

fn assert_same(recording: &Recording, whole: &Outcome, pieces: &Outcome) {
    let name = &recording.name;
    assert_eq!(whole.words(), pieces.words(), "{name}");
    assert!(whole.seen == pieces.seen, "{name}: other octets or fields");
    assert_eq!(whole.fatal, pieces.fatal, "{name}");
    assert_eq!(whole.answers(), pieces.answers(), "{name}");
    for stream in 0..8 {
        let by = credit(whole, stream) - credit(pieces, stream);
        assert!(by.abs() < 66_000, "{name}: {by} more credit for stream {stream}");
    }
}

#[test]
fn octet_by_octet_is_the_same() {
    for recording in recordings() {
        let whole = in_pieces(&recording, || usize::MAX);
        assert_same(&recording, &whole, &in_pieces(&recording, || 1));
    }
}

#[test]
fn any_split_is_the_same() {
    let mut rng = SmallRng::seed_from_u64(9);
    for recording in recordings() {
        let whole = in_pieces(&recording, || usize::MAX);
        for _ in 0..rounds(20) {
            let most = 1 << rng.random_range(0..15);
            assert_same(&recording, &whole, &in_pieces(&recording, || rng.random_range(0..=most)));
        }
    }
}

#[test]
fn every_two_halves_are_the_same() {
    for recording in recordings().iter().filter(|recording| recording.octets.len() < 2_000) {
        let whole = in_pieces(recording, || usize::MAX);
        for at in 0..recording.octets.len() {
            let mut first = Some(at);
            assert_same(recording, &whole, &in_pieces(recording, || first.take().unwrap_or(usize::MAX)));
        }
    }
}
