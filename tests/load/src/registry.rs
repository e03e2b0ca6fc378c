//! A registry with many agents of ten instances each, kept on disk: how long registering takes, what it costs at rest, and what a call
//! to one agent among many costs.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use portunus_agents::bindu;
use portunus_proto::bindu::agent_handler_client::AgentHandlerClient;
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use portunus_proto::bindu::{ChatMessage, HandleRequest, RegisterAgentRequest};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::proxy::Proxy;
use crate::report::{Report, percentile};
use crate::{Error, Options, Result};

const INSTANCES: u32 = 10;
/// Registrations under way at once.
const AT_ONCE: usize = 64;
/// What the proxy may take at rest, of a core, and for how long that is watched: twice the default interval of health checks.
const REST: Duration = Duration::from_secs(20);
/// How often, where it was more.
const RESTS: u32 = 6;
/// For all, with the store on.
const REGISTERED: Duration = Duration::from_secs(60);
const PAGE: Duration = Duration::from_millis(100);
const CALLS: u32 = 10_000;
/// How often what they cost is measured.
const MEASURED: u32 = 5;
/// Health checks and leases of all instances, of a core.
const AT_REST: f64 = 5.0;

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let agents = options.registered;
    report.section(&format!("registry: {agents} agents of {INSTANCES} instances"));
    // One server is all of them: each has an address of its own on this machine.
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let server = bindu::Agent::start(bindu::Options { listen: everywhere, ..bindu::Options::default() }).await?;
    let port = server.address().port();
    // With everything that is on by default: questions for ten thousand schemas must not be seen in what a call costs.
    let config = format!(
        "workers: {}\nadmin: {{address: 127.0.0.1:0}}\nstate: {{dir: ./data}}\nclusters:\n  agents:\n    registry:\n      \
         allow: [127.0.0.0/8]\n      limits: {{agents: 5000, instances_per_peer: 50000}}\nlisteners:\n  \
         sdk: {{address: 127.0.0.1:0, routes: [{{match: {{service: bindu.grpc.BinduService}}, register_into: agents}}]}}\n  \
         calls: {{address: 127.0.0.1:0, routes: [{{cluster: agents}}]}}\n",
        options.workers
    );
    let proxy = Proxy::start(&options.proxy()?, &config).await?;

    register(proxy.listener("sdk")?, 0..1, port).await?;
    settled(&proxy, 1).await?;
    let alone = cost(&proxy, 0.0).await?;

    let began = Instant::now();
    register(proxy.listener("sdk")?, 1..agents, port).await?;
    let took = began.elapsed();
    report.check("all are registered, on disk, in under 60 s", took < REGISTERED, format!("{took:?}"));
    settled(&proxy, agents).await?;

    let began = Instant::now();
    let shown = proxy.agents().await?;
    let took = began.elapsed();
    report.check(
        "/agents answers within 100 ms",
        took <= PAGE && shown == agents as usize,
        format!("{shown} in {took:?}"),
    );

    // Those that are new were probed at once: their probes march out of step by and by.
    sleep(REST).await;
    let mut rest = f64::MAX;
    for _ in 0..RESTS {
        let before = spent(&proxy).await?;
        sleep(REST).await;
        // What else this machine does adds to a measurement, and takes nothing off.
        rest = rest.min((spent(&proxy).await? - before) as f64 / REST.as_secs_f64());
        if rest / 10.0 <= AT_REST {
            break;
        }
    }
    let share = rest / 10.0;
    report.check("CPU at rest is at most 5% of a core", share <= AT_REST, format!("{share:.1}%"));

    let among = cost(&proxy, rest).await?;
    report.check(
        "a call to one agent costs no more than with one agent",
        among.cpu <= alone.cpu * 1.25 && among.median <= alone.median * 3 / 2 + Duration::from_micros(100),
        format!("{alone} alone, {among} among {agents}"),
    );
    report.check("it ends with 0 after SIGTERM", proxy.end().await?, "");
    Ok(())
}

/// Registers ten instances of each of these agents.
async fn register(sdk: SocketAddr, agents: std::ops::Range<u32>, port: u16) -> Result<()> {
    let next = Arc::new(AtomicU32::new(agents.start * INSTANCES));
    let end = agents.end * INSTANCES;
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let next = Arc::clone(&next);
        let mut client = BinduServiceClient::connect(format!("http://{sdk}")).await?;
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return Ok(());
                }
                let [_, a, b, c] = (number + 256).to_be_bytes();
                let answer =
                    client.register_agent(request(number / INSTANCES, &format!("127.{a}.{b}.{c}:{port}"))).await?;
                let answer = answer.into_inner();
                if !answer.success {
                    return Err(Error::from(answer.error));
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

fn request(agent: u32, address: &str) -> RegisterAgentRequest {
    RegisterAgentRequest {
        config_json: format!(
            r#"{{"author": "load@example.com", "name": "agent-{agent}", "deployment": {{"url": "http://localhost:1", "expose": true}}}}"#
        ),
        skills: Vec::new(),
        grpc_callback_address: address.to_owned(),
    }
}

/// Waits until all instances are healthy.
async fn settled(proxy: &Proxy, agents: u32) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let healthy = proxy.metrics().await?.sum("portunus_instances", Some(("state", "healthy")));
        if healthy == u64::from(agents * INSTANCES) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{healthy} of {} instances are healthy", agents * INSTANCES).into());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// CPU that the proxy has spent, in milliseconds.
async fn spent(proxy: &Proxy) -> Result<u64> {
    Ok(proxy.metrics().await?.thousandths("process_cpu_seconds_total"))
}

/// What a call costs.
struct Cost {
    median: Duration,
    /// Of the proxy, in microseconds.
    cpu: f64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} and {:.1} µs of CPU", self.median, self.cpu)
    }
}

/// What calls to the first agent cost at their cheapest: what else this machine does adds to a measurement, and takes nothing off.
async fn cost(proxy: &Proxy, rest: f64) -> Result<Cost> {
    let mut best = measured(proxy, rest).await?;
    for _ in 1..MEASURED {
        let again = measured(proxy, rest).await?;
        best = Cost { median: best.median.min(again.median), cpu: best.cpu.min(again.cpu) };
    }
    Ok(best)
}

/// What calls to the first agent cost, one after the other, beyond what the proxy spends at rest (milliseconds a second).
async fn measured(proxy: &Proxy, rest: f64) -> Result<Cost> {
    let (before, began) = (spent(proxy).await?, Instant::now());
    let median = median(proxy.listener("calls")?).await?;
    let cpu = (spent(proxy).await? - before) as f64 - rest * began.elapsed().as_secs_f64();
    Ok(Cost { median, cpu: cpu * 1_000.0 / f64::from(CALLS) })
}

/// The median of calls to the first agent, one after the other.
async fn median(calls: SocketAddr) -> Result<Duration> {
    let mut client: AgentHandlerClient<Channel> = AgentHandlerClient::connect(format!("http://{calls}")).await?;
    let mut took = Vec::new();
    for _ in 0..CALLS {
        let message = ChatMessage { role: "user".to_owned(), content: "hello".to_owned() };
        let mut request = tonic::Request::new(HandleRequest { messages: vec![message], ..HandleRequest::default() });
        request.metadata_mut().insert("x-portunus-agent", "agent-0".parse()?);
        let began = Instant::now();
        client.handle_messages(request).await?;
        took.push(began.elapsed());
    }
    took.sort();
    percentile(&took, 50).ok_or_else(|| "no calls".into())
}
