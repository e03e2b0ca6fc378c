//! Instances that die and instances that restart, under load: sample Bindu agents as processes, registered with the
//! proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use portunus_proto::bindu::agent_handler_client::AgentHandlerClient;
use portunus_proto::bindu::{ChatMessage, HandleRequest};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::proxy::{Proxy, signal};
use crate::report::Report;
use crate::{Options, Result};

const CALLERS: usize = 8;
/// How long an agent thinks about each message, so that some calls are always open.
const THOUGHT_MS: u32 = 5;
/// After this the proxy must have noticed.
const NOTICED: Duration = Duration::from_millis(100);
/// Load before and after each event.
const AROUND: Duration = Duration::from_secs(2);
const READY: Duration = Duration::from_secs(10);

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.section("kill: an instance that dies, then a rolling restart, under load");
    let config = format!(
        "workers: {}\nadmin: {{address: 127.0.0.1:0}}\nstate: memory\nclusters:\n  agents: {{registry: {{lease: 90s}}}}\n\
         listeners:\n  \
         sdk: {{address: 127.0.0.1:0, routes: [{{match: {{service: bindu.grpc.BinduService}}, register_into: agents}}]}}\n  \
         callback: {{address: 127.0.0.1:0, routes: [{{match: {{service: bindu.grpc.AgentHandler}}, cluster: agents}}]}}\n",
        options.workers
    );
    let proxy = Proxy::start(&options.proxy()?, &config).await?;
    let (binary, registrar) = (options.agents()?, proxy.listener("sdk")?);
    let mut agents = Vec::new();
    for number in 0..3 {
        agents.push(Agent::start(&binary, registrar, &format!("first-{number}")).await?);
    }
    wait_for(&proxy, 3).await?;
    let load = Load::start(proxy.listener("callback")?).await?;
    sleep(AROUND).await;

    let killed = agents.remove(0);
    let at = killed.kill().await?;
    sleep(AROUND).await;
    agents.push(Agent::start(&binary, registrar, "after-the-kill").await?);
    wait_for(&proxy, 3).await?;
    let mut restarts = Vec::new();
    for number in 0..3 {
        sleep(AROUND / 2).await;
        restarts.push(Instant::now());
        agents.remove(0).leave().await?;
        agents.push(Agent::start(&binary, registrar, &format!("second-{number}")).await?);
        wait_for(&proxy, 3).await?;
    }
    sleep(AROUND).await;
    let calls = load.end().await?;
    speak(report, &calls, at, restarts.first().copied().unwrap_or(at));
    let retries = proxy.metrics().await?.by("portunus_retries_total", "why");
    report.figure("tries repeated by the proxy", format!("{retries:?}"));
    report.check("it ends with 0 after SIGTERM", proxy.end().await?, "");
    for agent in agents {
        agent.leave().await?;
    }
    Ok(())
}

fn speak(report: &mut Report, calls: &[Made], kill: Instant, restart: Instant) {
    let failures = |from: Instant, to: Option<Instant>| {
        let within = |call: &&Made| call.began >= from && to.is_none_or(|to| call.began < to);
        let chosen: Vec<_> = calls.iter().filter(within).collect();
        let failed: Vec<_> = chosen.iter().filter_map(|call| call.answer.as_ref().err()).collect();
        (chosen.len(), failed.len(), failed.first().map(|status| format!("{status:?}")).unwrap_or_default())
    };
    report.figure("calls", calls.len());
    let first = calls.first().map_or(kill, |call| call.began);
    let lost = calls.iter().filter(|call| call.began < kill + NOTICED && call.answer.is_err()).count();
    report.figure("lost with the killed instance (open, or within 100 ms)", lost);
    report.check("some calls went before the kill", failures(first, Some(kill)).0 > 100, failures(first, Some(kill)).0);
    for (what, from, to) in [
        ("failures of calls begun 100 ms after kill -9", kill + NOTICED, Some(restart)),
        ("failures of calls during a rolling restart", restart, None),
    ] {
        let (all, failed, why) = failures(from, to);
        report.check(what, all > 100 && failed == 0, format!("{failed} of {all} {why}"));
    }
    let mut by_instance: BTreeMap<&str, u32> = BTreeMap::new();
    for instance in calls.iter().filter_map(|call| call.answer.as_deref().ok()) {
        *by_instance.entry(instance).or_default() += 1;
    }
    report.check("every instance answered", by_instance.len() == 7, format!("{by_instance:?}"));
}

/// Waits until so many instances are healthy, and nobody else is listed as such.
async fn wait_for(proxy: &Proxy, count: usize) -> Result<()> {
    let deadline = Instant::now() + READY;
    loop {
        let instances = proxy.instances().await?;
        if instances.iter().filter(|instance| instance["state"] == "healthy").count() == count {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("not {count} healthy instances: {instances:?}").into());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// A sample agent as a process. Dropped, it is killed.
struct Agent(Child);

impl Agent {
    /// Starts one, and waits until it has registered.
    async fn start(binary: &Path, registrar: SocketAddr, instance: &str) -> Result<Self> {
        let mut child = Command::new(binary)
            .args(["bindu", "--heartbeat", "2s", "--instance", instance, "--registrar", &registrar.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the agent has no stdout")?;
        let line = timeout(READY, BufReader::new(stdout).lines().next_line()).await??;
        if line.is_some_and(|line| line.starts_with("listening on")) {
            return Ok(Self(child));
        }
        Err(format!("the agent `{instance}` did not start").into())
    }

    /// Ends it without a word; when.
    async fn kill(mut self) -> Result<Instant> {
        let now = Instant::now();
        self.0.kill().await?;
        Ok(now)
    }

    /// Ends it as a deployment does: SIGTERM, and it takes its leave.
    async fn leave(mut self) -> Result<()> {
        if let Some(pid) = self.0.id() {
            signal(pid, "TERM").await?;
        }
        timeout(READY, self.0.wait()).await??;
        Ok(())
    }
}

/// A call, and which instance answered it.
struct Made {
    began: Instant,
    answer: std::result::Result<String, Status>,
}

/// Callers that go on until told to stop.
struct Load {
    stop: watch::Sender<bool>,
    callers: JoinSet<Vec<Made>>,
}

impl Load {
    async fn start(address: SocketAddr) -> Result<Self> {
        let stop = watch::Sender::new(false);
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let channel = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?;
            callers.spawn(call(AgentHandlerClient::new(channel), stop.subscribe()));
        }
        Ok(Self { stop, callers })
    }

    /// All calls, in the order in which they began.
    async fn end(mut self) -> Result<Vec<Made>> {
        self.stop.send_replace(true);
        let mut all = Vec::new();
        while let Some(made) = self.callers.join_next().await {
            all.extend(made?);
        }
        all.sort_by_key(|call| call.began);
        Ok(all)
    }
}

async fn call(mut client: AgentHandlerClient<Channel>, stop: watch::Receiver<bool>) -> Vec<Made> {
    let mut made = Vec::new();
    while !*stop.borrow() {
        let message = ChatMessage { role: "user".into(), content: "2 + 3 * 4".into() };
        let mut request = Request::new(HandleRequest { messages: vec![message], ..HandleRequest::default() });
        request.metadata_mut().insert("x-delay-ms", THOUGHT_MS.into());
        let began = Instant::now();
        let answer = client.handle_messages(request).await.map(|answer| {
            let mut answer = answer.into_inner();
            answer.metadata.remove("instance").unwrap_or_default()
        });
        made.push(Made { began, answer });
    }
    made
}
