//! The same key, the same instance: over proxies, restarts, orders of endpoints and the death of an instance; and what has no key.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use portunus_agents::echo::Server;

use crate::harness::{Ask, Caller, Setup, TestProxy, echo};

const INSTANCES: usize = 5;
const KEYS: usize = 40;

async fn some() -> Vec<Server> {
    let mut servers = Vec::new();
    for n in 0..INSTANCES {
        servers.push(echo(&n.to_string()).await);
    }
    servers
}

async fn proxy(addresses: &[SocketAddr], balance: &str, hash_by: &str) -> TestProxy {
    let cluster = format!("balance: {balance}\nhash_by: {hash_by}");
    TestProxy::with(addresses, Setup { workers: 2, cluster: &cluster, ..Setup::default() }).await
}

fn keyed(key: usize) -> Ask {
    Ask::echo("Unary").with("x-session", format!("session {key}"))
}

/// The instance of each key.
async fn homes(caller: &Caller) -> Vec<String> {
    let mut homes = Vec::new();
    for key in 0..KEYS {
        homes.push(caller.echoed(keyed(key)).await);
    }
    homes
}

async fn keyless(proxy: &TestProxy) -> f64 {
    proxy.metric("portunus_hash_without_key_total", &[("cluster", "echo")]).await
}

#[tokio::test]
async fn a_key_has_one_instance_on_every_proxy_and_after_a_restart() {
    let servers = some().await;
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let mut others = addresses.clone();
    others.reverse();
    others.swap(0, 2);
    for balance in ["ring_hash", "maglev"] {
        let by = "metadata[\"x-session\"]";
        let first = proxy(&addresses, balance, by).await;
        let caller = first.caller().await;
        let before = homes(&caller).await;
        assert_eq!(homes(&caller).await, before, "{balance}, again");
        assert_eq!(homes(&first.caller().await).await, before, "{balance}, over another connection");
        assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), INSTANCES, "{balance}: {before:?}");
        let second = proxy(&others, balance, by).await;
        assert_eq!(homes(&second.caller().await).await, before, "{balance}, in another order");
        drop((caller, first));
        let restarted = proxy(&addresses, balance, by).await;
        assert_eq!(homes(&restarted.caller().await).await, before, "{balance}, after a restart");
        assert_eq!((keyless(&restarted).await, keyless(&second).await), (0.0, 0.0), "{balance}");
    }
}

#[tokio::test]
async fn only_the_keys_of_an_instance_that_dies_move() {
    for balance in ["ring_hash", "maglev"] {
        let mut servers = some().await;
        let addresses: Vec<_> = servers.iter().map(Server::address).collect();
        let proxy = proxy(&addresses, balance, "metadata[\"x-session\"]").await;
        let caller = proxy.caller().await;
        let before = homes(&caller).await;
        servers.remove(2).kill().await;
        // Not one call fails: a connection that is refused is another instance's call. The cluster has no health checks, so that the
        // dead one keeps its place in the table, and nobody else's keys move.
        let after = homes(&caller).await;
        for (key, (before, after)) in before.iter().zip(&after).enumerate() {
            assert_eq!(before == after, before != "2", "{balance}: {key} went from {before} to {after}");
        }
        assert!(after.iter().all(|instance| instance != "2"), "{balance}: {after:?}");
        assert_eq!(homes(&caller).await, after, "{balance}, again");
    }
}

#[tokio::test]
async fn calls_without_a_key_are_counted_and_spread() {
    let servers = some().await;
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    for balance in ["ring_hash", "maglev"] {
        // None, empty, null, and one that cannot be told.
        let by = "'metadata[\"x-kind\"] == \"null\" ? null : metadata[\"x-session\"]'";
        let proxy = proxy(&addresses, balance, by).await;
        let caller = proxy.caller().await;
        let mut seen = BTreeMap::<String, usize>::new();
        for n in 0..50 {
            let asks = [
                Ask::echo("Unary"),
                Ask::echo("Unary").with("x-kind", "any"),
                Ask::echo("Unary").with("x-kind", "any").with("x-session", ""),
                Ask::echo("Unary").with("x-kind", "null").with("x-session", "1"),
            ];
            for ask in asks {
                *seen.entry(caller.echoed(ask).await).or_default() += 1;
            }
            assert_eq!(keyless(&proxy).await, f64::from((n + 1) * 4), "{balance}");
        }
        // 200 draws of a fifth: 40, and five standard deviations are 28.
        assert!(seen.len() == INSTANCES && seen.values().all(|calls| (12..=68).contains(calls)), "{balance}: {seen:?}");
        caller.echoed(Ask::echo("Unary").with("x-kind", "any").with("x-session", "1")).await;
        assert_eq!(keyless(&proxy).await, 200.0, "{balance}: this one has a key");
    }
}

#[tokio::test]
async fn the_most_specific_pattern_of_a_method_says_what_the_key_is() {
    let servers = some().await;
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    // The least specific first, so that their order in the file is not what decides.
    let by = "{default: 'metadata[\"x-default\"]', \"portunus.*/*\": 'metadata[\"x-package\"]', \
              \"portunus.test.Echo/*\": 'metadata[\"x-service\"]', \"*/Unary\": 'metadata[\"x-method\"]', \
              \"portunus.test.Echo/Unary\": 'metadata[\"x-exact\"]'}";
    let proxy = proxy(&addresses, "ring_hash", by).await;
    let caller = proxy.caller().await;
    let all = ["x-default", "x-package", "x-service", "x-method", "x-exact"];
    let mut counted = 0.0;
    for (path, key) in [
        ("/portunus.test.Echo/Unary", "x-exact"),
        ("/portunus.test.Other/Unary", "x-method"),
        ("/portunus.test.Echo/Other", "x-service"),
        ("/portunus.test.Other/Other", "x-package"),
        ("/other.Service/Other", "x-default"),
    ] {
        // The instances do not know most of these methods. They are asked, and that is all that counts here.
        caller.unary(Ask::path(path).with(key, "1"), b"").await;
        assert_eq!(keyless(&proxy).await, counted, "{path} has its key by {key}");
        let others = all.into_iter().filter(|name| *name != key);
        caller.unary(others.fold(Ask::path(path), |ask, name| ask.with(name, "1")), b"").await;
        counted += 1.0;
        assert_eq!(keyless(&proxy).await, counted, "{path} has a key by nothing else than {key}");
    }
}
