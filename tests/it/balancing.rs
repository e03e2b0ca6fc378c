//! Who gets the calls, over real connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use portunus_agents::echo::Server;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{Ask, Caller, Setup, TestProxy, chunk, echo, eventually, soon};

async fn three() -> [Server; 3] {
    [echo("0").await, echo("1").await, echo("2").await]
}

fn addresses(servers: &[Server]) -> Vec<SocketAddr> {
    servers.iter().map(Server::address).collect()
}

fn seen(servers: &[Server]) -> Vec<u64> {
    servers.iter().map(|server| server.handle().calls().seen).collect()
}

/// So many calls over each of these connections, ten at once: as one ends, the next begins.
async fn load(callers: &[Caller], each: usize) {
    let one_after_the_other = |caller| async move {
        for _ in 0..each / 10 {
            Caller::echoed(caller, Ask::echo("Unary")).await;
        }
    };
    join_all(callers.iter().flat_map(|caller| (0..10).map(move |_| one_after_the_other(caller)))).await;
}

#[tokio::test]
async fn round_robin_gives_each_its_third() {
    let servers = three().await;
    let setup = Setup { workers: 2, cluster: "balance: round_robin", ..Setup::default() };
    let proxy = TestProxy::with(&addresses(&servers), setup).await;
    load(&[proxy.caller().await, proxy.caller().await], 500).await;
    let seen = seen(&servers);
    assert!(seen.iter().all(|calls| (332..=336).contains(calls)), "{seen:?}");
}

#[tokio::test]
async fn least_request_sends_a_slow_instance_less_than_a_fifth() {
    let servers = three().await;
    for (server, delay) in servers.iter().zip([30, 3, 3]) {
        server.handle().set_delay(Duration::from_millis(delay));
    }
    let setup = Setup { workers: 2, cluster: "balance: least_request", ..Setup::default() };
    let proxy = TestProxy::with(&addresses(&servers), setup).await;
    load(&[proxy.caller().await, proxy.caller().await], 500).await;
    let seen = seen(&servers);
    assert!(seen[0] < 200 && seen.iter().sum::<u64>() == 1_000, "{seen:?}");
}

#[tokio::test]
async fn weights_of_instances_and_shares_of_a_split() {
    let servers = three().await;
    let [a, b, c] = [0, 1, 2].map(|n: usize| servers[n].address());
    let proxy = TestProxy::yaml(&format!(
        "workers: 1
clusters:
  weighted: {{endpoints: [{{address: {a}, weight: 3}}, {b}], balance: round_robin}}
  lone: {{endpoints: [{c}]}}
listeners:
  edge:
    address: 127.0.0.1:0
    routes:
      - {{match: {{headers: {{x-split: {{present: true}}}}}}, split: [{{cluster: weighted, weight: 30}}, {{cluster: lone, weight: 70}}]}}
      - cluster: weighted
"
    ))
    .await;
    let caller = proxy.caller().await;
    load(&[caller], 400).await;
    assert_eq!(seen(&servers), [300, 100, 0]);
    let caller = proxy.caller().await;
    for _ in 0..100 {
        join_all((0..10).map(|_| caller.echoed(Ask::echo("Unary").with("x-split", "1")))).await;
    }
    let lone = seen(&servers)[2];
    // Binomial, 1,000 draws of 0.7: five standard deviations are 72.
    assert!((620..=780).contains(&lone), "{lone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_no_new_call_fails() {
    let [one, two, victim] = three().await;
    let setup = Setup { workers: 2, cluster: "balance: round_robin", ..Setup::default() };
    let proxy = TestProxy::with(&[one.address(), two.address(), victim.address()], setup).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (caller, stop) = (proxy.caller().await, Arc::clone(&stop));
        callers.spawn(async move {
            let mut failed = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = caller.unary(Ask::echo("Unary").with("x-delay-ms", "2"), &chunk(b"x")).await;
                if answer.code() != Some(0) {
                    failed.push((begun, answer));
                }
            }
            failed
        });
    }
    eventually!(victim.handle().calls().seen > 100);
    let handle = victim.handle();
    let killed = Instant::now();
    victim.kill().await;
    let before = one.handle().calls().seen;
    eventually!(one.handle().calls().seen > before + 300);
    assert!(killed.elapsed() > Duration::from_millis(150), "long enough to see");
    stop.store(true, Ordering::Relaxed);
    let failed: Vec<_> = soon(callers.join_all()).await.into_iter().flatten().collect();
    let late: Vec<_> = failed.iter().filter(|(begun, _)| *begun > killed + Duration::from_millis(100)).collect();
    assert!(late.is_empty(), "begun 100 ms after the kill, and failed: {late:?}");
    assert!(failed.len() <= handle.calls().cancelled as usize + 8, "only what was open on it: {}", failed.len());
    assert!(failed.iter().all(|(_, answer)| answer.code() == Some(14)), "{failed:?}");
}

#[tokio::test]
async fn an_instance_that_comes_back_gets_calls_again() {
    let (one, victim) = (echo("one").await, echo("victim").await);
    let setup = Setup { cluster: "balance: round_robin", ..Setup::default() };
    let proxy = TestProxy::with(&[one.address(), victim.address()], setup).await;
    let caller = proxy.caller().await;
    load(std::slice::from_ref(&caller), 20).await;
    let address = victim.address();
    victim.kill().await;
    load(std::slice::from_ref(&caller), 50).await;
    let options = portunus_agents::echo::Options { listen: address, instance: "back".into(), ..Default::default() };
    let _back = Server::start(options).await.unwrap();
    // Avoided for a moment after each refused connection, 10 s at the most.
    eventually!(caller.echoed(Ask::echo("Unary")).await == "back");
}
