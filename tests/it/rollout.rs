//! A rollout under load: instances of two versions behind one cluster, a policy on a field that the new one numbers otherwise, and
//! rules of which the new one has a stricter one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use prost::Message as _;
use tokio::time::Instant;

use crate::harness::{Answer, Ask, Caller, Reflecting, Said, TestProxy, eventually};
use crate::registrar::registration;

const CALLERS: usize = 100;
const SECRET: &str = "TOP SECRET";
const REFRESH: Duration = Duration::from_secs(2);

/// `t.R` as the old version has it.
#[derive(Clone, PartialEq, prost::Message)]
struct Old {
    #[prost(string, tag = "1")]
    secret: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(int32, tag = "4")]
    level: i32,
}

/// As the new one has it: what is secret has another number, and its own is that of something else; one is added, one is of another type.
#[derive(Clone, PartialEq, prost::Message)]
struct New {
    #[prost(string, tag = "1")]
    label: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    secret: String,
    #[prost(string, tag = "4")]
    level: String,
    #[prost(string, tag = "9")]
    added: String,
}

/// The characters that a name may have: the new version is stricter.
const OLD_MOST: usize = 5;
const NEW_MOST: usize = 3;

fn proto(fields: &str, methods: &str, (most, added): (usize, &str)) -> String {
    format!(
        "syntax = \"proto3\"; package t; import \"buf/validate/validate.proto\";
        service S {{ rpc M(R) returns (R); {methods} }} service U {{ rpc N(O) returns (O); }} service V {{ rpc Check(Q) returns (Q); }}
        message R {{ {fields} }} message O {{ string o = 1; }}
        message Q {{ string who = 1 [(buf.validate.field).string.max_len = {most}]; {added} }}"
    )
}

/// What `t.V/Check` of a version answers: `t.Q` with the version's name in it.
fn checked(is_new: bool) -> &'static [u8] {
    if is_new { b"\x0a\x03new" } else { b"\x0a\x03old" }
}

async fn instance(is_new: bool) -> Reflecting {
    let (name, secret) = (String::from("n"), SECRET.to_owned());
    let (text, answer) = if is_new {
        let fields = "string label = 1; string name = 2; string secret = 3; string level = 4; string added = 9;";
        let (label, level, added) = ("label".into(), "seven".into(), "x".into());
        (proto(fields, "", (NEW_MOST, "string added = 2;")), New { label, name, secret, level, added }.encode_to_vec())
    } else {
        let fields = "string secret = 1; string name = 2; int32 level = 4;";
        (proto(fields, "rpc Gone(R) returns (R);", (OLD_MOST, "")), Old { secret, name, level: 7 }.encode_to_vec())
    };
    let instance = Reflecting::with(&text).await;
    instance.say("/t.S/M", Said::Always(answer));
    instance.say("/t.V/Check", Said::Always(checked(is_new).to_vec()));
    instance.refuse("/bindu.grpc.AgentHandler/HealthCheck");
    instance
}

/// What callers saw.
#[derive(Default)]
struct Seen {
    old: AtomicU32,
    new: AtomicU32,
    untouched: AtomicU32,
    /// Of `t.V/Check`: those that passed, and those that were refused by a rule.
    passed: AtomicU32,
    broke: AtomicU32,
    /// The stricter version has been known for a while.
    is_strict: AtomicBool,
    over: AtomicBool,
}

