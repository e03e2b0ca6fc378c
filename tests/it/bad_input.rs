//! Bytes that are no gRPC, no HTTP/2, or too much of either: a clear answer to whoever sent them, nothing lost for others.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{
    Ask, PATIENCE, RawUpstream, RawWire, Say, Setup, TestProxy, chunk, echo, eventually, framed, kind, soon,
};

#[tokio::test]
async fn frames_that_lie_about_their_length() {
    let echo = echo("e").await;
    let setup = Setup { listener: "limits: {message: 1KiB}", ..Setup::default() };
    let proxy = TestProxy::with(&[echo.address()], setup).await;
    let caller = proxy.caller().await;
    // Another call is open all the time, and more than all windows is sent in vain.
    let mut beside = caller.open(Ask::echo("Bidi")).await;
    let cases: [(&str, Vec<u8>, u32, &str); 8] = [
        ("too short", framed(b"0123456789")[..12].to_vec(), 3, "framing"),
        ("half a prefix", vec![0, 0, 0], 3, "framing"),
        ("a message, then half a prefix", [&framed(b"m")[..], &[0]].concat(), 3, "framing"),
        ("flag 7", [&[7][..], &framed(b"x")[1..]].concat(), 3, "framing"),
        ("flag 7 on the second", [&framed(b"x")[..], &[7, 0, 0, 0, 0]].concat(), 3, "framing"),
        ("text", b"{\"hello\": \"world\"}".to_vec(), 3, "framing"),
        ("a byte over the limit", framed(&[0; 1_025]).to_vec(), 8, "message_too_large"),
        ("4 GiB announced", vec![0, 255, 255, 255, 255, 1], 8, "message_too_large"),
    ];
    for round in 0..5 {
        for (what, bytes, code, reason) in &cases {
            let mut open = caller.open(Ask::echo("ClientStream")).await;
            open.finish(bytes.clone().into());
            let answer = soon(open.answer()).await;
            assert_eq!(answer.refusal(), (*code, (*reason).to_owned()), "{what}, round {round}: {answer:?}");
        }
        let mut flood = caller.open(Ask::echo("ClientStream")).await;
        flood.finish(vec![9; 2 << 20].into());
        assert_eq!(soon(flood.answer()).await.refusal(), (3, "framing".into()));
        caller.echoed(Ask::echo("Unary")).await;
    }
    assert_eq!(caller.unary(Ask::echo("Unary"), &chunk(&[0; 1_000])).await.code(), Some(0));
    beside.send(&chunk(b"still here"));
    beside.finish(bytes::Bytes::new());
    assert_eq!(soon(beside.answer()).await.messages().len(), 1);
    eventually!(proxy.is_quiet().await);
    assert_eq!(proxy.metric("portunus_refused_total", &[("reason", "framing")]).await, 35.0);
}

#[tokio::test]
async fn a_refused_message_is_not_forwarded_and_resets_the_upstream() {
    let upstream = RawUpstream::start(|_| Some(Say::default())).await;
    let setup = Setup { listener: "limits: {message: 100B}", ..Setup::default() };
    let proxy = TestProxy::with(&[upstream.address()], setup).await;
    let mut open = proxy.caller().await.open(Ask::echo("ClientStream")).await;
    open.send(b"small");
    eventually!(upstream.came().iter().any(|frame| frame.kind == kind::DATA));
    open.send(&[7; 101]);
    assert_eq!(soon(open.answer()).await.refusal(), (8, "message_too_large".into()));
    eventually!(upstream.came().iter().any(|frame| frame.reset_code() == Some(8)));
    let came = upstream.came();
    let bytes: usize = came.iter().filter(|frame| frame.kind == kind::DATA).map(|frame| frame.payload.len()).sum();
    assert_eq!((bytes, came.iter().any(crate::harness::Frame::ends)), (10, false), "{came:?}");
}

#[tokio::test]
async fn oversized_heads_end_their_stream_and_only_monsters_the_connection() {
    let echo = echo("e").await;
    let setup = Setup { listener: "limits: {headers: 8KiB}", ..Setup::default() };
    let proxy = TestProxy::with(&[echo.address()], setup).await;
    let caller = proxy.caller().await;
    let large = |bytes: usize| Ask::echo("Unary").with("x-large", "l".repeat(bytes));
    for bytes in [9 << 10, 16 << 10, 24 << 10] {
        let answer = caller.unary(large(bytes), b"").await;
        // h2 answers itself.
        assert!(answer.http == 431 || answer.broken.is_some(), "{bytes}: {answer:?}");
        caller.echoed(large(7 << 10)).await;
    }
    let answer = caller.unary(large(64 << 10), b"").await;
    assert!(answer.http == 431 || answer.broken.is_some(), "{answer:?}");
    proxy.caller().await.echoed(Ask::echo("Unary")).await;
    assert_eq!(echo.handle().calls().seen, 4, "none of the large ones");
}

