//! Instances that are started anew in place, as another version, and instances of which it is not known yet what they mean by their
//! messages: policies read messages as their instance means them, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{Answer, Ask, Folder, Manner, Reflecting, Said, TestProxy, eventually, set};

const SECRET: &str = "TOP SECRET";
/// `t.R` whose first field, a text, is `1`.
const ASKED: &[u8] = b"\x0a\x011";
const CALLERS: usize = 20;

/// A schema of `t.S` and `t.U`; `t.R` has these fields.
fn proto(fields: &str) -> String {
    format!(
        "syntax = \"proto3\"; package t; service S {{ rpc M(R) returns (R); }} service U {{ rpc N(O) returns (O); }}
        message R {{ {fields} }} message O {{ string o = 1; }}"
    )
}

fn old() -> String {
    proto("string secret = 1; string name = 2;")
}

/// `t.R` with the secret and something else, under these numbers.
fn answer(secret: u32, name: u32) -> Said {
    let mut octets = Vec::new();
    for (number, text) in [(secret, SECRET), (name, "n")] {
        prost::encoding::string::encode(number, &text.to_owned(), &mut octets);
    }
    Said::Always(octets)
}

async fn before(instances: &[&Reflecting], filter: &str) -> TestProxy {
    let addresses: Vec<_> = instances.iter().map(|instance| instance.address().to_string()).collect();
    TestProxy::yaml(&format!(
        "workers: 2\nclusters:
  echo: {{endpoints: [{}], balance: round_robin, schema: {{reflection: {{refresh: 1h}}}}}}
listeners:
  edge:
    address: 127.0.0.1:0
    routes:
      - {{match: {{service: t.S}}, cluster: echo, filters: [{filter}]}}
      - {{cluster: echo}}\n",
        addresses.join(", ")
    ))
    .await
}

/// Callers that go on until they are told to stop, and judge each answer.
struct Callers {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU32>,
    running: JoinSet<()>,
}

impl Callers {
    async fn of(proxy: &TestProxy, judge: fn(&Answer) -> bool) -> Self {
        let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let mut running = JoinSet::new();
        for _ in 0..CALLERS {
            let (over, answered, caller) = (Arc::clone(&over), Arc::clone(&answered), proxy.caller().await);
            running.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    if judge(&caller.unary(Ask::path("/t.S/M"), ASKED).await) {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        }
        Self { over, answered, running }
    }

    async fn more(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        eventually!(self.answered.load(Ordering::Relaxed) > before + 100);
    }

    async fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        while let Some(done) = self.running.join_next().await {
            done.unwrap();
        }
    }
}

fn is_hidden(answer: &Answer) -> bool {
    let leaks = |octets: &[u8]| octets.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
    assert!(answer.messages().iter().all(|message| !leaks(message)), "{answer:?}");
    if answer.code() == Some(0) {
        let hidden = |message: &Vec<u8>| message.windows(3).any(|part| part == b"***");
        assert!(answer.messages().iter().all(hidden), "{answer:?}");
        return true;
    }
    assert_eq!(answer.code(), Some(14), "{answer:?}");
    false
}

/// The answer is hidden; a call whose connection was cut fails, and no other does.
fn is_cut_or_hidden(answer: &Answer) -> bool {
    is_hidden(answer) || {
        assert_ne!(answer.refusal().1, "schema_unavailable", "{answer:?}");
        false
    }
}

/// An instance gets no calls until somebody says that it is right.
async fn accept(proxy: &TestProxy) {
    eventually!(!proxy.json("/schema").await[0]["incompatible"].as_array().unwrap().is_empty());
    proxy.post("/schema/accept").await;
}

/// Until it is known of all instances what they serve.
async fn known(proxy: &TestProxy) {
    let all = |schema: &serde_json::Value| {
        let instances = schema["instances"].as_array().unwrap();
        !instances.is_empty() && instances.iter().all(|instance| instance["digest"].is_string())
    };
    eventually!(all(&proxy.json("/schema").await[0]));
}

