//! What the instance sees of a call's head, and the caller of the answer's: written anew where the proxy vouches for it,
//! untouched elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::harness::{Ask, Got, Setup, TestProxy, Upstream, chunk, echo, fields, framed, head, soon};

/// Head and body of the last call.
type Last = Arc<Mutex<Option<(http::request::Parts, Vec<u8>)>>>;

/// An instance that remembers the last call.
async fn remembering() -> (Upstream, Last) {
    let last = Last::default();
    let seen = Arc::clone(&last);
    let upstream = Upstream::start(move |mut got: Got| {
        let seen = Arc::clone(&seen);
        async move {
            let body = got.read().await.unwrap();
            *seen.lock() = Some((got.head.clone(), body));
            got.succeed(&[]);
        }
    })
    .await;
    (upstream, last)
}

/// What the instance saw of a call.
struct Seen(http::request::Parts);

impl Seen {
    fn values(&self, name: &str) -> Vec<String> {
        self.0.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }
}

async fn seen(setup: Setup<'_>, ask: Ask, message: &[u8]) -> Seen {
    let (upstream, last) = remembering().await;
    let proxy = TestProxy::with(&[upstream.address()], setup).await;
    let answer = proxy.caller().await.unary(ask, message).await;
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    Seen(last.lock().take().unwrap().0)
}

#[tokio::test]
async fn path_and_authority_of_an_endpoint_cluster() {
    let ask = Ask::path("/_pkg.Svc_1/Do_It.v2").authority("Some.Host.test:8443").with("x-portunus-agent", "me");
    let seen = seen(Setup::default(), ask, b"").await;
    assert_eq!(seen.0.uri.path(), "/_pkg.Svc_1/Do_It.v2");
    assert_eq!(seen.0.uri.authority().unwrap(), "Some.Host.test:8443", "as it came");
    assert_eq!(seen.0.uri.scheme_str(), Some("http"));
    assert_eq!(seen.values("x-portunus-agent"), ["me"], "only a registry cluster takes it");
    assert!(seen.values("x-forwarded-host").is_empty() && seen.values("host").is_empty());
}

#[tokio::test]
async fn only_the_proxy_writes_identity() {
    let mut ask = Ask::echo("Unary");
    let gone = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-client-cert",
        "x-forwarded-anything-bin",
        "x_forwarded_for",
        "x-forwarded_for",
        "x-portunus-owner",
        "x-portunus-agent-bin",
        "x_portunus_agent",
        "x-portunus-",
    ];
    let kept = ["x-forwarded", "x-user-id", "authorization", "x-real-ip"];
    for name in gone.iter().chain(&kept) {
        ask = ask.with(name, "AAEC");
    }
    let seen = seen(Setup::default(), ask, b"").await;
    for name in gone {
        assert!(seen.values(name).is_empty(), "{name} went through");
    }
    for name in kept {
        assert_eq!(seen.values(name), ["AAEC"], "{name}");
    }
}

#[tokio::test]
async fn metadata_keeps_order_repetition_and_bytes() {
    let padded = ["AA==", "AA", "AAE=", "AAE", "AAEC", "", "AAEC,AA=="];
    let mut ask = Ask::echo("Unary").with("x-text", "1").with("x-late", [0x61, 0xe9, 0x62]);
    for value in padded {
        ask = ask.with("x-data-bin", value);
    }
    ask = ask.with("x-text", "2").with("x-text", "1").with("x-empty", "");
    let seen = seen(Setup::default(), ask, b"").await;
    assert_eq!(seen.values("x-text"), ["1", "2", "1"]);
    assert_eq!(seen.values("x-data-bin"), padded);
    assert_eq!(seen.values("x-empty"), [""]);
    assert_eq!(seen.0.headers["x-late"].as_bytes(), [0x61, 0xe9, 0x62], "not ours to judge");
}

#[tokio::test]
async fn answers_keep_metadata_too() {
    let upstream = Upstream::start(|mut got: Got| async move {
        let list = [("x-a", "1"), ("x-b-bin", "AA=="), ("x-a", "2"), ("x-b-bin", "AA"), ("x-request-id", "theirs")];
        let mut stream = got.reply.send_response(head(&list), false).unwrap();
        stream.send_data(framed(b"m"), false).unwrap();
        stream.send_trailers(fields(&[&list[..], &[("grpc-status", "0")]].concat())).unwrap();
    })
    .await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let answer = proxy.caller().await.unary(Ask::echo("Unary"), b"").await;
    for map in [&answer.head, &answer.trailers] {
        let values = |name: &str| map.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((values("x-a"), values("x-b-bin")), (vec!["1", "2"], vec!["AA==", "AA"]));
        assert_eq!(values("x-request-id"), ["theirs"]);
    }
}