/// Sends bytes and gives what comes back until the proxy hangs up, which it must.
async fn told(proxy: &TestProxy, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    drop(socket.write_all(bytes).await);
    let mut answer = Vec::new();
    // A reset is a way to hang up too.
    drop(soon(socket.read_to_end(&mut answer)).await);
    answer
}

#[tokio::test]
async fn other_protocols_on_the_port_get_a_word_or_a_closed_door() {
    let echo = echo("e").await;
    let proxy = TestProxy::before(&[echo.address()]).await;
    let beside = proxy.caller().await;
    let http = told(&proxy, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let http = String::from_utf8(http).unwrap();
    assert!(http.starts_with("HTTP/1.1 505") && http.contains("gRPC over HTTP/2"), "{http}");
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 64]].concat();
    assert_eq!(told(&proxy, &hello).await, b"", "a TLS hello");
    assert_eq!(told(&proxy, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await, b"", "a broken preface");
    assert_eq!(told(&proxy, &[0; 100]).await, b"", "zeros");
    let garbage = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), vec![0xff; 1_000]].concat();
    let said = told(&proxy, &garbage).await;
    assert!(said.get(3) == Some(&kind::SETTINGS), "settings, then goodbye: {said:?}");
    let settings_first = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Say::default().data(1, true, b"x").0].concat();
    told(&proxy, &settings_first).await;
    beside.echoed(Ask::echo("Unary")).await;
    eventually!(proxy.metric("portunus_open_connections", &[("listener", "edge")]).await == 1.0);
}

#[tokio::test]
async fn garbage_in_the_middle_of_a_connection_ends_that_one_only() {
    let echo = echo("e").await;
    let proxy = TestProxy::before(&[echo.address()]).await;
    let beside = proxy.caller().await;
    let call = |say: Say, id| say.call(id, false, "/portunus.test.Echo/Unary", &[("content-type", "application/grpc")]);
    let bad: [(&str, Say); 6] = [
        ("a head that is no HPACK", Say::default().frame(kind::HEADERS, 5, 3, &[0xff; 20])),
        ("DATA on stream 0", Say::default().data(0, false, b"x")),
        ("a stream of the server's", call(Say::default(), 2)),
        ("a SETTINGS of odd length", Say::default().frame(kind::SETTINGS, 0, 0, &[1, 2, 3])),
        ("a window over the top", Say::default().frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255])),
        ("a frame over the frame size", Say::default().frame(kind::DATA, 0, 1, &[0; 20_000])),
    ];
    for (what, say) in bad {
        let mut wire = RawWire::connect(proxy.address()).await;
        // A call is open when it happens: it must not stay behind.
        wire.say(call(Say::default(), 1)).await;
        wire.say(say).await;
        let goaway = wire.until(|frame| frame.kind == kind::GOAWAY).await;
        assert!(goaway.as_ref().and_then(crate::harness::Frame::goaway).is_some_and(|(_, code)| code != 0), "{what}");
        assert!(wire.until(|_| false).await.is_none(), "{what}: closed");
        beside.echoed(Ask::echo("Unary")).await;
    }
    eventually!(proxy.is_quiet().await);
}

#[tokio::test]
async fn who_says_nothing_or_half_is_closed_after_the_handshake_bound() {
    let echo = echo("e").await;
    let setup = Setup { listener: "limits: {handshake: 300ms}", ..Setup::default() };
    let proxy = TestProxy::with(&[echo.address()], setup).await;
    let beside = proxy.caller().await;
    for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n"] {
        let begun = Instant::now();
        assert_eq!(told(&proxy, said).await, b"", "{said:?}");
        let took = begun.elapsed();
        assert!((Duration::from_millis(290)..PATIENCE).contains(&took), "{said:?}: {took:?}");
    }
    beside.echoed(Ask::echo("Unary")).await;
}

#[tokio::test]
async fn callers_that_open_and_reset_are_told_to_calm_down_and_harm_nobody() {
    let upstream = RawUpstream::start(|_| Some(Say::default())).await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let mut wire = RawWire::connect(proxy.address()).await;
    let mut flood = Say::default();
    for n in 0..3_000 {
        let id = 1 + 2 * n;
        flood = flood.call(id, false, "/a.B/C", &[("content-type", "application/grpc")]).reset(id, 8);
    }
    wire.say(flood).await;
    let goaway = wire.until(|frame| frame.kind == kind::GOAWAY).await.expect("GOAWAY");
    assert_eq!(goaway.goaway().map(|(_, code)| code), Some(11), "ENHANCE_YOUR_CALM");
    assert!(upstream.calls() <= 250, "{} calls reached an instance", upstream.calls());
    eventually!(proxy.is_quiet().await);
}
