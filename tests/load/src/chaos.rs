//! Instances and callers that are killed at random under load: nothing may leak, and every call is accounted for. Thirty seconds by
//! default; `--chaos 600` is what a change of the engine owes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use portunus_agents::echo;
use portunus_proto::echo::Chunk;
use rand::Rng as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt as _;

use crate::proxy::Proxy;
use crate::report::{Report, mib};
use crate::settle::{self, Held};
use crate::{Options, Result, backends, before, client};

/// Callers at once; each has a connection of its own, and some calls on it.
const CALLERS: usize = 12;
const CALLS_OF_A_CALLER: usize = 6;
/// Once a life is over, the next begins.
const LIFE_MS: std::ops::Range<u64> = 20..1_500;
/// An instance is killed so often.
const KILL_MS: std::ops::Range<u64> = 300..2_000;
/// Load before the killing.
const WARM: Duration = Duration::from_secs(5);

/// What callers saw.
#[derive(Default)]
struct Seen {
    begun: AtomicU64,
    good: AtomicU64,
    refused: AtomicU64,
    wrong: AtomicU64,
}

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.section(&format!("chaos: instances and callers killed at random for {} s", options.chaos));
    let mut instances = backends().await?;
    let addresses: Vec<_> = instances.iter().map(echo::Server::address).collect();
    let proxy = Proxy::start(&options.proxy()?, &before(&instances, options.workers)).await?;
    let address = proxy.listener("edge")?;
    let warm = [client(address).await?];
    // What a busy proxy keeps for the next calls is no leak: it is there before the killing begins.
    let seen = Arc::new(Seen::default());
    let mut callers = begin(address, &seen, Instant::now() + WARM);
    while let Some(caller) = callers.join_next().await {
        caller?;
    }
    let (rested, _) = settle::memory(&proxy, &warm, u64::MAX).await?;
    let descriptors = proxy.metrics().await?.sum("process_open_fds", None);
    let end = Instant::now() + Duration::from_secs(options.chaos);
    let (mut callers, mut kills) = (begin(address, &seen, end), 0);
    while Instant::now() < end {
        sleep(Duration::from_millis(rand::rng().random_range(KILL_MS))).await;
        let place = rand::rng().random_range(0..addresses.len());
        // Dropped, it ends all its connections without a word; another takes its place.
        drop(instances.remove(place));
        sleep(Duration::from_millis(rand::rng().random_range(1..300))).await;
        let options = echo::Options { listen: addresses[place], ..echo::Options::default() };
        instances.insert(place, echo::Server::start(options).await?);
        kills += 1;
    }
    while let Some(caller) = callers.join_next().await {
        caller?;
    }
    speak(report, &seen, kills);
    rest(&proxy, &warm, (rested, descriptors), report).await?;
    drop(warm);
    report.check("it ends with 0 after SIGTERM", proxy.end().await?, "");
    Ok(())
}

fn speak(report: &mut Report, seen: &Seen, kills: u32) {
    let [begun, good, refused, wrong] =
        [&seen.begun, &seen.good, &seen.refused, &seen.wrong].map(|count| count.load(Ordering::Relaxed));
    report.figure("instances killed", kills);
    report.figure("calls begun, answered, ended with a status", format!("{begun}, {good}, {refused}"));
    report.check("answers that are not what was asked", wrong == 0, wrong);
    report.check("most calls that were not killed are answered", good > refused, "");
}

/// What is left once all is over.
async fn rest(
    proxy: &Proxy,
    warm: &[portunus_proto::echo::echo_client::EchoClient<tonic::transport::Channel>],
    (before, descriptors): (Held, u64),
    report: &mut Report,
) -> Result<()> {
    let metrics = settle::calls(proxy).await?;
    let started = metrics.sum("grpc_server_started_total", None);
    let handled = metrics.sum("grpc_server_handled_total", None);
    report.check("every call that began has ended with a status", started == handled, format!("{started}, {handled}"));
    let (open, in_flight) = (metrics.sum("portunus_open_calls", None), proxy.in_flight().await?);
    report.check("open calls, and calls in flight", open + in_flight == 0, format!("{open}, {in_flight}"));
    let enough = before.allocated + before.allocated / 4 + (1 << 20);
    let (held, took) = settle::memory(proxy, warm, enough).await?;
    let found = format!("{} -> {} within {took:?}", mib(before.allocated), mib(held.allocated));
    report.check("allocated is back to a quarter and 1 MiB more", held.allocated <= enough, found);
    let metrics = proxy.metrics().await?;
    let now = metrics.sum("process_open_fds", None);
    report.check("descriptors", now <= descriptors + 32, format!("{descriptors} -> {now}"));
    let panics = proxy.complaints().into_iter().find(|line| line.contains("panicked"));
    report.check("nothing panicked", panics.is_none(), panics.unwrap_or_default());
    Ok(())
}

/// Sets callers off, until `end`.
fn begin(address: std::net::SocketAddr, seen: &Arc<Seen>, end: Instant) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(lives(address, Arc::clone(seen), end));
    }
    callers
}

/// One caller after the other, each killed at some moment with its calls.
async fn lives(address: std::net::SocketAddr, seen: Arc<Seen>, end: Instant) {
    while Instant::now() < end {
        let Ok(client) = client(address).await else { continue };
        let mut calls = JoinSet::new();
        for _ in 0..CALLS_OF_A_CALLER {
            calls.spawn(calls_until_killed(client.clone(), Arc::clone(&seen)));
        }
        drop(client);
        let life = Duration::from_millis(rand::rng().random_range(LIFE_MS));
        sleep(life).await;
        calls.shutdown().await;
    }
}

async fn calls_until_killed(
    mut client: portunus_proto::echo::echo_client::EchoClient<tonic::transport::Channel>,
    seen: Arc<Seen>,
) {
    loop {
        let size = 1 << rand::rng().random_range(4..19);
        let payload = Bytes::from(vec![rand::rng().random::<u8>(); size]);
        seen.begun.fetch_add(1, Ordering::Relaxed);
        let same = |answer: &Bytes| answer == &payload;
        let kind = rand::rng().random_range(0..3);
        let answer = match kind {
            0 => {
                let asked = Chunk { payload: payload.clone(), ..Chunk::default() };
                client.unary(asked).await.map(|answer| same(&answer.get_ref().payload))
            }
            1 => {
                let asked = Chunk { payload: payload.clone(), count: 10, gap_us: 500, ..Chunk::default() };
                match client.server_stream(asked).await {
                    Ok(answers) => {
                        let all: std::result::Result<Vec<Chunk>, _> = answers.into_inner().collect().await;
                        all.map(|all| all.len() == 10 && all.iter().all(|one| same(&one.payload)))
                    }
                    Err(status) => Err(status),
                }
            }
            _ => {
                let asked = Chunk { payload: payload.clone(), ..Chunk::default() };
                let answer = client.client_stream(tokio_stream::iter(vec![asked; 5])).await;
                answer.map(|answer| answer.get_ref().count == 5 && same(&answer.get_ref().payload))
            }
        };
        let count = match answer {
            Ok(true) => &seen.good,
            Ok(false) => &seen.wrong,
            Err(_) => &seen.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