impl Seen {
    /// An answer of `t.S/M` hides what is secret, in the field that its own version has it in, and nothing else.
    fn judge(&self, answer: &Answer) {
        if answer.code() != Some(0) {
            // One that has just come is not known yet: refused, and never let through unread.
            assert_eq!(answer.refusal(), (14, "schema_unavailable".into()), "{answer:?}");
            return;
        }
        let message = &answer.messages()[0];
        assert!(!message.windows(SECRET.len()).any(|octets| octets == SECRET.as_bytes()), "{message:?}");
        let hidden = String::from("***");
        match New::decode(&**message).ok().filter(|new| !new.added.is_empty()) {
            Some(new) => {
                let wanted = ("label", "n", "***", "seven", "x");
                assert_eq!((&*new.label, &*new.name, &*new.secret, &*new.level, &*new.added), wanted);
                self.new.fetch_add(1, Ordering::Relaxed);
            }
            None => {
                let old = Old::decode(&**message).unwrap();
                assert_eq!(old, Old { secret: hidden, name: "n".into(), level: 7 });
                self.old.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What either version would refuse gets through to none of them.
    fn judge_check(&self, who: &str, answer: &Answer) {
        if answer.code() == Some(0) {
            let by = answer.messages().remove(0);
            assert!(who.len() <= OLD_MOST && who != "root", "{who}: {answer:?}");
            if who.len() > NEW_MOST {
                assert_eq!(by, checked(false), "{who}");
                assert!(!self.is_strict.load(Ordering::Relaxed), "{who}: {answer:?}");
            }
            self.passed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match answer.refusal() {
            (3, reason) if reason == "schema" => assert!(who.len() > NEW_MOST, "{who}: {answer:?}"),
            (7, reason) if reason == "denied" => assert_eq!(who, "root"),
            (14, reason) if reason == "schema_unavailable" => return,
            _ => panic!("{who}: {answer:?}"),
        }
        self.broke.fetch_add(1, Ordering::Relaxed);
    }

    async fn call(&self, caller: &Caller) {
        while !self.over.load(Ordering::Relaxed) {
            for who in ["ab", "abcd", "abcdef", "root"] {
                let asked = [&[0x0a, who.len() as u8], who.as_bytes()].concat();
                self.judge_check(who, &caller.unary(Ask::path("/t.V/Check"), &asked).await);
            }
            self.judge(&caller.unary(Ask::path("/t.S/M"), b"").await);
            let untouched = caller.unary(Ask::path("/t.U/N"), b"\x0a\x01o").await;
            assert_eq!(
                (untouched.code(), untouched.messages()),
                (Some(0), vec![b"\x0a\x01o".to_vec()]),
                "{untouched:?}"
            );
            self.untouched.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until callers have seen so many more answers of a version.
    async fn more(&self, of: &AtomicU32) {
        let before = of.load(Ordering::Relaxed);
        eventually!(of.load(Ordering::Relaxed) > before + 200);
    }
}

fn configuration() -> String {
    format!(
        "workers: 2\nstate: memory\nclusters:
  echo:
    registry: {{}}
    balance: round_robin
    health: {{interval: 100ms, timeout: 5s}}
    schema: {{reflection: {{refresh: {}ms}}}}
listeners:
  sdk: {{address: 127.0.0.1:0, routes: [{{match: {{service: bindu.grpc.BinduService}}, register_into: echo}}]}}
  edge:
    address: 127.0.0.1:0
    routes:
      - {{match: {{service: t.S}}, cluster: echo, filters: [{{redact: {{response: [secret]}}}}]}}
      - match: {{service: t.V}}
        cluster: echo
        filters: [{{validate: {{protovalidate: true}}}}, {{authz: {{allow: 'message.who != \"root\"'}}}}]
      - {{cluster: echo}}\n",
        REFRESH.as_millis()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_unhidden_and_nothing_untouched_fails() {
    let proxy = TestProxy::yaml(&configuration()).await;
    let sdk = BinduServiceClient::connect(format!("http://{}", proxy.listener("sdk"))).await.unwrap();
    let register = async |instance: &Reflecting| {
        let request = registration("n", instance.address().port());
        assert!(sdk.clone().register_agent(request).await.unwrap().into_inner().success);
    };
    let shown = async || proxy.json("/schema").await[0].clone();
    let known = async |many: usize| {
        let shown = shown().await;
        shown["instances"].as_array().unwrap().iter().filter(|one| one["digest"].is_string()).count() == many
    };
    let (first, rolled) = (instance(false).await, instance(false).await);
    register(&first).await;
    register(&rolled).await;
    eventually!(known(2).await);
    let ready = proxy.caller().await;
    eventually!(ready.unary(Ask::path("/t.S/M"), b"").await.code() == Some(0));

    let seen = Arc::new(Seen::default());
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (seen, caller) = (Arc::clone(&seen), proxy.caller().await);
        callers.spawn(async move { seen.call(&caller).await });
    }
    seen.more(&seen.old).await;
    assert_eq!(seen.new.load(Ordering::Relaxed), 0);

    // The second one is replaced: the new version appears beside it, under an address of its own.
    let new = instance(true).await;
    register(&new).await;
    let began = Instant::now();
    eventually!(!shown().await["drifts"].as_array().unwrap().is_empty());
    let took = began.elapsed();
    let page = shown().await;
    let drift = &page["drifts"][0];
    let what = |name: &str| {
        let changes = drift["changes"].as_array().unwrap();
        changes
            .iter()
            .filter(|change| change["name"] == name)
            .map(|change| change["what"].to_string())
            .collect::<Vec<_>>()
    };
    assert!(took < REFRESH, "{took:?}");
    assert_eq!(what("t.R.secret"), ["\"renumbered\""], "{drift}");
    assert_eq!(what("t.R.level"), ["\"retyped\""], "{drift}");
    assert_eq!(what("t.R.added"), ["\"added\""], "{drift}");
    assert_eq!(what("t.S/Gone"), ["\"removed\""], "{drift}");
    eventually!(!shown().await["incompatible"].as_array().unwrap().is_empty());
    seen.more(&seen.untouched).await;
    seen.is_strict.store(true, Ordering::Relaxed);
    seen.more(&seen.passed).await;
    seen.more(&seen.broke).await;
    let more = instance(true).await;
    register(&more).await;
    let last = instance(true).await;
    register(&last).await;
    eventually!(known(5).await);
    seen.more(&seen.old).await;
    assert_eq!(seen.new.load(Ordering::Relaxed), 0, "nobody has said that it is right");

    // Most are new by now.
    let (status, body) = proxy.post("/schema/accept").await;
    assert!(status == 200 && body.contains("t.S/M"), "{status} {body}");
    seen.more(&seen.new).await;
    let stale = seen.old.load(Ordering::Relaxed);
    seen.more(&seen.new).await;
    assert_eq!(seen.old.load(Ordering::Relaxed), stale, "the old ones get no more of its calls");
    seen.over.store(true, Ordering::Relaxed);
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
}
