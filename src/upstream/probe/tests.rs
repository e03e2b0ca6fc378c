//! The prober with instances that exist only here, on a paused clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use portunus_proto::bindu::{HealthCheckResponse, RegisterAgentRequest};
use prost::Message;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::{AT_ONCE, Check, run};
use crate::call::register::Registrar;
use crate::observe::ClusterMetrics;
use crate::registry::instance::Instance;
use crate::registry::{
    Caller, Connection, Finding, HealthSettings, InstanceView, Limits, Registry, Settings, Shown, owner_by_address,
};
use crate::upstream::side::{Failure, UnaryClient};

#[derive(Clone)]
enum Manner {
    Answers(bool),
    Hangs,
    Fails(Failure),
}

/// Instances by address; those that are not named are well.
#[derive(Default)]
struct Agents {
    manners: Mutex<BTreeMap<String, Manner>>,
    asked: Mutex<BTreeMap<String, Vec<Instant>>>,
    open: Arc<Mutex<(usize, usize)>>,
}

impl UnaryClient for Agents {
    fn unary(
        &self,
        instance: &Arc<Instance>,
        path: &Arc<str>,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        assert!(&**path == "/bindu.grpc.AgentHandler/HealthCheck" && message.is_empty());
        let address = instance.authority.to_string();
        self.asked.lock().entry(address.clone()).or_default().push(Instant::now());
        let manner = self.manners.lock().get(&address).cloned().unwrap_or(Manner::Answers(true));
        let open = Open::new(&self.open);
        async move {
            let _open = open;
            sleep(Duration::from_millis(1)).await;
            match manner {
                Manner::Answers(healthy) => {
                    Ok(HealthCheckResponse { healthy, message: String::new() }.encode_to_vec().into())
                }
                Manner::Hangs => std::future::pending().await,
                Manner::Fails(failure) => Err(failure),
            }
        }
        .boxed()
    }
}

/// Counts calls that are open, and the most there were.
struct Open(Arc<Mutex<(usize, usize)>>);

impl Open {
    fn new(counts: &Arc<Mutex<(usize, usize)>>) -> Self {
        let mut now = counts.lock();
        now.0 += 1;
        now.1 = now.1.max(now.0);
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().0 -= 1;
    }
}

struct Setup {
    registry: Arc<Registry>,
    agents: Arc<Agents>,
    sdk: Caller,
    _prober: JoinHandle<()>,
}

impl Setup {
    fn new() -> Self {
        let registry = Registry::new("agents", Settings::default(), Arc::new(ClusterMetrics::default()));
        let agents = Arc::new(Agents::default());
        let prober = tokio::spawn(run(
            Arc::clone(&registry),
            agents.clone(),
            Arc::new(ArcSwap::from_pointee(Check::of_agents())),
        ));
        let peer: SocketAddr = "127.0.0.1:40000".parse().unwrap();
        let owner = owner_by_address(peer.ip(), false);
        let sdk = Caller { peer, local: None, connection: Connection::opened(), owner, shown: Shown::Nothing };
        Self { registry, agents, sdk, _prober: prober }
    }

    fn behave(&self, port: u16, manner: Manner) {
        self.agents.manners.lock().insert(format!("localhost:{port}"), manner);
    }

    async fn register(&self, port: u16) {
        let config = r#"{"author": "a", "name": "n", "deployment": {"url": "http://a", "expose": true}}"#.to_owned();
        let grpc_callback_address = format!("localhost:{port}");
        let request = RegisterAgentRequest { config_json: config, skills: vec![], grpc_callback_address };
        let registrar = Registrar::new(Arc::clone(&self.registry), Arc::new(crate::upstream::Tcp));
        assert!(registrar.register(request, &self.sdk).await.success);
    }

    fn see(&self, port: u16) -> InstanceView {
        let mut agents = self.registry.view(Instant::now());
        let address = format!("localhost:{port}");
        agents.remove(0).instances.into_iter().find(|instance| instance.address == address).unwrap()
    }

