//! Requests whose messages filters read: each is held until it is whole, judged, and goes on as it came or with another body.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use filter_api::MethodKind;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use tokio::time::sleep;

use crate::harness::{
    Ask, Frame, Got, Held, RawUpstream, RawWire, Say, TestWorker, Upstream, eventually, framed, framed_with, kind,
    seen, soon,
};

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// An instance that echoes.
async fn echoing() -> Upstream {
    Upstream::start(|got: Got| got.echo()).await
}

/// An instance that takes what comes, and answers once the request is whole, with one message.
async fn taking() -> RawUpstream {
    RawUpstream::start(|frame: &Frame| {
        let came = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
        let takes = frame.kind == kind::DATA && !frame.payload.is_empty();
        let credit = |say: Say, stream| say.frame(kind::WINDOW_UPDATE, 0, stream, &came);
        let say = if takes { credit(Say::default(), 0) } else { Say::default() };
        let id = frame.stream;
        Some(match (frame.ends(), takes) {
            (true, _) => say.begin(id).data(id, false, &framed(b"taken")).headers(id, true, &[("grpc-status", "0")]),
            (false, true) => credit(say, id),
            (false, false) => say,
        })
    })
    .await
}

/// What an instance got of requests.
pub(crate) fn octets(upstream: &RawUpstream) -> Vec<u8> {
    let came = upstream.came();
    came.iter().filter(|frame| frame.kind == kind::DATA).flat_map(|frame| frame.payload.clone()).collect()
}

fn is_cancelled(upstream: &RawUpstream) -> bool {
    upstream.came().iter().any(|frame| frame.reset_code() == Some(8))
}

const FIELDS: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

