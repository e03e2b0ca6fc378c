//! Our resets: a few a round trip, whoever causes them.

use fields::{Method, RequestHead};

use crate::engine::{ErrorCode, Role, StreamId};
use crate::script::{Owner, Script, Seen};
use crate::wire::{ACK, Frame, PING, RST, data, frame, headers, response};

/// A client with many open streams; the tags count from 100.
fn client(streams: u64) -> (Script, Vec<StreamId>) {
    let mut script = Script::new(Role::Client, Owner::Listens);
    script.send(&Script::greeting(Role::Client), 0);
    let head = RequestHead::new(Method::Post, "/a.B/C", "a", (0, 0));
    let open = (0..streams).map(|at| script.connection.open(&head, true, 100 + at, 0).unwrap()).collect();
    script.take_frames(0);
    script.seen.clear();
    (script, open)
}

fn kinds(frames: &[Frame]) -> (usize, usize) {
    let of = |kind| frames.iter().filter(|frame| frame.kind == kind && frame.flags & ACK == 0).count();
    (of(RST), of(PING))
}

/// The answer to the PING that is among these frames.
fn pong(frames: &[Frame]) -> Vec<u8> {
    let ping = frames.iter().find(|frame| frame.kind == PING).unwrap();
    frame(PING, ACK, 0, &ping.payload)
}

#[test]
fn ten_go_and_the_others_wait_for_an_answer() {
    let (mut script, open) = client(25);
    for stream in &open {
        assert!(script.connection.reset(*stream, ErrorCode::CANCEL));
    }
    assert!(!script.connection.reset(open[0], ErrorCode::CANCEL), "over is over");
    let mut reset = 0;
    let mut frames = script.take_frames(0);
    while kinds(&frames) != (0, 0) {
        let (now, pings) = kinds(&frames);
        assert!(now <= 10 && pings <= 1, "{frames:?}");
        reset += now;
        if pings == 0 {
            break;
        }
        let answer = pong(&frames);
        script.send(&answer, 0);
        frames = script.take_frames(0);
    }
    assert_eq!((reset, script.fatal), (25, None));
    assert_eq!(script.connection.open_streams(), 3, "those of the script");
}

#[test]
fn a_peer_that_does_not_answer_gets_them_by_the_second() {
    let (mut script, open) = client(25);
    for stream in &open {
        script.connection.reset(*stream, ErrorCode::CANCEL);
    }
    let mut counts = vec![kinds(&script.take_frames(0)).0];
    for second in 1..=9 {
        script.connection.tick(second * 1_000).unwrap();
        counts.push(kinds(&script.take_frames(second * 1_000)).0);
    }
    assert_eq!(counts, [10, 0, 0, 10, 5, 0, 0, 0, 0, 0]);
}

#[test]
fn a_stream_whose_reset_waits_is_nobodys() {
    let (mut script, open) = client(30);
    for stream in &open {
        script.connection.reset(*stream, ErrorCode::CANCEL);
    }
    let frames = script.take_frames(0);
    let (last, other) = (open[29].number(), open[28].number());
    // One is answered whole, and needs no reset; of one a head and octets come.
    script
        .send(&[headers(last, &response(&[]), false), data(last, b"abc", false), headers(last, &[], true)].concat(), 0);
    script.send(&[headers(other, &response(&[]), false), data(other, b"abc", false)].concat(), 0);
    assert_eq!((script.seen.as_slice(), script.fatal), (&[] as &[Seen], None));
    assert_eq!(script.connection.held(), 0, "what came for nobody is credited");
    let (mut reset, mut answer) = (Vec::new(), pong(&frames));
    for _ in 0..4 {
        script.send(&answer, 0);
        let frames = script.take_frames(0);
        reset.extend(frames.iter().filter(|frame| frame.kind == RST).map(|frame| frame.stream));
        if kinds(&frames).1 > 0 {
            answer = pong(&frames);
        }
    }
    assert_eq!(reset.len(), 19, "{reset:?}");
    assert!(reset.contains(&other) && !reset.contains(&last));
    assert_eq!(script.connection.held(), 0);
}

#[test]
fn few_resets_need_no_answer_and_answers_are_no_flood() {
    let (mut script, open) = client(4);
    for stream in &open {
        script.connection.reset(*stream, ErrorCode::CANCEL);
    }
    assert_eq!(kinds(&script.take_frames(0)), (4, 0));
    let head = RequestHead::new(Method::Post, "/a.B/C", "a", (0, 0));
    for at in 0..30_000 {
        let stream = script.connection.open(&head, true, 1_000 + at, 0).unwrap();
        script.connection.reset(stream, ErrorCode::CANCEL);
        let frames = script.take_frames(0);
        if kinds(&frames).1 > 0 {
            script.send(&pong(&frames), 0);
        }
        assert_eq!(script.fatal, None, "after {at}");
    }
}
