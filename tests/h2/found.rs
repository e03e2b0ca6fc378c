//! What reading and fuzzing the engine found: a test for each, so that it stays found.

use fields::{Fields, Method, RequestHead, ResponseHead};

use crate::engine::{Config, Connection, ErrorCode, Growth, Limit, Role, Spare, StreamId};
use crate::script::{Owner, Script, config};
use crate::wire::{
    ACK, CONTINUATION, DATA, END, GOAWAY, HEADERS, PING, PREFACE, PRIO, Reader, SETTINGS, WHOLE, WINDOW, data, frame,
    goaway, headers, padded, request, settings, window,
};

fn server(owner: Owner) -> Script {
    let mut script = Script::new(Role::Server, owner);
    script.send(&Script::greeting(Role::Server), 0);
    script
}

fn client() -> Script {
    let mut script = Script::new(Role::Client, Owner::Listens);
    script.send(&Script::greeting(Role::Client), 0);
    script
}

fn open(stream: u32) -> Vec<u8> {
    headers(stream, &request(&[]), false)
}

fn whole(stream: u32) -> Vec<u8> {
    headers(stream, &request(&[]), true)
}

/// The stream of the request that came last.
fn last(script: &Script) -> StreamId {
    script.streams.last().copied().unwrap()
}

fn two_hundred() -> ResponseHead {
    ResponseHead { status: 200, fields: Fields::default() }
}

#[test]
fn data_whose_head_came_in_two_is_no_stalled_frame() {
    let mut script = server(Owner::Listens);
    script.take_frames(0);
    script.send(&open(1), 0);
    let frame = data(1, &[0; 100], false);
    script.send(&frame[..5], 0);
    script.send(&frame[5..], 1);
    assert!(script.connection.tick(60_000).is_ok(), "nothing is partial");
    script.send(&frame[..50], 60_000);
    assert!(script.connection.tick(120_000).is_ok(), "DATA holds nothing, however long it takes");
}

#[test]
fn the_patience_for_a_head_is_for_all_of_it() {
    let mut script = server(Owner::Listens);
    script.send(&frame(HEADERS, END, 1, &request(&[])), 0);
    script.send(&frame(CONTINUATION, 0, 1, &[]), 6_000);
    assert!(script.connection.tick(9_000).is_ok());
    script.send(&frame(CONTINUATION, 0, 1, &[]), 9_500);
    assert_eq!(script.connection.tick(10_001).unwrap_err().limit, Some(Limit::StalledFrame));
}

#[test]
fn a_client_that_says_nothing_is_a_stalled_frame() {
    for octets in [0, 5, PREFACE.len()] {
        let mut script = Script::new(Role::Server, Owner::Listens);
        script.send(&PREFACE[..octets], 9_000);
        assert!(script.connection.tick(10_000).is_ok());
        assert_eq!(script.connection.tick(10_001).unwrap_err().limit, Some(Limit::StalledFrame));
    }
    let mut script = server(Owner::Listens);
    assert_eq!(script.take_frames(0).len(), 3);
    assert!(script.connection.tick(1 << 40).is_ok(), "one without calls may say nothing");
}

#[test]
fn a_slow_reader_is_slow_from_when_something_waits() {
    let mut script = server(Owner::Listens);
    script.take_frames(0);
    for second in 0..200 {
        script.connection.tick(second * 1_000).unwrap();
    }
    script.send(&frame(PING, 0, 0, &[0; 8]), 200_000);
    script.connection.wrote(0, true, 200_000);
    assert!(script.connection.tick(201_000).is_ok(), "it waited for a second");
    assert!(script.connection.tick(259_000).is_ok());
    assert_eq!(script.connection.tick(260_000).unwrap_err().limit, Some(Limit::SlowReader));
}

#[test]
fn a_frame_that_we_do_not_read_on_is_not_stalled() {
    let mut script = server(Owner::Listens);
    script.send(&whole(1), 0);
    script.send(&frame(PING, 0, 0, &[0; 8])[..12], 0);
    let mut head = two_hundred();
    head.fields.push("x", &vec![b'v'; 2 << 20]);
    script.connection.respond(last(&script), &head, false).unwrap();
    assert!(script.connection.is_backed_up());
    assert!(script.connection.tick(30_000).is_ok());
    script.take_frames(30_000);
    assert_eq!(script.connection.tick(41_000).unwrap_err().limit, Some(Limit::StalledFrame), "now we would read it");
}

