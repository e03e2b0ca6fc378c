//! Attacks on HTTP/2, one kind after the other, each over and over from several connections: what each costs the proxy, that each
//! meets its limit, and what a caller beside them notices.

mod kinds;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use portunus_proto::echo::Chunk;
use portunus_proto::echo::echo_client::EchoClient;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::transport::Channel;

use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::report::{Report, mib, percentile};
use crate::{Error, Options, Result, backends, before, client};

use kinds::{Attack, KINDS};
use wire::{END, HEADERS, WHOLE, frame, greeting, head};

/// Connections that attack at once, and how often each begins anew.
const ATTACKERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(50);
/// How long each attack lasts.
const LASTS: Duration = Duration::from_secs(2);
/// The calls of a good caller: one in so much time, after a few that do not count.
const BEAT: Duration = Duration::from_millis(4);
const WARM: Duration = Duration::from_millis(300);
/// Below this a scheduler of two processors says as much as the proxy.
const NOTHING: Duration = Duration::from_millis(25);
/// Connections of a crowd, and what the proxy may hold for them: the 70 MB of PERFORMANCE.md for 1,000 connections with a stream each,
/// and what the allocator has not given back yet at the worst moment.
const CROWD: usize = 1_000;
const MOST: u64 = 96 << 20;

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.section("attack: each kind of attack beside a caller with 250 calls a second");
    let backends = backends().await?;
    let proxy = Proxy::start(&options.proxy()?, &before(&backends, options.workers)).await?;
    let address = proxy.listener("edge")?;
    let spared = Proxy::start(&options.proxy()?, &before(&backends, options.workers)).await?;
    let quiet = rank(beside(address).await?);
    report.figure("p99 without an attack", format!("{quiet:?}"));
    let rested = proxy.metrics().await?;
    report.figure("allocated before", mib(rested.sum("portunus_allocated_bytes", None)));
    for attack in KINDS.iter().filter(|attack| attack.name.contains(&options.attacks)) {
        one(&proxy, spared.listener("edge")?, attack, quiet, report).await?;
    }
    report.check("the proxy beside it ends with 0 after SIGTERM", spared.end().await?, "");
    let after = crate::settle::calls(&proxy).await?;
    let open = after.sum("portunus_open_calls", None);
    report.check("open calls afterwards", open == 0, open);
    let grown =
        after.sum("portunus_allocated_bytes", None) as i64 - rested.sum("portunus_allocated_bytes", None) as i64;
    report.check("allocated afterwards, beyond before", grown < 8 << 20, grown);
    report.check("it ends with 0 after SIGTERM", proxy.end().await?, "");

    report.section("crowd: 1,000 connections that stall, and 1,000 that do not read, one worker");
    for (what, greeting) in
        [("inside a frame", stalled()), ("inside a head in pieces", in_pieces()), ("slow readers", unread())]
    {
        let proxy = Proxy::start(&options.proxy()?, &before(&backends, 1)).await?;
        crowd(&proxy, what, &greeting, report).await?;
        report.check("it ends with 0 after SIGTERM", proxy.end().await?, "");
    }
    Ok(())
}

/// One attack, for a while. What the attackers do to the machine is told from what they do to the proxy by another that they spare:
/// a caller of that one, at the same time, waits for the same two processors.
async fn one(
    proxy: &Proxy,
    spared: SocketAddr,
    attack: &'static Attack,
    quiet: Duration,
    report: &mut Report,
) -> Result<()> {
    let (address, before) = (proxy.listener("edge")?, proxy.metrics().await?);
    let mut attackers = JoinSet::new();
    for _ in 0..ATTACKERS {
        attackers.spawn(strike(address, attack));
    }
    let (took, took_elsewhere) = tokio::try_join!(beside(address), beside(spared))?;
    let during = proxy.metrics().await?;
    attackers.shutdown().await;
    let met = |metrics: &Metrics| metrics.sum("portunus_http2_limits_total", Some(("limit", attack.limit)));
    let times = met(&during) - met(&before);
    let spent = |metrics: &Metrics| metrics.thousandths("process_cpu_seconds_total");
    let cpu = spent(&during) - spent(&before);
    let (p99, spared) = (rank(took), rank(took_elsewhere));
    let found = format!(
        "met {times} times; p99 {p99:?}, by the other proxy {spared:?}; CPU {cpu} ms in {} s; allocated {}",
        LASTS.as_secs(),
        mib(during.sum("portunus_allocated_bytes", None)),
    );
    report.check(attack.name, times > 0 && (p99 <= spared.max(quiet) * 2 || p99 <= NOTHING), found);
    Ok(())
}

