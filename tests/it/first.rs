//! Decisions that need the first message of a request: it is awaited before the route, the agent or the instance is chosen.

use std::time::Duration;

use bytes::Bytes;
use filter_api::MethodKind;
use portunus::config::snapshot::FirstMessage;
use tokio::time::sleep;

use crate::harness::{
    Ask, Got, Held, RawUpstream, Say, TestWorker, Upstream, eventually, framed, framed_with, seen, soon,
};
use crate::held::{gzip, octets};

async fn echoing() -> Upstream {
    Upstream::start(|got: Got| got.echo()).await
}

const BOTH: [FirstMessage; 2] = [FirstMessage::ToMatch, FirstMessage::ToChoose];

#[tokio::test]
async fn nothing_is_decided_before_the_first_message() {
    let upstream = echoing().await;
    for first in BOTH {
        for filters in
            ["", "{judge: {}}", "{judge: {wait: 20}}", "{mask: {wait: 20, with: x}}", "{limits: {messages: 3}}"]
        {
            let worker = TestWorker::before(&[upstream.address()], Held { first, filters, ..Held::default() }).await;
            let caller = worker.caller().await;
            let before = upstream.calls();
            let mut open = caller.open(Ask::path("/a.A/M")).await;
            let message = framed(b"in two parts");
            open.up.send_data(message.slice(..8), false).unwrap();
            eventually!(worker.buffered() == 8 + 64);
            sleep(Duration::from_millis(30)).await;
            assert_eq!(upstream.calls(), before);
            open.up.send_data(message.slice(8..), false).unwrap();
            eventually!(upstream.calls() == before + 1);
            open.send(b"and more");
            open.finish(Bytes::new());
            let answer = soon(open.answer()).await;
            assert_eq!(answer.messages(), [b"in two parts".to_vec(), b"and more".to_vec()], "{first:?} {filters}");
            // One that is whole when the head is looked at.
            assert_eq!(caller.unary(Ask::path("/a.A/M"), b"").await.messages(), [b"".to_vec()]);
            worker.is_idle_soon().await;
        }
    }
}

#[tokio::test]
async fn a_first_message_may_be_larger_than_every_window_and_compressed() {
    let upstream = echoing().await;
    let large = vec![b'f'; 3 << 20];
    for first in BOTH {
        for filters in ["", "{judge: {}}"] {
            let worker = TestWorker::before(&[upstream.address()], Held { first, filters, ..Held::default() }).await;
            let caller = worker.caller().await;
            let mut open = caller.open(Ask::path("/a.A/M")).await;
            (0..3).for_each(|_| open.send(&large));
            open.finish(Bytes::new());
            let answer = soon(open.answer()).await;
            assert!(
                answer.messages() == [&large[..]; 3],
                "{first:?} {filters}: {:?} {}",
                answer.code(),
                answer.message()
            );
            let mut open = caller.open(Ask::path("/a.A/M").with("grpc-encoding", "gzip")).await;
            let packed = framed_with(1, &gzip(&large));
            open.finish(packed.clone());
            let answer = soon(open.answer()).await;
            assert_eq!(answer.code(), Some(0), "{}", answer.message());
            worker.is_idle_soon().await;
        }
    }
}

