//! What is open when another snapshot comes into force: it is judged again, ends if it would not be let in any more, and goes on otherwise.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use prost::Message as _;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::harness::{
    Answer, Ask, Authority, Caller, Folder, Got, KeyServer, Signer, TestProxy, Upstream, claims, eventually, framed,
    now, set, silent_port, soon,
};
use crate::tls::reload;

/// Streams end within this after a swap.
const SOON: Duration = Duration::from_secs(1);

/// An instance that answers each piece of a request with the same.
async fn mirror() -> Upstream {
    Upstream::start(|mut got: Got| async move {
        let mut answer = got.begin();
        while let Some(Ok(piece)) = got.body.data().await {
            drop(got.body.flow_control().release_capacity(piece.len()));
            if answer.send_data(piece, false).is_err() {
                return;
            }
        }
        let status = crate::harness::fields(&[("grpc-status", "0")]);
        answer.send_trailers(status).ok();
    })
    .await
}

/// A file with the listener `edge` in front of one cluster.
fn file(instance: SocketAddr, top: &str, listener: &str, routes: &str) -> String {
    format!(
        "{top}\nclusters: {{echo: {{endpoints: [\"{instance}\"], schema: {{reflection: false}}}}}}\nlisteners:\n  edge:\n    \
         address: 127.0.0.1:0\n    {listener}\n    routes: [{routes}]\n"
    )
}

const ALL: &str = "{cluster: echo}";

/// An open stream whose answer has begun.
struct Stream {
    head: http::response::Parts,
    body: RecvStream,
    up: SendStream<Bytes>,
}

impl Stream {
    async fn open(caller: &Caller, ask: Ask) -> Self {
        Self::open_with(caller, ask, b"m").await
    }

    async fn open_with(caller: &Caller, ask: Ask, message: &[u8]) -> Self {
        let mut open = caller.open(ask).await;
        open.send(message);
        let (head, body, up) = soon(open.head()).await.unwrap();
        let mut stream = Self { head, body, up };
        let answer = stream.next().await;
        assert!(answer.is_some(), "{:?}", stream.head);
        stream
    }

    async fn next(&mut self) -> Option<Bytes> {
        let piece = soon(self.body.data()).await?.unwrap();
        self.body.flow_control().release_capacity(piece.len()).unwrap();
        Some(piece)
    }

    /// A message goes there and back: how long that took.
    async fn goes_on(&mut self) -> Duration {
        let begun = Instant::now();
        self.up.send_data(framed(b"n"), false).unwrap();
        assert!(self.next().await.is_some(), "it has ended");
        begun.elapsed()
    }

    /// For those whose caller may say no more: it has not ended soon after the last swap.
    async fn is_still_open(&mut self) {
        let more = tokio::time::timeout(Duration::from_millis(300), self.body.data()).await;
        assert!(more.is_err(), "{more:?}");
    }

    /// How it ended by itself, and that this was soon.
    async fn ended_since(self, begun: Instant) -> (u32, String) {
        let answer = soon(Answer::read(self.head, self.body)).await;
        assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
        assert!(!answer.only_head && answer.broken.is_none(), "{answer:?}");
        answer.refusal()
    }
}

fn echo() -> Ask {
    Ask::echo("BidiStream")
}

fn with_token(token: &str) -> Ask {
    echo().with("authorization", format!("Bearer {token}"))
}

