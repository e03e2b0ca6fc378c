//! Another try, by itself, only where the last one provably did not start; and exactly one execution everywhere else
//! (FIELD.md T6).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use crate::harness::{
    Ask, Frame, Got, RawUpstream, Say, Setup, TestProxy, Upstream, chunk, echo, eventually, framed, kind, refused_port,
    soon,
};

const RETRIES: &str = "portunus_retries_total";

/// Refuses the first `times` streams, echoes the rest.
async fn refusing(times: usize) -> Upstream {
    Upstream::start(move |mut got: Got| async move {
        if got.number < times {
            got.reply.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            got.echo().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_port_among_good_ones_costs_no_call() {
    let (one, two) = (echo("one").await, echo("two").await);
    let setup = Setup { cluster: "balance: round_robin", workers: 2, ..Setup::default() };
    let proxy = TestProxy::with(&[one.address(), refused_port(), two.address()], setup).await;
    let caller = proxy.caller().await;
    for _ in 0..5 {
        soon(join_all((0..40).map(|_| caller.echoed(Ask::echo("Unary"))))).await;
    }
    assert!(proxy.metric(RETRIES, &[("cluster", "echo"), ("why", "connect_failed")]).await >= 1.0);
    assert_eq!(one.handle().calls().seen + two.handle().calls().seen, 200);
    assert_eq!(proxy.metric("grpc_server_handled_total", &[("grpc_code", "OK")]).await, 200.0);
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let proxy = TestProxy::before(&[refused_port()]).await;
    let answer = proxy.caller().await.unary(Ask::echo("Unary"), b"x").await;
    assert_eq!(answer.refusal(), (14, "connect_failed".into()));
    assert!(!format!("{answer:?}").contains(&refused_port().port().to_string()), "no address for callers: {answer:?}");
}

#[tokio::test]
async fn a_refused_stream_is_tried_again() {
    let upstream = refusing(1).await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let answer = proxy.caller().await.unary(Ask::echo("Unary"), b"hello").await;
    assert_eq!((answer.code(), answer.messages()), (Some(0), vec![b"hello".to_vec()]));
    assert_eq!(proxy.metric(RETRIES, &[("why", "refused_stream")]).await, 1.0);
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test]
async fn a_stream_that_is_always_refused_is_unavailable_and_not_refused() {
    let upstream = refusing(usize::MAX).await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let answer = proxy.caller().await.unary(Ask::echo("Unary"), b"hello").await;
    // The word REFUSED_STREAM would have clients repeat it at once.
    assert_eq!((answer.refusal().0, answer.broken.is_none()), (14, true), "{answer:?}");
    assert!((2..=5).contains(&upstream.calls()), "{}", upstream.calls());
}

#[tokio::test]
async fn t06_a_stream_above_goaways_last_id_is_tried_again() {
    let first = Arc::new(AtomicUsize::new(0));
    let upstream = RawUpstream::answering(move |id| {
        if first.fetch_add(1, Ordering::SeqCst) == 0 {
            return Some(Say::default().goaway(0, 0));
        }
        let answer = Say::default().begin(id).data(id, false, &framed(b"again"));
        Some(answer.headers(id, true, &[("grpc-status", "0")]))
    })
    .await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let answer = proxy.caller().await.unary(Ask::echo("Unary"), b"x").await;
    assert_eq!((answer.code(), answer.messages()), (Some(0), vec![b"again".to_vec()]), "{answer:?}");
    assert_eq!((upstream.calls(), proxy.metric(RETRIES, &[]).await), (2, 1.0));
}

#[tokio::test]
async fn t06_calls_over_a_connection_that_says_goodbye_are_not_lost() {
    // Two-phase or not: streams up to the last id are answered, those above go elsewhere.
    let upstream = RawUpstream::answering(|id| {
        let answer = Say::default().begin(id).data(id, false, &framed(b"m")).headers(id, true, &[("grpc-status", "0")]);
        Some(if id == 5 { answer.goaway(id, 0) } else { answer })
    })
    .await;
    let setup = Setup { cluster: "limits: {connections: 1}", ..Setup::default() };
    let proxy = TestProxy::with(&[upstream.address()], setup).await;
    let caller = proxy.caller().await;
    for _ in 0..10 {
        let calls = join_all((0..5).map(|_| caller.unary(Ask::echo("Unary"), b"x")));
        assert!(soon(calls).await.iter().all(|answer| answer.code() == Some(0)));
    }
    assert_eq!(proxy.metric("grpc_server_handled_total", &[("grpc_code", "OK")]).await, 50.0);
}

#[tokio::test]
async fn what_may_have_started_is_never_tried_again() {
    // What the instance says once the whole request is here, and the status that it makes.
    type End = (&'static str, u32, fn(u32) -> Option<Say>);
    let ends: [End; 6] = [
        ("RST(INTERNAL_ERROR)", 13, |id| Some(Say::default().reset(id, 2))),
        ("RST(CANCEL)", 1, |id| Some(Say::default().reset(id, 8))),
        ("the connection's end", 14, |_| None),
        ("GOAWAY at its id, and the end", 14, |id| Some(Say::default().goaway(id, 2))),
        ("RST(REFUSED_STREAM) after the head", 14, |id| Some(Say::default().begin(id).reset(id, 7))),
        ("GOAWAY below it after the head", 14, |id| Some(Say::default().begin(id).goaway(0, 0))),
    ];
    for (what, code, end) in ends {
        let upstream = RawUpstream::start(move |frame: &Frame| match frame.ends() {
            true => end(frame.stream),
            // Hangs up where it said GOAWAY and is asked for more.
            false => Some(Say::default()),
        })
        .await;
        let other = echo("other").await;
        let setup = Setup { cluster: "balance: round_robin", ..Setup::default() };
        let proxy = TestProxy::with(&[upstream.address(), other.address()], setup).await;
        let caller = proxy.caller().await;
        let mut answers = Vec::new();
        for _ in 0..2 {
            let mut open = caller.open(Ask::echo("Unary").with("grpc-timeout", "1S")).await;
            open.finish(framed(&chunk(b"once")));
            answers.push(soon(open.answer()).await);
        }
        let failed: Vec<_> = answers.iter().filter(|answer| answer.code() != Some(0)).collect();
        assert_eq!(failed.len(), 1, "{what}: one of two goes to the one that fails: {answers:?}");
        let allowed = [code, 4].contains(&failed[0].code().unwrap());
        assert!(allowed && failed[0].broken.is_none(), "{what}: {:?}", failed[0]);
        assert_eq!((upstream.calls(), other.handle().calls().seen), (1, 1), "{what}: executed once");
        assert_eq!(proxy.metric(RETRIES, &[]).await, 0.0, "{what}");
    }
}

#[tokio::test]
async fn a_repeated_request_is_the_same_request() {
    // The first instance refuses once it has seen part of the request.
    let part = 40_000;
    let upstream = Upstream::start(move |mut got: Got| async move {
        if got.number > 0 {
            return got.echo().await;
        }
        let mut seen = 0;
        while seen < part {
            let bytes = got.body.data().await.unwrap().unwrap();
            got.body.flow_control().release_capacity(bytes.len()).unwrap();
            seen += bytes.len();
        }
        got.reply.send_reset(h2::Reason::REFUSED_STREAM);
    })
    .await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let caller = proxy.caller().await;
    let mut open = caller.open(Ask::echo("Bidi")).await;
    let messages: Vec<Vec<u8>> = (0..4u8).map(|n| vec![n; 15_000]).collect();
    for message in &messages {
        open.send(message);
    }
    eventually!(upstream.calls() == 2);
    // The rest is many times the window: credit must go back for it as for any other request.
    let rest: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 100_000]).collect();
    for message in &rest {
        open.send(message);
    }
    open.finish(bytes::Bytes::new());
    let answer = soon(open.answer()).await;
    assert_eq!(answer.code(), Some(0), "{:?}", answer.message());
    assert!(answer.messages() == [messages, rest].concat());
    assert_eq!(proxy.metric(RETRIES, &[]).await, 1.0);
}

#[tokio::test]
async fn over_the_replay_bound_a_call_goes_on_and_is_not_repeated() {
    let upstream = Upstream::start(|mut got: Got| async move {
        if got.field("x-refuse").is_some() {
            let first = got.body.data().await.unwrap().unwrap();
            got.body.flow_control().release_capacity(first.len()).unwrap();
            got.reply.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            got.echo().await;
        }
    })
    .await;
    let setup = Setup { listener: "limits: {buffered: 1KiB}", ..Setup::default() };
    let proxy = TestProxy::with(&[upstream.address()], setup).await;
    let caller = proxy.caller().await;
    let large = vec![1; 10_000];
    assert!(caller.unary(Ask::echo("Unary"), &large).await.messages() == [large.clone()]);
    let before = upstream.calls();
    let mut open = caller.open(Ask::echo("Bidi").with("x-refuse", "1")).await;
    open.send(&large);
    let answer = soon(open.answer()).await;
    assert_eq!((answer.refusal().0, answer.broken.is_none()), (14, true));
    assert_eq!((upstream.calls() - before, proxy.metric(RETRIES, &[]).await), (1, 0.0));
    // The bound is the listener's: what a call kept is given back with it.
    let mut open = caller.open(Ask::echo("Bidi").with("x-refuse", "1")).await;
    open.send(b"small");
    assert_eq!(soon(open.answer()).await.refusal().0, 14);
    assert!(proxy.metric(RETRIES, &[("why", "refused_stream")]).await >= 1.0);
}

#[tokio::test]
async fn a_retry_goes_to_another_instance_while_there_is_one() {
    let refuses = RawUpstream::answering(|id| Some(Say::default().reset(id, 7))).await;
    let other = echo("other").await;
    let setup = Setup { cluster: "balance: round_robin", ..Setup::default() };
    let proxy = TestProxy::with(&[refuses.address(), other.address()], setup).await;
    let caller = proxy.caller().await;
    for _ in 0..20 {
        assert_eq!(caller.echoed(Ask::echo("Unary")).await, "other");
    }
    let refused = refuses.came().iter().filter(|frame| frame.kind == kind::HEADERS).count();
    assert!((1..=20).contains(&refused), "never twice for one call: {refused}");
    assert_eq!(proxy.metric(RETRIES, &[]).await, refused as f64);
}

#[tokio::test]
async fn one_that_has_failed_the_call_once_gets_it_where_the_others_are_full() {
    let busy = Upstream::start(|got: Got| async move {
        let _got = got;
        std::future::pending().await
    })
    .await;
    // Each second stream is refused.
    let free = Upstream::start(|mut got: Got| async move {
        if got.number.is_multiple_of(2) {
            got.reply.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            got.echo().await;
        }
    })
    .await;
    let setup = Setup { cluster: "balance: round_robin\nlimits: {requests: 1}", ..Setup::default() };
    let proxy = TestProxy::with(&[busy.address(), free.address()], setup).await;
    let (caller, waiting) = (proxy.caller().await, proxy.caller().await);
    let waits = tokio::spawn(async move { waiting.unary(Ask::echo("Unary"), b"x").await });
    eventually!(busy.calls() == 1);
    // It may have been refused by the other before.
    if free.calls() % 2 == 1 {
        assert_eq!(caller.unary(Ask::echo("Unary"), b"x").await.code(), Some(0));
    }
    for call in 0..20 {
        let answer = caller.unary(Ask::echo("Unary"), b"x").await;
        assert_eq!(answer.code(), Some(0), "{call}: {answer:?}");
    }
    assert_eq!(busy.calls(), 1);
    waits.abort();
}
