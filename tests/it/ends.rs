//! How calls end: trailers, Trailers-Only, resets, and answers that are none (FIELD.md T11 to T16).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rand::RngCore as _;

use crate::harness::{
    Answer, Ask, Got, RawUpstream, RawWire, Say, Setup, TestProxy, Upstream, echo, eventually, fields, framed, head,
    kind, messages, soon,
};

async fn before(upstream: &RawUpstream) -> TestProxy {
    TestProxy::before(&[upstream.address()]).await
}

/// One call whose answer is these bytes.
async fn answered(answer: impl Fn(u32) -> Option<Say> + Clone + Send + 'static) -> Answer {
    let upstream = RawUpstream::answering(answer).await;
    let proxy = before(&upstream).await;
    let answer = proxy.caller().await.unary(Ask::echo("Unary"), b"x").await;
    eventually!(proxy.is_quiet().await);
    assert_eq!(upstream.calls(), 1, "not tried again");
    answer
}

#[tokio::test]
async fn t11_large_trailers_and_status_details_pass_both_ways() {
    let upstream = Upstream::start(|mut got: Got| async move {
        let (large, details) = (got.field("x-large").unwrap().to_owned(), got.field("x-details").unwrap().to_owned());
        let status = [("grpc-status", "3"), ("x-large", &large), ("grpc-status-details-bin", &details)];
        if got.head.uri.path().ends_with("Unary") {
            got.reply.send_response(head(&status), true).unwrap();
        } else {
            let mut stream = got.begin();
            stream.send_data(framed(b"m"), false).unwrap();
            stream.send_trailers(fields(&status)).unwrap();
        }
    })
    .await;
    let setup = Setup { listener: "limits: {headers: 256KiB}", ..Setup::default() };
    let proxy = TestProxy::with(&[upstream.address()], setup).await;
    let caller = proxy.caller().await;
    let mut details = vec![0; 64 << 10];
    rand::rng().fill_bytes(&mut details);
    let (large, details) = ("l".repeat(20 << 10), STANDARD_NO_PAD.encode(details));
    for (method, trailers_only) in [("Unary", true), ("ServerStream", false)] {
        let ask = Ask::echo(method).with("x-large", &large).with("x-details", &details);
        let answer = caller.unary(ask, b"x").await;
        assert_eq!((answer.code(), answer.only_head), (Some(3), trailers_only));
        assert!(
            answer.field("x-large").unwrap() == large && answer.field("grpc-status-details-bin").unwrap() == details
        );
    }
}

#[tokio::test]
async fn t11_trailers_that_are_too_large_keep_their_status_and_are_counted() {
    let upstream = Upstream::start(|mut got: Got| async move {
        let mut stream = got.begin();
        stream.send_data(framed(b"m"), false).unwrap();
        let details = "d".repeat(300 << 10);
        stream.send_trailers(fields(&[("grpc-status-details-bin", &details), ("grpc-status", "3")])).unwrap();
    })
    .await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let answer = proxy.caller().await.unary(Ask::echo("ServerStream"), b"x").await;
    assert_eq!((answer.code(), answer.messages().len(), answer.field("grpc-status-details-bin")), (Some(3), 1, None));
    eventually!(proxy.metric("portunus_upstream_heads_cut_total", &[]).await == 1.0);
}