async fn ready(proxy: &TestProxy) {
    let caller = proxy.caller().await;
    eventually!(caller.unary(Ask::path("/t.S/M"), ASKED).await.code() == Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_back_with_its_secret_elsewhere_tells_nothing() {
    let instance = Reflecting::with(&old()).await;
    instance.say("/t.S/M", answer(1, 2));
    let proxy = before(&[&instance], "{redact: {response: [secret]}}").await;
    ready(&proxy).await;
    let callers = Callers::of(&proxy, is_hidden).await;
    callers.more().await;
    let new = proto("string label = 1; string name = 2; string secret = 3;");
    instance.become_another(Manner::Honest(set(&new)), ("/t.S/M", answer(3, 1))).await;
    accept(&proxy).await;
    callers.more().await;
    // And back.
    instance.become_another(Manner::Honest(set(&old())), ("/t.S/M", answer(1, 2))).await;
    accept(&proxy).await;
    callers.more().await;
    callers.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_back_with_a_field_more_is_waited_for() {
    let instance = Reflecting::with(&old()).await;
    instance.say("/t.S/M", answer(1, 2));
    let proxy = before(&[&instance], "{redact: {response: [secret]}}").await;
    ready(&proxy).await;
    let callers = Callers::of(&proxy, is_cut_or_hidden).await;
    for added in ["a", "b", "c"] {
        callers.more().await;
        let new = proto(&format!("string secret = 1; string name = 2; string {added} = 9;"));
        instance.become_another(Manner::Honest(set(&new)), ("/t.S/M", answer(1, 2))).await;
    }
    callers.more().await;
    callers.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_back_and_does_not_say_what_it_serves_is_in_doubt() {
    let instance = Reflecting::with(&old()).await;
    instance.say("/t.S/M", answer(1, 2));
    let proxy = before(&[&instance], "{redact: {response: [secret]}}").await;
    ready(&proxy).await;
    instance.become_another(Manner::Silent, ("/t.S/M", answer(3, 1))).await;
    let caller = proxy.caller().await;
    // Whatever was under way when it went.
    eventually!(caller.unary(Ask::path("/t.S/M"), ASKED).await.refusal() == (14, "schema_unavailable".into()));
    // Nobody reads these.
    let began = Instant::now();
    assert_eq!(caller.unary(Ask::path("/t.U/N"), b"\x0a\x01o").await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    for _ in 0..20 {
        assert_eq!(caller.unary(Ask::path("/t.S/M"), ASKED).await.refusal(), (14, "schema_unavailable".into()));
    }
    instance.turn(Manner::Honest(set(&old())));
    instance.say("/t.S/M", answer(1, 2));
    eventually!(is_hidden(&caller.unary(Ask::path("/t.S/M"), ASKED).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_which_nothing_is_known_yet_gets_no_call_that_a_policy_reads() {
    let folder = Folder::new("anew");
    let any = folder.write("any.json", "{}").display().to_string();
    for filter in [
        "{redact: {response: [secret]}}",
        "{authz: {allow: 'message.secret == \"1\"'}}",
        "{validate: {json_schema: {secret: ANY}}}",
        "{rate_limit: {key: message.name, rate: 1000000/s}}",
    ] {
        let (known, silent) = (Reflecting::with(&old()).await, Reflecting::start(Manner::Silent).await);
        for instance in [&known, &silent] {
            instance.say("/t.S/M", Said::Always(vec![]));
        }
        let proxy = before(&[&known, &silent], &filter.replace("ANY", &any)).await;
        ready(&proxy).await;
        let caller = proxy.caller().await;
        let calls = silent.calls();
        for _ in 0..50 {
            let answer = caller.unary(Ask::path("/t.S/M"), ASKED).await;
            assert_eq!(answer.code(), Some(0), "{filter}: {answer:?}");
        }
        // Those of reflection are calls too: two at most, in so short a time.
        assert!(silent.calls() <= calls + 2, "{filter}: {} calls", silent.calls() - calls);
        for _ in 0..50 {
            caller.unary(Ask::path("/t.U/N"), b"\x0a\x01o").await;
        }
        assert!(silent.calls() >= calls + 20, "{filter}: others go to both");
    }
}

/// What is known of an instance is known to all workers; a connection is one worker's.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_never_met_it_asks_too() {
    let instance = Reflecting::with(&old()).await;
    instance.say("/t.S/M", answer(1, 2));
    let proxy = before(&[&instance], "{redact: {response: [secret]}}").await;
    let first = proxy.caller().await;
    eventually!(first.unary(Ask::path("/t.S/M"), ASKED).await.code() == Some(0));
    let new = proto("string label = 1; string name = 2; string secret = 3;");
    instance.become_another(Manner::Honest(set(&new)), ("/t.S/M", answer(3, 1))).await;
    // The first worker has a caller already: this one is the other's.
    let second = proxy.caller().await;
    assert!(!is_hidden(&second.unary(Ask::path("/t.S/M"), ASKED).await), "it is another's word by now");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_waited_for_a_connection_that_ended_meanwhile_go_elsewhere() {
    let (good, fickle) = (Reflecting::with(&old()).await, Reflecting::with(&old()).await);
    for instance in [&good, &fickle] {
        instance.say("/t.S/M", answer(1, 2));
    }
    let proxy = before(&[&good, &fickle], "{redact: {response: [secret]}}").await;
    known(&proxy).await;
    fickle.become_fickle().await;
    let caller = proxy.caller().await;
    // No worker has been connected to it before.
    for _ in 0..10 {
        let answer = caller.unary(Ask::path("/t.S/M"), ASKED).await;
        assert_eq!(answer.code(), Some(0), "it goes to the other: {answer:?}");
        assert_eq!(caller.unary(Ask::path("/t.U/N"), b"\x0a\x01o").await.code(), Some(0));
    }
    assert!(proxy.metric("portunus_retries_total", &[("why", "connect_failed")]).await >= 1.0);
    assert_eq!(fickle.said(), 0);
}

/// What nobody reads is not called either: the method is not what it was.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_waited_for_one_that_may_not_have_them_any_more_do_not_reach_it() {
    for filter in ["{redact: {response: [secret]}}", "{redact: {request: [secret]}}"] {
        let instance = Reflecting::with(&old()).await;
        instance.say("/t.S/M", answer(1, 2));
        let proxy = before(&[&instance], filter).await;
        known(&proxy).await;
        let new = proto("string label = 1; string name = 2; string secret = 3;");
        instance.become_another(Manner::Honest(set(&new)), ("/t.S/M", answer(3, 1))).await;
        let caller = proxy.caller().await;
        for _ in 0..5 {
            let answer = caller.unary(Ask::path("/t.S/M"), ASKED).await;
            assert_eq!(answer.code(), Some(14), "{filter}: {answer:?}");
        }
        assert_eq!(instance.said(), 0, "{filter}");
    }
}
