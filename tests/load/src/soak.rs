//! 100,000 mixed calls, a tenth cancelled: whether anything leaks, and whether every outcome is accounted for.
//!
//! The access log names each call by its `x-request-id`, so that the proxy's word and the driver's are compared call by
//! call; the metrics must then add up to both.

mod ledger;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use portunus_proto::echo::echo_client::EchoClient;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::call::{self, Seen};
use crate::metrics::Metrics;
use crate::plan::{KINDS, LARGEST, Planner};
use crate::proxy::Proxy;
use crate::report::{Report, mib};
use crate::settle::{self, Held};
use crate::{Options, Result, backends, client, endpoints};
use ledger::Ledger;

const CONNECTIONS: usize = 4;
/// Calls at once on a connection.
const CONCURRENCY: usize = 16;
/// Calls that bring the proxy to its working state.
const WARM_UP: u32 = 20_000;
/// Ids from here on are not the soak's.
const OTHER_IDS: u32 = u32::MAX / 2;

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.section(&format!("soak: {} calls of all kinds, a tenth cancelled", options.calls));
    let backends = backends().await?;
    let mut proxy = Proxy::start(&options.proxy()?, &config(options.workers, &endpoints(&backends))).await?;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(client(proxy.listener("edge")?).await?);
    }
    let planner = Arc::new(Planner::new(options.seed));
    let once = warm_up(&clients, &planner).await?;
    let (once_held, _) = settle::memory(&proxy, &clients, u64::MAX).await?;
    report.figure("warm-up 1: every kind, size and count once, one by one", format!("{once} calls"));
    report.figure("allocated then", mib(once_held.allocated));
    // h2 keeps room for as many streams and frames as a connection ever had at once (some 75 KiB each here), and
    // gives it back with the connection only: what a first load takes is not yet a leak, what a second one adds is.
    load(options.calls..options.calls.saturating_add(WARM_UP), &clients, &planner, &proxy).await?;
    let (before, _) = settle::memory(&proxy, &clients, u64::MAX).await?;
    report.figure("warm-up 2: the mix at full load", format!("{WARM_UP} calls"));
    let base = settle::calls(&proxy).await?;

    let start = Instant::now();
    let (seen, peak) = load(0..options.calls, &clients, &planner, &proxy).await?;
    let took = start.elapsed();
    let after = settle::calls(&proxy).await?;
    speak_of_load(report, &seen, took, (&base, &after));

    let open = (after.sum("portunus_open_calls", None), proxy.in_flight().await?);
    report.check("open calls, calls in flight at instances", open == (0, 0), format!("{open:?}"));
    let backends_open: u64 = backends.iter().map(|server| server.handle().calls().in_flight).sum();
    report.check("calls open at the backends", backends_open == 0, backends_open);
    let mut ledger = Ledger::new(seen);
    ledger.read(&proxy.folder().join("access.jsonl"), OTHER_IDS).await?;
    ledger.check(report, &base, &after);

    let (held, waited) = settle::memory(&proxy, &clients, before.allocated + before.allocated / 10).await?;
    speak_of_memory(report, before, peak, (held, waited));
    let complaints = proxy.complaints();
    report.check("no panic, error or warning in the proxy's log", complaints.is_empty(), complaints.join("\n"));
    report.check("the proxy still runs", proxy.runs(), "");
    drop(clients);
    report.check("it ends with 0 after SIGTERM", proxy.end().await?, "");
    Ok(())
}

fn config(workers: u16, endpoints: &str) -> String {
    format!(
        "workers: {workers}\n\
         admin: {{address: 127.0.0.1:0}}\n\
         access_log: {{file: access.jsonl}}\n\
         clusters:\n  echo: {{endpoints: {endpoints}}}\n\
         listeners:\n  edge:\n    address: 127.0.0.1:0\n    limits: {{message: 4MiB}}\n    routes:\n      \
         - match: {{service: portunus.test.Echo}}\n        cluster: echo\n"
    )
}

