//! Another configuration takes the place of the one in force: calls go on, each by one version; what is wrong changes nothing.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::agents::sdk;
use crate::harness::{
    Ask, Authority, Caller, Folder, Got, Process, Reflecting, TestProxy, Upstream, chunk, echo, eventually, fields,
    framed, free_addresses, head, refused_port, running, soon,
};

/// Says which `x-gen` a request had.
async fn telling() -> Upstream {
    Upstream::start(|mut got: Got| async move {
        let saw = got.field("x-gen").unwrap_or_default();
        got.reply.send_response(head(&[("x-saw", saw), ("grpc-status", "0")]), true).unwrap();
    })
    .await
}

/// Says who it is.
async fn answering(name: &'static str) -> Upstream {
    Upstream::start(move |mut got: Got| async move {
        if got.head.uri.path().ends_with("/Nothing") {
            got.reply.send_response(head(&[("grpc-status", "12")]), true).unwrap();
            return;
        }
        let mut body = got.reply.send_response(head(&[("x-instance", name)]), false).unwrap();
        body.send_data(framed(b""), false).unwrap();
        body.send_trailers(fields(&[("grpc-status", "0")])).unwrap();
    })
    .await
}

/// Who answers a call.
async fn who(caller: &Caller) -> String {
    let answer = caller.unary(Ask::echo("Unary"), &chunk(b"ping")).await;
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    answer.field("x-instance").unwrap()
}

/// A file of a generation: it marks requests and answers, and has its own instance, route and filters.
fn generation(mark: &str, (instance, both): (SocketAddr, SocketAddr), more: &str) -> String {
    format!(
        "workers: 2\nclusters: {{{mark}: {{endpoints: [\"{instance}\"]}}, both: {{endpoints: [\"{both}\"]}}}}\nlisteners:\n  edge:\n    \
         address: 127.0.0.1:0\n    filters: [{{metadata: {{set: {{x-gen: {mark}}}}}}}]\n    routes:\n      \
         - {{match: {{method: Bidi}}, cluster: both}}\n      \
         - {{cluster: {mark}, filters: [{{metadata: {{response: {{set: {{x-gen: {mark}}}}}}}}}{more}]}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_fail_no_call_and_no_call_sees_two_versions() {
    let (one, two, both) = (telling().await, telling().await, echo("both").await);
    let texts = [
        generation("one", (one.address(), both.address()), ""),
        generation("two", (two.address(), both.address()), ", {limits: {messages: 100000}}"),
    ];
    let proxy = TestProxy::yaml(&texts[0]).await;
    let (over, calls, seen) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let (over, calls, seen) = (Arc::clone(&over), Arc::clone(&calls), Arc::clone(&seen));
        let caller = proxy.caller().await;
        callers.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let answer = caller.unary(Ask::echo("Unary"), &chunk(b"ping")).await;
                assert_eq!(answer.code(), Some(0), "{answer:?}");
                let (saw, told) = (answer.field("x-saw").unwrap(), answer.field("x-gen").unwrap());
                assert_eq!(saw, told, "a call sees one version");
                calls.fetch_add(1, Ordering::Relaxed);
                seen.fetch_or(if told == "one" { 1 } else { 2 }, Ordering::Relaxed);
            }
        });
    }
    let caller = proxy.caller().await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut open = caller.open(Ask::echo("Bidi")).await;
        open.send(&chunk(b"before"));
        streams.push(open);
    }
    for round in 1..=100 {
        proxy.reload(&texts[round % 2]).await.unwrap();
        // In force for every call that begins now.
        let answer = proxy.caller().await.unary(Ask::echo("Unary"), &chunk(b"ping")).await;
        assert_eq!(answer.field("x-gen").as_deref(), Some(["one", "two"][round % 2]));
    }
    over.store(true, Ordering::Relaxed);
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    for mut open in streams {
        open.finish(framed(&chunk(b"after")));
        let answer = soon(open.answer()).await;
        assert_eq!((answer.code(), answer.messages().len()), (Some(0), 2), "{answer:?}");
    }
    assert!(calls.load(Ordering::Relaxed) >= 500 && seen.load(Ordering::Relaxed) == 3);
    let status = proxy.json("/config/status").await;
    assert_eq!((&status["generation"], &status["last_error"]), (&101.into(), &serde_json::Value::Null));
    assert_eq!(proxy.metric("portunus_config_reloads_total", &[("result", "applied")]).await, 100.0);
}