#[tokio::test]
async fn messages_in_many_pieces_and_many_in_one() {
    let upstream = taking().await;
    let held = Held { filters: "{judge: {log: pieces, response: false}}", ..Held::default() };
    let worker = TestWorker::before(&[upstream.address()], held).await;
    let request = [framed(b"one"), framed(b""), framed(b"three")].concat();
    let mut wire = RawWire::connect(worker.address()).await;
    let piecemeal = request
        .iter()
        .fold(Say::default().call(1, false, "/a.A/Bidi", FIELDS), |say, octet| say.data(1, false, &[*octet]));
    wire.say(piecemeal.data(1, true, b"")).await;
    assert!(wire.stream(1).await.last().unwrap().ends());
    wire.say(Say::default().call(3, false, "/a.A/Bidi", FIELDS).data(3, true, &request)).await;
    assert!(wire.stream(3).await.last().unwrap().ends());
    assert_eq!(octets(&upstream), [&request[..], &request].concat());
    let once = [">1 one by all of Bidi", ">2  by all of Bidi", ">3 three by all of Bidi", "end OK"];
    assert_eq!(seen("pieces"), [once, once].concat());
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn the_body_waits_for_its_last_octet() {
    let upstream = taking().await;
    let held = Held { filters: "{judge: {response: false}}", ..Held::default() };
    let worker = TestWorker::before(&[upstream.address()], held).await;
    let mut open = worker.caller().await.open(Ask::path("/a.A/Bidi")).await;
    let message = framed(b"whole or nothing");
    open.up.send_data(message.slice(..message.len() - 1), false).unwrap();
    eventually!(upstream.calls() == 1);
    sleep(Duration::from_millis(50)).await;
    assert_eq!((octets(&upstream).len(), worker.buffered()), (0, message.len() - 1 + 64));
    open.finish(message.slice(message.len() - 1..));
    assert_eq!(soon(open.answer()).await.code(), Some(0));
    assert_eq!(octets(&upstream), message);
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn a_call_that_no_reader_follows_is_not_held() {
    let upstream = taking().await;
    let held = Held { filters: "{judge: {passes: true}}, {limits: {messages: 9}}", ..Held::default() };
    let worker = TestWorker::before(&[upstream.address()], held).await;
    let mut open = worker.caller().await.open(Ask::path("/a.A/Bidi")).await;
    let message = framed(b"bad as it is");
    open.up.send_data(message.slice(..9), false).unwrap();
    eventually!(octets(&upstream) == message[..9]);
    open.finish(message.slice(9..));
    assert_eq!(soon(open.answer()).await.code(), Some(0));
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn messages_larger_than_every_window_pass() {
    let upstream = echoing().await;
    for filters in ["{judge: {}}", "{mask: {with: x}}", "{judge: {}}, {mask: {with: x}}"] {
        for kind in [None, Some(MethodKind::Bidi), Some(MethodKind::Unary)] {
            let held = Held { filters, kind, listener: "limits: {message: 8MiB}", ..Held::default() };
            let worker = TestWorker::before(&[upstream.address()], held).await;
            let large = vec![b'l'; 6 << 20];
            let answer = worker.caller().await.unary(Ask::path("/a.A/M"), &large).await;
            assert!(
                answer.messages() == [large.clone()],
                "{filters} {kind:?}: {:?} {}",
                answer.code(),
                answer.message()
            );
            if kind != Some(MethodKind::Unary) {
                let mut open = worker.caller().await.open(Ask::path("/a.A/M")).await;
                (0..4).for_each(|_| open.send(&large[..3 << 20]));
                open.finish(Bytes::new());
                let answer = soon(open.answer()).await;
                assert!(answer.messages() == [&large[..3 << 20]; 4], "{filters} {kind:?}: {:?}", answer.code());
            }
            worker.is_idle_soon().await;
        }
    }
}

#[tokio::test]
async fn what_is_held_stays_within_a_message_where_the_instance_does_not_read() {
    // It never gives credit, and its window takes 64 KiB.
    let upstream = RawUpstream::start(|_| Some(Say::default())).await;
    let held = Held { filters: "{judge: {response: false}}", ..Held::default() };
    let worker = TestWorker::before(&[upstream.address()], held).await;
    let caller = worker.caller().await;
    let mut open = caller.open(Ask::path("/a.A/Bidi")).await;
    let large = vec![1; 1 << 20];
    (0..50).for_each(|_| open.send(&large));
    eventually!(octets(&upstream).len() == 65_535);
    sleep(Duration::from_millis(100)).await;
    // The message that waits, and of the next what the caller's window lets come.
    assert!(worker.buffered() < (1 << 20) + (600 << 10), "{}", worker.buffered());
    open.cancel();
    worker.is_idle_soon().await;
    eventually!(is_cancelled(&upstream));
}

#[tokio::test]
async fn a_second_message_that_is_refused_ends_the_call() {
    let upstream = taking().await;
    let held = Held { filters: "{judge: {log: second, response: false}}", ..Held::default() };
    let worker = TestWorker::before(&[upstream.address()], held).await;
    let mut open = worker.caller().await.open(Ask::path("/a.A/Bidi")).await;
    open.send(b"good");
    eventually!(octets(&upstream) == framed(b"good"));
    // The third is good too, and behind a bad one.
    open.up.send_data([framed(b"better"), framed(b"bad"), framed(b"good")].concat().into(), false).unwrap();
    let answer = soon(open.answer()).await;
    assert_eq!((answer.refusal(), answer.only_head), ((7, "filter".into()), true));
    eventually!(is_cancelled(&upstream));
    assert_eq!(octets(&upstream), [framed(b"good"), framed(b"better")].concat());
    assert!(!upstream.came().iter().any(Frame::ends), "half a request must not look like a whole one");
    assert_eq!(seen("second").last().unwrap(), "end PERMISSION_DENIED");
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn the_head_of_a_unary_call_waits_for_its_message() {
    for (method, waits) in [
        (Some(MethodKind::Unary), true),
        (Some(MethodKind::ServerStreaming), true),
        (Some(MethodKind::ClientStreaming), false),
        (Some(MethodKind::Bidi), false),
        (None, false),
    ] {
        for filters in ["{judge: {response: false}}", "{mask: {response: false, with: x}}"] {
            let upstream = taking().await;
            let held = Held { filters, kind: method, ..Held::default() };
            let worker = TestWorker::before(&[upstream.address()], held).await;
            let caller = worker.caller().await;
            let mut open = caller.open(Ask::path("/a.A/M")).await;
            if waits {
                sleep(Duration::from_millis(50)).await;
            } else {
                eventually!(upstream.calls() == 1);
            }
            assert_eq!(upstream.calls(), usize::from(!waits), "{method:?}");
            open.up.send_data(framed(b"bad")[..6].to_vec().into(), false).unwrap();
            open.finish(framed(b"bad").slice(6..));
            assert_eq!(soon(open.answer()).await.refusal(), (7, "filter".into()), "{method:?}");
            worker.is_idle_soon().await;
            assert_eq!(upstream.calls(), usize::from(!waits), "a call that is refused leaves no trace: {method:?}");
            assert_eq!(octets(&upstream), b"");
            assert_eq!(caller.unary(Ask::path("/a.A/M"), b"good").await.messages(), [b"taken".to_vec()]);
        }
    }
}

#[tokio::test]
async fn one_message_is_one_message() {
    let upstream = taking().await;
    let filters = ["", "{judge: {response: false}}", "{mask: {response: false, with: x}}"];
    for (kind, one) in [
        (Some(MethodKind::Unary), true),
        (Some(MethodKind::ServerStreaming), true),
        (Some(MethodKind::Bidi), false),
        (None, false),
    ] {
        for filters in filters {
            let held = Held { filters, kind, ..Held::default() };
            let worker = TestWorker::before(&[upstream.address()], held).await;
            let caller = worker.caller().await;
            let wrong: [&[&[u8]]; 4] = [&[b""], &[b"one", b"two", b""], &[b"one", b"", b"two"], &[]];
            for messages in wrong {
                let answer = match messages {
                    [] => caller.try_open(Ask::path("/a.A/M"), true).await.unwrap(),
                    messages => {
                        let mut open = caller.open(Ask::path("/a.A/M")).await;
                        for message in &messages[..messages.len() - 1] {
                            open.send(message);
                            sleep(Duration::from_millis(5)).await;
                        }
                        let last = messages[messages.len() - 1];
                        open.finish(if last.is_empty() { Bytes::new() } else { framed(last) });
                        open
                    }
                };
                let answer = soon(answer.answer()).await;
                let wanted = if one { (Some(12), Some("cardinality".to_owned())) } else { (Some(0), None) };
                assert_eq!((answer.code(), answer.reason()), wanted, "{kind:?} {filters} {messages:?}");
            }
            assert_eq!(caller.unary(Ask::path("/a.A/M"), b"").await.code(), Some(0));
            worker.is_idle_soon().await;
        }
    }
}

#[tokio::test]
async fn compressed_messages_are_read_and_go_on_as_they_came() {
    let upstream = taking().await;
    let held = Held { filters: "{judge: {log: packed, response: false}}", ..Held::default() };
    let worker = TestWorker::before(&[upstream.address()], held).await;
    let caller = worker.caller().await;
    let mut sent = Vec::new();
    for (encoding, packed) in
        [("gzip", gzip(b"hello")), ("deflate", deflate(b"hello")), ("identity", b"hello".to_vec())]
    {
        let message = framed_with(u8::from(encoding != "identity"), &packed);
        let mut open = caller.open(Ask::path("/a.A/M").with("grpc-encoding", encoding)).await;
        open.finish(message.clone());
        assert_eq!(soon(open.answer()).await.code(), Some(0), "{encoding}");
        sent.extend_from_slice(&message);
        assert_eq!(octets(&upstream), sent, "{encoding}");
    }
    let read = seen("packed");
    assert_eq!(read.iter().filter(|line| *line == ">1 packed hello by all of M").count(), 2, "{read:?}");
    for (encoding, flag, body, refusal) in [
        ("gzip", 1, gzip(b"a bad one"), (7, "filter")),
        ("gzip", 1, gzip(&[0; 64 << 20]), (8, "message_too_large")),
        ("deflate", 1, deflate(&[0; 64 << 20]), (8, "message_too_large")),
        ("gzip", 1, b"no gzip".to_vec(), (3, "framing")),
        ("gzip", 1, [gzip(b"good"), gzip(b"bad")].concat(), (3, "framing")),
        ("gzip", 1, vec![], (3, "framing")),
        ("identity", 1, gzip(b"hello"), (13, "framing")),
        ("zstd", 1, b"whatever".to_vec(), (12, "encoding")),
    ] {
        let mut open = caller.open(Ask::path("/a.A/M").with("grpc-encoding", encoding)).await;
        open.finish(framed_with(flag, &body));
        let answer = soon(open.answer()).await;
        assert_eq!(answer.refusal(), (refusal.0, refusal.1.to_owned()), "{encoding} {}", body.len());
        let accepted = (refusal.1 == "encoding").then(|| "identity,deflate,gzip".to_owned());
        assert_eq!(answer.field("grpc-accept-encoding"), accepted);
    }
    // What is not compressed is read, whatever the head says.
    let mut open = caller.open(Ask::path("/a.A/M").with("grpc-encoding", "zstd")).await;
    open.finish(framed(b"hello"));
    assert_eq!(soon(open.answer()).await.code(), Some(0));
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let upstream = taking().await;
    let held = Held {
        filters: "{judge: {response: false}}, {limits: {messages: 2}}",
        listener: "limits: {message: 100KiB, buffered: 150KiB}",
        ..Held::default()
    };
    let worker = TestWorker::before(&[upstream.address()], held).await;
    let caller = worker.caller().await;
    // The prefix alone tells.
    let mut open = caller.open(Ask::path("/a.A/M")).await;
    open.up.send_data(framed(&[0; 102_401]).slice(..5), false).unwrap();
    assert_eq!(soon(open.answer()).await.refusal(), (8, "message_too_large".into()));
    let mut open = caller.open(Ask::path("/a.A/M")).await;
    (0..3).for_each(|_| open.send(b"m"));
    assert_eq!(soon(open.answer()).await.refusal(), (8, "too_many_messages".into()));
    // Two calls hold most of the budget; a third has to come later, and the two go on.
    let large = framed(&[1; 100_000]);
    let mut open = Vec::new();
    for part in [80_000, 60_000] {
        let mut one = caller.open(Ask::path("/a.A/M")).await;
        one.up.send_data(large.slice(..part), false).unwrap();
        eventually!(worker.buffered() >= open.len() * 80_000 + part);
        open.push((one, part));
    }
    let answer = caller.unary(Ask::path("/a.A/M"), &[2; 30_000]).await;
    assert_eq!((answer.refusal(), answer.field("grpc-retry-pushback-ms").is_some()), ((8, "overloaded".into()), true));
    let (two, _) = open.pop().unwrap();
    two.cancel();
    let (mut one, part) = open.pop().unwrap();
    one.finish(large.slice(part..));
    assert_eq!(soon(one.answer()).await.code(), Some(0));
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn what_ends_within_a_message_is_torn() {
    let upstream = taking().await;
    for kind in [None, Some(MethodKind::Unary)] {
        let held = Held { filters: "{judge: {response: false}}", kind, ..Held::default() };
        let worker = TestWorker::before(&[upstream.address()], held).await;
        let caller = worker.caller().await;
        for cut in [1, 5, 9] {
            let mut open = caller.open(Ask::path("/a.A/M")).await;
            open.finish(framed(b"hello").slice(..cut));
            assert_eq!(soon(open.answer()).await.refusal(), (3, "framing".into()), "{cut}");
        }
        let mut open = caller.open(Ask::path("/a.A/M")).await;
        open.finish(Bytes::from_static(b"GET / HTTP/1.1"));
        assert_eq!(soon(open.answer()).await.refusal(), (3, "framing".into()));
        worker.is_idle_soon().await;
    }
    assert_eq!(octets(&upstream), b"");
}

#[tokio::test]
async fn time_runs_while_a_message_is_held_and_so_does_a_cancel() {
    let upstream = taking().await;
    for kind in [None, Some(MethodKind::Unary)] {
        let held = Held { filters: "{judge: {response: false}}, {limits: {idle: 400ms}}", kind, ..Held::default() };
        let worker = TestWorker::before(&[upstream.address()], held).await;
        let caller = worker.caller().await;
        let half = || framed(&[1; 50_000]).slice(..30_000);
        let mut open = caller.open(Ask::path("/a.A/M").with("grpc-timeout", "150m")).await;
        open.up.send_data(half(), false).unwrap();
        assert_eq!(soon(open.answer()).await.refusal(), (4, "deadline".into()));
        let mut open = caller.open(Ask::path("/a.A/M")).await;
        open.up.send_data(half(), false).unwrap();
        assert_eq!(soon(open.answer()).await.refusal(), (4, "idle".into()));
        let mut open = caller.open(Ask::path("/a.A/M")).await;
        open.up.send_data(half(), false).unwrap();
        eventually!(worker.buffered() > 30_000);
        open.cancel();
        worker.is_idle_soon().await;
    }
    assert_eq!(octets(&upstream), b"");
}

#[tokio::test]
async fn a_message_may_go_on_with_another_body() {
    let upstream = taking().await;
    let long = "x".repeat(70_000);
    for with in ["***", "", &long] {
        let filters = format!(
            "{{mask: {{response: false, with: '{with}'}}}}, {{judge: {{log: '{}', response: false}}}}",
            with.len()
        );
        let worker = TestWorker::before(&[upstream.address()], Held { filters: &filters, ..Held::default() }).await;
        let caller = worker.caller().await;
        let before = octets(&upstream).len();
        let mut open = caller.open(Ask::path("/a.A/M").with("grpc-encoding", "gzip")).await;
        let packed = framed_with(1, &gzip(b"a secret in gzip"));
        let untouched = framed_with(1, &gzip(b"nothing"));
        let request = [&framed(b"none here")[..], &framed(b"my secret"), &packed, &untouched].concat();
        open.finish(request.into());
        assert_eq!(soon(open.answer()).await.code(), Some(0));
        let wanted = [
            framed(b"none here"),
            framed(format!("my {with}").as_bytes()),
            framed(format!("a {with} in gzip").as_bytes()),
            untouched,
        ];
        assert!(octets(&upstream)[before..] == wanted.concat(), "{}", with.len());
        // The phase decides who is first, not the file.
        assert_eq!(seen(&with.len().to_string())[1], ">2 my secret by all of M");
        worker.is_idle_soon().await;
    }
}

#[tokio::test]
async fn much_with_other_bodies_keeps_its_order_and_its_flow() {
    let upstream = echoing().await;
    for with in ["s", "a much longer word"] {
        let filters = format!("{{mask: {{with: {with}}}}}");
        let worker = TestWorker::before(&[upstream.address()], Held { filters: &filters, ..Held::default() }).await;
        let mut open = worker.caller().await.open(Ask::path("/a.A/M")).await;
        let message = |n: usize, word: &str| format!("{n} {}", word.repeat(n % 700)).into_bytes();
        (0..2_000).for_each(|n| open.send(&message(n, "secret")));
        open.finish(Bytes::new());
        let answer = soon(open.answer()).await;
        let wanted: Vec<_> = (0..2_000).map(|n| message(n, with)).collect();
        assert!(answer.messages() == wanted, "{with}: {:?} {}", answer.code(), answer.message());
        worker.is_idle_soon().await;
    }
}

#[tokio::test]
async fn at_another_try_messages_are_rewritten_anew_and_not_judged_again() {
    let upstream = Upstream::start(|mut got: Got| async move {
        if got.number < 2 {
            drop(got.body.data().await);
            got.reply.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            got.echo().await;
        }
    })
    .await;
    let filters = "{judge: {log: judged, response: false}}, {mask: {log: masked, response: false, with: safe}}";
    let worker = TestWorker::before(&[upstream.address()], Held { filters, ..Held::default() }).await;
    let mut open = worker.caller().await.open(Ask::path("/a.A/M")).await;
    open.send(b"first secret");
    eventually!(upstream.calls() == 3);
    open.send(b"second secret");
    open.finish(Bytes::new());
    let answer = soon(open.answer()).await;
    assert_eq!(answer.messages(), [b"first safe".to_vec(), b"second safe".to_vec()], "{answer:?}");
    assert_eq!(seen("judged"), [">1 first secret by all of M", ">2 second secret by all of M", "end OK"]);
    let (first, ended) = (">1 first secret by one of M", "end UNAVAILABLE");
    let last = [first, ">2 second secret by one of M", "end OK"];
    assert_eq!(seen("masked"), [&[first, ended, first, ended][..], &last].concat());
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn over_the_bound_a_held_call_goes_on_and_is_not_repeated() {
    let upstream = Upstream::start(|mut got: Got| async move {
        let mut came = 0;
        while came < 80_000 {
            let bytes = got.body.data().await.unwrap().unwrap();
            got.body.flow_control().release_capacity(bytes.len()).unwrap();
            came += bytes.len();
        }
        got.reply.send_reset(h2::Reason::REFUSED_STREAM);
    })
    .await;
    let worker = TestWorker::before(&[upstream.address()], Held { filters: "{judge: {}}", ..Held::default() }).await;
    let mut open = worker.caller().await.open(Ask::path("/a.A/M")).await;
    (0..2).for_each(|_| open.send(&[1; 45_000]));
    let answer = soon(open.answer()).await;
    assert_eq!((answer.code(), upstream.calls()), (Some(14), 1), "{answer:?}");
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn a_filter_that_replaces_what_it_may_only_look_at_ends_the_call() {
    let upstream = taking().await;
    let held = Held { filters: "{judge: {oversteps: true}}", ..Held::default() };
    let worker = TestWorker::before(&[upstream.address()], held).await;
    let answer = worker.caller().await.unary(Ask::path("/a.A/M"), b"m").await;
    assert_eq!((answer.refusal(), octets(&upstream).len()), ((13, "filter".into()), 0));
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn what_comes_while_filters_take_their_time_is_judged_too() {
    let upstream = echoing().await;
    let large = vec![b'g'; 1 << 20];
    for filters in ["{judge: {wait: 50}}", "{mask: {wait: 50, with: x}}", "{judge: {}}, {mask: {wait: 50, with: x}}"] {
        let worker = TestWorker::before(&[upstream.address()], Held { filters, ..Held::default() }).await;
        let caller = worker.caller().await;
        assert!(caller.unary(Ask::path("/a.A/M"), &large).await.messages() == [large.clone()], "{filters}");
        let mut open = caller.open(Ask::path("/a.A/M")).await;
        open.send(b"good");
        open.send(b"bad");
        assert_eq!(soon(open.answer()).await.refusal(), (7, "filter".into()), "{filters}");
        worker.is_idle_soon().await;
    }
}