/// Every kind with every size in one message and in many, on every connection, all connections at once: opens the
/// connections to the instances, makes the series of metrics, and lets buffers that are kept reach their size.
async fn warm_up(clients: &[EchoClient<Channel>], planner: &Arc<Planner>) -> Result<u32> {
    let mut tasks = JoinSet::new();
    for client in clients {
        let (client, planner) = (client.clone(), Arc::clone(planner));
        tasks.spawn(async move {
            let mut rng = SmallRng::seed_from_u64(0);
            let mut calls = 0;
            for (kind, size) in KINDS.into_iter().flat_map(|kind| {
                [0, 1, 1 << 10, 1 << 14, 1 << 16, 1 << 18, LARGEST].into_iter().map(move |size| (kind, size))
            }) {
                for messages in [1, 16] {
                    let plan = planner.exact(&mut rng, kind, size, messages);
                    let seen = Box::pin(call::make(client.clone(), &plan, OTHER_IDS)).await;
                    if seen != Seen::Done(tonic::Code::Ok) {
                        return Err(format!("warm-up, {kind:?} of {size} bytes: {seen:?}"));
                    }
                    calls += 1;
                }
            }
            Ok(calls)
        });
    }
    let mut calls = 0;
    while let Some(done) = tasks.join_next().await {
        calls += done??;
    }
    Ok(calls)
}

/// Makes all calls; what each came to, and the most that the proxy held meanwhile.
async fn load(
    calls: Range<u32>,
    clients: &[EchoClient<Channel>],
    planner: &Arc<Planner>,
    proxy: &Proxy,
) -> Result<(Vec<Option<Seen>>, Held)> {
    let next = Arc::new(AtomicU32::new(calls.start));
    let mut tasks = JoinSet::new();
    for client in clients {
        for _ in 0..CONCURRENCY {
            let (client, planner, next) = (client.clone(), Arc::clone(planner), Arc::clone(&next));
            tasks.spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= calls.end {
                        return seen;
                    }
                    let plan = planner.plan(number);
                    seen.push((number, Box::pin(call::make(client.clone(), &plan, number)).await));
                }
            });
        }
    }
    let done = AtomicBool::new(false);
    let watched = async {
        let mut peak = Held::default();
        while !done.load(Ordering::Relaxed) {
            let held = Held::of(&proxy.metrics().await?);
            peak.allocated = peak.allocated.max(held.allocated);
            peak.resident = peak.resident.max(held.resident);
            sleep(Duration::from_millis(250)).await;
        }
        Ok::<_, crate::Error>(peak)
    };
    let made = async {
        let mut all = vec![None; calls.len()];
        while let Some(part) = tasks.join_next().await {
            for (number, seen) in part? {
                if let Some(slot) = all.get_mut((number - calls.start) as usize) {
                    *slot = Some(seen);
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        Ok::<_, crate::Error>(all)
    };
    let (made, peak) = tokio::join!(made, watched);
    Ok((made?, peak?))
}

#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
fn speak_of_load(report: &mut Report, seen: &[Option<Seen>], took: Duration, (base, after): (&Metrics, &Metrics)) {
    let per_second = seen.len() as f64 / took.as_secs_f64();
    report.figure("time", format!("{:.1} s, {per_second:.0} calls/s", took.as_secs_f64()));
    let grew = |name| after.sum(name, None) - base.sum(name, None);
    report.figure("CPU time of the proxy", format!("{} s", grew("process_cpu_seconds_total")));
    let messages = (grew("grpc_server_msg_received_total"), grew("grpc_server_msg_sent_total"));
    report.figure("messages through the proxy, in and out", format!("{messages:?}"));
    report.figure("tries repeated by the proxy", format!("{:?}", after.by("portunus_retries_total", "why")));
    report.figure("refused by the proxy", format!("{:?}", after.by("portunus_refused_total", "reason")));
    report.figure("connections to instances", after.sum("portunus_upstream_connections", Some(("state", "ready"))));
}

#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
fn speak_of_memory(report: &mut Report, before: Held, peak: Held, (after, waited): (Held, Duration)) {
    let three = |pick: fn(Held) -> u64| format!("{} / {} / {}", mib(pick(before)), mib(pick(peak)), mib(pick(after)));
    report.figure("resident: after warm-up / most / at the end", three(|held| held.resident));
    report.figure("allocated: after warm-up / most / at the end", three(|held| held.allocated));
    let change = (after.allocated as f64 / before.allocated as f64 - 1.0) * 100.0;
    let back = after.allocated <= before.allocated + before.allocated / 10;
    report.check(
        "allocated memory is back within 10%",
        back,
        format!("{change:+.1}% after {:.1} s", waited.as_secs_f64()),
    );
}
