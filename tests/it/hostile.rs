//! Callers who do harm by what is legal: what they cost others, and what they make the proxy hold.

use std::time::Duration;

use crate::harness::{Ask, RawWire, Say, Setup, TestProxy, Upstream, chunk, echo, eventually, framed, kind, soon};

const CALL: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

/// Calls of a good caller go on over the connections that there are, while `round` is done over and over.
async fn others_keep_their_connection(round: impl AsyncFn(std::net::SocketAddr)) {
    // The h2 crate bears 20 resets of calls that it has not handed out yet, and then ends the connection.
    let upstream = Upstream::start(|got| async move { got.echo().await }).await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let good = proxy.caller().await;
    let mut beside = good.open(Ask::echo("Bidi")).await;
    beside.send(&chunk(b"first"));
    good.echoed(Ask::echo("Unary")).await;
    for _ in 0..10 {
        round(proxy.address()).await;
        good.echoed(Ask::echo("Unary")).await;
    }
    beside.send(&chunk(b"last"));
    beside.finish(bytes::Bytes::new());
    let answer = soon(beside.answer()).await;
    assert_eq!((answer.code(), answer.messages().len()), (Some(0), 2), "{answer:?}");
    eventually!(proxy.is_quiet().await);
    assert_eq!(proxy.metric("portunus_upstream_calls_total", &[("code", "Unavailable")]).await, 0.0);
    // As many as the streams at once need, and none that had to be made anew.
    assert!(upstream.connections() <= 8, "{}", upstream.connections());
}

#[tokio::test]
async fn t09_broken_calls_cost_an_instance_no_connection() {
    others_keep_their_connection(async |address| {
        let mut wire = RawWire::connect(address).await;
        let mut say = Say::default();
        for at in 0..100 {
            say = say.call(at * 2 + 1, false, "/portunus.test.Echo/Unary", CALL).data(at * 2 + 1, true, b"no prefix");
        }
        wire.say(say).await;
        for at in 0..100 {
            let frames = wire.stream(at * 2 + 1).await;
            assert!(frames.iter().any(|frame| frame.kind == kind::HEADERS && frame.ends()), "{frames:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn t09_rapid_resets_cost_an_instance_no_connection() {
    others_keep_their_connection(async |address| {
        let mut wire = RawWire::connect(address).await;
        let mut say = Say::default();
        for at in 0..190 {
            let id = at * 2 + 1;
            say = say.call(id, false, "/portunus.test.Echo/Unary", CALL).data(id, false, &framed(b"x")).reset(id, 8);
        }
        wire.say(say.frame(kind::PING, 0, 0, b"all read")).await;
        wire.until(|frame| frame.kind == kind::PING).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_answer_in_words_does_not_wait_for_a_window_for_ever() {
    let proxy = TestProxy::before(&[echo("e").await.address()]).await;
    let mut wire = RawWire::connect(proxy.address()).await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 0.
    let text = &[("content-type", "text/plain")];
    wire.say(Say::default().frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).call(1, true, "/a.B/C", text)).await;
    let frames = wire.stream(1).await;
    assert_eq!(frames.last().and_then(crate::harness::Frame::reset_code), Some(8), "{frames:?}");
    // A window that opens in time is enough.
    wire.say(Say::default().call(3, true, "/a.B/C", text).frame(kind::WINDOW_UPDATE, 0, 3, &[0, 0, 4, 0])).await;
    let frames = wire.stream(3).await;
    assert!(frames.last().is_some_and(|last| last.kind == kind::DATA && last.ends()), "{frames:?}");
}

#[tokio::test]
async fn a_complete_answer_that_nobody_takes_is_given_up() {
    let setup = Setup { listener: "filters: [{limits: {idle: 1s}}]", ..Setup::default() };
    let upstream = echo("e").await;
    let proxy = TestProxy::with(&[upstream.address()], setup).await;
    let mut wire = RawWire::connect(proxy.address()).await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 10: the head comes, ten octets come, and the rest waits.
    let say = Say::default().frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 10]);
    wire.say(say.call(1, false, "/portunus.test.Echo/Unary", CALL).data(1, true, &framed(&chunk(&[1; 5_000])))).await;
    let frames = wire.stream(1).await;
    let octets: usize = frames.iter().filter(|frame| frame.kind == kind::DATA).map(|frame| frame.payload.len()).sum();
    assert!(octets == 10 && frames.last().is_some_and(|last| last.kind == kind::HEADERS), "{frames:?}");
    eventually!(proxy.is_quiet().await);
    assert_eq!(proxy.metric("portunus_refused_total", &[("reason", "idle")]).await, 1.0);
}

#[tokio::test]
async fn requests_to_the_registrar_are_in_the_listeners_budget() {
    let proxy = crate::agents::proxy_with("").await;
    let mut wires = Vec::new();
    // 64 MiB by default: three hundred of 250 KiB that do not end would be more.
    for _ in 0..3 {
        let mut wire = RawWire::connect(proxy.listener("sdk")).await;
        for at in 0..100 {
            let id = at * 2 + 1;
            wire.say(Say::default().call(id, false, "/bindu.grpc.BinduService/RegisterAgent", CALL)).await;
        }
        wires.push(wire);
    }
    let piece = framed(&[0; 250 * 1024]).slice(..16_000);
    let mut refused = 0;
    'all: for _ in 0..16 {
        for wire in &mut wires {
            let mut say = Say::default();
            for at in 0..100 {
                say = say.data(at * 2 + 1, false, &piece);
            }
            if tokio::time::timeout(Duration::from_millis(300), wire.say(say)).await.is_err() {
                break 'all;
            }
            while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_millis(20), wire.next()).await {
                refused += usize::from(frame.kind == kind::HEADERS && frame.ends());
            }
        }
    }
    let metric = proxy.metric("portunus_refused_total", &[("reason", "overloaded")]).await;
    assert!(refused > 0 || metric > 0.0, "nothing was refused");
}