#[test]
fn streams_that_wait_for_a_window_leave_nothing_behind() {
    let mut script = server(Owner::Listens);
    let mut most = 0;
    for at in 0..20_000 {
        let now = u64::from(at) * 2_000;
        script.send(&open(at * 2 + 1), now);
        let stream = last(&script);
        script.connection.respond(stream, &two_hundred(), false).unwrap();
        // The connection's window is full after the first.
        script.connection.data(stream, &[0; 70_000], false, now).unwrap();
        script.send(&crate::wire::rst(at * 2 + 1, 8), now + 1_000);
        assert_eq!(script.fatal, None);
        script.take_frames(now);
        script.seen.clear();
        if at == 300 {
            most = script.connection.allocated();
        }
    }
    assert_eq!(script.connection.open_streams(), 0);
    assert!(script.connection.allocated() <= most, "{} grew to {}", most, script.connection.allocated());
}

/// Our answer of 1 MiB towards a peer that gives credit of `by` octets on `stream`, as often as it likes.
fn trickle(first: &[(u16, u32)], stream: u32, by: u32, times: u32) -> Script {
    let mut script = Script::new(Role::Server, Owner::Listens);
    script.send(&[PREFACE, &settings(first), &open(1)].concat(), 0);
    let id = last(&script);
    script.connection.respond(id, &two_hundred(), false).unwrap();
    script.connection.data(id, &[0; 1 << 20], false, 0).unwrap();
    for _ in 0..times {
        script.send(&window(stream, by), 0);
        if script.fatal.is_some() {
            break;
        }
        script.take_frames(0);
    }
    script
}

#[test]
fn a_connection_window_of_one_octet_is_a_small_window() {
    let script = trickle(&[(4, 1 << 30)], 0, 1, 1_200);
    assert_eq!(script.fatal.unwrap().limit, Some(Limit::SmallWindow));
    let script = trickle(&[(4, 1)], 1, 1, 1_200);
    assert_eq!(script.fatal.unwrap().limit, Some(Limit::SmallWindow));
    assert_eq!(trickle(&[(4, 1 << 30)], 0, 64, 3_000).fatal, None, "small, and not too small");
}

#[test]
fn a_large_window_that_shuts_behind_a_few_octets_is_no_small_window() {
    let mut script = server(Owner::Listens);
    script.send(&open(1), 0);
    let stream = last(&script);
    script.connection.respond(stream, &two_hundred(), false).unwrap();
    for _ in 0..5_000 {
        // 655 messages and a part of one fill the window, each time.
        for _ in 0..660 {
            script.connection.data(stream, &[0; 100], false, 0).unwrap();
        }
        script.take_frames(0);
        script.send(&[window(1, 65_535), window(0, 65_535)].concat(), 0);
        assert_eq!(script.fatal, None);
        script.connection.discard(stream);
    }
}

#[test]
fn padding_makes_empty_data_no_work() {
    let mut script = server(Owner::Listens);
    script.send(&open(1), 0);
    for _ in 0..200 {
        script.send(&padded(1, b"", 0, false), 0);
    }
    assert_eq!(script.fatal.unwrap().limit, Some(Limit::EmptyData));
}

#[test]
fn data_that_nobody_takes_earns_nothing() {
    let mut script = server(Owner::Resets);
    script.send(&open(1), 0);
    for _ in 0..1_100 {
        script.send(&[data(1, b"a", false), padded(1, b"a", 0, false), frame(PING, 0, 0, &[0; 8])].concat(), 0);
    }
    assert_eq!(script.fatal.unwrap().limit, Some(Limit::Ping));
}

#[test]
fn heads_that_move_nothing_earn_nothing() {
    let mut script = client();
    for _ in 0..1_100 {
        script.send(&headers(3, &crate::wire::block(&[(":status", "103")]), false), 0);
    }
    assert_eq!(script.fatal.unwrap().limit, Some(Limit::Noise), "informational");
    let mut script = server(Owner::Resets);
    script.send(&open(1), 0);
    for _ in 0..1_100 {
        script.send(&headers(1, &[], true), 0);
    }
    assert_eq!(script.fatal.unwrap().limit, Some(Limit::Noise), "for a stream that we reset");
}

#[test]
fn acknowledgements_that_nobody_asked_for_are_noise() {
    let mut script = server(Owner::Listens);
    for _ in 0..1_100 {
        script.send(&frame(SETTINGS, ACK, 0, &[]), 0);
    }
    assert_eq!(script.fatal.unwrap().limit, Some(Limit::Noise));
}

