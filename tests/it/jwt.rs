//! Tokens in a whole proxy: who passes and with which answer, what instances are told, where keys come from.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Ask, Caller, Folder, Got, KeyServer, Setup, Signer, TestProxy, Upstream, claims, echo, eventually, now,
    refused_port,
};
use crate::registrar::registration;

/// An issuer `NAME` whose keys stand in the file.
fn inline(name: &str, signer: &Signer) -> String {
    format!("  {name}: {{issuer: {name}, audiences: [test], jwks: {{inline: '{}'}}}}\n", signer.set())
}

/// One whose keys are fetched.
fn fetched(name: &str, url: &str) -> String {
    format!("  {name}: {{issuer: {name}, audiences: [test], jwks: {{url: \"{url}\"}}}}\n")
}

fn asked(token: &str) -> Ask {
    Ask::echo("Unary").with("authorization", format!("Bearer {token}"))
}

async fn tried(caller: &Caller, token: &str) -> Answer {
    caller.unary(asked(token), b"").await
}

/// The metadata of calls.
type Kept = Arc<Mutex<Vec<Vec<(String, String)>>>>;

/// An instance that keeps the metadata of every call.
async fn keeping() -> (Upstream, Kept) {
    let kept = Kept::default();
    let into = Arc::clone(&kept);
    let upstream = Upstream::start(move |mut got: Got| {
        let fields = got.head.headers.iter();
        let fields =
            fields.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        into.lock().push(fields.collect());
        async move {
            got.read().await.ok();
            got.succeed(&[Vec::new()]);
        }
    })
    .await;
    (upstream, kept)
}

