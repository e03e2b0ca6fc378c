//! Every call is in the books once: counters, access log, open calls.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use crate::harness::{Ask, Caller, Series, Setup, TestProxy, chunk, echo, eventually, framed, soon};

/// A file for one test, gone with it.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portunus-it-{}-{name}", std::process::id()));
        drop(std::fs::remove_file(&path));
        Self(path)
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// One of many ways in which a call can go; gives the code that the caller saw, or none if it went away.
async fn one(caller: &Caller, n: usize) -> Option<u32> {
    let message = chunk(&vec![1; n % 3_000]);
    let ask = match n % 8 {
        0 => Ask::echo("Unary"),
        1 => Ask::echo("ServerStream").with("x-count", "5"),
        2 => Ask::echo("ClientStream"),
        3 => Ask::echo("Bidi"),
        4 => Ask::echo("Unary").with("x-fail", "9"),
        5 => Ask::echo("Unary").with("x-delay-ms", "5000").with("grpc-timeout", "20m"),
        6 => Ask::path("/no.Such/Thing"),
        _ => Ask::echo("Bidi").with("x-delay-ms", "60000"),
    };
    if n % 8 == 7 {
        let mut open = caller.open(ask).await;
        open.send(&message);
        // The proxy has it for certain once a later call is through.
        caller.echoed(Ask::echo("Unary")).await;
        open.cancel();
        return None;
    }
    let answer = caller.unary(ask, &message).await;
    Some(answer.code().unwrap_or_else(|| panic!("{n}: {answer:?}")))
}

#[tokio::test]
async fn every_outcome_is_in_the_books_once() {
    const CALLS: usize = 800;
    let (scratch, echo) = (Scratch::new("log"), echo("e").await);
    let top = format!("access_log: {{file: {}}}", scratch.0.display());
    let proxy = TestProxy::with(&[echo.address()], Setup { workers: 2, top: &top, ..Setup::default() }).await;
    let callers = [proxy.caller().await, proxy.caller().await];
    let mut codes: BTreeMap<u32, usize> = BTreeMap::new();
    for batch in 0..CALLS / 40 {
        let calls = (0..40).map(|n| one(&callers[n % 2], batch * 40 + n));
        for code in soon(join_all(calls)).await {
            *codes.entry(code.unwrap_or(1)).or_default() += 1;
        }
    }
    // Each that went away has sent another before.
    let all = CALLS + CALLS / 8;
    *codes.get_mut(&0).unwrap() += CALLS / 8;
    eventually!(proxy.is_quiet().await);
    let metrics = proxy.metrics().await;
    let sum = |name: &str, label: (&str, &str)| -> f64 {
        let fits = |one: &&Series| one.name == name && one.labels.get(label.0).is_some_and(|value| value == label.1);
        metrics.iter().filter(fits).map(|one| one.value).sum()
    };
    for (code, word) in
        [(0, "OK"), (1, "Canceled"), (4, "DeadlineExceeded"), (9, "FailedPrecondition"), (12, "Unimplemented")]
    {
        assert_eq!(sum("grpc_server_handled_total", ("grpc_code", word)), codes[&code] as f64, "{word}");
    }
    let total = |name: &str| metrics.iter().filter(|one| one.name == name).map(|one| one.value).sum::<f64>();
    assert_eq!(codes.values().sum::<usize>(), all);
    for name in ["grpc_server_started_total", "grpc_server_handled_total", "grpc_server_handling_seconds_count"] {
        assert_eq!(total(name), all as f64, "{name}");
    }
    assert_eq!(sum("portunus_refused_total", ("reason", "deadline")), codes[&4] as f64);
    assert_eq!(sum("portunus_refused_total", ("reason", "cancelled")), 0.0);
    assert_eq!(total("portunus_upstream_calls_total"), all as f64, "no.Such/Thing is the instance's answer");
    eventually!(scratch.lines().len() == all, "{} lines for {all} calls", scratch.lines().len());
    let lines = scratch.lines();
    let mut logged: BTreeMap<String, usize> = BTreeMap::new();
    lines.iter().for_each(|line| *logged.entry(line["code"].to_string()).or_default() += 1);
    let counts = |counts: Vec<&usize>| counts.into_iter().copied().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(counts(logged.values().collect()), counts(codes.values().collect()), "{logged:?} and {codes:?}");
    assert!(lines.iter().all(|line| line["listener"] == "edge" && line["cluster"] == "echo"), "{}", lines[0]);
    let ids: std::collections::BTreeSet<_> = lines.iter().map(|line| line["request_id"].to_string()).collect();
    assert_eq!(ids.len(), all, "each has an id of its own");
}

#[tokio::test]
async fn a_stranger_cannot_grow_the_label_set() {
    let echo = echo("e").await;
    let proxy = TestProxy::before(&[echo.address()]).await;
    let caller = proxy.caller().await;
    for n in 0..200 {
        assert_eq!(caller.unary(Ask::path(&format!("/stranger{n}.Svc/M{n}")), b"").await.code(), Some(12));
    }
    let other = [("grpc_service", "_other"), ("grpc_method", "_other")];
    assert_eq!(proxy.metric("grpc_server_handled_total", &other).await, 200.0);
    assert!(!proxy.page("/metrics").await.contains("stranger"));
    // What an instance really answers gets a name.
    for _ in 0..3 {
        caller.echoed(Ask::echo("Unary")).await;
    }
    let named = [("grpc_service", "portunus.test.Echo"), ("grpc_method", "Unary"), ("grpc_code", "OK")];
    assert_eq!(proxy.metric("grpc_server_handled_total", &named).await, 2.0, "the first one made the name known");
}

#[tokio::test]
async fn messages_and_bytes_are_counted_in_both_directions() {
    let (scratch, echo) = (Scratch::new("bytes"), echo("e").await);
    let top = format!("access_log: {{file: {}}}", scratch.0.display());
    let route = "match: {service: portunus.test.Echo, method: Bidi}";
    let proxy = TestProxy::with(&[echo.address()], Setup { top: &top, route, ..Setup::default() }).await;
    let caller = proxy.caller().await;
    let mut open = caller.open(Ask::echo("Bidi").with("x-request-id", "the-one")).await;
    for size in [0, 10, 1_000] {
        open.send(&chunk(&vec![1; size]));
    }
    open.finish(framed(&chunk(b"last")));
    let answer = soon(open.answer()).await;
    assert_eq!(answer.messages().len(), 4);
    let bidi = [("grpc_service", "portunus.test.Echo"), ("grpc_method", "Bidi")];
    eventually!(proxy.metric("grpc_server_msg_received_total", &bidi).await == 4.0);
    assert_eq!(proxy.metric("grpc_server_msg_sent_total", &bidi).await, 4.0);
    eventually!(!scratch.lines().is_empty());
    let line = &scratch.lines()[0];
    let sent: usize =
        [0, 10, 1_000].map(|size| chunk(&vec![1; size]).len()).iter().sum::<usize>() + chunk(b"last").len();
    let got: usize = answer.messages().iter().map(Vec::len).sum();
    let wanted = [
        ("request_messages", 4.into()),
        ("response_messages", 4.into()),
        ("request_bytes", sent.into()),
        ("response_bytes", got.into()),
        ("attempts", 1.into()),
        ("request_id", Value::from("the-one")),
        ("method", Value::from("Bidi")),
        ("authority", Value::from("caller.test")),
    ];
    for (key, value) in wanted {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert!(proxy.drain(Duration::from_secs(5)).await);
}