#[tokio::test]
async fn what_is_wrong_changes_nothing_and_is_told() {
    let instance = echo("a").await;
    let text = |listeners: &str| {
        format!(
            "clusters: {{echo: {{endpoints: [\"{}\"]}}}}\nlisteners:\n  edge: {{address: \"127.0.0.1:0\", routes: [{{cluster: echo}}]}}\n{listeners}",
            instance.address()
        )
    };
    let proxy = TestProxy::yaml(&text("")).await;
    let before = (proxy.address(), proxy.page("/config").await);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("  more: {{address: \"{}\", routes: [{{cluster: echo}}]}}\n", taken.local_addr().unwrap());
    let fixed = |top: &str| format!("{top}\n{}", text(""));
    for (wrong, words) in [
        (text(&taken), "listener `more` cannot listen on"),
        (
            text(
                "  more: {address: \"127.0.0.1:0\", tls: {certificate: /no/such/file, key: /no/such/key}, routes: [{cluster: echo}]}\n",
            ),
            "/no/such/",
        ),
        (
            text(
                "  more: {address: \"127.0.0.1:0\", filters: [{jwt: {issuers: [nobody]}}], routes: [{cluster: echo}]}\n",
            ),
            "no issuer is named `nobody`",
        ),
        (
            text(
                "  more: {address: \"127.0.0.1:0\", filters: [{audit: {file: /no/such/folder/audit}}], routes: [{cluster: echo}]}\n",
            ),
            "/no/such/folder/audit",
        ),
        (fixed("workers: 7"), "workers: cannot change while the proxy runs"),
        (fixed("state: {dir: ./elsewhere}"), "state: cannot change while the proxy runs"),
        (fixed("access_log: {file: stderr}"), "access_log: cannot change while the proxy runs"),
        (fixed("admin: {address: 127.0.0.1:1}"), "admin.address: cannot change while the proxy runs"),
    ] {
        // The file that `fixed` makes begins with what it is about, or has the admin port added.
        let said = proxy.reload(&wrong).await.unwrap_err();
        assert!(said.contains(words), "{said}");
        let status = proxy.json("/config/status").await;
        assert_eq!(status["generation"], 1);
        assert!(status["last_error"].as_str().unwrap().contains(words), "{status}");
        assert_eq!((proxy.address(), proxy.page("/config").await), before, "what runs is shown");
        assert_eq!(proxy.caller().await.echoed(Ask::echo("Unary")).await, "a");
    }
    assert_eq!(proxy.metric("portunus_config_reloads_total", &[("result", "failed")]).await, 8.0);
    proxy.reload(&text("")).await.unwrap();
    assert_eq!(proxy.json("/config/status").await["last_error"], serde_json::Value::Null);
}

