//! Flow control: nobody who stops reading, and no swarm of tiny frames, harms the other calls of a connection
//! (FIELD.md T1 to T5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use tokio::sync::{Notify, Semaphore};

use crate::harness::{
    Ask, Caller, Got, PATIENCE, Setup, TestProxy, Upstream, echo, eventually, framed, silent_port, soon,
};

/// Holds calls of `ClientStream` unread, and echoes the others.
async fn stalled_beside_echo() -> Upstream {
    let mut builder = h2::server::Builder::new();
    // Room for the others beside the stalled ones: an instance that has none starves itself.
    builder.initial_connection_window_size(16 << 20);
    Upstream::start_as(builder, |got: Got| async move {
        if got.head.uri.path().ends_with("ClientStream") {
            // Held, never read.
            tokio::time::sleep(PATIENCE * 4).await;
            drop(got);
        } else {
            got.echo().await;
        }
    })
    .await
}

/// Fifty calls at once on this connection.
async fn fifty_fast_calls(caller: &Caller) {
    let calls = (0..50).map(|n| async move {
        let message = vec![n; 100];
        let answer = caller.unary(Ask::echo("Unary"), &message).await;
        assert_eq!(answer.messages(), [message], "{answer:?}");
    });
    soon(join_all(calls)).await;
}

#[tokio::test]
async fn t01_small_frames_do_not_end_the_connection() {
    let upstream = stalled_beside_echo().await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let caller = proxy.caller().await;
    let mut stalled = caller.open(Ask::echo("ClientStream")).await;
    // More than all windows take: whatever can fill up does.
    for _ in 0..40_000 {
        stalled.send(b"0123456789");
    }
    eventually!(upstream.calls() == 1);
    fifty_fast_calls(&caller).await;
    stalled.cancel();
    fifty_fast_calls(&caller).await;
    eventually!(proxy.is_quiet().await);
}

#[tokio::test]
async fn t01_small_frames_of_a_call_that_waits_for_a_connection_do_not_end_the_callers() {
    let (_held, silent) = silent_port();
    let echo = echo("e").await;
    let proxy = TestProxy::yaml(&format!(
        "workers: 1
clusters:
  silent: {{endpoints: [{silent}]}}
  echo: {{endpoints: [{echo}]}}
listeners:
  edge:
    address: 127.0.0.1:0
    routes:
      - {{match: {{headers: {{x-to: silent}}}}, cluster: silent}}
      - cluster: echo
",
        echo = echo.address()
    ))
    .await;
    let caller = proxy.caller().await;
    let mut waiting = caller.open(Ask::echo("ClientStream").with("x-to", "silent")).await;
    for _ in 0..60_000 {
        waiting.send(b"");
    }
    eventually!(proxy.metric("portunus_open_calls", &[]).await == 1.0);
    for _ in 0..20 {
        caller.echoed(Ask::echo("Unary")).await;
    }
    waiting.cancel();
}

#[tokio::test]
async fn t01_token_streams_to_a_stalled_caller_leave_the_others_alone() {
    const TOKENS: usize = 50_000;
    let upstream = Upstream::start(|mut got: Got| async move {
        let tokens = got.field("x-count").map_or(TOKENS, |count| count.parse().unwrap());
        let mut stream = got.begin();
        for _ in 0..tokens {
            stream.send_data(framed(b"0123456789"), false).unwrap();
        }
        drop(stream.send_trailers(crate::harness::fields(&[("grpc-status", "0")])));
        // Kept until the proxy is done with it: a stream that is dropped is reset.
        drop(futures_util::future::poll_fn(|cx| stream.poll_reset(cx)).await);
    })
    .await;
    let setup = Setup { cluster: "limits: {connections: 1}", ..Setup::default() };
    let proxy = TestProxy::with(&[upstream.address()], setup).await;
    let (sleepy, awake) = (proxy.caller().await, proxy.caller().await);
    let mut unread = Vec::new();
    for _ in 0..4 {
        let mut open = sleepy.open(Ask::echo("ServerStream")).await;
        open.finish(framed(b""));
        unread.push(soon(open.head()).await.unwrap());
    }
    let streams = (0..10).map(|_| awake.unary(Ask::echo("ServerStream").with("x-count", "1000"), b""));
    for answer in soon(join_all(streams)).await {
        assert_eq!((answer.code(), answer.messages().len()), (Some(0), 1_000), "{:?}", answer.broken);
    }
    assert_eq!(upstream.connections(), 1, "all over one connection");
    for (head, body, _up) in unread {
        let answer = soon(crate::harness::Answer::read(head, body)).await;
        assert_eq!((answer.code(), answer.messages().len()), (Some(0), TOKENS), "{:?}", answer.broken);
    }
}

#[tokio::test]
async fn t02_unread_uploads_do_not_starve_others() {
    let upstream = stalled_beside_echo().await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let caller = proxy.caller().await;
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let mut open = caller.open(Ask::echo("ClientStream")).await;
        open.send(&vec![7; 2 << 20]);
        stalled.push(open);
    }
    eventually!(upstream.calls() == 3);
    let large = vec![1; 1 << 20];
    for _ in 0..3 {
        let answer = caller.unary(Ask::echo("Unary"), &large).await;
        assert!(answer.messages() == [large.clone()], "{:?}", answer.code());
    }
}

