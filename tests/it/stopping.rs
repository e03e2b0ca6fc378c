//! How the process ends: by a signal, by `POST /drain`, by a second signal, with calls open and calls coming.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{
    Answer, Ask, Caller, Folder, Process, chunk, echo, eventually, framed, free_addresses, get, post, running, soon,
};

/// A process with a listener `edge` before one instance.
struct Site {
    folder: Folder,
    process: Process,
    edge: SocketAddr,
}

impl Site {
    async fn start(name: &str, top: &str, instance: SocketAddr) -> Self {
        let folder = Folder::new(&format!("stopping-{name}"));
        let [admin, edge] = free_addresses();
        let file = folder.write(
            "proxy.yaml",
            format!(
                "workers: 2\nadmin: {{address: {admin}}}\n{top}\nclusters: {{c: {{endpoints: [\"{instance}\"], schema: {{reflection: false}}}}}}\n\
                 listeners:\n  edge: {{address: {edge}, serve: [health], routes: [{{cluster: c}}]}}\n"
            ),
        );
        let mut process = Process::spawn(running(&file), &folder.at("log"), admin);
        process.until_ready(200).await;
        Self { folder, process, edge }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.at("log")).unwrap()
    }
}

/// Unary calls one behind the other, on one connection, for as long as it takes them.
struct Load {
    calls: Arc<AtomicU32>,
    failed: JoinHandle<Vec<Answer>>,
}