#[tokio::test]
async fn who_relied_on_a_rule_ends_with_it_and_the_others_go_on() {
    let instance = mirror().await;
    let rules = |allow: &str| {
        let filters = format!("filters: [{{authz: {{allow: '{allow}', deny: '\"x-late\" in metadata'}}}}]");
        file(instance.address(), "", &filters, ALL)
    };
    let proxy = TestProxy::yaml(&rules(r#"metadata["x-role"] in ["a", "b"]"#)).await;
    let caller = proxy.caller().await;
    let mut stays = Stream::open(&caller, echo().with("x-role", "a")).await;
    let goes = Stream::open(&caller, echo().with("x-role", "b")).await;
    let begun = Instant::now();
    reload(&proxy, &rules(r#"metadata["x-role"] == "a""#)).await;
    assert_eq!(goes.ended_since(begun).await, (7, "denied".to_owned()));
    stays.goes_on().await;
    // One that fails denies, as it does new calls.
    let begun = Instant::now();
    reload(&proxy, &rules(r#"metadata["x-roles"] == "a""#)).await;
    assert_eq!(stays.ended_since(begun).await, (7, "denied".to_owned()));
    let labels = [("reason", "denied"), ("listener", "edge")];
    eventually!(proxy.metric("portunus_refused_total", &labels).await.total_cmp(&2.0).is_eq());
}

/// Everything that makes a token good, but the time: its issuer, key, algorithm, type, audience and claims.
#[tokio::test]
async fn whose_token_would_not_pass_any_more_ends() {
    let folder = Folder::new("again");
    let instance = mirror().await;
    let (ann, bob, new) = (Signer::new("ES256", "k"), Signer::new("EdDSA", "k2"), Signer::new("ES256", "k"));
    let secret = folder.write("secret", "s".repeat(64));
    let text = |issuers: &str, audience: &str, more: &str, listener: &str| {
        let keys = folder.path().join("keys.json");
        let top = format!(
            "issuers:\n  one: {{issuer: one, audiences: [{audience}], jwks: {{file: {}}}{more}}}\n  two: {{issuer: two, audiences: [test], jwks: {{inline: '{}'}}}}\n  hs: {{issuer: hs, audiences: [test], secret_file: {}}}",
            keys.display(),
            bob.set(),
            secret.display()
        );
        let filters = format!("filters: [{{jwt: {{issuers: [{issuers}], metadata: {{sub: x-user-id}}}}}}{listener}]");
        file(instance.address(), &top, &filters, ALL)
    };
    folder.write("keys.json", ann.set());
    let before = text("one, two, hs", "test", "", "");
    let proxy = TestProxy::yaml(&before).await;
    let caller = proxy.caller().await;
    let token = |changed| ann.token(&claims("one", "ann", changed));
    let mut other = Stream::open(&caller, with_token(&bob.token(&claims("two", "bob", json!({}))))).await;
    let rows = [
        (text("two, hs", "test", "", ""), None, (16, "token_issuer")),
        (before.clone(), Some(&new), (16, "token_key")),
        (text("one, two, hs", "other", "", ""), None, (7, "audience")),
        (text("one, two, hs", "test", ", algorithms: [RS256]", ""), None, (16, "token_algorithm")),
        (text("one, two, hs", "test", ", require: [tenant]", ""), None, (16, "token_claim")),
        (text("one, two, hs", "test", "", ", {authz: {allow: 'claims.sub == \"bob\"'}}"), None, (7, "denied")),
    ];
    for (after, keys, (code, reason)) in rows {
        folder.write("keys.json", ann.set());
        reload(&proxy, &before).await;
        let mut open = Stream::open(&caller, with_token(&token(json!({})))).await;
        reload(&proxy, &before).await;
        open.goes_on().await;
        folder.write("keys.json", keys.unwrap_or(&ann).set());
        let begun = Instant::now();
        reload(&proxy, &after).await;
        assert_eq!(open.ended_since(begun).await, (code, reason.to_owned()), "{after}");
        other.goes_on().await;
    }
    // A key that is still there beside a new one is trusted; and a token that has expired meanwhile was good when it counted.
    folder.write("keys.json", ann.set());
    reload(&proxy, &before).await;
    let mut expires = Stream::open(&caller, with_token(&token(json!({"exp": now() - 29})))).await;
    sleep(Duration::from_millis(1_200)).await;
    let both: serde_json::Value = serde_json::from_str(&ann.set()).unwrap();
    let more: serde_json::Value = serde_json::from_str(&Signer::new("ES256", "k3").set()).unwrap();
    folder.write("keys.json", json!({"keys": [more["keys"][0], both["keys"][0]]}).to_string());
    reload(&proxy, &before).await;
    sleep(Duration::from_millis(300)).await;
    expires.goes_on().await;
    other.goes_on().await;
    // Without the filter nobody is known by a token.
    let begun = Instant::now();
    let nobody = file(instance.address(), "", "filters: [{authz: {allow: 'claims.sub == \"ann\"'}}]", ALL);
    reload(&proxy, &nobody).await;
    assert_eq!(expires.ended_since(begun).await, (7, "denied".to_owned()));
    assert_eq!(other.ended_since(begun).await, (7, "denied".to_owned()));
}

/// An issuer whose keys are a secret, which is compared by what only its holders can make.
#[tokio::test]
async fn a_secret_that_has_changed_is_another_key() {
    let folder = Folder::new("again-secret");
    let instance = mirror().await;
    let secret = "s".repeat(64);
    let signer = Signer::with_secret("HS256", secret.as_bytes());
    folder.write("secret", secret);
    let top =
        format!("issuers: {{hs: {{issuer: hs, audiences: [test], secret_file: {}}}}}", folder.at("secret").display());
    let text = file(instance.address(), &top, "filters: [{jwt: {issuers: [hs]}}]", ALL);
    let proxy = TestProxy::yaml(&text).await;
    let caller = proxy.caller().await;
    let mut open = Stream::open(&caller, with_token(&signer.token(&claims("hs", "ann", json!({}))))).await;
    reload(&proxy, &text).await;
    sleep(Duration::from_millis(300)).await;
    open.goes_on().await;
    folder.write("secret", "x".repeat(64));
    let begun = Instant::now();
    reload(&proxy, &text).await;
    assert_eq!(open.ended_since(begun).await, (16, "token_key".to_owned()));
}

/// Keys that have to be fetched are waited for, and not for ever.
#[tokio::test]
async fn keys_that_are_not_there_yet_end_nobody_at_once() {
    let instance = mirror().await;
    let signer = Signer::new("ES256", "k");
    let server = KeyServer::start(signer.set()).await;
    let top = format!("issuers: {{one: {{issuer: one, audiences: [test], jwks: {{url: \"{}\"}}}}}}", server.url());
    let text = file(instance.address(), &top, "filters: [{jwt: {issuers: [one]}}]", ALL);
    let proxy = TestProxy::yaml(&text).await;
    let caller = proxy.caller().await;
    let token = signer.token(&claims("one", "ann", json!({})));
    eventually!(caller.unary(with_token(&token), b"m").await.code() == Some(0));
    let mut open = Stream::open(&caller, with_token(&signer.token(&claims("one", "ann", json!({}))))).await;
    let mut stays = Stream::open(&caller, with_token(&signer.token(&claims("one", "bob", json!({}))))).await;
    // Whoever has those of this snapshot does not say them.
    let (_held, silent) = silent_port();
    reload(&proxy, &text.replace(&server.url(), &format!("http://{silent}/keys"))).await;
    sleep(Duration::from_millis(2_500)).await;
    open.goes_on().await;
    let answer = soon(Answer::read(open.head, open.body));
    let ended = tokio::time::timeout(Duration::from_secs(2), answer);
    let inline = top.replace(&format!("url: \"{}\"", server.url()), &format!("inline: '{}'", signer.set()));
    stays.goes_on().await;
    assert!(ended.await.is_err(), "it waits for as long as a fetch may take");
    sleep(Duration::from_millis(2_000)).await;
    assert!(stays.up.send_data(framed(b"n"), false).is_err() || stays.next().await.is_none(), "and no longer");
    reload(&proxy, &file(instance.address(), &inline, "filters: [{jwt: {issuers: [one]}}]", ALL)).await;
    let mut open = Stream::open(&caller, with_token(&signer.token(&claims("one", "ann", json!({}))))).await;
    open.goes_on().await;
}

#[tokio::test]
async fn who_is_no_longer_among_the_peers_ends() {
    let ca = Authority::new();
    let instance = mirror().await;
    let text = |pattern: &str| {
        let listener =
            format!("{}\n    filters: [{{peer: {{spiffe: [\"{pattern}\"]}}}}]", ca.listener("mode: required"));
        file(instance.address(), "", &listener, ALL)
    };
    let proxy = TestProxy::yaml(&text("spiffe://td/**")).await;
    let agent = ca.caller(proxy.address(), Some(&ca.workload("agents/a"))).await.unwrap();
    let other = ca.caller(proxy.address(), Some(&ca.workload("others/a"))).await.unwrap();
    let (mut stays, goes) = (Stream::open(&agent, echo()).await, Stream::open(&other, echo()).await);
    let begun = Instant::now();
    reload(&proxy, &text("spiffe://td/agents/*")).await;
    assert_eq!(goes.ended_since(begun).await, (7, "peer".to_owned()));
    stays.goes_on().await;
}

/// A stream is routed again as it came: also by metadata that its call gave up on its way.
#[tokio::test]
async fn routes_are_asked_with_the_head_as_it_came() {
    let instance = mirror().await;
    let signer = Signer::new("ES256", "k");
    let top = format!("issuers: {{one: {{issuer: one, audiences: [test], jwks: {{inline: '{}'}}}}}}", signer.set());
    let by_token =
        "{match: {headers: {authorization: {present: true}}}, cluster: echo, filters: [{jwt: {issuers: [one]}}]}";
    let by_when =
        "{match: {when: 'metadata[\"x-tier\"] == \"gold\"', headers: {x-tier: {present: true}}}, cluster: echo}";
    let text = |routes: &[&str]| file(instance.address(), &top, "", &routes.join(", "));
    let proxy = TestProxy::yaml(&text(&[by_token, by_when])).await;
    let caller = proxy.caller().await;
    let mut token = Stream::open(&caller, with_token(&signer.token(&claims("one", "ann", json!({}))))).await;
    let mut gold = Stream::open(&caller, echo().with("x-tier", "gold")).await;
    for _ in 0..3 {
        reload(&proxy, &text(&[by_token, by_when])).await;
        sleep(Duration::from_millis(100)).await;
        token.goes_on().await;
        gold.goes_on().await;
    }
    // Filters that do not say who may call change nothing for who is in.
    let limited = by_when.replace(
        "cluster: echo",
        "cluster: echo, filters: [{rate_limit: {key: peer.address, rate: 1/h}}, {limits: {idle: 1ms}}]",
    );
    reload(&proxy, &text(&[by_token, &limited])).await;
    sleep(Duration::from_millis(100)).await;
    gold.goes_on().await;
    let begun = Instant::now();
    reload(&proxy, &text(&[by_token])).await;
    assert_eq!(gold.ended_since(begun).await, (12, "no_route".to_owned()));
    token.goes_on().await;
    let begun = Instant::now();
    let silver = by_token.replace("authorization", "x-other");
    reload(&proxy, &text(&[&silver, "{match: {method: Other}, cluster: echo}"])).await;
    assert_eq!(token.ended_since(begun).await, (12, "no_route".to_owned()));
}

/// A message of `t.S/Many`.
#[derive(Clone, PartialEq, prost::Message)]
struct One {
    #[prost(string, tag = "1")]
    tenant: String,
}

/// What rules over messages said when they were there counts for as long as the rules are the same; of others nobody can tell.
#[tokio::test]
async fn rules_over_messages_hold_for_those_who_go_by_them() {
    let proto = "syntax = \"proto3\"; package t; message R { string tenant = 1; }
        service S { rpc Many(stream R) returns (stream R); rpc M(R) returns (stream R); }";
    let instance = mirror().await;
    let folder = Folder::new("again-schema");
    folder.write("t.binpb", set(proto));
    let text = |allow: &str| {
        file(instance.address(), "", &format!("filters: [{{authz: {allow}}}]"), ALL)
            .replace("schema: {reflection: false}", &format!("schema: {{files: [{}]}}", folder.at("t.binpb").display()))
    };
    let by_message = "{allow: message.tenant == \"a\"}";
    let proxy = TestProxy::yaml(&text(by_message)).await;
    let caller = proxy.caller().await;
    let message = One { tenant: "a".into() }.encode_to_vec();
    let open = async || Stream::open_with(&caller, Ask::path("/t.S/Many"), &message).await;
    let (goes, stays) = (open().await, open().await);
    reload(&proxy, &text("{allow: message.tenant == \"a\", deny: '\"x-late\" in metadata'}")).await;
    sleep(Duration::from_millis(300)).await;
    let mut stays = stays;
    stays.up.send_data(framed(&message), false).unwrap();
    assert!(stays.next().await.is_some());
    let begun = Instant::now();
    reload(&proxy, &text("{allow: message.tenant != \"b\"}")).await;
    assert_eq!(goes.ended_since(begun).await, (7, "denied".to_owned()));
    assert_eq!(stays.ended_since(begun).await, (7, "denied".to_owned()));
}

/// Which route a first message chose is known for as long as the words are the same; by others it may be any.
#[tokio::test]
async fn a_route_by_the_first_message_stays_the_calls_own() {
    let proto = "syntax = \"proto3\"; package t; message R { string tenant = 1; }
        service S { rpc M(R) returns (stream R); }";
    let instance = mirror().await;
    let folder = Folder::new("again-when");
    folder.write("t.binpb", set(proto));
    let deny = "filters: [{authz: {allow: '\"x-operator\" in metadata'}}]";
    let text = |when: &str, filters: &str, others: &str| {
        let routes = format!(
            "{{match: {{when: 'message.tenant == \"{when}\"'}}, cluster: echo, {filters}}}, {{cluster: echo{others}}}"
        );
        file(instance.address(), "", "", &routes)
            .replace("schema: {reflection: false}", &format!("schema: {{files: [{}]}}", folder.at("t.binpb").display()))
    };
    let before = text("a", deny, "");
    let proxy = TestProxy::yaml(&before).await;
    let caller = proxy.caller().await;
    let message = |tenant: &str| One { tenant: tenant.into() }.encode_to_vec();
    let operator = || Ask::path("/t.S/M").with("x-operator", "1");
    let mut first = Stream::open_with(&caller, operator(), &message("a")).await;
    let mut other = Stream::open_with(&caller, Ask::path("/t.S/M"), &message("b")).await;
    reload(&proxy, &before).await;
    first.is_still_open().await;
    other.is_still_open().await;
    // What comes behind its own route is nothing to the first, and its own nothing to the other.
    reload(&proxy, &text("a", deny, ", filters: [{authz: {allow: '!(\"x-operator\" in metadata)'}}]")).await;
    first.is_still_open().await;
    other.is_still_open().await;
    // Whether the other would take this route, nobody can tell.
    let begun = Instant::now();
    reload(&proxy, &text("c", deny, "")).await;
    assert_eq!(other.ended_since(begun).await, (7, "denied".to_owned()));
    first.is_still_open().await;
}

/// Whom nobody asked who it is, since it asks how the listener is, is not asked later either, unless that has changed.
#[tokio::test]
async fn who_watches_the_listeners_health_needs_no_token_later() {
    let instance = mirror().await;
    let signer = Signer::new("ES256", "k");
    let top = format!("issuers: {{one: {{issuer: one, audiences: [test], jwks: {{inline: '{}'}}}}}}", signer.set());
    let text = |serve: &str| {
        file(instance.address(), &top, &format!("filters: [{{jwt: {{issuers: [one]}}}}]\n    serve: [{serve}]"), ALL)
    };
    let proxy = TestProxy::yaml(&text("{health: {public: true}}")).await;
    let caller = proxy.caller().await;
    let mut open = caller.open(Ask::path("/grpc.health.v1.Health/Watch")).await;
    open.finish(framed(b""));
    let (head, body, up) = soon(open.head()).await.unwrap();
    let mut watch = Stream { head, body, up };
    assert!(watch.next().await.is_some(), "{:?}", watch.head);
    reload(&proxy, &text("{health: {public: true}}")).await;
    watch.is_still_open().await;
    let begun = Instant::now();
    reload(&proxy, &text("health")).await;
    assert_eq!(watch.ended_since(begun).await, (16, "token_missing".to_owned()));
}

/// One that waits for a filter when the snapshot changes begins by none of the two alone.
#[tokio::test]
async fn who_is_not_decided_yet_is_judged_by_both() {
    let instance = mirror().await;
    let signer = Signer::new("ES256", "k");
    let server = KeyServer::start("{\"keys\": []}").await;
    let top = format!("issuers: {{one: {{issuer: one, audiences: [test], jwks: {{url: \"{}\"}}}}}}", server.url());
    let proxy = TestProxy::yaml(&file(instance.address(), &top, "filters: [{jwt: {issuers: [one]}}]", ALL)).await;
    eventually!(server.asked().len() == 1);
    server.publish(signer.set(), Duration::from_millis(1_500));
    let caller = proxy.caller().await;
    let asked = async || {
        let mut open = caller.open(with_token(&signer.token(&claims("one", "ann", json!({}))))).await;
        open.send(b"m");
        open
    };
    // The first asks for keys, which may be fetched again ten seconds after the last time.
    soon(asked().await.answer()).await;
    eventually!(server.asked().len() == 2);
    let waits = asked().await;
    sleep(Duration::from_millis(200)).await;
    reload(&proxy, &file(instance.address(), "", "filters: [{authz: {allow: '\"x-new\" in metadata'}}]", ALL)).await;
    let answer = soon(waits.answer()).await;
    assert_eq!(answer.refusal(), (7, "denied".to_owned()), "{answer:?}");
    assert_eq!(instance.calls(), 0, "nothing of it went on");
}

/// Many streams and many swaps: nobody waits noticeably, and at the end those go who have to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_outlive_twenty_swaps() {
    let instance = mirror().await;
    let text = |role: &str| {
        let filters = format!(
            "filters: [{{authz: {{allow: 'metadata[\"x-role\"].startsWith(\"{role}\")'}}}}]\n    limits: {{streams: 2000}}"
        );
        file(instance.address(), "", &filters, ALL)
    };
    let proxy = TestProxy::yaml(&text("a")).await;
    let caller = proxy.caller().await;
    let mut streams = Vec::new();
    for number in 0..1_000 {
        streams.push(Stream::open(&caller, echo().with("x-role", if number % 2 == 0 { "ab" } else { "ac" })).await);
    }
    let mut slowest = Duration::ZERO;
    for swap in 0..20 {
        reload(&proxy, &text("a")).await;
        for at in 0..5 {
            slowest = slowest.max(streams[swap * 37 + at].goes_on().await);
        }
    }
    assert!(slowest < Duration::from_millis(250), "{slowest:?}");
    // Its caller resets what has ended: soon after it was opened, that would be an attack.
    sleep(Duration::from_millis(1_100)).await;
    let begun = Instant::now();
    reload(&proxy, &text("ab")).await;
    for (number, mut stream) in streams.into_iter().enumerate() {
        if number % 2 == 0 {
            stream.goes_on().await;
        } else {
            let answer = soon(Answer::read(stream.head, stream.body)).await;
            assert_eq!(answer.refusal(), (7, "denied".to_owned()), "{number}");
        }
    }
    assert!(begun.elapsed() < SOON * 2, "{:?} with a thousand looks of the test", begun.elapsed());
}
