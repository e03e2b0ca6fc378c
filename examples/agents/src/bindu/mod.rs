//! A Bindu agent as an SDK makes it: serves AgentHandler, registers with a registrar, heartbeats over the same
//! connection, unregisters when told to stop. No reflection and no grpc.health.v1, as in life.

mod handler;
mod registration;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use portunus_proto::bindu::SkillDefinition;
use portunus_proto::bindu::agent_handler_server::AgentHandlerServer;
use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::front::Services;
use crate::handle::{Behaviour, Handle};
use crate::server::{self, Running};

use handler::Handler;
use registration::Link;
pub use registration::{Heartbeats, Registration};

/// How an agent is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where AgentHandler listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Decides which calls fail under `behaviour.fail_share`.
    pub seed: u64,
    /// Heartbeats carry its time.
    pub clock: Clock,
    /// `author` of the configuration; with `name` it makes the agent id.
    pub author: String,
    /// `name` of the configuration.
    pub name: String,
    /// Which of the agent's instances this is: named in each answer's metadata and at the end of a plain one.
    pub instance: String,
    /// `description` of the configuration.
    pub description: String,
    /// `deployment.url` of the configuration: the A2A address, which the core would serve.
    pub url: String,
    /// More keys of the configuration; they win over ours.
    pub config: Map<String, Value>,
    /// What the agent says it can do.
    pub skills: Vec<SkillDefinition>,
    /// `host:port` of the registrar (a core or Portunus); none: serve only.
    pub registrar: Option<String>,
    /// `grpc_callback_address`; default `localhost:PORT`, as the TypeScript SDK has it.
    pub callback: Option<String>,
    /// Pause between heartbeats.
    pub heartbeat: Duration,
    /// How long to try to reach the registrar before giving up.
    pub patience: Duration,
    /// Say UnregisterAgent at a polite end (the real SDKs do not).
    pub unregister: bool,
    /// Serve HandleMessagesStream; the TypeScript SDK does not (UNIMPLEMENTED).
    pub streaming: bool,
    /// Longest message taken and sent, in bytes.
    pub max_message: usize,
    /// How it misbehaves at first; `Agent::handle` changes it later.
    pub behaviour: Behaviour,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 0,
            clock: Clock::real(),
            author: "sample@example.com".into(),
            name: "sample-agent".into(),
            instance: "one".into(),
            description: "Calculates, counts words, and asks back".into(),
            url: "http://localhost:3773".into(),
            config: Map::new(),
            skills: vec![skill()],
            registrar: None,
            callback: None,
            heartbeat: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            unregister: true,
            streaming: true,
            max_message: 64 * 1024 * 1024,
            behaviour: Behaviour::default(),
        }
    }
}

fn skill() -> SkillDefinition {
    SkillDefinition {
        name: "arithmetic".into(),
        description: "Works out sums such as 2 + 3 * 4".into(),
        tags: vec!["math".into()],
        input_modes: vec!["text/plain".into()],
        output_modes: vec!["text/plain".into()],
        version: "1.0.0".into(),
        author: "sample@example.com".into(),
        raw_content: String::new(),
        format: "yaml".into(),
    }
}

impl Options {
    /// `config_json` as it goes to the registrar.
    fn config_json(&self) -> String {
        let mut config = json!({
            "author": self.author,
            "name": self.name,
            "description": self.description,
            "version": "1.0.0",
            "deployment": {"url": self.url, "expose": true},
        });
        if let Value::Object(map) = &mut config {
            map.extend(self.config.clone());
        }
        config.to_string()
    }
}

/// A running agent. Dropped, it ends at once, without a word to the registrar.
#[derive(Debug)]
pub struct Agent {
    running: Running,
    handle: Handle,
    link: Option<Link>,
}

impl Agent {
    /// Listens, then registers, and returns when the registrar has said yes.
    ///
    /// # Errors
    /// The address cannot be bound; the registrar cannot be reached in time, or refuses.
    pub async fn start(options: Options) -> io::Result<Self> {
        let handle = Handle::new(&options.behaviour, options.seed);
        let service = AgentHandlerServer::new(Handler::new(&options, handle.clone()))
            .max_decoding_message_size(options.max_message)
            .max_encoding_message_size(options.max_message);
        let running = server::start(options.listen, Services::new().add(service).behind(&handle)).await?;
        let link = match &options.registrar {
            Some(registrar) => Some(Link::register(registrar, &options, running.address().port()).await?),
            None => None,
        };
        Ok(Self { running, handle, link })
    }

    /// Where AgentHandler listens.
    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// Knobs and counters.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What the registrar answered; none without a registrar.
    pub fn registration(&self) -> Option<&Registration> {
        self.link.as_ref().map(Link::registration)
    }

    /// Heartbeats so far; zeros without a registrar.
    pub fn heartbeats(&self) -> Heartbeats {
        self.link.as_ref().map(Link::heartbeats).unwrap_or_default()
    }

    /// Unregisters, stops listening, waits a few seconds for open calls.
    pub async fn shutdown(self) {
        if let Some(link) = self.link {
            link.leave().await;
        }
        self.running.shutdown().await;
    }

    /// Drops the listener and every connection, the registering one too, as kill -9 would; returns once the port is free.
    pub async fn kill(self) {
        drop(self.link);
        self.running.killed().await;
    }
}

/// The metadata of every answer: who gave it.
fn labels(options: &Options) -> BTreeMap<String, String> {
    BTreeMap::from([("agent".into(), options.name.clone()), ("instance".into(), options.instance.clone())])
}
