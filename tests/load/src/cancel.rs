//! How soon a backend learns that its caller has gone away, at moderate load. The backend is in this process: one clock.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use portunus_agents::echo;
use portunus_proto::echo::Chunk;
use portunus_proto::echo::echo_client::EchoClient;
use rand::Rng as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tonic::Request;
use tonic::transport::Channel;

use crate::plan::{KINDS, Kind};
use crate::proxy::Proxy;
use crate::report::{Report, percentile};
use crate::{Error, Options, Result, backends, before, client};

const CANCELS: usize = 200;
/// One background call in so much time: 500 a second.
const BACKGROUND: Duration = Duration::from_millis(2);
const BACKGROUND_SIZE: usize = 4 * 1024;
/// What the project promises of the 99th percentile.
const BOUND: Duration = Duration::from_millis(50);
/// For cancellations that are late: they are to be measured, not missed.
const LATE: Duration = Duration::from_secs(5);

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.section("cancel: 200 calls cancelled beside 500 calls a second");
    let backends = backends().await?;
    let proxy = Proxy::start(&options.proxy()?, &before(&backends, options.workers)).await?;
    let address = proxy.listener("edge")?;
    let background = tokio::spawn(load(vec![client(address).await?, client(address).await?]));
    let clients = [client(address).await?, client(address).await?];
    let (mut raw, driver) = h2::client::handshake(TcpStream::connect(address).await?).await?;
    tokio::spawn(driver);
    let mut left = HashMap::new();
    for number in 0..CANCELS {
        let kind = KINDS[number % KINDS.len()];
        let id = format!("cancel-{number}");
        let client = clients[number / KINDS.len() % clients.len()].clone();
        let at = match kind {
            Kind::Bidi => leave_bidi(&mut raw, &id).await?,
            _ => Box::pin(leave(client, kind, &id)).await?,
        };
        left.insert(id, at);
    }
    let noticed = notices(&backends, &left).await;
    background.abort();
    let made = backends.iter().map(|server| server.handle().calls().seen).sum::<u64>() - CANCELS as u64;
    report.figure("background calls meanwhile", made);
    report.check("every cancellation reached its backend", noticed.len() == CANCELS, noticed.len());
    let mut took: Vec<Duration> = noticed.into_values().collect();
    took.sort_unstable();
    let rank = |share| percentile(&took, share).unwrap_or(LATE);
    report.figure("from the reset to the backend: p50", format!("{:?}", rank(50)));
    report.figure("the latest", format!("{:?}", rank(100)));
    report.check("p99 is within 50 ms", rank(99) <= BOUND, format!("{:?}", rank(99)));
    let metrics = crate::settle::calls(&proxy).await?;
    let open = metrics.sum("portunus_open_calls", None);
    report.check("open calls afterwards", open == 0, open);
    drop((clients, raw));
    report.check("it ends with 0 after SIGTERM", proxy.end().await?, "");
    Ok(())
}

/// Small unary calls at a steady pace, until aborted.
async fn load(clients: Vec<EchoClient<Channel>>) {
    let mut ticks = interval(BACKGROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let payload = Bytes::from(vec![7; BACKGROUND_SIZE]);
    // Dropped with this future: nothing outlives the section.
    let mut open = JoinSet::new();
    for client in clients.iter().cycle() {
        ticks.tick().await;
        let mut client = client.clone();
        let chunk = Chunk { payload: payload.clone(), ..Chunk::default() };
        open.spawn(async move { drop(client.unary(chunk).await) });
        while open.try_join_next().is_some() {}
    }
}

/// Makes a call that would stay open, and goes away once it is under way. When that was.
async fn leave(mut client: EchoClient<Channel>, kind: Kind, id: &str) -> Result<Instant> {
    let while_open = while_open();
    let one = tokio_stream::once(Chunk::default()).chain(futures_util::stream::pending());
    match kind {
        Kind::Unary => {
            let mut request = named(Chunk::default(), id)?;
            request.metadata_mut().insert("x-delay-ms", 10_000.into());
            leave_after(while_open, client.unary(request)).await
        }
        Kind::ClientStream => leave_after(while_open, client.client_stream(named(one, id)?)).await,
        Kind::ServerStream => {
            let request = Chunk { count: 10_000, gap_us: 2_000, ..Chunk::default() };
            let mut answers = client.server_stream(named(request, id)?).await?.into_inner();
            let read = async { while let Ok(Some(_)) = answers.message().await {} };
            // The borrow ends here and the call with it, one line further on.
            drop(tokio::time::timeout(while_open, read).await);
            Ok(gone(answers))
        }
        Kind::Bidi => Err("hyper does not reset a call whose request is open and whose answer has begun".into()),
    }
}

/// The same for Bidi, over h2 itself: hyper resets no call whose answer has begun while its request is open.
async fn leave_bidi(connection: &mut h2::client::SendRequest<Bytes>, id: &str) -> Result<Instant> {
    let request = http::Request::post("http://load/portunus.test.Echo/Bidi")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-call-id", id)
        .body(())?;
    std::future::poll_fn(|cx| connection.poll_ready(cx)).await?;
    let (answer, mut sender) = connection.send_request(request, false)?;
    // One empty message.
    sender.send_data(Bytes::from_static(&[0; 5]), false)?;
    let mut body = answer.await?.into_body();
    body.data().await.ok_or("the stream ended by itself")??;
    sleep(while_open()).await;
    let now = Instant::now();
    sender.send_reset(h2::Reason::CANCEL);
    Ok(now)
}

/// Drops a call that has not been answered after this time.
async fn leave_after<T>(
    time: Duration,
    call: impl Future<Output = std::result::Result<T, tonic::Status>>,
) -> Result<Instant> {
    let mut call = Box::pin(call);
    match tokio::time::timeout(time, call.as_mut()).await {
        Ok(Ok(_)) => Err(Error::from("a call that should stay open was answered")),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Ok(gone(call)),
    }
}

/// How long a call stays open.
fn while_open() -> Duration {
    Duration::from_micros(rand::rng().random_range(20_000..40_000))
}

/// Drops a call: the moment before its reset is sent.
fn gone<T>(call: T) -> Instant {
    let now = Instant::now();
    drop(call);
    now
}

fn named<T>(message: T, id: &str) -> Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-call-id", id.parse()?);
    Ok(request)
}

/// For each call: from the driver's reset to the moment in which its backend noticed.
async fn notices(backends: &[echo::Server], left: &HashMap<String, Instant>) -> HashMap<String, Duration> {
    let deadline = Instant::now() + LATE;
    loop {
        let all = backends.iter().flat_map(|server| server.handle().cancellations());
        let noticed: HashMap<_, _> = all
            .filter_map(|cancelled| {
                let id = cancelled.call_id?;
                let reset = *left.get(&id)?;
                Some((id, cancelled.at.saturating_duration_since(reset)))
            })
            .collect();
        if noticed.len() == left.len() || Instant::now() > deadline {
            return noticed;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
