//! Which route takes a call, seen from outside: each route leads to an instance of its own.

use prost::Message as _;
use tonic_types::pb;

use crate::harness::{Ask, Got, TestProxy, Upstream, refused_port};

/// A proxy whose routes set `x-route` to their name, before one instance that tells it.
async fn routed(routes: &[(&str, &str)]) -> (TestProxy, Upstream) {
    let upstream = Upstream::start(|mut got: Got| async move {
        let route = got.field("x-route").unwrap_or("none").as_bytes().to_vec();
        got.succeed(&[route]);
    })
    .await;
    let routes: String = routes
        .iter()
        .map(|(name, matches)| {
            format!(
                "      - match: {matches}\n        cluster: all\n        filters: [{{metadata: {{set: {{x-route: {name}}}}}}}]\n"
            )
        })
        .collect();
    let proxy = TestProxy::yaml(&format!(
        "clusters:\n  all: {{endpoints: [{}]}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    routes:\n{routes}",
        upstream.address()
    ))
    .await;
    (proxy, upstream)
}

#[tokio::test]
async fn the_most_specific_match_wins_whatever_the_order() {
    let (proxy, _upstream) = routed(&[
        ("any-of-pkg", "{service: pkg.*}"),
        ("headers-2", "{service: pkg.Svc, headers: {x-a: \"1\", x-b: {present: true}}}"),
        ("headers-1", "{service: pkg.Svc, headers: {x-a: \"1\"}}"),
        ("service", "{service: pkg.Svc}"),
        ("method", "{service: pkg.Svc, method: Do}"),
        ("suffix", "{authority: \"*.example.test\"}"),
        ("longer-suffix", "{authority: \"*.eu.example.test\"}"),
        ("authority", "{authority: \"api.example.test\"}"),
        ("prefix", "{service: h.S, headers: {x-a: {prefix: ab}}}"),
        ("regex", "{service: h.R, headers: {x-a: {regex: \"a+b\"}}}"),
    ])
    .await;
    let caller = proxy.caller().await;
    let svc = || Ask::path("/pkg.Svc/Other");
    let cases = [
        (Ask::path("/pkg.Another/M"), "any-of-pkg"),
        (Ask::path("/pkg.deep.Svc/M"), "any-of-pkg"),
        (svc(), "service"),
        (Ask::path("/pkg.Svc/Do"), "method"),
        (svc().with("x-a", "1"), "headers-1"),
        (svc().with("x-a", "0").with("x-a", "1"), "headers-1"),
        (svc().with("x-a", "1").with("x-b", ""), "headers-2"),
        (svc().with("x-a", "11"), "service"),
        // The method weighs more than any number of headers.
        (Ask::path("/pkg.Svc/Do").with("x-a", "1").with("x-b", "1"), "method"),
        (Ask::path("/pkg.Svc/Do").authority("a.example.test"), "suffix"),
        (Ask::path("/pkg.Svc/Do").authority("a.eu.example.test:443"), "longer-suffix"),
        (Ask::path("/z.Z/Z").authority("API.Example.test:8443"), "authority"),
        (Ask::path("/z.Z/Z").authority("api.example.test."), "authority"),
        (Ask::path("/h.S/M").with("x-a", "abc"), "prefix"),
        (Ask::path("/h.R/M").with("x-a", "aaab"), "regex"),
    ];
    for (ask, route) in cases {
        let answer = caller.unary(ask.clone(), b"").await;
        let found = answer.messages().first().map(|name| String::from_utf8_lossy(name).into_owned());
        assert_eq!(found.as_deref(), Some(route), "{ask:?}: {answer:?}");
    }
    let nowhere = [
        Ask::path("/pkgx.Svc/M"),
        Ask::path("/h.S/M").with("x-a", "xab"),
        Ask::path("/h.R/M").with("x-a", "aaabx"),
        Ask::path("/z.Z/Z").authority("example.test"),
    ];
    for ask in nowhere {
        assert_eq!(caller.unary(ask.clone(), b"").await.refusal(), (12, "no_route".into()), "{ask:?}");
    }
}

#[tokio::test]
async fn no_route_is_told_to_people_and_machines() {
    let (proxy, upstream) = routed(&[("one", "{service: pkg.Svc}")]).await;
    let answer = proxy.caller().await.unary(Ask::path("/other.Svc/M"), b"x").await;
    assert_eq!((answer.http, answer.only_head, answer.code()), (200, true, Some(12)));
    assert!(answer.message().contains("/routes"), "{}", answer.message());
    let status = answer.details().unwrap();
    assert_eq!(status.details.len(), 1);
    let info = pb::ErrorInfo::decode(&status.details[0].value[..]).unwrap();
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("portunus", "no_route"));
    assert_eq!(upstream.calls(), 0);
    assert_eq!(proxy.metric("portunus_refused_total", &[("reason", "no_route")]).await, 1.0);
}

#[tokio::test]
async fn what_callers_are_told_names_no_address() {
    let proxy = TestProxy::before(&[refused_port()]).await;
    let answer = proxy.caller().await.unary(Ask::echo("Unary"), b"x").await;
    let text = format!("{} {:?}", answer.message(), answer.details());
    assert!(!text.contains("127.0.0.1"), "{text}");
}

#[tokio::test]
async fn a_call_that_comes_back_is_refused() {
    // The one that is first dialled is the second proxy, which sends to the first again.
    let (behind, held) = {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        (held.local_addr().unwrap(), held)
    };
    let first = TestProxy::before(&[behind]).await;
    drop(held);
    let second = format!(
        "clusters:\n  c: {{endpoints: [{}]}}\nlisteners:\n  edge:\n    address: {behind}\n    routes: [{{cluster: c}}]\n",
        first.address()
    );
    let _second = TestProxy::yaml(&second).await;
    let answer = first.caller().await.unary(Ask::echo("Unary"), b"").await;
    assert_eq!(answer.refusal(), (9, "loop".to_owned()), "{}", answer.message());
    assert!(answer.message().contains("come back"), "{}", answer.message());
    let refused = first.metric("portunus_refused_total", &[("reason", "loop")]).await;
    assert!((refused - 1.0).abs() < f64::EPSILON, "{refused}");
}

#[tokio::test]
async fn each_proxy_signs_and_many_signatures_are_a_loop() {
    let upstream = Upstream::start(|mut got: Got| async move {
        let hops = got.field("x-portunus-hops").unwrap_or("none").as_bytes().to_vec();
        got.succeed(&[hops]);
    })
    .await;
    let proxy = TestProxy::before(&[upstream.address()]).await;
    let caller = proxy.caller().await;
    let hops = async |ask: Ask| String::from_utf8(caller.unary(ask, b"").await.messages().remove(0)).unwrap();
    let alone = hops(Ask::echo("Unary")).await;
    assert!(alone.len() == 16 && alone.bytes().all(|octet| octet.is_ascii_hexdigit()), "{alone}");
    assert_eq!(
        hops(Ask::echo("Unary").with("x-portunus-hops", "a").with("x-portunus-hops", "b, c")).await,
        format!("a,b,c,{alone}")
    );
    for loops in [alone.clone(), format!("a,{alone}"), vec!["a"; 17].join(",")] {
        let answer = caller.unary(Ask::echo("Unary").with("x-portunus-hops", &loops), b"").await;
        assert_eq!(answer.refusal(), (9, "loop".to_owned()), "{loops}");
    }
}