    fn asked(&self, port: u16) -> Vec<Instant> {
        self.agents.asked.lock().get(&format!("localhost:{port}")).cloned().unwrap_or_default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_instance_is_asked_at_once_and_every_interval() {
    let setup = Setup::new();
    sleep(Duration::from_secs(3)).await;
    setup.register(5001).await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!(setup.see(5001).state, "healthy");
    sleep(Duration::from_secs(100)).await;
    let asked = setup.asked(5001).len();
    assert!((9..=12).contains(&asked), "{asked} times in 100 s");
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_is_given_its_time_and_asked_again() {
    let setup = Setup::new();
    setup.behave(5001, Manner::Hangs);
    setup.register(5001).await;
    sleep(Duration::from_millis(4500)).await;
    let asked = setup.asked(5001);
    let gaps: Vec<_> = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    assert!(gaps.iter().all(|gap| (2200..2220).contains(gap)), "2 s for an answer, then 200 ms: {gaps:?}");
    let seen = setup.see(5001);
    assert_eq!(seen.state, "new");
    assert!(seen.last_probe.unwrap().text.unwrap().contains("within 2s"));
    setup.behave(5001, Manner::Answers(true));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(setup.see(5001).state, "healthy");
}

#[tokio::test(start_paused = true)]
async fn findings_are_told_apart() {
    let setup = Setup::new();
    let status = |code, text: &str| Manner::Fails(Failure::Status(code, text.into()));
    for port in 5001..5006 {
        setup.register(port).await;
    }
    sleep(Duration::from_millis(10)).await;
    setup.behave(5001, Manner::Answers(false));
    setup.behave(5002, status(Code::Unimplemented, ""));
    setup.behave(5003, status(Code::Internal, "handler threw"));
    setup.behave(5004, Manner::Fails(Failure::Refused("nobody there".into())));
    setup.behave(5005, Manner::Fails(Failure::Unreachable("broken pipe".into())));
    sleep(Duration::from_secs(25)).await;
    let seen = |port| {
        let seen = setup.see(port);
        (seen.state, seen.last_probe.unwrap().text.unwrap_or_default())
    };
    assert_eq!(seen(5001), ("unhealthy", "it answers that it is not healthy".into()));
    let (state, text) = seen(5002);
    assert!(state == "healthy" && text.contains("not implemented"), "{text}");
    assert_eq!(seen(5003), ("unhealthy", "HealthCheck answered Internal: handler threw".into()));
    assert_eq!(seen(5004), ("unhealthy", "nobody there".into()));
    assert_eq!(seen(5005), ("unhealthy", "broken pipe".into()));
    for port in 5001..5006 {
        setup.behave(port, Manner::Answers(true));
    }
    sleep(Duration::from_secs(12)).await;
    for port in 5001..5006 {
        assert_eq!(setup.see(port).state, "healthy", "{port}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_silent_do_not_take_all_hands() {
    let setup = Setup::new();
    let limits = Limits { instances_per_agent: 1_000, ..Limits::default() };
    setup.registry.apply(Settings { limits, ..Settings::default() });
    for port in 5000..5200 {
        setup.behave(port, Manner::Hangs);
        setup.register(port).await;
    }
    for port in 6000..6010 {
        setup.register(port).await;
    }
    sleep(Duration::from_secs(10)).await;
    let (open, most) = *setup.agents.open.lock();
    assert!(open <= AT_ONCE && most == AT_ONCE, "{open} open, {most} at most");
    let well: BTreeSet<_> = (6000..6010).map(|port| setup.see(port).state).collect();
    assert_eq!(well, BTreeSet::from(["healthy"]), "200 that hang delay the others by a few rounds only");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_refused_has_the_instance_asked_now() {
    let setup = Setup::new();
    setup.register(5001).await;
    sleep(Duration::from_millis(10)).await;
    let agent = setup.registry.choose(&crate::registry::Asked::default()).unwrap();
    let instance = Arc::clone(&agent.endpoints.load().instances[0]);
    let asked = setup.asked(5001).len();
    setup.registry.refused(&instance, Instant::now());
    assert!(agent.endpoints.load().is_empty());
    sleep(Duration::from_millis(10)).await;
    assert_eq!((setup.asked(5001).len(), setup.see(5001).state), (asked + 1, "healthy"));
}

#[tokio::test(start_paused = true)]
async fn other_settings_hold_from_the_next_probe() {
    let setup = Setup::new();
    setup.register(5001).await;
    sleep(Duration::from_millis(10)).await;
    let health = HealthSettings { interval: Duration::from_secs(1), ..HealthSettings::default() };
    setup.registry.apply(Settings { health, ..Settings::default() });
    sleep(Duration::from_secs(12)).await;
    let before = setup.asked(5001).len();
    sleep(Duration::from_secs(20)).await;
    assert!((18..=23).contains(&(setup.asked(5001).len() - before)));
}

#[test]
fn strangers_texts_are_kept_short() {
    let long = "x".repeat(250_000);
    for finding in [Finding::Ill(long.clone()), Finding::Silent(long.clone()), Finding::Refused(long.clone())] {
        let (Finding::Ill(text) | Finding::Silent(text) | Finding::Refused(text)) = finding.clipped() else { panic!() };
        assert!(text.chars().count() <= 129);
    }
}
