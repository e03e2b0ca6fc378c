//! Deadlines: kept by the proxy itself, passed on, and told apart from a cancel (FIELD.md §5, "the deadline race").

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{
    Answer, Ask, Got, RawUpstream, Say, Setup, TestProxy, Upstream, echo, eventually, fields, framed, head, kind,
    silent_port, soon,
};

const LATE: (u32, &str) = (4, "deadline");

fn assert_late(answer: &Answer, what: &str) {
    let refusal = answer.refusal();
    assert_eq!((refusal.0, refusal.1.as_str()), LATE, "{what}: {answer:?}");
}

#[tokio::test]
async fn a_deadline_is_enforced_and_the_upstream_reset_with_cancel() {
    let upstream = RawUpstream::start(|_| Some(Say::default())).await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let caller = proxy.caller().await;
    let begun = Instant::now();
    let answer = caller.unary(Ask::echo("Unary").with("grpc-timeout", "500m"), b"x").await;
    assert!(begun.elapsed() >= Duration::from_millis(499), "{:?}", begun.elapsed());
    assert_late(&answer, "before the head");
    assert!(answer.only_head);
    eventually!(upstream.came().iter().filter_map(crate::harness::Frame::reset_code).eq([8]));
    eventually!(proxy.is_quiet().await);
}

#[tokio::test]
async fn a_deadline_in_the_middle_of_an_answer_is_told_in_trailers() {
    let upstream = RawUpstream::answering(|id| Some(Say::default().begin(id).data(id, false, &framed(b"half")))).await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let answer = proxy.caller().await.unary(Ask::echo("Unary").with("grpc-timeout", "700m"), b"x").await;
    assert_late(&answer, "after the head");
    assert_eq!((answer.messages(), answer.only_head), (vec![b"half".to_vec()], false));
    eventually!(upstream.came().iter().any(|frame| frame.reset_code() == Some(8)));
}

/// What an upstream is given: nanoseconds.
fn nanos(text: &str) -> u128 {
    let (digits, unit) = text.split_at(text.len() - 1);
    let scale = match unit {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "S" => 1_000_000_000,
        "M" => 60_000_000_000,
        _ => 3_600_000_000_000,
    };
    digits.parse::<u128>().unwrap() * scale
}

#[tokio::test]
async fn the_upstream_is_given_what_is_left() {
    let upstream = Upstream::start(|mut got: Got| async move {
        let timeout = got.field("grpc-timeout").unwrap_or("none").as_bytes().to_vec();
        got.succeed(&[timeout]);
    })
    .await;
    let setup = Setup { route: "timeout: 5s", ..Setup::default() };
    let (plain, timed) =
        (TestProxy::before(&[upstream.address()]).await, TestProxy::with(&[upstream.address()], setup).await);
    let (plain, timed) = (plain.caller().await, timed.caller().await);
    let given = |answer: Answer| String::from_utf8(answer.messages().remove(0)).unwrap();
    assert_eq!(given(plain.unary(Ask::echo("Unary"), b"").await), "none");
    // A millisecond for coarser units, a fraction of the whole for hours.
    for (text, most) in [("2S", 2_000_000_000), ("90000m", 90_000_000_000), ("10H", 36_000_000_000_000)] {
        let left = nanos(&given(plain.unary(Ask::echo("Unary").with("grpc-timeout", text), b"").await));
        assert!(left <= most + 1_000_000, "{text}: more than the caller gave: {left}");
        assert!(left > most - 1_000_000_000, "{text}: a second lost on the way: {left}");
    }
    for (text, most) in [(None, 5_000_000_000), (Some("60S"), 5_000_000_000), (Some("1S"), 1_000_000_000)] {
        let ask = text.map_or(Ask::echo("Unary"), |text| Ask::echo("Unary").with("grpc-timeout", text));
        let left = nanos(&given(timed.unary(ask, b"").await));
        assert!((most - 900_000_000..most + 1_000_000).contains(&left), "{text:?}: {left}");
    }
}

