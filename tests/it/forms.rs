//! Requests that are none: each gets the right answer on its own stream, and the other calls of the connection do not
//! notice (DESIGN.md §4, "What is routed is what is forwarded").

use http::Method;

use crate::harness::{Answer, Ask, Frame, RawWire, Say, TestProxy, echo, framed, kind, messages};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

/// Sends odd heads with a good call around each, all on one connection.
async fn among_good_calls(proxy: &TestProxy, odd: impl Fn(Say, u32) -> Say) -> Vec<Frame> {
    let mut wire = RawWire::connect(proxy.address()).await;
    let good = |say: Say, id| {
        say.call(id, false, "/portunus.test.Echo/Unary", &[GRPC, ("te", "trailers")]).data(id, true, &framed(b""))
    };
    // All in one write: the good ones are open while the odd one is refused.
    let say = good(odd(good(Say::default(), 1), 3), 5);
    wire.say(say).await;
    let refused = wire.stream(3).await;
    for id in [1, 5] {
        let done = |frames: &[Frame]| frames.iter().any(|frame| frame.stream == id && frame.ends());
        if !done(&wire.came) {
            wire.until(|frame| frame.stream == id && frame.ends()).await.expect("a good call was lost");
        }
        let data = wire.came.iter().find(|frame| frame.stream == id && frame.kind == kind::DATA);
        assert_eq!(messages(&data.expect("a message").payload), [b""], "{:?}", wire.came);
    }
    assert!(!wire.came.iter().any(|frame| frame.kind == kind::GOAWAY), "{:?}", wire.came);
    refused
}

#[tokio::test]
async fn heads_with_two_readings_end_their_stream_only() {
    let echo = echo("e").await;
    let proxy = TestProxy::before(&[echo.address()]).await;
    let path = "/portunus.test.Echo/Unary";
    let connect = |fields: &'static [(&str, &str)]| move |say: Say, id| say.headers(id, true, fields);
    let heads: [(&str, &[(&str, &str)]); 8] = [
        ("te: gzip", &[GRPC, ("te", "gzip")]),
        ("te twice", &[GRPC, ("te", "trailers"), ("te", "deflate")]),
        ("another host", &[GRPC, ("host", "other.test")]),
        ("host twice", &[GRPC, ("host", "caller.test"), ("host", "caller.test")]),
        ("content-type twice", &[GRPC, GRPC]),
        ("two content-types", &[GRPC, ("content-type", "text/plain")]),
        ("grpc-timeout twice", &[GRPC, ("grpc-timeout", "1S"), ("grpc-timeout", "2S")]),
        ("connection", &[GRPC, ("connection", "close")]),
    ];
    for (what, fields) in heads {
        let frames = among_good_calls(&proxy, |say, id| say.call(id, true, path, fields)).await;
        assert_refused(what, &frames);
    }
    let connects: [(&str, &'static [(&str, &str)]); 2] = [
        ("CONNECT", &[(":method", "CONNECT"), (":authority", "other.test:80")]),
        (
            "CONNECT with a path",
            &[(":method", "CONNECT"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "x"), GRPC],
        ),
    ];
    for (what, fields) in connects {
        assert_refused(what, &among_good_calls(&proxy, connect(fields)).await);
    }
    assert_eq!(proxy.metric("grpc_server_handled_total", &[("grpc_code", "OK")]).await, 20.0, "only the good ones");
}

/// 400 without a gRPC status, or a reset where h2 refuses first.
fn assert_refused(what: &str, frames: &[Frame]) {
    let first = frames.first().unwrap_or_else(|| panic!("{what}"));
    // 0x8c is `:status: 400` of HPACK's static table.
    let bare = first.kind == kind::HEADERS && first.payload[0] == 0x8c && first.payload.len() < 4;
    assert!(bare || first.reset_code() == Some(1), "{what}: {frames:?}");
}

#[tokio::test]
async fn paths_have_one_form() {
    let echo = echo("e").await;
    let proxy = TestProxy::before(&[echo.address()]).await;
    for path in [
        "/portunus.test%2eEcho/Unary",
        "/portunus.test.Echo/%55nary",
        "//portunus.test.Echo/Unary",
        "/portunus.test.Echo//Unary",
        "/portunus.test.Echo/Unary/",
        "/portunus.test.Echo/Unary?x=1",
        "/portunus.test.Echo/Unary?",
        "/a/../portunus.test.Echo/Unary",
        "/portunus.test.Echo/Unary;v=1",
        "/portunus.test.Echo",
        "/",
        "*",
    ] {
        let frames = among_good_calls(&proxy, |say, id| say.call(id, true, path, &[GRPC])).await;
        // 200 and UNIMPLEMENTED; or h2 knows that it is no path at all.
        let unimplemented = frames[0].kind == kind::HEADERS && frames[0].payload[0] == 0x88 && frames[0].ends();
        assert!(unimplemented || frames[0].reset_code() == Some(1), "{path}: {frames:?}");
    }
    // What h2's own client can send, decoded.
    let caller = proxy.caller().await;
    for path in ["/portunus.test%2eEcho/Unary", "//portunus.test.Echo/Unary", "/portunus.test.Echo/Unary?x=1", "/a"] {
        let answer = caller.unary(Ask::path(path), b"").await;
        assert_eq!((answer.http, answer.only_head, answer.refusal()), (200, true, (12, "no_route".into())), "{path}");
    }
    assert_eq!(echo.handle().calls().seen, 24, "only the good calls reached an instance");
}

#[tokio::test]
async fn what_is_no_grpc_is_told_so_with_an_http_status() {
    let echo = echo("e").await;
    let proxy = TestProxy::before(&[echo.address()]).await;
    let caller = proxy.caller().await;
    let unary = || Ask::echo("Unary");
    let typed = |text: &str| unary().without("content-type").with("content-type", text);
    let cases = [
        ("no content-type", unary().without("content-type"), 415, 12),
        ("json", typed("application/json"), 415, 12),
        ("grpc-web", typed("application/grpc-web+proto"), 415, 12),
        ("a longer name", typed("application/grpcx"), 415, 12),
        ("GET", unary().verb(Method::GET), 405, 12),
        ("PUT", unary().verb(Method::PUT), 405, 12),
        ("HEAD", unary().verb(Method::HEAD), 405, 12),
        ("a timeout that is none", unary().with("grpc-timeout", "5s"), 200, 3),
    ];
    for (what, ask, http, code) in cases {
        let answer: Answer = caller.unary(ask, b"").await;
        assert_eq!((answer.http, answer.refusal()), (http, (code, "protocol".into())), "{what}");
        caller.echoed(unary()).await;
    }
    for good in ["application/grpc+proto", "application/grpc;charset=utf-8", "application/grpc+json"] {
        let answer = caller.unary(typed(good), b"").await;
        assert_eq!(answer.http, 200, "{good}");
        assert!(answer.reason().is_none(), "{good} is the instance's matter: {answer:?}");
    }
    assert_eq!(proxy.metric("portunus_refused_total", &[("reason", "protocol"), ("listener", "edge")]).await, 8.0);
}
