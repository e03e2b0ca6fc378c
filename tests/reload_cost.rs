//! What a reload takes for calls that are open: nothing, neither to keep nor while each is judged again (by its token, a rule and the
//! condition of a route). Counted by the allocator, in a process of its own, whose threads keep nothing back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use portunus::{app, config, filters};
use portunus_agents::echo;
use portunus_dev::Signer;
use serde_json::json;
use tikv_jemalloc_ctl::{epoch, stats, stats_print};
use tokio::net::TcpStream;
use tokio::time::sleep;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the allocator is told when a process starts.
const TOLD: &str = "_RJEM_MALLOC_CONF";
const RELOADS: usize = 20;
/// For all to be judged by what is new.
const JUDGED: Duration = Duration::from_millis(60);
/// What else happens in this process meanwhile, now and then.
const SLACK: u64 = 50;
/// What filters and routes ask of a call: its token, and who calls by it.
const ISSUER: &str = "https://issuer.test";
/// For a thousand calls and 19 reloads: less than four octets a call and reload.
const KEPT: u64 = 64 * 1024;

#[test]
fn a_reload_keeps_nothing_for_calls_that_are_open() {
    if std::env::var_os(TOLD).is_none() {
        let own = std::env::current_exe().unwrap();
        let again = Command::new(own).arg("--nocapture").env(TOLD, "tcache:false").output().unwrap();
        let said = [again.stdout, again.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(again.status.success(), "{said}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let counted = runtime.block_on(counted());
    let [none, .., most] = &counted[..] else { panic!("{counted:?}") };
    assert!(none.allocations > 0 && most.open == 1_000, "{counted:?}");
    assert!(most.allocations <= none.allocations + SLACK, "{counted:?}");
    assert!(most.kept <= KEPT, "{counted:?}");
}

/// Reloads while so many streams are open.
#[derive(Debug)]
struct Counted {
    open: usize,
    /// Of a reload at its cheapest.
    allocations: u64,
    /// What all but the first have left, in octets.
    kept: u64,
}

async fn counted() -> Vec<Counted> {
    let server = echo::Server::start(echo::Options::default()).await.unwrap();
    let signer = Signer::of_pem(Signer::generate().unwrap().as_bytes()).unwrap();
    let keys = signer.key_set().unwrap().to_string();
    let token = signer.token(&json!({"iss": ISSUER, "aud": "cost", "sub": "ann"})).unwrap();
    let loaded = |mark| {
        let text = configuration(server.address(), &keys, mark);
        config::load_str(&text, Path::new("cost.yaml"), &|_| None, filters::ALL).unwrap()
    };
    let proxy = app::start(loaded(100)).await.unwrap();
    let caller = connect(proxy.address("edge").unwrap()).await;
    let (mut streams, mut counted) = (Vec::new(), Vec::new());
    for open in [0, 10, 1_000] {
        while streams.len() < open {
            streams.push(stream(&caller, &token).await);
        }
        let (mut cheapest, mut held) = (u64::MAX, 0);
        for mark in 0..RELOADS {
            if mark == 1 {
                held = allocated();
            }
            let next = loaded(101 + mark);
            let before = allocations();
            proxy.reload(next).await.unwrap();
            sleep(JUDGED).await;
            cheapest = cheapest.min(allocations() - before);
        }
        counted.push(Counted { open, allocations: cheapest, kept: allocated().saturating_sub(held) });
    }
    counted
}

/// One in which each call is asked for its token, for who that is, and for metadata: by its filters and by the route's condition.
fn configuration(instance: SocketAddr, keys: &str, mark: usize) -> String {
    format!(
        "workers: 1\nadmin: {{address: 127.0.0.1:0}}\nclusters: {{c: {{endpoints: [\"{instance}\"], schema: {{reflection: false}}}}}}\n\
         issuers: {{one: {{issuer: \"{ISSUER}\", audiences: [cost], jwks: {{inline: '{keys}'}}}}}}\n\
         listeners:\n  edge:\n    address: 127.0.0.1:0\n    limits: {{streams: 2000}}\n    filters:\n    \
         - jwt: {{issuers: [one], metadata: {{sub: x-user}}}}\n    \
         - authz: {{allow: 'claims.sub == \"ann\" && metadata[\"x-team\"] in [\"a\", \"b\"]'}}\n    \
         - metadata: {{set: {{x-mark: \"{mark}\"}}}}\n    \
         routes:\n    - {{match: {{when: 'metadata[\"x-team\"].startsWith(\"z\")'}}, cluster: c}}\n    - cluster: c\n"
    )
}

async fn connect(to: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(TcpStream::connect(to).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// One that is open and at rest: its first message is answered.
async fn stream(caller: &h2::client::SendRequest<Bytes>, token: &str) -> (SendStream<Bytes>, RecvStream) {
    let request = http::Request::post("http://localhost/portunus.test.Echo/Bidi")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
        .header("x-team", "a")
        .body(())
        .unwrap();
    let (answer, mut asked) = caller.clone().ready().await.unwrap().send_request(request, false).unwrap();
    asked.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    body.data().await.unwrap().unwrap();
    (asked, body)
}

/// Octets in use.
fn allocated() -> u64 {
    epoch::advance().unwrap();
    stats::allocated::read().unwrap() as u64
}

/// How often memory was asked for, in all threads.
fn allocations() -> u64 {
    epoch::advance().unwrap();
    let (mut page, mut options) = (Vec::with_capacity(1 << 16), stats_print::Options::default());
    options.json_format = true;
    options.skip_constants = true;
    options.skip_per_arena = true;
    options.skip_bin_size_classes = true;
    options.skip_large_size_classes = true;
    options.skip_mutex_statistics = true;
    stats_print::stats_print(&mut page, options).unwrap();
    let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
    let merged = &page["jemalloc"]["stats.arenas"]["merged"];
    let of = |size: &str| merged[size]["nmalloc"].as_u64().unwrap_or_else(|| panic!("{page}"));
    of("small") + of("large")
}