#[tokio::test]
async fn a_large_first_message_counts_until_the_instance_takes_it() {
    // It gives no credit beyond the 65,535 octets that it begins with.
    let upstream = RawUpstream::start(|_| Some(Say::default())).await;
    let held = Held { first: FirstMessage::ToChoose, ..Held::default() };
    let worker = TestWorker::before(&[upstream.address()], held).await;
    let mut open = worker.caller().await.open(Ask::path("/a.A/M")).await;
    let large = vec![1; 1 << 20];
    (0..20).for_each(|_| open.send(&large));
    eventually!(octets(&upstream).len() == 65_535);
    sleep(Duration::from_millis(100)).await;
    let held = worker.buffered();
    assert!((900 << 10..1_800 << 10).contains(&held), "{held}: it, and what the caller's window lets come behind it");
    open.cancel();
    worker.is_idle_soon().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_before_anything_is_decided() {
    let upstream = echoing().await;
    for first in BOTH {
        let held = Held { first, listener: "limits: {message: 100KiB, buffered: 150KiB}", ..Held::default() };
        let worker = TestWorker::before(&[upstream.address()], held).await;
        let caller = worker.caller().await;
        let none = caller.try_open(Ask::path("/a.A/M"), true).await.unwrap();
        assert_eq!(soon(none.answer()).await.refusal(), (12, "cardinality".into()));
        let bomb = framed_with(1, &gzip(&[0; 200_000]));
        let cases: [(Bytes, (u32, &str)); 6] = [
            (Bytes::new(), (12, "cardinality")),
            (framed(b"hello").slice(..7), (3, "framing")),
            (Bytes::from_static(b"text, no message"), (3, "framing")),
            (framed(&[0; 102_401]).slice(..6), (8, "message_too_large")),
            (bomb, (8, "message_too_large")),
            (framed_with(1, b"not gzip"), (3, "framing")),
        ];
        for (request, (code, reason)) in cases {
            let mut open = caller.open(Ask::path("/a.A/M").with("grpc-encoding", "gzip")).await;
            open.finish(request);
            assert_eq!(soon(open.answer()).await.refusal(), (code, reason.to_owned()));
        }
        let mut open = caller.open(Ask::path("/a.A/M").with("grpc-encoding", "zstd")).await;
        open.finish(framed_with(1, b"zstd"));
        let answer = soon(open.answer()).await;
        assert_eq!(answer.refusal(), (12, "encoding".into()));
        assert_eq!(answer.field("grpc-accept-encoding").as_deref(), Some("identity,deflate,gzip"));
        let mut one = caller.open(Ask::path("/a.A/M")).await;
        one.up.send_data(framed(&[0; 90_000]).slice(..80_000), false).unwrap();
        eventually!(worker.buffered() > 80_000);
        let two = caller.unary(Ask::path("/a.A/M"), &[0; 90_000]).await;
        assert_eq!(two.refusal(), (8, "overloaded".into()));
        one.cancel();
        worker.is_idle_soon().await;
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test]
async fn a_deadline_and_a_cancel_end_the_waiting() {
    let upstream = echoing().await;
    for first in BOTH {
        let worker = TestWorker::before(&[upstream.address()], Held { first, ..Held::default() }).await;
        let caller = worker.caller().await;
        let open = caller.open(Ask::path("/a.A/M").with("grpc-timeout", "100m")).await;
        assert_eq!(soon(open.answer()).await.refusal(), (4, "deadline".into()));
        let mut open = caller.open(Ask::path("/a.A/M")).await;
        open.up.send_data(framed(&[1; 1_000]).slice(..900), false).unwrap();
        eventually!(worker.buffered() > 900);
        open.cancel();
        eventually!(worker.holds().calls == 0);
        // A connection that is lost takes its calls along.
        let mut open = caller.open(Ask::path("/a.A/M")).await;
        open.up.send_data(framed(&[1; 1_000]).slice(..900), false).unwrap();
        eventually!(worker.buffered() > 900);
        caller.connection.abort();
        worker.is_idle_soon().await;
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test]
async fn the_call_is_as_any_other_once_it_is_decided() {
    let upstream = Upstream::start(|mut got: Got| async move {
        if got.number == 0 {
            drop(got.body.data().await);
            got.reply.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            got.echo().await;
        }
    })
    .await;
    let filters = "{judge: {log: first, response: false}}, {mask: {response: false, with: safe}}";
    let held = Held { first: FirstMessage::ToChoose, filters, kind: Some(MethodKind::Unary), ..Held::default() };
    let worker = TestWorker::before(&[upstream.address()], held).await;
    let caller = worker.caller().await;
    let answer = caller.unary(Ask::path("/a.A/M"), b"secret").await;
    assert_eq!((answer.messages(), upstream.calls()), (vec![b"safe".to_vec()], 2));
    assert_eq!(seen("first"), [">1 secret by all of M", "end OK"]);
    assert_eq!(caller.unary(Ask::path("/a.A/M"), b"bad").await.refusal(), (7, "filter".into()));
    worker.is_idle_soon().await;
    assert_eq!(upstream.calls(), 2);
}
