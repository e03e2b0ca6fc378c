//! What a listener admits, for how long, and how it says goodbye.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{
    Ask, Caller, Frame, Got, RawWire, Say, Setup, TestProxy, Upstream, chunk, echo, eventually, framed, kind, soon,
};

#[tokio::test]
async fn only_sources_in_from_are_admitted() {
    let echo = echo("e").await;
    let setup = Setup { listener: "from: [127.0.0.2/32, 10.0.0.0/8]", ..Setup::default() };
    let proxy = TestProxy::with(&[echo.address()], setup).await;
    let welcome = Caller::connect_from("127.0.0.2", proxy.address()).await.unwrap();
    assert_eq!(welcome.echoed(Ask::echo("Unary")).await, "e");
    let mut stranger = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(soon(stranger.read(&mut [0; 1])).await.unwrap_or(0), 0, "closed without a word");
    assert_eq!(welcome.echoed(Ask::echo("Unary")).await, "e");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_the_others_stay() {
    let echo = echo("e").await;
    let setup = Setup { listener: "limits: {connections: 2}", ..Setup::default() };
    let proxy = TestProxy::with(&[echo.address()], setup).await;
    let (one, two) = (proxy.caller().await, proxy.caller().await);
    for caller in [&one, &two] {
        caller.echoed(Ask::echo("Unary")).await;
    }
    let mut third = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(soon(third.read(&mut [0; 1])).await.unwrap_or(0), 0);
    two.connection.abort();
    eventually!(proxy.metric("portunus_open_connections", &[]).await == 1.0);
    proxy.caller().await.echoed(Ask::echo("Unary")).await;
    one.echoed(Ask::echo("Unary")).await;
}

#[tokio::test]
async fn streams_over_the_limit_are_refused_and_the_others_stay() {
    let upstream = Upstream::start(|got: Got| async move {
        if got.field("x-hold").is_none() {
            got.echo().await;
        } else {
            std::future::pending::<()>().await;
        }
    })
    .await;
    let setup = Setup { listener: "limits: {streams: 3}", ..Setup::default() };
    let proxy = TestProxy::with(&[upstream.address()], setup).await;
    let mut wire = RawWire::connect(proxy.address()).await;
    wire.until(|frame| frame.kind == kind::SETTINGS && frame.flags & 1 == 1).await.expect("our SETTINGS are taken");
    // As a client that does not care: h2's own would wait.
    let held = [("content-type", "application/grpc"), ("x-hold", "1")];
    let mut say = Say::default();
    for id in [1, 3, 5, 7] {
        say = say.call(id, false, "/portunus.test.Echo/Unary", &held);
    }
    wire.say(say).await;
    let refused = wire.until(|frame| frame.kind == kind::RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, refused.reset_code()), (7, Some(7)), "REFUSED_STREAM: it never started");
    eventually!(upstream.calls() == 3);
    wire.say(Say::default().reset(1, 8)).await;
    eventually!(proxy.metric("portunus_open_calls", &[]).await == 2.0);
    let call = Say::default().call(9, false, "/portunus.test.Echo/Unary", &held[..1]);
    wire.say(call.data(9, true, &framed(b"x"))).await;
    assert!(wire.stream(9).await.last().is_some_and(Frame::ends));
    assert_eq!(upstream.calls(), 4);
}

#[tokio::test]
async fn t07_an_idle_connection_ends_with_goaway_and_a_busy_one_does_not() {
    let echo = echo("e").await;
    let setup = Setup { listener: "limits: {idle: 400ms}", ..Setup::default() };
    let proxy = TestProxy::with(&[echo.address()], setup).await;
    let (busy, idle) = (proxy.caller().await, proxy.caller().await);
    let mut open = busy.open(Ask::echo("Unary").with("x-delay-ms", "1500")).await;
    open.finish(framed(&chunk(b"late")));
    let begun = Instant::now();
    assert!(idle.ended().await.is_ok(), "a goodbye is no error");
    assert!(begun.elapsed() >= Duration::from_millis(390), "{:?}", begun.elapsed());
    assert_eq!(soon(open.answer()).await.code(), Some(0));
    assert!(busy.ended().await.is_ok());
    let mut wire = RawWire::connect(proxy.address()).await;
    let goaway = wire.until(|frame| frame.kind == kind::GOAWAY).await.unwrap();
    assert_eq!(goaway.goaway().unwrap().1, 0, "NO_ERROR");
    assert!(wire.until(|_| false).await.is_none(), "and closed");
}