impl Load {
    async fn start(address: SocketAddr) -> Self {
        let caller = Caller::connect(address).await;
        let calls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&calls);
        let failed = tokio::spawn(async move {
            let mut failed = Vec::new();
            // An error before the call has begun is the goodbye.
            while let Ok(mut open) = caller.try_open(Ask::echo("Unary"), false).await {
                open.finish(framed(&chunk(b"x")));
                let answer = soon(open.answer()).await;
                if answer.code() != Some(0) {
                    failed.push(answer);
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            failed
        });
        Self { calls, failed }
    }
}

async fn stream(caller: &Caller, count: &str) -> crate::harness::Open {
    let mut open = caller.open(Ask::echo("ServerStream").with("x-count", count).with("x-gap-us", "20000")).await;
    open.finish(framed(&chunk(b"tick")));
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sigterm_under_load_fails_no_call_and_ends_the_endless_in_words() {
    let echo = echo("e").await;
    let Site { folder, mut process, edge } =
        Site::start("load", "drain: {delay: 600ms, timeout: 2s}", echo.address()).await;
    let mut loads = Vec::new();
    for _ in 0..8 {
        loads.push(Load::start(edge).await);
    }
    let caller = Caller::connect(edge).await;
    // Goes on past the goodbye, and ends before the deadline.
    let finite = stream(&caller, "70").await;
    let endless = stream(&Caller::connect(edge).await, "1000000").await;
    let (finite, endless) = (tokio::spawn(finite.answer()), tokio::spawn(endless.answer()));
    eventually!(loads.iter().all(|load| load.calls.load(Ordering::Relaxed) > 5));
    let begun = Instant::now();
    process.signal("TERM").await;
    eventually!(get(process.admin, "/ready").await.is_ok_and(|(status, _)| status == 503));
    // Whoever has not heard it yet is served as before.
    let late = Caller::connect(edge).await;
    assert_eq!(late.echoed(Ask::echo("Unary")).await, "e");
    let health = late.unary(Ask::path("/grpc.health.v1.Health/Check"), b"").await;
    assert_eq!((health.code(), health.messages()), (Some(0), vec![vec![8, 2]]), "NOT_SERVING");
    assert!(begun.elapsed() < Duration::from_millis(600), "too slow to tell: {:?}", begun.elapsed());
    for load in loads {
        let failed = soon(load.failed).await.unwrap();
        assert!(failed.is_empty(), "{failed:?}");
    }
    assert!(begun.elapsed() >= Duration::from_millis(600), "the delay");
    eventually!(TcpStream::connect(edge).await.is_err(), "still listening");
    let answer = soon(finite).await.unwrap();
    assert_eq!((answer.code(), answer.messages().len()), (Some(0), 70));
    let answer = soon(endless).await.unwrap();
    assert_eq!(answer.refusal(), (14, "draining".into()), "{:?}", answer.trailers);
    let pushback: u64 = answer.field("grpc-retry-pushback-ms").unwrap().parse().unwrap();
    assert!((100..=1_000).contains(&pushback), "{pushback}");
    assert!(begun.elapsed() >= Duration::from_millis(2_600), "{:?}", begun.elapsed());
    assert_eq!(soon(process.child.wait()).await.unwrap().code(), Some(0));
    let log = std::fs::read_to_string(folder.at("log")).unwrap();
    assert!(log.contains("the time for calls is up"), "{log}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let echo = echo("e").await;
    let mut site = Site::start("twice", "drain: {delay: 1m, timeout: 1m}", echo.address()).await;
    let caller = Caller::connect(site.edge).await;
    let open = stream(&caller, "1000000").await;
    eventually!(echo.handle().calls().in_flight == 1);
    site.process.signal("TERM").await;
    eventually!(get(site.process.admin, "/ready").await.is_ok_and(|(status, _)| status == 503));
    let begun = Instant::now();
    site.process.signal("INT").await;
    assert_eq!(soon(site.process.child.wait()).await.unwrap().code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_ne!(soon(open.answer()).await.code(), Some(0));
}

#[tokio::test]
async fn post_drain_does_what_a_sigterm_does_by_the_configuration_in_force() {
    let echo = echo("e").await;
    let mut site = Site::start("post", "drain: {delay: 1m}", echo.address()).await;
    // It can be reloaded.
    let file = site.folder.at("proxy.yaml");
    let text = std::fs::read_to_string(&file).unwrap().replace("delay: 1m", "delay: 400ms, timeout: 200ms");
    std::fs::write(&file, text).unwrap();
    site.process.signal("HUP").await;
    eventually!(site.process.json("/config/status").await["generation"].as_u64() >= Some(2));
    let caller = Caller::connect(site.edge).await;
    let open = stream(&caller, "1000000").await;
    let (status, body) = post(site.process.admin, "/drain").await.unwrap();
    assert_eq!((status, body.contains("\"began\": true")), (202, true), "{body}");
    let (status, body) = post(site.process.admin, "/drain").await.unwrap();
    assert_eq!((status, body.contains("\"began\": false")), (202, true), "{body}");
    assert_eq!(get(site.process.admin, "/ready").await.unwrap().0, 503);
    let answer = soon(open.answer()).await;
    assert_eq!(answer.refusal(), (14, "draining".into()), "{:?}", answer.trailers);
    assert_eq!(soon(site.process.child.wait()).await.unwrap().code(), Some(0), "{}", site.said());
}

/// A caller that never answers the goodbye, and goes on calling on its connection: it is told, and neither keeps the drain nor is reset.
#[tokio::test]
async fn calls_that_come_after_the_end_are_refused_in_words() {
    let echo = echo("e").await;
    let mut site = Site::start("deaf", "drain: {timeout: 300ms}", echo.address()).await;
    let mut wire = crate::harness::RawWire::connect(site.edge).await;
    let head = [("content-type", "application/grpc"), ("te", "trailers")];
    let call = |id, end| crate::harness::Say::default().call(id, end, "/portunus.test.Echo/ClientStream", &head);
    wire.say(call(1, false)).await;
    eventually!(echo.handle().calls().in_flight == 1);
    site.process.signal("TERM").await;
    // The time is up. Nothing has acknowledged the PING of the goodbye: nothing is read.
    eventually!(site.said().contains("the time for calls is up"));
    wire.say(call(3, false)).await;
    for stream in [1, 3] {
        let came = wire.stream(stream).await;
        let told = came.iter().any(|frame| {
            frame.kind == crate::harness::kind::HEADERS && frame.payload.windows(8).any(|eight| eight == b"grpc-sta")
        });
        assert!(told && came.iter().all(|frame| frame.reset_code().is_none_or(|code| code == 0)), "{came:?}");
    }
    assert_eq!(soon(site.process.child.wait()).await.unwrap().code(), Some(0), "{}", site.said());
}

/// In this process, so that its counters can be read.
#[tokio::test]
async fn what_a_drain_ends_is_counted_and_a_silent_caller_does_not_keep_it() {
    let echo = echo("e").await;
    let proxy = crate::harness::TestProxy::before(&[echo.address()]).await;
    let shared = Arc::clone(&proxy.shared().metrics);
    let caller = proxy.caller().await;
    let open = stream(&caller, "1000000").await;
    let _silent = TcpStream::connect(proxy.address()).await.unwrap();
    eventually!(echo.handle().calls().in_flight == 1);
    let begun = Instant::now();
    assert!(soon(proxy.drain(Duration::from_millis(100))).await);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(soon(open.answer()).await.refusal(), (14, "draining".into()));
    assert_eq!(shared.open_calls(), 0);
    eventually!(echo.handle().calls().cancelled == 1);
}
