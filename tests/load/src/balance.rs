//! How 1,000 calls spread over three instances.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use portunus_proto::echo::Chunk;
use tokio::task::JoinSet;

use crate::proxy::Proxy;
use crate::report::Report;
use crate::{Options, Result, backends, client, endpoints};

const CALLS: u32 = 1_000;
/// Connections, so that every worker has some; each with so many calls at once.
const CONNECTIONS: usize = 4;
const CONCURRENCY: usize = 5;
const QUICK: Duration = Duration::from_millis(5);
const SLOW: Duration = Duration::from_millis(50);

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.section("balance: 1,000 calls over three instances");
    let backends = backends().await?;
    let endpoints = endpoints(&backends);
    let config = format!(
        "workers: {}\nadmin: {{address: 127.0.0.1:0}}\nclusters:\n  \
         turns: {{endpoints: {endpoints}, balance: round_robin}}\n  \
         least: {{endpoints: {endpoints}, balance: least_request}}\nlisteners:\n  \
         turns: {{address: 127.0.0.1:0, routes: [{{cluster: turns}}]}}\n  \
         least: {{address: 127.0.0.1:0, routes: [{{cluster: least}}]}}\n",
        options.workers
    );
    let proxy = Proxy::start(&options.proxy()?, &config).await?;
    let counts = spread(proxy.listener("turns")?).await?;
    let even = counts.len() == 3 && counts.values().all(|count| count.abs_diff(334) <= u32::from(options.workers));
    report.check("round_robin: 334 each, give or take the workers", even, format!("{counts:?}"));

    for (server, delay) in backends.iter().zip([SLOW, QUICK, QUICK]) {
        server.handle().set_delay(delay);
    }
    let counts = spread(proxy.listener("least")?).await?;
    let slow = counts.get("one").copied().unwrap_or_default();
    let all: u32 = counts.values().sum();
    report.check(
        "least_request: less than a fifth to one that is ten times slower",
        all == CALLS && slow > 0 && slow * 5 < CALLS,
        format!("{counts:?}"),
    );
    report.check("it ends with 0 after SIGTERM", proxy.end().await?, "");
    Ok(())
}

/// Makes the calls; how many each instance answered.
async fn spread(address: SocketAddr) -> Result<BTreeMap<String, u32>> {
    let next = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let client = client(address).await?;
        for _ in 0..CONCURRENCY {
            let (mut client, next) = (client.clone(), Arc::clone(&next));
            tasks.spawn(async move {
                let mut counts = BTreeMap::<String, u32>::new();
                while next.fetch_add(1, Ordering::Relaxed) < CALLS {
                    let answer = client.unary(Chunk::default()).await?;
                    let instance = answer.metadata().get("x-instance").and_then(|value| value.to_str().ok());
                    *counts.entry(instance.unwrap_or_default().to_owned()).or_default() += 1;
                }
                Ok::<_, tonic::Status>(counts)
            });
        }
    }
    let mut counts = BTreeMap::<String, u32>::new();
    while let Some(part) = tasks.join_next().await {
        for (instance, count) in part?? {
            *counts.entry(instance).or_default() += count;
        }
    }
    Ok(counts)
}