#[test]
fn a_head_on_itself_keeps_all_other_rules() {
    let itself = |stream: u32| {
        let payload = [&stream.to_be_bytes()[..], &[1], &request(&[])].concat();
        frame(HEADERS, WHOLE | PRIO, stream, &payload)
    };
    let mut script = server(Owner::Listens);
    script.send(&itself(2), 0);
    assert_eq!(script.fatal.unwrap().code, ErrorCode::PROTOCOL_ERROR, "a stream of the server's");
    let mut script = server(Owner::Answers);
    script.send(&[whole(5), itself(5)].concat(), 0);
    assert_eq!(script.fatal.unwrap().code, ErrorCode::STREAM_CLOSED, "a stream that is over");
    let mut script = server(Owner::Listens);
    script.send(&[open(1), itself(3), open(5), open(7), open(9), open(11)].concat(), 0);
    let outcome = script.outcome();
    assert_eq!(outcome.words(), "request1 request5 request7 request9");
}

#[test]
fn a_client_says_goodbye_without_naming_a_stream() {
    let mut script = client();
    script.connection.goodbye();
    script.send(&frame(PING, ACK, 0, b"goodbye!"), 0);
    let last = script.take_frames(0).pop().unwrap();
    assert_eq!((last.kind, last.number(0)), (GOAWAY, 0), "a server opens none");
}

#[test]
fn what_comes_too_late_is_passed_by() {
    let mut script = server(Owner::Listens);
    script.send(&open(1), 0);
    script.connection.goodbye();
    script.send(&open(3), 0);
    script.send(&frame(PING, ACK, 0, b"goodbye!"), 0);
    // A head that the table needs, DATA that counts, and a reset, on a stream that was never begun.
    let late =
        [open(5), data(5, &[0; 1 << 14], false), window(5, 1), data(5, b"", true), crate::wire::rst(5, 8)].concat();
    script.send(&late, 0);
    script.send(&data(1, &[0; 1_001], true), 0);
    assert_eq!(script.fatal, None);
    // And an error afterwards does not raise what was said.
    script.send(&frame(PING, 0, 1, &[0; 8]), 0);
    let outcome = script.outcome();
    assert_eq!(outcome.words(), "request1 request3 1001of1.");
    let said: Vec<_> =
        outcome.frames.iter().filter(|frame| frame.kind == GOAWAY).map(|frame| frame.number(0)).collect();
    assert_eq!(said, [i32::MAX as u32, 3, 3]);
}

#[test]
fn a_table_that_goes_down_and_up_in_one_frame_is_announced() {
    let mut script = server(Owner::Listens);
    script.send(&[settings(&[(1, 0), (1, 4_096)]), whole(1)].concat(), 0);
    script.take_frames(0);
    let stream = last(&script);
    script.connection.respond(stream, &two_hundred(), true).unwrap();
    let head = script.take_frames(0).remove(0);
    assert_eq!(head.payload[..4], [0x20, 0x3f, 0xe1, 0x1f], "RFC 7541 §4.2: 0, then 4,096");
}

#[test]
fn small_windows_hold_from_when_the_peer_knows_them() {
    let mut small = config(Role::Server);
    (small.stream_window, small.largest_stream_window) = (1_024, 1_024);
    let mut script = Script::with(Role::Server, Owner::Listens, small);
    // A client that has not read our SETTINGS yet may fill the windows that everybody begins with (RFC 9113 §6.9.3).
    script.send(&[Script::greeting(Role::Server), open(1)].concat(), 0);
    for _ in 0..4 {
        script.send(&data(1, &[0; 16_383], false), 0);
    }
    assert_eq!((script.fatal, script.connection.open_streams()), (None, 1));
    script.send(&frame(SETTINGS, ACK, 0, &[]), 0);
    let stream = last(&script);
    script.connection.release(stream, 4 * 16_383);
    // All of it is given back, so that it has the small window now.
    script.send(&data(1, &[0; 1_024], false), 0);
    assert_eq!(script.connection.open_streams(), 1);
    script.send(&data(1, &[0; 1], false), 0);
    assert_eq!(script.connection.open_streams(), 0, "that was over the window");
    // Streams that begin now have the small one; an empty end needs none at all.
    script.send(&[open(3), data(3, &[0; 1_024], false), data(3, b"", true)].concat(), 0);
    assert_eq!(script.outcome().words(), "request1 66556of1 violated1:3 request3 1024of3.");
}

