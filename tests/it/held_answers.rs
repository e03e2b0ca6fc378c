//! Answers whose messages filters read: each is held until it is whole, judged, and goes on as it came or with another body.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filter_api::MethodKind;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::harness::{
    Answer, Ask, Got, Held, RawUpstream, Say, TestWorker, Upstream, eventually, fields, framed, framed_with, head,
    kind, seen, soon,
};
use crate::held::gzip;

/// An instance that answers so, in DATA frames of so many octets.
async fn answering(answer: Vec<u8>, piece: usize, status: &'static str) -> RawUpstream {
    RawUpstream::answering(move |stream| {
        let said =
            answer.chunks(piece.max(1)).fold(Say::default().begin(stream), |say, piece| say.data(stream, false, piece));
        Some(said.headers(stream, true, &[("grpc-status", status), ("x-from", "instance")]))
    })
    .await
}

async fn ask(worker: &TestWorker) -> Answer {
    worker.caller().await.unary(Ask::path("/a.A/M"), b"").await
}

fn reading(filters: &'static str, kind: Option<MethodKind>) -> Held<'static> {
    Held { filters, kind, ..Held::default() }
}

#[tokio::test]
async fn answers_in_pieces_and_many_in_one() {
    let answer = [framed(b"one"), framed(b""), framed(b"a secret"), framed(b"last")].concat();
    for piece in [1, 7, 1_000] {
        let upstream = answering(answer.clone(), piece, "0").await;
        for with in ["***", "something long"] {
            let filters = format!(
                "{{judge: {{log: a{piece}{with}, request: false}}}}, {{mask: {{request: false, with: '{with}'}}}}"
            );
            let worker = TestWorker::before(&[upstream.address()], Held { filters: &filters, ..Held::default() }).await;
            let answer = ask(&worker).await;
            let masked = format!("a {with}");
            let wanted = [b"one", &b""[..], masked.as_bytes(), b"last"];
            assert_eq!((answer.code(), answer.messages()), (Some(0), wanted.map(<[u8]>::to_vec).to_vec()));
            assert_eq!(answer.field("x-from").as_deref(), Some("instance"));
            // The filter nearest to the instance is the first.
            assert_eq!(seen(&format!("a{piece}{with}"))[2], format!("<3 {masked} by one of M"));
            worker.is_idle_soon().await;
        }
    }
}

#[tokio::test]
async fn answers_larger_than_every_window_pass() {
    let upstream = Upstream::start(|mut got: Got| async move {
        let mut stream = got.begin();
        (0..5).for_each(|_| stream.send_data(framed(&vec![b'l'; 3 << 20]), false).unwrap());
        stream.send_trailers(fields(&[("grpc-status", "0")])).unwrap();
    })
    .await;
    for filters in ["{judge: {request: false}}", "{mask: {with: x}}"] {
        let worker = TestWorker::before(&[upstream.address()], reading(filters, None)).await;
        let answer = ask(&worker).await;
        assert!(answer.messages() == vec![vec![b'l'; 3 << 20]; 5], "{:?} {}", answer.code(), answer.message());
        worker.is_idle_soon().await;
    }
}

#[tokio::test]
async fn what_is_held_of_an_answer_stays_within_a_message_where_the_caller_does_not_read() {
    let upstream = Upstream::start(|mut got: Got| async move {
        let mut stream = got.begin();
        (0..50).for_each(|_| stream.send_data(framed(&vec![1; 1 << 20]), false).unwrap());
        drop(futures_util::future::poll_fn(|cx| stream.poll_reset(cx)).await);
    })
    .await;
    let worker = TestWorker::before(&[upstream.address()], reading("{judge: {request: false}}", None)).await;
    let mut open = worker.caller().await.open(Ask::path("/a.A/M")).await;
    open.finish(framed(b""));
    let (_, body, mut up) = soon(open.head()).await.unwrap();
    eventually!(worker.buffered() > 0);
    sleep(Duration::from_millis(200)).await;
    assert!(worker.buffered() < 3 << 20, "{}", worker.buffered());
    up.send_reset(h2::Reason::CANCEL);
    worker.is_idle_soon().await;
    drop(body);
}

#[tokio::test]
async fn the_refusal_of_a_unary_answer_has_no_head_before_it() {
    for (kind, whole) in [
        (Some(MethodKind::Unary), true),
        (Some(MethodKind::ClientStreaming), true),
        (Some(MethodKind::ServerStreaming), false),
        (Some(MethodKind::Bidi), false),
        (None, false),
    ] {
        let upstream = answering(framed(b"a bad answer").to_vec(), 5, "0").await;
        let worker = TestWorker::before(&[upstream.address()], reading("{judge: {}}", kind)).await;
        let answer = ask(&worker).await;
        assert_eq!(
            (answer.refusal(), answer.bytes.len(), answer.only_head),
            ((7, "filter".into()), 0, whole),
            "{kind:?}"
        );
        worker.is_idle_soon().await;
    }
}

#[tokio::test]
async fn the_head_of_a_stream_goes_at_once_and_that_of_a_unary_answer_with_its_message() {
    for (kind, at_once) in [(Some(MethodKind::Unary), false), (Some(MethodKind::Bidi), true), (None, true)] {
        let go = Arc::new(Notify::new());
        let gate = Arc::clone(&go);
        let upstream = Upstream::start(move |mut got: Got| {
            let gate = Arc::clone(&gate);
            async move {
                let mut stream = got.begin();
                gate.notified().await;
                stream.send_data(framed(b"good"), false).unwrap();
                gate.notified().await;
                stream.send_trailers(fields(&[("grpc-status", "0")])).unwrap();
            }
        })
        .await;
        let worker = TestWorker::before(&[upstream.address()], reading("{judge: {}}", kind)).await;
        let mut open = worker.caller().await.open(Ask::path("/a.A/M")).await;
        open.finish(framed(b""));
        let mut head = Box::pin(open.head());
        let early = tokio::time::timeout(Duration::from_millis(150), &mut head).await;
        assert_eq!(early.is_ok(), at_once, "{kind:?}");
        go.notify_one();
        let (head, body, _up) = match early {
            Ok(head) => head.unwrap(),
            Err(_) => soon(head).await.unwrap(),
        };
        go.notify_one();
        let answer = soon(Answer::read(head, body)).await;
        assert_eq!((answer.code(), answer.messages()), (Some(0), vec![b"good".to_vec()]));
        worker.is_idle_soon().await;
    }
}

#[tokio::test]
async fn an_answer_without_a_message_keeps_its_head_and_its_trailers() {
    let upstream = Upstream::start(|mut got: Got| async move {
        let mut stream = got.reply.send_response(head(&[("x-head", "yes")]), false).unwrap();
        stream.send_trailers(fields(&[("grpc-status", "5"), ("grpc-message", "none")])).unwrap();
    })
    .await;
    for kind in [Some(MethodKind::Unary), None] {
        let worker = TestWorker::before(&[upstream.address()], reading("{judge: {}}", kind)).await;
        let answer = ask(&worker).await;
        let got = (answer.code(), answer.message(), answer.field("x-head"), answer.reason());
        assert_eq!(got, (Some(5), "none".into(), Some("yes".into()), None));
        worker.is_idle_soon().await;
    }
}

#[tokio::test]
async fn a_second_answer_that_is_refused_ends_the_call() {
    let answer = [framed(b"good"), framed(b"better"), framed(b"bad"), framed(b"good")].concat();
    let upstream =
        RawUpstream::answering(move |stream| Some(Say::default().begin(stream).data(stream, false, &answer))).await;
    let worker = TestWorker::before(&[upstream.address()], reading("{judge: {}}", None)).await;
    let answer = ask(&worker).await;
    assert_eq!(answer.refusal(), (7, "filter".into()));
    assert_eq!(answer.messages(), [b"good".to_vec(), b"better".to_vec()]);
    eventually!(upstream.came().iter().any(|frame| frame.reset_code() == Some(8)));
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn what_the_instance_breaks_is_its_fault() {
    let bomb = framed_with(1, &gzip(&vec![0; 100 << 20]));
    // What it is, its encoding, what comes, and what the caller is told.
    type Case = (&'static str, &'static str, Vec<u8>, (u32, &'static str));
    let cases: [Case; 8] = [
        ("cut", "identity", framed(b"hello")[..7].to_vec(), (13, "upstream_reset")),
        ("flag 9", "identity", b"\x09\0\0\0\0".to_vec(), (13, "upstream_reset")),
        ("no encoding", "identity", framed_with(1, &gzip(b"x")).to_vec(), (13, "upstream_reset")),
        ("unknown", "br", framed_with(1, &gzip(b"x")).to_vec(), (13, "upstream_reset")),
        ("no gzip", "gzip", framed_with(1, b"x").to_vec(), (13, "upstream_reset")),
        ("over the limit", "gzip", framed(&[0; 30_000]).to_vec(), (8, "message_too_large")),
        ("a bomb", "gzip", bomb.to_vec(), (8, "message_too_large")),
        (
            "over the limit once it is read",
            "gzip",
            framed_with(1, &gzip(&[0; 30_000])).to_vec(),
            (8, "message_too_large"),
        ),
    ];
    for (what, encoding, body, (code, reason)) in cases {
        let upstream = RawUpstream::answering(move |stream| {
            let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", encoding)];
            let said = body
                .chunks(16_000)
                .fold(Say::default().headers(stream, false, &fields), |say, piece| say.data(stream, false, piece));
            Some(said.headers(stream, true, &[("grpc-status", "0")]))
        })
        .await;
        for kind in [None, Some(MethodKind::Unary)] {
            let listener = match what {
                // Without a limit what can be held at all is the bound.
                "a bomb" => "limits: {buffered: 20MiB}",
                _ => "limits: {response_message: 20KiB}",
            };
            let held = Held { listener, ..reading("{judge: {}}", kind) };
            let worker = TestWorker::before(&[upstream.address()], held).await;
            let answer = ask(&worker).await;
            assert_eq!((answer.refusal(), answer.bytes.len()), ((code, reason.to_owned()), 0), "{what}");
            worker.is_idle_soon().await;
        }
    }
    // A status that is none of success stays what it is.
    let upstream = answering(framed(b"hello")[..7].to_vec(), 100, "9").await;
    let worker = TestWorker::before(&[upstream.address()], reading("{judge: {}}", None)).await;
    let answer = ask(&worker).await;
    assert_eq!((answer.code(), answer.reason(), answer.bytes.len()), (Some(9), None, 0));
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn compressed_answers_are_read_and_only_what_can_be_is_asked_for() {
    let upstream = Upstream::start(|mut got: Got| async move {
        assert_eq!(got.field("grpc-accept-encoding"), Some("gzip,identity"));
        let mut stream = got.reply.send_response(head(&[("grpc-encoding", "gzip")]), false).unwrap();
        stream.send_data(framed_with(1, &gzip(b"nothing")), false).unwrap();
        stream.send_data(framed_with(1, &gzip(b"a secret")), false).unwrap();
        stream.send_trailers(fields(&[("grpc-status", "0")])).unwrap();
    })
    .await;
    let held = reading("{mask: {log: unpacked, request: false, with: word}}", None);
    let worker = TestWorker::before(&[upstream.address()], held).await;
    let ask = Ask::path("/a.A/M").with("grpc-accept-encoding", "zstd, gzip,identity,br");
    let answer = worker.caller().await.unary(ask, b"").await;
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    assert_eq!(answer.bytes, [framed_with(1, &gzip(b"nothing")), framed(b"a word")].concat());
    assert_eq!(seen("unpacked"), ["<1 packed nothing by one of M", "<2 packed a secret by one of M", "end OK"]);
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn over_the_budget_an_answer_is_too_much() {
    let upstream = answering(framed(&[1; 60_000]).to_vec(), 10_000, "0").await;
    let held = Held { listener: "limits: {buffered: 40KiB}", ..reading("{judge: {request: false}}", None) };
    let worker = TestWorker::before(&[upstream.address()], held).await;
    let answer = ask(&worker).await;
    assert_eq!((answer.refusal(), answer.bytes.len()), ((8, "overloaded".into()), 0));
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn a_cancel_and_the_deadline_end_what_is_held_of_an_answer() {
    let part = framed(&[1; 60_000]).slice(..30_000);
    let upstream = RawUpstream::answering(move |stream| {
        Some(Say::default().begin(stream).data(stream, false, &part[..15_000]).data(stream, false, &part[15_000..]))
    })
    .await;
    for kind in [None, Some(MethodKind::Unary)] {
        let worker = TestWorker::before(&[upstream.address()], reading("{judge: {}}", kind)).await;
        let caller = worker.caller().await;
        let mut open = caller.open(Ask::path("/a.A/M").with("grpc-timeout", "150m")).await;
        open.finish(framed(b""));
        let answer = soon(open.answer()).await;
        assert_eq!((answer.refusal(), answer.only_head), ((4, "deadline".into()), kind.is_some()));
        let mut open = caller.open(Ask::path("/a.A/M")).await;
        open.finish(framed(b""));
        eventually!(worker.buffered() > 30_000);
        open.cancel();
        worker.is_idle_soon().await;
    }
    let resets = || upstream.came().iter().filter(|frame| frame.kind == kind::RST_STREAM).count();
    eventually!(resets() == 4);
}

#[tokio::test]
async fn a_bidi_call_goes_back_and_forth() {
    let upstream = Upstream::start(|mut got: Got| async move {
        let mut stream = got.begin();
        while let Some(Ok(bytes)) = got.body.data().await {
            got.body.flow_control().release_capacity(bytes.len()).unwrap();
            stream.send_data(bytes, false).unwrap();
        }
        stream.send_trailers(fields(&[("grpc-status", "0")])).unwrap();
    })
    .await;
    for kind in [None, Some(MethodKind::Bidi)] {
        let held = reading("{judge: {}}, {mask: {with: word}}", kind);
        let worker = TestWorker::before(&[upstream.address()], held).await;
        let caller = worker.caller().await;
        // A caller may wait for the head before it says anything.
        let (head, mut body, mut up) = soon(caller.open(Ask::path("/a.A/M")).await.head()).await.unwrap();
        for round in 0..20 {
            up.send_data(framed(format!("{round} secret").as_bytes()), false).unwrap();
            let bytes = soon(body.data()).await.unwrap().unwrap();
            body.flow_control().release_capacity(bytes.len()).unwrap();
            assert_eq!(bytes, framed(format!("{round} word").as_bytes()));
        }
        up.send_data(Bytes::new(), true).unwrap();
        assert_eq!(soon(Answer::read(head, body)).await.code(), Some(0));
        worker.is_idle_soon().await;
    }
}