#[tokio::test]
async fn a_request_id_is_made_where_there_is_none() {
    for (given, kept) in [(None, false), (Some("mine-1"), true), (Some(""), false), (Some(&*"l".repeat(129)), false)] {
        let ask = given.map_or(Ask::echo("Unary"), |id| Ask::echo("Unary").with("x-request-id", id));
        let ids = seen(Setup::default(), ask, b"").await.values("x-request-id");
        let [id] = ids.as_slice() else { panic!("{given:?}: {ids:?}") };
        assert_eq!(Some(id.as_str()) == given, kept, "{given:?}: {id}");
        assert!(!id.is_empty() && id.len() <= 128);
    }
}

#[tokio::test]
async fn compressed_messages_pass_untouched() {
    let body = [&[1, 0, 0, 0, 5][..], &[0x1f, 0x8b, 0, 255, 7], &[0, 0, 0, 0, 1], &[9]].concat();
    let (upstream, last) = remembering().await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let ask = Ask::echo("ClientStream").with("grpc-encoding", "gzip").with("grpc-accept-encoding", "gzip,zstd");
    let mut open = proxy.caller().await.open(ask).await;
    open.finish(Bytes::from(body.clone()));
    assert_eq!(soon(open.answer()).await.code(), Some(0));
    let (head, seen) = last.lock().take().unwrap();
    assert_eq!(seen, body);
    assert!(head.headers["grpc-encoding"] == "gzip" && head.headers["grpc-accept-encoding"] == "gzip,zstd");
}

#[tokio::test]
async fn request_trailers_are_dropped() {
    let echo = echo("e").await;
    let proxy = TestProxy::before(&[echo.address()]).await;
    let caller = proxy.caller().await;
    for message in [&b""[..], b"with a message"] {
        let mut open = caller.open(Ask::echo("Unary")).await;
        open.send(&chunk(message));
        open.up.send_trailers(fields(&[("x-user-id", "root"), ("grpc-status", "0")])).unwrap();
        let answer = soon(open.answer()).await;
        assert_eq!((answer.code(), answer.messages()), (Some(0), vec![chunk(message)]), "{answer:?}");
    }
    let upstream = Upstream::start(|mut got: Got| async move {
        while let Some(bytes) = got.body.data().await {
            drop(bytes);
        }
        let trailers = got.body.trailers().await.unwrap();
        got.succeed(&[format!("{trailers:?}").into_bytes()]);
    })
    .await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let mut open = proxy.caller().await.open(Ask::echo("Unary")).await;
    open.up.send_trailers(fields(&[("x-user-id", "root")])).unwrap();
    assert_eq!(soon(open.answer()).await.messages(), [b"None"]);
}

#[tokio::test]
async fn metadata_filters_edit_each_try_anew() {
    let (upstream, last) = remembering().await;
    let refused = Upstream::start(|mut got: Got| async move { got.reply.send_reset(h2::Reason::REFUSED_STREAM) }).await;
    let filter = "filters: [{metadata: {set: {x-team: search}, rename: {x-old: x-new}, remove: [x-debug], \
                  response: {set: {x-via: portunus}}}}]";
    let setup = Setup { route: filter, cluster: "balance: round_robin", ..Setup::default() };
    let proxy = TestProxy::with(&[refused.address(), upstream.address()], setup).await;
    let caller = proxy.caller().await;
    for _ in 0..4 {
        let ask = Ask::echo("Unary").with("x-old", "1").with("x-debug", "1").with("x-team", "theirs");
        let answer = caller.unary(ask, b"").await;
        assert_eq!((answer.code(), answer.field("x-via").as_deref()), (Some(0), Some("portunus")));
        let seen = Seen(last.lock().take().unwrap().0);
        assert_eq!((seen.values("x-team"), seen.values("x-new")), (vec!["search".into()], vec!["1".into()]));
        assert!(seen.values("x-old").is_empty() && seen.values("x-debug").is_empty());
    }
    assert!(refused.calls() > 0);
}