#[tokio::test]
async fn who_has_a_good_token_passes_and_each_other_gets_the_answer_of_the_table() {
    let (upstream, kept) = keeping().await;
    let (ann, bob) = (Signer::new("ES256", "k"), Signer::new("EdDSA", "k"));
    let top = format!("issuers:\n{}{}", inline("one", &ann), inline("two", &bob));
    let listener =
        "filters: [{jwt: {issuers: [one, two], metadata: {sub: x-user-id, tenant: x-tenant, roles: x-roles-bin}}}]";
    let proxy = TestProxy::with(&[upstream.address()], Setup { top: &top, listener, ..Setup::default() }).await;
    let caller = proxy.caller().await;
    let good = claims("one", "ann", json!({"tenant": 7, "roles": ["a"]}));
    for token in [ann.token(&good), ann.token(&good), bob.token(&claims("two", "bob", json!({})))] {
        let answer = tried(&caller, &token).await;
        assert_eq!(answer.code(), Some(0), "{answer:?}");
    }
    let got = |at: usize, name: &str| {
        let all = kept.lock();
        let found: Vec<String> =
            all[at].iter().filter(|(own, _)| own == name).map(|(_, value)| value.clone()).collect();
        found.join(", ")
    };
    for at in [0, 1] {
        assert_eq!(
            (got(at, "x-user-id"), got(at, "x-tenant"), got(at, "x-roles-bin")),
            ("ann".into(), "7".into(), "WyJhIl0".into())
        );
        assert_eq!(got(at, "authorization"), "", "the token ends here");
    }
    assert_eq!((got(2, "x-user-id"), got(2, "x-tenant")), ("bob".into(), String::new()));
    let with = |changed: Value| ann.token(&claims("one", "ann", changed));
    let rows = [
        (bob.token(&good), 16, "token_algorithm"),
        (bob.sign(r#"{"alg":"ES256","kid":"k"}"#, good.to_string()), 16, "token_signature"),
        (ann.token(&claims("two", "ann", json!({}))), 16, "token_algorithm"),
        (ann.token(&claims("three", "ann", json!({}))), 16, "token_issuer"),
        (ann.sign(r#"{"alg":"ES256","kid":"x"}"#, good.to_string()), 16, "token_key"),
        (ann.sign(r#"{"alg":"none"}"#, good.to_string()), 16, "token_algorithm"),
        (ann.sign(r#"{"alg":"ES256","typ":"logout+jwt"}"#, good.to_string()), 16, "token_type"),
        (ann.sign(r#"{"alg":"ES256","crit":["x"],"x":1}"#, good.to_string()), 16, "token_malformed"),
        (with(json!({"exp": now() - 31})), 16, "token_expired"),
        (with(json!({"nbf": now() + 60})), 16, "token_early"),
        (with(json!({"exp": "4000000000"})), 16, "token_claim"),
        (with(json!({"aud": "other"})), 7, "audience"),
        (with(json!({"tenant": "\u{e4}"})), 7, "claim_unfit"),
        ("x".repeat(9_000), 16, "token_malformed"),
        ("a.b.c".to_owned(), 16, "token_malformed"),
    ];
    for (token, code, reason) in &rows {
        let answer = tried(&caller, token).await;
        assert_eq!(answer.refusal(), (*code, (*reason).to_owned()), "{}", answer.message());
        let challenge = (*code == 16).then(|| "Bearer error=\"invalid_token\"".to_owned());
        assert_eq!(answer.field("www-authenticate"), challenge, "{reason}");
    }
    let without = caller.unary(Ask::echo("Unary"), b"").await;
    assert_eq!(without.refusal(), (16, "token_missing".into()), "{}", without.message());
    assert_eq!(without.field("www-authenticate").as_deref(), Some("Bearer"));
    assert_eq!(upstream.calls(), 3, "nobody else got there");
    let refused = proxy.metrics().await;
    let counted = |reason: &str| {
        refused.iter().any(|series| series.name == "portunus_refused_total" && series.labels["reason"] == reason)
    };
    assert!(rows.iter().all(|(_, _, reason)| counted(reason)));
}

#[tokio::test]
async fn nobody_says_who_they_are_in_any_form_on_any_listener() {
    let (upstream, kept) = keeping().await;
    let ann = Signer::new("EdDSA", "k");
    let text = format!(
        "workers: 1\nissuers:\n{}clusters: {{c: {{endpoints: [{}]}}}}\nlisteners:\n\
         \x20 edge: {{address: \"127.0.0.1:0\", filters: [{{jwt: {{issuers: [one], metadata: {{sub: x_user_id, roles: x-roles-bin}}}}}}], routes: [{{cluster: c}}]}}\n\
         \x20 side: {{address: \"127.0.0.1:0\", routes: [{{match: {{headers: {{x-user-id: root}}}}, cluster: nowhere}}, {{cluster: c}}]}}\n",
        inline("one", &ann),
        upstream.address()
    )
    .replace("cluster: nowhere", "cluster: c, filters: [{metadata: {set: {x-taken: in}}}]");
    let proxy = TestProxy::yaml(&text).await;
    let names = [
        "x-user-id",
        "x_user_id",
        "x-user_id",
        "x-user-id-bin",
        "x_user_id_bin",
        "x-user_id-bin",
        "x-roles-bin",
        "x-roles",
        "x_roles_bin",
        "x_roles",
    ];
    let token = ann.token(&claims("one", "ann", json!({})));
    for (listener, told) in [("edge", 1), ("side", 0)] {
        let caller = Caller::connect(proxy.listener(listener)).await;
        for name in names {
            let ask = asked(&token).with(name, "root").with(name, "root");
            assert_eq!(caller.unary(ask, b"").await.code(), Some(0), "{listener} {name}");
            let fields = kept.lock().pop().unwrap();
            let said: Vec<_> =
                fields.iter().filter(|(own, _)| names.contains(&own.as_str()) || own == "x-taken").collect();
            assert!(said.len() == told && said.iter().all(|(_, value)| value == "ann"), "{listener} {name}: {said:?}");
        }
        assert_eq!(caller.unary(asked(&token).with("x-user-idx", "kept"), b"").await.code(), Some(0));
        let fields = kept.lock().pop().unwrap();
        assert!(fields.iter().any(|(name, _)| name == "x-user-idx"), "{listener}");
    }
}

#[tokio::test]
async fn expressions_see_claims_and_who_has_none_is_denied() {
    let (a, b) = (echo("a").await, echo("b").await);
    let ann = Signer::new("EdDSA", "k");
    let tenant = "has(claims.tenant) ? claims.tenant : \"none\"";
    let went =
        |name: &str| format!("metadata: {{response: {{set: {{x-went: {name}}}, set_expr: {{x-of: '{tenant}'}}}}}}");
    let text = format!(
        "workers: 1\nissuers:\n{}clusters: {{a: {{endpoints: [{}]}}, b: {{endpoints: [{}]}}}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n\
         \x20   filters: [{{jwt: {{issuers: [one], optional: true}}}}]\n    routes:\n\
         \x20     - {{match: {{service: portunus.test.Echo, when: '\"operator\" in claims.realm.roles'}}, cluster: a, filters: [{{{}}}]}}\n\
         \x20     - {{match: {{service: portunus.test.Other, when: 'size(claims) == 0 || claims.sub != \"ann\"'}}, cluster: b, filters: [{{{}}}]}}\n\
         \x20     - {{cluster: b, filters: [{{{}}}]}}\n",
        inline("one", &ann),
        a.address(),
        b.address(),
        went("a"),
        went("other"),
        went("b"),
    );
    let proxy = TestProxy::yaml(&text).await;
    let caller = proxy.caller().await;
    let token = |changed: Value| ann.token(&claims("one", "ann", changed));
    let operator = token(json!({"realm": {"roles": ["user", "operator"]}, "tenant": "acme"}));
    let answer = tried(&caller, &operator).await;
    assert_eq!((answer.field("x-went"), answer.field("x-of")), (Some("a".into()), Some("acme".into())), "{answer:?}");
    let user = tried(&caller, &token(json!({"realm": {"roles": ["user"]}}))).await;
    assert_eq!((user.field("x-went"), user.field("x-of")), (Some("b".into()), Some("none".into())), "{user:?}");
    // What is asked for is not there: nobody can tell, so nobody passes.
    for ask in [asked(&token(json!({}))), asked(&token(json!({"realm": []}))), Ask::echo("Unary")] {
        let answer = caller.unary(ask, b"").await;
        assert_eq!(answer.refusal(), (7, "route_undecided".into()), "{}", answer.message());
    }
    let other = caller.unary(Ask::path("/portunus.test.Other/M"), b"").await;
    assert_eq!(other.field("x-went"), Some("other".into()), "who has no token has no claims: {other:?}");
    // A bad token is none that may be left out.
    let bad = caller.unary(Ask::echo("Unary").with("authorization", "Bearer x.y.z"), b"").await;
    assert_eq!(bad.refusal(), (16, "token_malformed".into()));
}

#[tokio::test]
async fn an_issuer_that_is_down_stops_nobody_else_and_is_heard_when_it_comes() {
    let upstream = echo("1").await;
    let (ann, bob) = (Signer::new("EdDSA", "k"), Signer::new("EdDSA", "k"));
    let place = { KeyServer::start("").await.url() };
    let (slow, garbage) = (KeyServer::start("").await, KeyServer::start("<html>").await);
    slow.publish("{}", Duration::from_secs(3_600));
    let top = format!(
        "issuers:\n{}{}{}{}",
        inline("one", &ann),
        fetched("two", &place),
        fetched("slow", &slow.url()),
        fetched("garbage", &garbage.url())
    );
    let listener = "filters: [{jwt: {issuers: [one, two, slow, garbage]}}]";
    let proxy = TestProxy::with(&[upstream.address()], Setup { top: &top, listener, ..Setup::default() }).await;
    let caller = proxy.caller().await;
    let of = |issuer: &str| bob.token(&claims(issuer, "bob", json!({})));
    let begun = tokio::time::Instant::now();
    for issuer in ["two", "slow", "garbage"] {
        let answer = tried(&caller, &of(issuer)).await;
        assert_eq!(answer.refusal(), (14, "keys_unavailable".into()), "{issuer}: {}", answer.message());
        assert_eq!(answer.field("grpc-retry-pushback-ms").as_deref(), Some("1000"));
        assert_eq!(tried(&caller, &ann.token(&claims("one", "ann", json!({})))).await.code(), Some(0));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}: nobody waited for them", begun.elapsed());
    eventually!({
        let ready = proxy.page("/ready").await;
        ["issuer `two`", "issuer `slow`", "issuer `garbage`"].iter().all(|name| ready.contains(name))
            && !ready.contains("issuer `one`")
    });
    let ages = |series: &[crate::harness::Series]| {
        series
            .iter()
            .filter(|series| series.name == "portunus_jwks_age_seconds")
            .map(|series| series.labels["issuer"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ages(&proxy.metrics().await).len(), 3, "those that are fetched");
    let address = place.trim_start_matches("http://").trim_end_matches("/keys").parse().unwrap();
    let _there = KeyServer::start_at(address, bob.set()).await;
    eventually!(tried(&caller, &of("two")).await.code() == Some(0));
    assert!(!proxy.page("/ready").await.contains("issuer `two`"));
    // Nonsense in the place of keys changes nothing for those whom they know.
    assert_eq!(tried(&caller, &of("garbage")).await.refusal().0, 14);
    garbage.publish(bob.set(), Duration::ZERO);
    eventually!(tried(&caller, &of("garbage")).await.code() == Some(0));
}

#[tokio::test]
async fn a_thousand_unknown_keys_are_one_fetch_and_who_comes_while_it_lasts_waits_for_it() {
    let upstream = echo("1").await;
    let (old, new) = (Signer::new("EdDSA", "old"), Signer::new("EdDSA", "new"));
    let server = KeyServer::start(old.set()).await;
    let top = format!("issuers:\n{}", fetched("one", &server.url()));
    let listener = "filters: [{jwt: {issuers: [one]}}]";
    let proxy = TestProxy::with(&[upstream.address()], Setup { top: &top, listener, ..Setup::default() }).await;
    let caller = proxy.caller().await;
    let good = claims("one", "ann", json!({}));
    eventually!(tried(&caller, &old.token(&good)).await.code() == Some(0));
    server.publish(new.set(), Duration::from_millis(800));
    for number in 0..1_000 {
        let header = json!({"alg": "EdDSA", "kid": format!("{number:x}")}).to_string();
        let answer = tried(&caller, &old.sign(header, good.to_string())).await;
        assert_eq!(answer.refusal(), (16, "token_key".into()), "{}", answer.message());
    }
    let first = server.asked()[0];
    if first.elapsed() < Duration::from_millis(9_500) {
        assert_eq!(server.asked().len(), 1);
        assert_eq!(tried(&caller, &old.token(&good)).await.code(), Some(0), "those who are known go on");
    }
    eventually!(server.asked().len() == 2);
    let begun = tokio::time::Instant::now();
    let answer = tried(&caller, &new.token(&good)).await;
    assert_eq!(answer.code(), Some(0), "it waited for the fetch that was under way: {answer:?}");
    assert!(begun.elapsed() > Duration::from_millis(300), "{:?}", begun.elapsed());
    let asked = server.asked();
    assert!(asked[1] - asked[0] >= Duration::from_millis(9_900), "{:?}", asked[1] - asked[0]);
    // The old key is gone, and what was remembered with it.
    assert_eq!(tried(&caller, &old.token(&good)).await.refusal(), (16, "token_key".into()));
}

#[tokio::test]
async fn an_open_stream_ends_with_its_token_where_that_is_asked_for() {
    let upstream = echo("1").await;
    let ann = Signer::new("EdDSA", "k");
    let top = format!("issuers:\n{}", inline("one", &ann).replace("audiences", "leeway: 1s, audiences"));
    for (enforce, wanted) in [("true", 1), ("false", 0)] {
        let listener = format!("filters: [{{jwt: {{issuers: [one], enforce_expiry: {enforce}}}}}]");
        let proxy =
            TestProxy::with(&[upstream.address()], Setup { top: &top, listener: &listener, ..Setup::default() }).await;
        let caller = proxy.caller().await;
        let token = ann.token(&claims("one", "ann", json!({"exp": now() + 1})));
        let mut open = caller.open(Ask::echo("Bidi").with("authorization", format!("Bearer {token}"))).await;
        open.send(b"");
        let answer = tokio::time::timeout(Duration::from_secs(4), open.answer()).await;
        let refusals: Vec<_> = answer.iter().map(Answer::refusal).collect();
        assert_eq!(refusals, vec![(16, "token_expired".to_owned()); wanted], "enforce_expiry: {enforce}");
    }
}

#[tokio::test]
async fn the_owner_of_an_agent_is_the_subject_of_the_token() {
    let (ann, other) = (Signer::new("EdDSA", "k"), Signer::new("EdDSA", "k"));
    let text = format!(
        "workers: 1\nstate: memory\nissuers:\n{}{}clusters: {{agents: {{registry: {{admit: 'registration.author == claims.author'}}}}}}\n\
         listeners:\n  sdk:\n    address: 127.0.0.1:0\n    filters: [{{jwt: {{issuers: [one, two]}}}}]\n    routes: [{{match: {{service: bindu.grpc.BinduService}}, register_into: agents}}]\n",
        inline("one", &ann),
        inline("two", &other)
    );
    let proxy = TestProxy::yaml(&text).await;
    let mut client = BinduServiceClient::connect(format!("http://{}", proxy.listener("sdk"))).await.unwrap();
    let mut register = async |token: Option<String>| {
        let mut request = tonic::Request::new(registration("n", 50_000));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        client.register_agent(request).await.map(|answer| answer.into_inner())
    };
    let author = json!({"author": "a@b.test"});
    assert_eq!(register(None).await.unwrap_err().code(), tonic::Code::Unauthenticated);
    let not_admitted = register(Some(ann.token(&claims("one", "ann", json!({"author": "x@y.test"}))))).await.unwrap();
    assert!(!not_admitted.success && not_admitted.error.contains("admit"), "{not_admitted:?}");
    let fails = register(Some(ann.token(&claims("one", "ann", json!({}))))).await.unwrap();
    assert!(!fails.success, "{fails:?}");
    let nobody = register(Some(ann.token(&claims("one", "", author.clone())))).await.unwrap_err();
    assert_eq!(nobody.code(), tonic::Code::PermissionDenied);
    let good = register(Some(ann.token(&claims("one", "ann", author.clone())))).await.unwrap();
    assert!(good.success, "{good:?}");
    assert_eq!(proxy.json("/agents").await[0]["owner"], "one ann");
    for (signer, issuer, subject) in [(&ann, "one", "bob"), (&other, "two", "ann")] {
        let theirs = register(Some(signer.token(&claims(issuer, subject, author.clone())))).await.unwrap();
        assert!(!theirs.success, "{issuer} {subject}: {theirs:?}");
    }
    assert!(register(Some(ann.token(&claims("one", "ann", author)))).await.unwrap().success, "and the first may again");
}

/// What must be found nowhere, and what was found of it in the log.
static SECRETS: Mutex<(Vec<String>, Vec<String>)> = Mutex::new((Vec::new(), Vec::new()));

/// A log that keeps the lines that have something secret in them.
struct Sieve;

impl io::Write for Sieve {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut secrets = SECRETS.lock();
        let text = String::from_utf8_lossy(line);
        if secrets.0.iter().any(|secret| text.contains(secret)) {
            secrets.1.push(text.into_owned());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_of_a_token_is_in_a_log_a_page_a_metric_or_an_answer() {
    // Of everybody's, the caller's own log would have what it sends.
    let ours = "portunus=trace,tokens=trace,filter_jwt=trace,it=trace";
    let log = tracing_subscriber::fmt().with_env_filter(ours).with_writer(|| Sieve);
    assert!(log.try_init().is_ok(), "no other test of this binary sets up a log");
    let ann = Signer::new("EdDSA", "kidneedle");
    let secret = "secretneedle-secretneedle-secretneedle";
    let folder = Folder::new("jwt");
    let (kept, access) = (folder.write("secret", secret), folder.at("access.jsonl"));
    let (upstream, _) = keeping().await;
    let top = format!(
        "access_log: {{file: {}}}\nissuers:\n{}  sec: {{issuer: sec, audiences: [test], secret_file: {}}}\n{}",
        access.display(),
        inline("one", &ann),
        kept.display(),
        fetched("down", &format!("http://{}/keys", refused_port())),
    );
    let listener = "filters: [{jwt: {issuers: [one, sec, down], metadata: {told: x-told}}}]";
    let proxy = TestProxy::with(&[upstream.address()], Setup { top: &top, listener, ..Setup::default() }).await;
    let caller = proxy.caller().await;
    let changed = |value: Value| claims("one", "annneedle", json!({"other": "claimneedle", "told": value}));
    let tokens = [
        ann.token(&changed(json!("toldneedle"))),
        ann.token(&changed(json!("toldneedle\n"))),
        ann.token(&claims("one", "annneedle", json!({"exp": 1, "other": "claimneedle"}))),
        ann.sign(r#"{"alg":"EdDSA","kid":"kidneedle2"}"#, changed(json!(1)).to_string()),
        Signer::with_secret("HS256", secret.as_bytes()).token(&claims(
            "sec",
            "annneedle",
            json!({"told": "toldneedle"}),
        )),
        ann.token(&claims("down", "annneedle", json!({"other": "claimneedle"}))),
        ann.token(&claims("issneedle", "annneedle", json!({}))),
        "brokenneedle.brokenneedle.brokenneedle".to_owned(),
    ];
    let mut needles: Vec<String> = tokens.iter().flat_map(|token| token.split('.').map(str::to_owned)).collect();
    needles.extend(
        ["claimneedle", "toldneedle", "kidneedle2", "secretneedle", "issneedle", "brokenneedle"].map(str::to_owned),
    );
    needles.retain(|needle| needle.len() > 8);
    SECRETS.lock().0 = needles.clone();
    let mut codes = Vec::new();
    for token in &tokens {
        for _ in 0..2 {
            let answer = tried(&caller, token).await;
            codes.push(answer.code().unwrap());
            let shown = format!("{answer:?} {}", answer.message());
            assert!(!needles.iter().any(|needle| shown.contains(needle.as_str())), "{shown}");
        }
    }
    assert_eq!(codes, [0, 0, 7, 7, 16, 16, 16, 16, 0, 0, 14, 14, 16, 16, 16, 16]);
    for page in ["/metrics", "/config", "/ready", "/routes", "/clusters", "/instances"] {
        let page = proxy.page(page).await;
        // The public key is in the configuration, by its name.
        assert!(!needles.iter().any(|needle| page.contains(needle.as_str())), "{page}");
    }
    proxy.drain(Duration::from_secs(5)).await;
    let written = std::fs::read_to_string(&access).unwrap();
    assert!(
        written.lines().count() == 16 && written.contains("\"subject\":\"annneedle\",\"issuer\":\"one\""),
        "{written}"
    );
    assert!(!needles.iter().any(|needle| written.contains(needle.as_str())), "{written}");
    tracing::info!("claimneedle");
    let found = SECRETS.lock().1.clone();
    assert!(found.len() == 1 && found[0].contains("claimneedle"), "only what the test itself has written: {found:?}");
}