#[tokio::test]
async fn a_routes_timeout_that_is_sooner_wins() {
    let echo = echo("e").await;
    let setup = Setup { route: "timeout: 100ms", ..Setup::default() };
    let proxy = TestProxy::with(&[echo.address()], setup).await;
    let caller = proxy.caller().await;
    for ask in [Ask::echo("Unary"), Ask::echo("Unary").with("grpc-timeout", "30S")] {
        let begun = Instant::now();
        assert_late(&caller.unary(ask.with("x-delay-ms", "30000"), b"").await, "the route's");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    assert_late(&caller.unary(Ask::echo("Unary").with("grpc-timeout", "0n"), b"").await, "nothing left");
}

#[tokio::test]
async fn an_upstream_that_cancels_at_the_deadline_reads_as_the_deadline() {
    // As grpc-go does (a reset) and tonic (a status): a timer of its own, at the deadline that it was given.
    let upstream = Upstream::start(|mut got: Got| async move {
        let left = Duration::from_nanos(u64::try_from(nanos(got.field("grpc-timeout").unwrap())).unwrap());
        let answers = got.field("x-begin").is_some();
        let begun = answers.then(|| got.begin());
        tokio::time::sleep(left.saturating_sub(Duration::from_millis(1))).await;
        let cancelled = [("grpc-status", "1")];
        match (begun, got.field("x-status").is_some()) {
            (Some(mut stream), false) => stream.send_reset(h2::Reason::CANCEL),
            (None, false) => got.reply.send_reset(h2::Reason::CANCEL),
            (Some(mut stream), true) => drop(stream.send_trailers(fields(&cancelled))),
            (None, true) => drop(got.reply.send_response(head(&cancelled), true)),
        }
    })
    .await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let caller = proxy.caller().await;
    for round in 0..20 {
        let ask = Ask::echo("Unary").with("grpc-timeout", "30m");
        let ask = if round % 2 == 0 { ask } else { ask.with("x-begin", "1") };
        let ask = if round % 4 < 2 { ask } else { ask.with("x-status", "1") };
        assert_late(&caller.unary(ask, b"x").await, &format!("round {round}"));
    }
}

#[tokio::test]
async fn a_cancel_long_before_the_deadline_is_a_cancel() {
    let upstream = RawUpstream::answering(|id| Some(Say::default().reset(id, 8))).await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let answer = proxy.caller().await.unary(Ask::echo("Unary").with("grpc-timeout", "30S"), b"x").await;
    assert_eq!(answer.refusal(), (1, "upstream_reset".into()));
    let echo = echo("e").await;
    let proxy = TestProxy::before(&[echo.address()]).await;
    let ask = Ask::echo("Unary").with("grpc-timeout", "30S").with("x-fail", "1");
    let answer = proxy.caller().await.unary(ask, b"").await;
    assert_eq!((answer.code(), answer.reason()), (Some(1), None), "the instance's own word");
}

#[tokio::test]
async fn a_deadline_holds_during_a_connect() {
    let (_held, silent) = silent_port();
    let proxy = TestProxy::before(&[silent]).await;
    let begun = Instant::now();
    let answer = proxy.caller().await.unary(Ask::echo("Unary").with("grpc-timeout", "150m"), b"x").await;
    assert_late(&answer, "while connecting");
    // The connect itself is given up after 5 s.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_deadline_holds_while_a_call_waits_for_its_turn() {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1);
    let upstream = Upstream::start_as(builder, |mut got: Got| async move {
        drop(got.read().await);
        futures_util::future::poll_fn(|cx| got.reply.poll_reset(cx).map(drop)).await;
    })
    .await;
    let setup = Setup { cluster: "limits: {connections: 1}", ..Setup::default() };
    let proxy = TestProxy::with(&[upstream.address()], setup).await;
    let caller = proxy.caller().await;
    let first = caller.open(Ask::echo("Unary")).await;
    eventually!(upstream.calls() == 1);
    let answer = caller.unary(Ask::echo("Unary").with("grpc-timeout", "100m"), b"x").await;
    assert_late(&answer, "while waiting");
    assert_eq!(upstream.calls(), 1, "it never went anywhere");
    first.cancel();
    eventually!(proxy.is_quiet().await);
}

#[tokio::test]
async fn a_silent_call_ends_after_the_idle_bound_and_a_busy_one_does_not() {
    let echo = echo("e").await;
    let setup = Setup { route: "filters: [{limits: {idle: 700ms}}]", ..Setup::default() };
    let proxy = TestProxy::with(&[echo.address()], setup).await;
    let caller = proxy.caller().await;
    let answer = caller.unary(Ask::echo("Unary").with("x-delay-ms", "60000"), b"").await;
    assert_eq!(answer.refusal(), (4, "idle".into()));
    let stream = Ask::echo("ServerStream").with("x-count", "20").with("x-gap-us", "60000").with("x-size", "1");
    let answer = soon(caller.unary(stream, b"")).await;
    assert_eq!((answer.code(), answer.messages().len()), (Some(0), 20));
}

#[tokio::test]
async fn a_call_that_is_over_leaves_no_frame_behind() {
    let upstream = RawUpstream::answering(|id| {
        Some(Say::default().headers(id, true, &[(":status", "200"), ("grpc-status", "0")]))
    })
    .await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let caller = proxy.caller().await;
    for _ in 0..20 {
        assert_eq!(caller.unary(Ask::echo("Unary").with("grpc-timeout", "10S"), b"x").await.code(), Some(0));
    }
    let codes: Vec<u32> = upstream.came().iter().filter_map(crate::harness::Frame::reset_code).collect();
    assert!(codes.iter().all(|code| matches!(code, 0 | 8)), "{codes:?}");
    assert!(upstream.came().iter().filter(|frame| frame.kind == kind::HEADERS).all(|frame| !frame.ends()));
}