#[tokio::test]
async fn t02_unread_downloads_do_not_starve_others() {
    let echo = echo("e").await;
    let setup = Setup { cluster: "limits: {connections: 1}", ..Setup::default() };
    let proxy = TestProxy::with(&[echo.address()], setup).await;
    let caller = proxy.caller().await;
    let mut unread = Vec::new();
    for _ in 0..8 {
        let mut open = caller.open(Ask::echo("ServerStream").with("x-count", "100").with("x-size", "65536")).await;
        open.finish(framed(b""));
        unread.push(soon(open.head()).await.unwrap());
    }
    let large = crate::harness::chunk(&vec![1; 1 << 20]);
    for _ in 0..3 {
        let answer = caller.unary(Ask::echo("Unary"), &large).await;
        assert!(answer.messages() == [large.clone()], "{:?}", answer.code());
    }
}

#[tokio::test]
async fn t03_tiny_windows_and_more_calls_than_the_peer_takes() {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(100).max_concurrent_streams(2);
    let upstream = Upstream::start_as(builder, Got::echo).await;
    let setup = Setup { cluster: "limits: {connections: 1}", ..Setup::default() };
    let proxy = TestProxy::with(&[upstream.address()], setup).await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(100);
    let caller = Caller::connect_as(proxy.address(), builder).await;
    let calls = (0..30).map(|n| {
        let caller = &caller;
        async move {
            let message = vec![n; 3_000];
            let answer = caller.unary(Ask::echo("Unary"), &message).await;
            assert_eq!(answer.messages(), [message], "{:?}", answer.code());
        }
    });
    soon(join_all(calls)).await;
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn t04_t05_more_connections_are_opened_then_calls_wait_then_they_are_refused() {
    for most in [1, 3, 10] {
        let gate = Arc::new(Semaphore::new(0));
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(most);
        let held = Arc::clone(&gate);
        let upstream = Upstream::start_as(builder, move |got: Got| {
            let gate = Arc::clone(&held);
            async move {
                gate.acquire().await.unwrap().forget();
                got.echo().await;
            }
        })
        .await;
        let setup = Setup { cluster: "limits: {connections: 2, pending: 5}", ..Setup::default() };
        let proxy = TestProxy::with(&[upstream.address()], setup).await;
        let caller = Arc::new(proxy.caller().await);
        let fit = 2 * most as usize;
        let call = |_| {
            let caller = Arc::clone(&caller);
            tokio::spawn(async move { caller.unary(Ask::echo("Unary"), b"x").await.code() })
        };
        // One after the other: as many calls at once as there are places would wait for the first connection.
        let mut calls = Vec::new();
        for n in 0..fit {
            calls.push(call(n));
            eventually!(upstream.calls() == n + 1, "{most}: only {} of {} arrived", upstream.calls(), n + 1);
        }
        assert_eq!(upstream.connections(), 2, "{most}");
        calls.extend((0..5).map(call));
        let open = (fit + 5) as f64;
        eventually!(proxy.metric("portunus_open_calls", &[]).await == open);
        let refused = caller.unary(Ask::echo("Unary"), b"x").await;
        assert_eq!(refused.refusal(), (8, "overloaded".into()), "{most}");
        assert!(refused.field("grpc-retry-pushback-ms").is_some());
        assert_eq!(upstream.calls(), fit, "{most}: more calls than the peer takes");
        gate.add_permits(fit + 5);
        for call in calls {
            assert_eq!(soon(call).await.unwrap(), Some(0), "{most}");
        }
        assert_eq!(upstream.connections(), 2, "{most}");
    }
}

#[tokio::test]
async fn a_cancelled_call_that_waits_gives_its_place_to_the_next() {
    let (release, busy) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(true)));
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1);
    let (released, holds) = (Arc::clone(&release), Arc::clone(&busy));
    let upstream = Upstream::start_as(builder, move |got: Got| {
        let (release, hold) = (Arc::clone(&released), holds.swap(false, Ordering::SeqCst));
        async move {
            if hold {
                release.notified().await;
            }
            got.echo().await;
        }
    })
    .await;
    let setup = Setup { cluster: "limits: {connections: 1, pending: 2}", ..Setup::default() };
    let proxy = TestProxy::with(&[upstream.address()], setup).await;
    let caller = proxy.caller().await;
    let mut first = caller.open(Ask::echo("Unary")).await;
    first.finish(framed(b"1"));
    eventually!(upstream.calls() == 1);
    for _ in 0..10 {
        // Two wait, one after the other goes away: the places must come free.
        let (second, mut third) = (caller.open(Ask::echo("Unary")).await, caller.open(Ask::echo("Unary")).await);
        eventually!(proxy.metric("portunus_open_calls", &[]).await == 3.0);
        second.cancel();
        third.finish(framed(b"3"));
        third.cancel();
        eventually!(proxy.metric("portunus_open_calls", &[]).await == 1.0);
    }
    let mut last = caller.open(Ask::echo("Unary")).await;
    last.finish(framed(b"last"));
    release.notify_one();
    assert_eq!(soon(first.answer()).await.code(), Some(0));
    assert_eq!(soon(last.answer()).await.code(), Some(0));
}