#[tokio::test]
async fn listeners_come_and_go_and_a_socket_that_stays_goes_on() {
    let instance = echo("a").await;
    let text = |listeners: &str| {
        format!("clusters: {{echo: {{endpoints: [\"{}\"]}}}}\nlisteners:\n{listeners}", instance.address())
    };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let of = |name: &str, address: &str| format!("  {name}: {{address: \"{address}\", routes: [{{cluster: echo}}]}}\n");
    let edge = of("edge", "127.0.0.1:0");
    let proxy = TestProxy::yaml(&text(&edge)).await;
    let first = proxy.caller().await;

    proxy.reload(&text(&(edge.clone() + &of("more", &port.to_string())))).await.unwrap();
    assert_eq!(proxy.listener("edge"), proxy.address(), "port 0 of a listener that stays is the port that it has");
    let more = Caller::connect(port).await;
    assert_eq!(more.echoed(Ask::echo("Unary")).await, "a");

    // Another name, the same address: it is never closed.
    let renaming = async { proxy.reload(&text(&(edge.clone() + &of("other", &port.to_string())))).await.unwrap() };
    let knocking = async {
        for _ in 0..20 {
            TcpStream::connect(port).await.expect("nobody is refused");
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(renaming, knocking);
    let other = Caller::connect(port).await;
    assert_eq!(other.echoed(Ask::echo("Unary")).await, "a");
    // The listener that it came by is gone.
    soon(more.ended()).await.unwrap();
    assert_eq!(first.echoed(Ask::echo("Unary")).await, "a", "connections of those that stay stay");

    proxy.reload(&text(&edge)).await.unwrap();
    soon(other.ended()).await.unwrap();
    eventually!(TcpStream::connect(port).await.is_err());
    assert_eq!(first.echoed(Ask::echo("Unary")).await, "a");
    assert!(proxy.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_listener_that_has_tls_now_keeps_nobody_in_the_clear() {
    let (ca, instance) = (Authority::new(), echo("a").await);
    let text = |tls: &str| {
        format!(
            "clusters: {{echo: {{endpoints: [\"{}\"]}}}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    {tls}\n    routes: [{{cluster: echo}}]\n",
            instance.address()
        )
    };
    let proxy = TestProxy::yaml(&text("")).await;
    let clear = proxy.caller().await;
    assert_eq!(clear.echoed(Ask::echo("Unary")).await, "a");
    proxy.reload(&text(&ca.listener(""))).await.unwrap();
    soon(clear.ended()).await.unwrap();
    let secured = ca.caller(proxy.address(), None).await.unwrap();
    assert_eq!(secured.echoed(Ask::echo("Unary")).await, "a");
    proxy.reload(&text("")).await.unwrap();
    drop(soon(secured.ended()).await);
    assert_eq!(proxy.caller().await.echoed(Ask::echo("Unary")).await, "a");
}

#[tokio::test]
async fn endpoints_that_stay_keep_what_is_known_of_them() {
    let (one, two, three) = (answering("one").await, answering("two").await, answering("three").await);
    let health = "health: {interval: 20ms, method: portunus.test.Echo/Unary}";
    let text = |instances: &[SocketAddr], more: &str| {
        let instances: Vec<_> = instances.iter().map(|address| format!("\"{address}\"")).collect();
        format!(
            "workers: 1\nclusters: {{echo: {{endpoints: [{}], {health}{more}}}}}\nlisteners: {{edge: {{address: \"127.0.0.1:0\", routes: [{{cluster: echo}}]}}}}\n",
            instances.join(", ")
        )
    };
    let proxy = TestProxy::yaml(&text(&[one.address(), two.address()], ", balance: round_robin")).await;
    let healthy = async || {
        let page = proxy.json("/instances").await;
        page.as_array().unwrap().iter().filter(|instance| instance["state"] == "healthy").count()
    };
    eventually!(healthy().await == 2);
    let caller = proxy.caller().await;
    for _ in 0..4 {
        who(&caller).await;
    }
    let stays = one.connections();
    proxy.reload(&text(&[one.address(), three.address()], ", balance: random")).await.unwrap();
    let mut went = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..20 {
        *went.entry(who(&caller).await).or_default() += 1;
    }
    assert!(went.contains_key("one") && !went.contains_key("two"), "{went:?}");
    assert_eq!(one.connections(), stays, "its connection is the one that it had");
    eventually!(healthy().await == 2);
    // The check itself is another one now: nobody answers it.
    let other = text(&[one.address(), three.address()], "").replace("Echo/Unary", "Echo/Nothing");
    proxy.reload(&other).await.unwrap();
    eventually!(healthy().await == 0);
    proxy.reload(&text(&[one.address(), three.address()], "")).await.unwrap();
    eventually!(healthy().await == 2);
    // A cluster of another kind under the same name begins anew.
    let port = two.address().port();
    let by_name = format!(
        "workers: 1\nclusters: {{echo: {{dns: {{name: localhost, port: {port}}}}}}}\nlisteners: {{edge: {{address: \"127.0.0.1:0\", routes: [{{cluster: echo}}]}}}}\n"
    );
    proxy.reload(&by_name).await.unwrap();
    assert_eq!(who(&caller).await, "two", "its addresses were there before its first call");
}

/// Not after a time that might be too short for a call, and too long for who reloads often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_gone_goes_on_for_as_long_as_a_call_has_it() {
    let echo = echo("e").await;
    let text = |name: &str| {
        format!(
            "clusters: {{{name}: {{endpoints: [\"{}\"]}}}}\nlisteners: {{edge: {{address: \"127.0.0.1:0\", routes: [{{cluster: {name}}}]}}}}\n",
            echo.address()
        )
    };
    let proxy = TestProxy::yaml(&text("old")).await;
    let caller = proxy.caller().await;
    let mut open = caller.open(Ask::echo("Bidi")).await;
    open.send(&chunk(b"a"));
    let old = Arc::downgrade(&proxy.cluster("old"));
    proxy.reload(&text("new")).await.unwrap();
    assert_eq!(caller.unary(Ask::echo("Unary"), &chunk(b"x")).await.code(), Some(0));
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(old.strong_count() > 0, "a call has it");
    open.send(&chunk(b"b"));
    open.finish(Bytes::new());
    let answer = soon(open.answer()).await;
    assert_eq!((answer.code(), answer.messages().len()), (Some(0), 2), "{answer:?}");
    let ended = tokio::time::Instant::now();
    eventually!(old.strong_count() == 0);
    assert!(ended.elapsed() < Duration::from_secs(3), "it took {:?}", ended.elapsed());
}

#[tokio::test]
async fn registrations_outlive_reloads_and_the_absence_of_their_cluster() {
    let text = |clusters: &str, routes: &str| {
        format!(
            "state: memory\nclusters: {{{clusters}}}\nlisteners:\n  sdk: {{address: \"127.0.0.1:0\", routes: [{{register_into: agents}}]}}\n  \
             edge: {{address: \"127.0.0.1:0\", routes: [{routes}]}}\n"
        )
    };
    let agents = |more: &str| format!("agents: {{registry: {{{more}}}, health: {{interval: 50ms}}}}");
    let with = |more: &str| text(&agents(more), "{cluster: agents}");
    let proxy = TestProxy::yaml(&with("lease: 20s")).await;
    let _agent = sdk(&proxy, "calc", "one").await;
    let count = async || proxy.json("/instances").await.as_array().unwrap().len();
    let since = proxy.json("/instances").await[0]["since"].clone();
    proxy.reload(&with("lease: 40s")).await.unwrap();
    let after = proxy.json("/instances").await;
    assert_eq!((after.as_array().unwrap().len(), &after[0]["since"]), (1, &since));
    assert_eq!(proxy.cluster("agents").registry().unwrap().settings().lease, Duration::from_secs(40));

    // Gone, and back: who was registered still is.
    let without = text(&format!("echo: {{endpoints: [\"{}\"]}}", refused_port()), "{cluster: echo}")
        .replace("sdk: {address: \"127.0.0.1:0\", routes: [{register_into: agents}]}", "");
    proxy.reload(&without).await.unwrap();
    assert_eq!(count().await, 1, "only the endpoint of the other cluster");
    assert!(proxy.json("/agents").await.as_array().unwrap().is_empty());
    proxy.reload(&with("")).await.unwrap();
    assert_eq!(proxy.json("/agents").await.as_array().unwrap().len(), 1);
    eventually!(proxy.json("/instances").await[0]["state"] == "healthy");
}

#[tokio::test]
async fn policies_that_read_messages_are_ready_before_their_first_call() {
    let instance = Reflecting::with(
        "syntax = \"proto3\"; package t; message R { string text = 1; } service S { rpc M(R) returns (R); }",
    )
    .await;
    let ask = || Ask::path("/t.S/M");
    let text_of = |length: u8| [&[0x0a, length][..], &vec![b'a'; length.into()]].concat();
    let text = |filters: &str| {
        format!(
            "clusters: {{echo: {{endpoints: [\"{}\"], schema: {{reflection: true}}}}}}\nlisteners: {{edge: {{address: \"127.0.0.1:0\", routes: [{{cluster: echo, filters: [{filters}]}}]}}}}\n",
            instance.address()
        )
    };
    let proxy = TestProxy::yaml(&text("")).await;
    let caller = proxy.caller().await;
    for round in 0..10 {
        // Another rule each time, so that nothing of the one before will do.
        let rule = format!("{{authz: {{allow: \"size(message.text) < {}\"}}}}", 50 + round);
        proxy.reload(&text(&rule)).await.unwrap();
        let answer = caller.unary(ask(), &text_of(5)).await;
        assert_eq!(answer.code(), Some(0), "round {round}: {answer:?}");
        let answer = caller.unary(ask(), &text_of(100)).await;
        assert_eq!(answer.refusal(), (7, "denied".into()));
        proxy.reload(&text("")).await.unwrap();
        assert_eq!(caller.unary(ask(), &text_of(100)).await.code(), Some(0));
    }
}

#[tokio::test]
async fn counters_of_filters_and_what_a_listener_serves_itself_go_on() {
    let (folder, instance) = (Folder::new("reload-kept"), echo("a").await);
    let setup = |serve: &str, rate: &str| {
        format!(
            "clusters: {{echo: {{endpoints: [\"{}\"]}}}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    {serve}\n    filters: [{{audit: {{file: {}}}}}]\n    \
             routes: [{{match: {{service: portunus.test.Echo}}, cluster: echo, filters: [{{rate_limit: {{key: request.service, rate: 1/h, burst: {rate}}}}}]}}]\n",
            instance.address(),
            folder.at("audit.jsonl").display()
        )
    };
    let health = || Ask::path("/grpc.health.v1.Health/Check");
    let proxy = TestProxy::yaml(&setup("serve: [health]", "2")).await;
    let caller = proxy.caller().await;
    let ask = async || caller.unary(Ask::echo("Unary"), &chunk(b"x")).await.code();
    assert_eq!((ask().await, caller.unary(health(), b"").await.code()), (Some(0), Some(0)));
    proxy.reload(&setup("serve: [health, reflection]", "2")).await.unwrap();
    assert_eq!((ask().await, caller.unary(health(), b"").await.code()), (Some(0), Some(0)));
    assert_eq!(ask().await, Some(8), "what was used stays used");
    proxy.reload(&setup("", "2")).await.unwrap();
    assert_eq!((ask().await, caller.unary(health(), b"").await.code()), (Some(8), Some(12)));
    proxy.reload(&setup("serve: [health]", "2")).await.unwrap();
    assert_eq!(caller.unary(health(), b"").await.code(), Some(0));
    let lines = std::fs::read_to_string(folder.at("audit.jsonl")).unwrap();
    assert_eq!(lines.matches("\"event\":\"open\"").count(), 1, "one file, opened once: {lines}");
}

/// The process, its file, and the signal.
#[tokio::test]
async fn sighup_reads_the_file_anew_and_says_what_is_wrong_with_it() {
    let (folder, one, two) = (Folder::new("reload-process"), answering("one").await, answering("two").await);
    let [admin, edge] = free_addresses();
    let text = |instance: SocketAddr| {
        format!(
            "admin: {{address: {admin}}}\nclusters: {{c: {{endpoints: [\"{instance}\"], schema: {{reflection: false}}}}}}\n\
             listeners:\n  edge:\n    address: {edge}\n    routes: [{{cluster: c}}]\n"
        )
    };
    let file = folder.write("proxy.yaml", text(one.address()));
    let mut process = Process::spawn(running(&file), &folder.at("log"), admin);
    process.until_ready(200).await;
    let caller = Caller::connect(edge).await;
    assert_eq!(who(&caller).await, "one");

    let half = text(two.address()).replace("    routes", "    rutes");
    for (wrong, words) in [(half.as_str(), "rutes"), ("listeners: [", "not YAML"), ("", "proxy.yaml")] {
        fs::write(&file, wrong).unwrap();
        process.signal("HUP").await;
        eventually!(
            process.json("/config/status").await["last_error"].as_str().is_some_and(|error| error.contains(words))
        );
        assert_eq!(
            (who(&caller).await, &process.json("/config/status").await["generation"]),
            ("one".into(), &1.into())
        );
    }
    fs::remove_file(&file).unwrap();
    process.signal("HUP").await;
    eventually!(
        process.json("/config/status").await["last_error"]
            .as_str()
            .is_some_and(|error| error.contains("cannot be read"))
    );
    fs::write(&file, text(two.address())).unwrap();
    process.signal("HUP").await;
    eventually!(process.json("/config/status").await["generation"].as_u64() >= Some(2));
    assert_eq!(who(&caller).await, "two", "on the connection that was there");
    drop(caller);
    assert_eq!(process.stop().await, Some(0));
    let log = fs::read_to_string(folder.at("log")).unwrap();
    assert!(log.contains("the one in force goes on") && log.contains("the configuration is in force"), "{log}");
}