#[tokio::test]
async fn an_old_connection_ends_once_its_calls_are_done() {
    let echo = echo("e").await;
    let setup = Setup { listener: "limits: {connection_age: 300ms}", ..Setup::default() };
    let proxy = TestProxy::with(&[echo.address()], setup).await;
    let caller = proxy.caller().await;
    let mut open = caller.open(Ask::echo("Unary").with("x-delay-ms", "1200")).await;
    open.finish(framed(&chunk(b"late")));
    let (answer, begun) = (open.answer(), Instant::now());
    // A call a while all the time: not idle, and still too old.
    let mut calls = 0;
    loop {
        let Ok(mut open) = caller.try_open(Ask::echo("Unary"), false).await else { break };
        open.finish(framed(&chunk(b"x")));
        let answer = soon(open.answer()).await;
        if answer.broken.as_ref().is_some_and(|error| error.is_go_away() && error.is_remote()) {
            // It crossed the goodbye and never started, which every client may repeat.
            break;
        }
        assert_eq!(answer.code(), Some(0), "call {calls}: {answer:?}");
        calls += 1;
        assert!(begun.elapsed() < Duration::from_secs(10), "it takes new calls for ever");
    }
    assert!(calls > 0 && begun.elapsed() >= Duration::from_millis(260), "{calls} calls in {:?}", begun.elapsed());
    assert_eq!(soon(answer).await.code(), Some(0), "what was open is served");
    assert!(caller.ended().await.is_ok());
}

#[tokio::test]
async fn a_drain_lets_open_calls_finish_and_takes_no_new_connections() {
    let echo = echo("e").await;
    let proxy = TestProxy::with(&[echo.address()], Setup { workers: 2, ..Setup::default() }).await;
    let (address, caller, idle) = (proxy.address(), proxy.caller().await, proxy.caller().await);
    idle.echoed(Ask::echo("Unary")).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut stream = caller.open(Ask::echo("ServerStream").with("x-count", "40").with("x-gap-us", "25000")).await;
    stream.finish(framed(&chunk(b"tick")));
    let mut upload = caller.open(Ask::echo("ClientStream")).await;
    upload.send(&chunk(b"one"));
    eventually!(echo.handle().calls().in_flight == 2);
    let begun = Instant::now();
    let drain = tokio::spawn(proxy.drain(Duration::from_secs(20)));
    assert!(idle.ended().await.is_ok(), "GOAWAY");
    eventually!(TcpStream::connect(address).await.is_err(), "still listening");
    assert_eq!(soon(silent.read(&mut [0; 1])).await.unwrap_or(0), 0, "who has said nothing has nothing to lose");
    // The stream of both sides goes on.
    upload.send(&chunk(b"two"));
    upload.finish(framed(&chunk(b"three")));
    let answer = soon(upload.answer()).await;
    assert_eq!((answer.code(), crate::harness::unchunk(&answer.messages()[0]).count), (Some(0), 3));
    let answer = soon(stream.answer()).await;
    assert_eq!((answer.code(), answer.messages().len()), (Some(0), 40));
    assert!(soon(drain).await.unwrap(), "nothing was left");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_drain_ends_what_outlasts_its_patience() {
    let echo = echo("e").await;
    let proxy = TestProxy::before(&[echo.address()]).await;
    let caller = proxy.caller().await;
    let mut open = caller.open(Ask::echo("Unary").with("x-delay-ms", "60000")).await;
    open.finish(framed(&chunk(b"x")));
    eventually!(echo.handle().calls().in_flight == 1);
    assert!(soon(proxy.drain(Duration::from_millis(200))).await, "what was left was told");
    let answer = soon(open.answer()).await;
    assert_eq!(answer.refusal(), (14, "draining".into()), "{answer:?}");
    let pushback: u64 = answer.field("grpc-retry-pushback-ms").unwrap().parse().unwrap();
    assert!((100..=1_000).contains(&pushback), "{pushback}");
    eventually!(echo.handle().calls().cancelled == 1);
}