/// Attacks, until the connection is ended, and again after a moment.
async fn strike(address: SocketAddr, attack: &'static Attack) {
    loop {
        if let Ok(mut socket) = TcpStream::connect(address).await {
            let (mut from, mut to) = socket.split();
            let write = async {
                to.write_all(&(attack.begins)()).await?;
                for round in 0..attack.rounds {
                    to.write_all(&(attack.round)(round)).await?;
                    // As answers and other connections have their turn.
                    tokio::task::yield_now().await;
                }
                std::io::Result::Ok(())
            };
            let read = async {
                let mut octets = vec![0; 16 * 1024];
                while matches!(from.read(&mut octets).await, Ok(1..)) {}
            };
            let both = async { drop(tokio::join!(write, read)) };
            drop(timeout(LASTS / 2, both).await);
        }
        sleep(PAUSE).await;
    }
}

/// Calls at a steady pace for a while: what each took. By a thread of its own, or it would wait for the attackers' tasks.
async fn beside(address: SocketAddr) -> Result<Vec<Duration>> {
    let calls = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = client(address).await?;
            // The first calls of a connection tell more of it than of what goes on.
            calls(&client, WARM).await?;
            calls(&client, LASTS).await
        })
    });
    calls.await?
}

async fn calls(client: &EchoClient<Channel>, lasts: Duration) -> Result<Vec<Duration>> {
    let (mut ticks, end) = (interval(BEAT), Instant::now() + lasts);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calls = JoinSet::new();
    while Instant::now() < end {
        ticks.tick().await;
        let mut client = client.clone();
        calls.spawn(async move {
            let began = Instant::now();
            client.unary(Chunk { payload: vec![7; 200].into(), ..Chunk::default() }).await.map(|_| began.elapsed())
        });
    }
    let mut took = Vec::new();
    while let Some(call) = calls.join_next().await {
        took.push(call?.map_err(|status| Error::from(format!("a good call failed: {status}")))?);
    }
    Ok(took)
}

/// The 99th percentile.
fn rank(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    percentile(&took, 99).unwrap_or_default()
}

/// Many connections that say the same and then nothing.
async fn crowd(proxy: &Proxy, what: &str, says: &[u8], report: &mut Report) -> Result<()> {
    let address = proxy.listener("edge")?;
    let mut held = Vec::new();
    for _ in 0..CROWD {
        let mut socket = TcpStream::connect(address).await?;
        // What is behind the proxy's limits is not taken, and that is what is looked for.
        drop(timeout(Duration::from_millis(100), socket.write_all(says)).await);
        held.push(socket);
    }
    let (mut most, mut good) = (0, client(address).await?);
    for _ in 0..12 {
        sleep(Duration::from_millis(500)).await;
        most = most.max(proxy.metrics().await?.sum("process_resident_memory_bytes", None));
    }
    let answered = timeout(Duration::from_secs(5), good.unary(Chunk::default())).await.is_ok_and(|call| call.is_ok());
    report.check(&format!("{what}: a good call is answered"), answered, "");
    report.check(&format!("{what}: resident memory at most"), most <= MOST, mib(most));
    Ok(())
}

/// A HEADERS frame of 16 KiB, but for its end.
fn stalled() -> Vec<u8> {
    let mut octets = greeting(&[]);
    frame(&mut octets, HEADERS, WHOLE | END, 1, &[0; 16_384]);
    octets.truncate(octets.len() - 100);
    octets
}

/// A head of 240 KiB in pieces, but for its end.
fn in_pieces() -> Vec<u8> {
    let mut octets = greeting(&[]);
    let mut block = Vec::new();
    (0..70).for_each(|at| wire::field(&mut block, 0, &format!("x-{at}"), &"v".repeat(200)));
    frame(&mut octets, HEADERS, 0, 1, &block);
    (0..15).for_each(|_| frame(&mut octets, wire::CONTINUATION, 0, 1, &block));
    octets
}

/// A call whose answer never ends, and windows that never shut.
fn unread() -> Vec<u8> {
    let mut octets = greeting(&[(4, (1 << 31) - 1)]);
    frame(&mut octets, wire::WINDOW, 0, 0, &((1_u32 << 31) - 1 - 65_535).to_be_bytes());
    frame(&mut octets, HEADERS, WHOLE, 1, &head("/portunus.test.Echo/ServerStream"));
    let wanted = Chunk { count: u32::MAX, size: 4_096, ..Chunk::default() }.encode_to_vec();
    let mut message = vec![0];
    message.extend(u32::try_from(wanted.len()).unwrap_or_default().to_be_bytes());
    message.extend(wanted);
    frame(&mut octets, wire::DATA, END, 1, &message);
    octets
}
