//! What strangers' schemas cost a proxy in memory: measured at a process of its own, whose servers all mean ill.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{
    Ask, Authority, Caller, Folder, Process, Reflecting, echo, eventually, free_addresses, get, running,
};
use crate::schemas::{hostile, odd, one};

/// How much more it may hold at any time than before. Eight are asked at once, each for at most 16 MiB.
const MOST: u64 = 128 << 20;

/// Bytes, from a line of `/proc/PID/status`.
fn held(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let found = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    found.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

async fn instance(admin: SocketAddr, cluster: &str) -> Value {
    let page: Value = serde_json::from_str(&get(admin, "/schema").await.unwrap().1).unwrap();
    let found = page.as_array().unwrap().iter().find(|one| one["cluster"] == cluster).unwrap();
    found["instances"].as_array().unwrap().first().cloned().unwrap_or(Value::Null)
}

/// What is said of it is `why`; or, where it may be usable, that it has something else than before.
fn is_reported(instance: &Value, why: &str, before: &Value) -> bool {
    if why.is_empty() { instance["digest"] != *before } else { instance["error"].to_string().contains(why) }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_mean_ill_are_held_within_bounds() {
    let odd = odd().into_iter().map(|(name, manner)| (name, manner, ""));
    let manners: Vec<_> = hostile().into_iter().chain(odd).collect();
    let good = Reflecting::with(&one()).await;
    let (mut servers, mut clusters, mut routes) = (Vec::new(), String::new(), String::new());
    for (name, manner, _) in &manners {
        // Quiet at first, so that what is held before is known.
        let server = Reflecting::with(&one()).await;
        clusters +=
            &format!("  {name}: {{endpoints: [{}], schema: {{reflection: {{refresh: 1s}}}}}}\n", server.address());
        routes += &format!("      - {{match: {{service: t.{name}}}, cluster: {name}}}\n");
        servers.push((server, manner.clone()));
    }
    let [admin, edge] = free_addresses();
    let text = format!(
        "workers: 1\nadmin: {{address: {admin}}}\nclusters:\n{clusters}  good: {{endpoints: [{}], schema: {{}}}}\nlisteners:\n  edge:\n    \
         address: {edge}\n    routes:\n{routes}      - {{cluster: good}}\n",
        good.address()
    );
    let folder = Folder::new("memory");
    let mut process = Process::spawn(running(folder.write("proxy.yaml", text)), &folder.at("log"), admin);
    process.until_ready(200).await;
    let pid = process.child.id().unwrap();
    for name in manners.iter().map(|(name, ..)| *name).chain(["good"]) {
        eventually!(instance(admin, name).await["digest"].is_string(), "{name}");
    }
    let quiet = instance(admin, "good").await["digest"].clone();
    let before = held(pid, "VmRSS");

    servers.iter().for_each(|(server, manner)| server.turn(manner.clone()));
    let caller = Caller::connect(edge).await;
    let (began, mut reported) = (Instant::now(), 0);
    // All are asked several times, and calls of every cluster go on meanwhile.
    while reported < manners.len() || began.elapsed() < Duration::from_secs(25) {
        assert!(began.elapsed() < Duration::from_secs(60), "{reported} of {}", manners.len());
        reported = 0;
        for (name, _, why) in &manners {
            reported += usize::from(is_reported(&instance(admin, name).await, why, &quiet));
            let answer = caller.unary(Ask::path(&format!("/t.{name}/M")), b"x").await;
            assert_eq!(answer.code(), Some(0), "{name}: its calls go on");
        }
        assert_eq!(caller.unary(Ask::path("/t.S/M"), b"x").await.code(), Some(0));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let most = held(pid, "VmHWM");
    assert!(most <= before + MOST, "{} MiB before, {} MiB at the most", before >> 20, most >> 20);
    assert!(instance(admin, "good").await["digest"].is_string());
}

/// What a page of metrics says of something of the process.
async fn metric(admin: SocketAddr, name: &str) -> u64 {
    let (_, page) = get(admin, "/metrics").await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect(name);
    line.parse::<f64>().unwrap() as u64
}

/// Shakes hands so often, sixteen at a time; every tenth calls too, and every third comes without a certificate that is taken.
async fn shake_hands(ca: &Arc<Authority>, edge: SocketAddr, times: usize) {
    let mut clients = JoinSet::new();
    for client in 0..16 {
        let ca = Arc::clone(ca);
        clients.spawn(async move {
            let good = ca.workload(&format!("a{client}"));
            for time in 0..times / 16 {
                if time % 3 == 0 {
                    // In TLS 1.3 a client is done before it is refused.
                    drop(ca.connect(edge, None, &["h2"]).await);
                } else if time % 10 == 1 {
                    let caller = ca.caller(edge, Some(&good)).await.unwrap();
                    assert_eq!(caller.echoed(Ask::echo("Unary")).await, "e");
                } else {
                    ca.connect(edge, Some(&good), &["h2"]).await.unwrap();
                }
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_handshakes_leave_nothing() {
    let (ca, echo, folder) = (Arc::new(Authority::new()), echo("e").await, Folder::new("handshakes"));
    let [admin, edge] = free_addresses();
    let text = format!(
        "workers: 2\nadmin: {{address: {admin}}}\nclusters: {{echo: {{endpoints: [\"{}\"], schema: {{reflection: false}}}}}}\nlisteners:\n  \
         edge:\n    address: {edge}\n    {}\n    routes: [{{cluster: echo}}]\n",
        echo.address(),
        ca.listener("mode: required")
    );
    let mut process = Process::spawn(running(folder.write("proxy.yaml", text)), &folder.at("log"), admin);
    process.until_ready(200).await;
    let quiet = async || {
        eventually!(metric(admin, "portunus_open_connections{listener=\"edge\"}").await == 0);
        (metric(admin, "portunus_allocated_bytes").await, metric(admin, "process_open_fds").await)
    };
    // Session caches, tables and pools are full by then.
    shake_hands(&ca, edge, 2_000).await;
    let (bytes, files) = quiet().await;
    shake_hands(&ca, edge, 10_000).await;
    let (bytes_after, files_after) = quiet().await;
    assert!(bytes_after < bytes + (1 << 20), "{bytes} octets before, {bytes_after} after");
    assert!(files_after <= files + 2, "{files} files before, {files_after} after");
}
