//! Who plays in the demo: a stand-in core, the proxy, three instances of one agent.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use portunus_agents::bindu::{self, Agent};
use portunus_agents::core::{self, Core};
use tokio::time::Instant;

use super::papers::Papers;
use crate::app::{self, Proxy};
use crate::{config, filters};

const CONFIG: &str = include_str!("demo.yaml");
/// The ports of the documentation, for a demo that people look at; one that is taken makes way for a free one.
const USUAL: Ports = Ports { admin: 9901, sdk: 3775, callback: 3790, edge: 8443 };

/// Everything that runs.
pub(super) struct Stage {
    pub(super) core: Core,
    pub(super) proxy: Proxy,
    pub(super) instances: Vec<Agent>,
    pub(super) agent_id: String,
    pub(super) callback: SocketAddr,
    pub(super) edge: SocketAddr,
    pub(super) papers: Papers,
}

struct Ports {
    admin: u16,
    sdk: u16,
    callback: u16,
    edge: u16,
}

impl Stage {
    /// Starts everybody and waits until the three instances are healthy.
    pub(super) async fn set_up(once: bool) -> Result<Self, String> {
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what} did not start: {error}");
        let core = Core::start(core::Options::default()).await.map_err(|error| failed("the core", &error))?;
        let ports = if once { Ports::free()? } else { USUAL.or_free()? };
        let papers = Papers::make()?;
        let environment = |name: &str| match name {
            "EDGE_PORT" => Some(ports.edge.to_string()),
            "FOLDER" => Some(papers.folder().display().to_string()),
            "KEYS" => Some(papers.keys().to_owned()),
            "CORE_PORT" => Some(core.address().port().to_string()),
            "ADMIN_PORT" => Some(ports.admin.to_string()),
            "SDK_PORT" => Some(ports.sdk.to_string()),
            "CALLBACK_PORT" => Some(ports.callback.to_string()),
            _ => None,
        };
        let loaded = config::load_str(CONFIG, Path::new("demo.yaml"), &environment, filters::ALL);
        let proxy = app::start(loaded.map_err(|errors| errors.to_string())?).await;
        let proxy = proxy.map_err(|error| failed("the proxy", &error))?;
        let registrar = proxy.address("sdk").ok_or("the proxy has no listener for SDK instances")?;
        let callback = proxy.address("callback").ok_or("the proxy has no listener for calls")?;
        let edge = proxy.address("edge").ok_or("the proxy has no listener for callers from outside")?;
        let mut instances = Vec::new();
        for number in 1..=3 {
            let options = bindu::Options {
                instance: format!("instance-{number}"),
                registrar: Some(registrar.to_string()),
                ..bindu::Options::default()
            };
            instances.push(Agent::start(options).await.map_err(|error| failed("an instance", &error))?);
        }
        let first = instances.first().and_then(|agent| agent.registration());
        let agent_id = first.ok_or("an instance was not registered")?.agent_id.clone();
        let stage = Self { core, proxy, instances, agent_id, callback, edge, papers };
        stage.until_healthy(3).await?;
        Ok(stage)
    }

    /// Waits until so many instances get calls.
    async fn until_healthy(&self, count: usize) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(10);
        while self.healthy() != count {
            if Instant::now() > until {
                return Err(format!("{} of {count} instances are healthy after 10 s", self.healthy()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn healthy(&self) -> usize {
        let in_force = self.proxy.shared.in_force.load();
        let registry = in_force.clusters.get("agents").and_then(|cluster| cluster.registry());
        let agents = registry.map(|registry| registry.view(Instant::now())).unwrap_or_default();
        agents.iter().flat_map(|agent| &agent.instances).filter(|instance| instance.state == "healthy").count()
    }

    /// What was started, for people.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        let mut line = |what: &str, address: SocketAddr, does: &str| {
            text += &format!("  {what:<12} {:<17} {does}\n", address.to_string());
        };
        line("core", self.core.address(), "a stand-in Bindu core: knows one agent, whose callback is the proxy");
        line("registrar", self.proxy.address("sdk").unwrap_or(self.callback), "the proxy: SDK instances register here");
        line("edge", self.edge, "the proxy: callers come in here, by mutual TLS and with a token, and are balanced");
        line("callback", self.callback, "the proxy: the core calls the agent here, on this machine only");
        line("admin", self.proxy.admin(), "the proxy: what it sees");
        for (number, agent) in (1..).zip(&self.instances) {
            line(&format!("instance-{number}"), agent.address(), "an SDK instance of the agent");
        }
        format!("Portunus demo: one agent ({}), three instances\n\n{text}\n", self.agent_id)
    }

    /// What to try, ready to paste.
    pub(super) fn commands(&self) -> String {
        let admin = self.proxy.admin();
        let lines = ["agents", "instances", "clusters", "routes", "config", "metrics", "ready"]
            .map(|path| format!("  curl -s http://{admin}/{path}\n"));
        format!("Call the agent:\n{}\nLook around:\n{}\nCtrl-C ends it.\n", self.calls(), lines.concat())
    }

    /// Calls that pass, and that do not.
    fn calls(&self) -> String {
        let program = std::env::current_exe().map_or_else(|_| "portunus".to_owned(), |path| path.display().to_string());
        let folder = self.papers.folder().display();
        let claims = |role: &str| format!(r#"{{"iss": "demo", "aud": "agents", "sub": "ann", "roles": ["{role}"]}}"#);
        let signed =
            |role: &str| format!("$({program} dev token --key {folder}/token.key --claims '{}')", claims(role));
        let shows = format!("--cacert {folder}/ca.pem --cert {folder}/caller.pem --key {folder}/caller.key");
        let method =
            r#"bindu.grpc.AgentHandler/HandleMessages -d '{"messages": [{"role": "user", "content": "hello"}]}'"#;
        let call = |shows: &str, token: &str| {
            let token = if token.is_empty() { String::new() } else { format!(" --token \"{token}\"") };
            format!("{program} call {shows}{token} https://{} {method}\n", self.edge)
        };
        format!(
            "  {}  # refused, each for another reason: no token, a role that is not told of the service, no certificate\n  {}  {}  {}",
            call(&shows, &signed("operator")),
            call(&shows, ""),
            call(&shows, &signed("guest")),
            call(&format!("--cacert {folder}/ca.pem"), &signed("operator")),
        )
    }

    /// Ends everybody politely.
    pub(super) async fn strike(self) {
        for agent in self.instances {
            agent.shutdown().await;
        }
        // What the story left open is not worth waiting for.
        self.proxy.drain(Duration::from_secs(2)).await;
        self.core.shutdown().await;
    }
}

impl Ports {
    fn free() -> Result<Self, String> {
        // All bound at once, so that they differ.
        let sockets: Result<Vec<_>, _> = (0..4).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
        let ports: Result<Vec<_>, _> =
            sockets.and_then(|sockets| sockets.iter().map(|socket| socket.local_addr().map(|at| at.port())).collect());
        match ports.as_deref() {
            Ok([admin, sdk, callback, edge]) => Ok(Self { admin: *admin, sdk: *sdk, callback: *callback, edge: *edge }),
            Ok(_) => Err("four ports were asked for".to_owned()),
            Err(error) => Err(format!("no free port on 127.0.0.1: {error}")),
        }
    }

    fn or_free(self) -> Result<Self, String> {
        let free = Self::free()?;
        let pick = |usual, free| if TcpListener::bind((Ipv4Addr::LOCALHOST, usual)).is_ok() { usual } else { free };
        Ok(Self {
            admin: pick(self.admin, free.admin),
            sdk: pick(self.sdk, free.sdk),
            callback: pick(self.callback, free.callback),
            edge: pick(self.edge, free.edge),
        })
    }
}