#[tokio::test]
async fn t12_trailers_only_stays_trailers_only() {
    const STATUS: [(&str, &str); 4] =
        [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5"), ("x-more", "kept")];
    type Form = (&'static str, fn(u32) -> Say);
    let forms: [Form; 4] = [
        ("END_STREAM on the head", |id| Say::default().headers(id, true, &STATUS)),
        ("RST(NO_ERROR) behind it", |id| Say::default().headers(id, true, &STATUS).reset(id, 0)),
        ("RST(NO_ERROR) in place of it", |id| Say::default().headers(id, false, &STATUS).reset(id, 0)),
        ("an empty DATA with it", |id| Say::default().headers(id, false, &STATUS).data(id, true, b"")),
    ];
    for (what, form) in forms {
        let answer = answered(move |id| Some(form(id))).await;
        assert_eq!((answer.http, answer.code(), answer.only_head), (200, Some(5), true), "{what}: {answer:?}");
        assert_eq!((answer.field("x-more").as_deref(), &answer.broken.is_none()), (Some("kept"), &true), "{what}");
    }
}

#[tokio::test]
async fn t12_a_head_and_trailers_with_no_message_between_stay_two() {
    let trailers = [("grpc-status", "9"), ("x-late", "yes")];
    let answer = answered(move |id| Some(Say::default().begin(id).headers(id, true, &trailers))).await;
    assert_eq!((answer.code(), answer.only_head), (Some(9), false));
    assert_eq!(answer.trailers["x-late"], "yes");
}

#[tokio::test]
async fn t13_no_error_after_the_whole_answer_is_success() {
    let upstream = RawUpstream::answering(|id| {
        let answer = Say::default().begin(id).data(id, false, &framed(b"all"));
        Some(answer.headers(id, true, &[("grpc-status", "0")]).reset(id, 0))
    })
    .await;
    let proxy = before(&upstream).await;
    let caller = proxy.caller().await;
    for _ in 0..20 {
        // The request is not over when the answer is.
        let mut open = caller.open(Ask::echo("ClientStream")).await;
        open.send(b"one");
        let answer = soon(open.answer()).await;
        assert_eq!((answer.code(), answer.messages()), (Some(0), vec![b"all".to_vec()]), "{answer:?}");
    }
}

#[tokio::test]
async fn t13_cancel_in_the_middle_of_an_answer_is_an_error() {
    let answer = answered(|id| Some(Say::default().begin(id).data(id, false, &framed(b"half")).reset(id, 8))).await;
    assert_eq!(answer.refusal(), (1, "upstream_reset".into()));
    assert_eq!(answer.messages(), [b"half"], "what came before is not lost");
    assert!(answer.broken.is_none() && !answer.only_head, "told in trailers: {answer:?}");
}

#[tokio::test]
async fn t13_a_caller_that_goes_away_is_a_cancel_and_never_an_end() {
    let upstream = RawUpstream::start(|_| Some(Say::default())).await;
    let proxy = before(&upstream).await;
    for (round, hangs_up) in [(0, false), (1, true)] {
        let caller = proxy.caller().await;
        let mut open = caller.open(Ask::echo("ClientStream")).await;
        open.send(b"half of it");
        eventually!(upstream.came().iter().filter(|frame| frame.kind == kind::DATA).count() == round + 1);
        if hangs_up {
            caller.connection.abort();
        } else {
            open.cancel();
        }
        eventually!(upstream.came().iter().filter_map(|frame| frame.reset_code()).eq(vec![8; round + 1]));
    }
    assert!(!upstream.came().iter().any(|frame| frame.ends()), "half a request looks whole: {:?}", upstream.came());
}

#[tokio::test]
async fn t13_an_answer_without_a_status_is_not_success() {
    let bare = [(":status", "200"), ("content-type", "application/grpc")];
    let html = [(":status", "503"), ("content-type", "text/html")];
    let missing = [(":status", "404")];
    type Form<'a> = (&'a str, u32, Box<dyn Fn(u32) -> Say>);
    let forms: [Form<'_>; 7] = [
        ("the head alone", 2, Box::new(move |id| Say::default().headers(id, true, &bare))),
        ("an empty DATA", 2, Box::new(|id| Say::default().begin(id).data(id, true, b""))),
        ("a message", 2, Box::new(|id| Say::default().begin(id).data(id, true, &framed(b"m")))),
        ("other trailers", 2, Box::new(|id| Say::default().begin(id).headers(id, true, &[("x-a", "b")]))),
        ("a NO_ERROR reset", 13, Box::new(|id| Say::default().begin(id).reset(id, 0))),
        (
            "a page of a web server",
            14,
            Box::new(move |id| Say::default().headers(id, false, &html).data(id, true, b"<")),
        ),
        ("no such page", 12, Box::new(move |id| Say::default().headers(id, true, &missing))),
    ];
    for (what, code, form) in forms {
        let upstream = RawUpstream::start(move |_| Some(Say::default())).await;
        drop(upstream);
        let say = form(1);
        let answer = answered(move |id| if id == 1 { Some(say.clone()) } else { None }).await;
        assert_eq!(answer.code(), Some(code), "{what}: {answer:?}");
        assert_eq!(answer.http, 200, "{what}");
        assert!(answer.reason().is_some(), "{what} is the proxy's own status");
    }
}

#[tokio::test]
async fn t14_errors_after_the_head_are_trailers() {
    let resets = [(2, 13), (11, 8), (1, 13), (7, 14)];
    for (reset, code) in resets {
        let answer = answered(move |id| Some(Say::default().begin(id).data(id, false, &framed(b"m")).reset(id, reset)));
        let answer = answer.await;
        assert_eq!((answer.code(), answer.broken.is_none()), (Some(code), true), "RST({reset}): {answer:?}");
        assert_eq!(answer.reason().as_deref(), Some("upstream_reset"));
        let raw = answer.trailers["grpc-message"].as_bytes();
        assert!(raw.iter().all(|b| matches!(b, b' '..=b'~')), "percent-encoded: {raw:?}");
    }
    // The connection's end counts as one.
    let answer = answered(|id| (id == 0).then(Say::default)).await;
    assert_eq!(answer.refusal(), (14, "upstream_reset".into()));
}

#[tokio::test]
async fn t14_a_refusal_after_the_head_is_trailers() {
    let echo = echo("e").await;
    let setup = Setup { listener: "limits: {response_message: 1KiB}", ..Setup::default() };
    let proxy = TestProxy::with(&[echo.address()], setup).await;
    let caller = proxy.caller().await;
    let answer = caller.unary(Ask::echo("ServerStream").with("x-count", "3").with("x-size", "2000"), b"").await;
    assert_eq!(answer.refusal(), (8, "message_too_large".into()));
    assert!(!answer.only_head && answer.broken.is_none() && answer.bytes.is_empty(), "{answer:?}");
    // A backend's own text goes through as it came.
    let answer = caller.unary(Ask::echo("Unary").with("x-fail", "9"), b"").await;
    assert!(answer.head["grpc-message"].to_str().unwrap().starts_with("%E2%9C%97%20x-fail"), "{answer:?}");
    assert!(answer.message().starts_with('✗'));
}

#[tokio::test]
async fn t15_te_trailers_always_goes_upstream() {
    let upstream = Upstream::start(|mut got: Got| async move {
        let te: Vec<_> = got.head.headers.get_all("te").iter().map(|te| te.to_str().unwrap()).collect();
        let te = te.join(",").into_bytes();
        got.succeed(&[te]);
    })
    .await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let caller = proxy.caller().await;
    for ask in [Ask::echo("Unary"), Ask::echo("Unary").without("te")] {
        assert_eq!(caller.unary(ask, b"").await.messages(), [b"trailers"]);
    }
}

#[tokio::test]
async fn t16_informational_heads_are_swallowed() {
    let upstream = RawUpstream::answering(|id| {
        let early = Say::default().headers(id, false, &[(":status", "103"), ("link", "</a>")]);
        let early = early.headers(id, false, &[(":status", "100")]).begin(id);
        Some(early.data(id, false, &framed(b"m")).headers(id, true, &[("grpc-status", "0")]))
    })
    .await;
    let proxy = before(&upstream).await;
    let mut wire = RawWire::connect(proxy.address()).await;
    let call = Say::default().call(1, false, "/a.B/C", &[("content-type", "application/grpc")]);
    wire.say(call.data(1, true, &framed(b""))).await;
    let frames = wire.stream(1).await;
    let kinds: Vec<u8> = frames.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [kind::HEADERS, kind::DATA, kind::HEADERS], "{frames:?}");
    // 0x88 is `:status: 200` of HPACK's static table.
    assert_eq!(frames[0].payload[0], 0x88);
    assert_eq!(messages(&frames[1].payload), [b"m"]);
}