#[test]
fn an_end_without_octets_passes_a_window_below_zero() {
    let mut small = config(Role::Server);
    (small.stream_window, small.largest_stream_window) = (10, 10);
    let mut script = Script::with(Role::Server, Owner::Listens, small);
    script.send(&[Script::greeting(Role::Server), open(1), data(1, &[0; 100], false)].concat(), 0);
    script.send(&[frame(SETTINGS, ACK, 0, &[]), data(1, b"", true)].concat(), 0);
    assert_eq!(script.outcome().words(), "request1 100of1.");
}

#[test]
fn a_socket_that_took_all_takes_more() {
    let mut script = server(Owner::Listens);
    script.send(&open(1), 0);
    let stream = last(&script);
    script.connection.respond(stream, &two_hundred(), false).unwrap();
    let all = script.connection.output().len();
    // It said that it was full just when it had taken everything.
    script.connection.wrote(all, true, 0);
    assert_eq!(script.connection.data(stream, b"abc", false, 0).unwrap().bytes, 3);
}

#[test]
fn a_window_of_one_octet_gives_no_credit_of_none() {
    let mut smallest = Config::server(4, 4_096);
    (smallest.stream_window, smallest.largest_stream_window, smallest.connection_window) = (1, 1, 1);
    let mut script = Script::with(Role::Server, Owner::Listens, smallest);
    script.send(&[Script::greeting(Role::Server), open(1), data(1, b"a", false)].concat(), 0);
    let stream = last(&script);
    script.connection.release(stream, 0);
    script.connection.release(stream, 1);
    script.connection.release(stream, 1);
    let credit: Vec<_> = script.take_frames(0).into_iter().filter(|frame| frame.kind == WINDOW).collect();
    assert!(credit.iter().all(|frame| frame.number(0) > 0), "{credit:?}");
    assert_eq!(credit.len(), 2);
}

#[test]
fn nothing_means_anything_behind_the_end() {
    let mut connection = Connection::new(Role::Server, config(Role::Server), Growth::default(), 0);
    connection.abort(ErrorCode::INTERNAL_ERROR);
    let before = connection.output().len();
    let mut input = &b"anything at all"[..];
    assert!(connection.receive(&mut input, 0, &mut Spare::default()).unwrap().is_none());
    assert!(input.is_empty() && connection.is_over() && connection.output().len() == before);
}

#[test]
fn a_head_that_is_too_long_is_refused_before_it_is_kept() {
    let mut large = Config::client();
    large.headers = 64 << 10;
    let mut connection = Connection::new(Role::Client, large, Growth::default(), 0);
    let octets = [settings(&[]), frame(HEADERS, 0, 1, &vec![0; 1 << 20])].concat();
    let (mut input, mut spare) = (&octets[..1_000], Spare::default());
    connection.receive(&mut input, 0, &mut spare).unwrap();
    let head = RequestHead::new(Method::Post, "/a.B/C", "a", (0, 0));
    connection.open(&head, true, 1, 0).unwrap();
    let fatal = connection.receive(&mut input, 0, &mut spare).unwrap_err();
    assert_eq!(fatal.limit, Some(Limit::HeaderBlock));
    assert!(connection.allocated() < 32 << 10, "{}", connection.allocated());
}

#[test]
fn goaway_from_a_caller_ends_no_call() {
    let mut script = server(Owner::Listens);
    script.send(&[open(1), goaway(0, 0), data(1, b"a", true)].concat(), 0);
    let stream = last(&script);
    script.connection.respond(stream, &two_hundred(), true).unwrap();
    let frames = script.take_frames(0);
    assert!(frames.iter().any(|frame| frame.kind == HEADERS) && !frames.iter().any(|frame| frame.kind == DATA));
    assert!(Reader::all(script.connection.output()).is_empty());
}

#[test]
fn a_head_in_too_many_pieces_is_no_longer_counted() {
    let growth = Growth::default();
    let mut connection = Connection::new(Role::Server, config(Role::Server), growth.clone(), 0);
    let pieces = (0..40).map(|_| frame(CONTINUATION, 0, 1, &[0; 100])).collect::<Vec<_>>().concat();
    let octets = [PREFACE, &settings(&[]), &frame(HEADERS, 0, 1, &request(&[])), &pieces].concat();
    let (mut input, mut spare) = (&octets[..], Spare::default());
    let fatal = loop {
        match connection.receive(&mut input, 0, &mut spare) {
            Ok(event) => assert!(event.is_some(), "40 pieces are taken"),
            Err(fatal) => break fatal,
        }
    };
    assert_eq!(fatal.limit, Some(Limit::Continuation));
    drop(connection);
    assert_eq!(growth.used(), 0, "or the worker's sum would fill, and no head in pieces be taken any more");
}
