//! The command line of `portunus-agents`, and which library call each subcommand is.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use portunus_agents::{Behaviour, Clock, bindu, core, echo, openastra, random_seed, seal, shannon};
use tonic::Code;

/// Sample backends of the four systems.
#[derive(Parser)]
#[command(name = "portunus-agents", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) backend: Backend,
}

#[derive(Subcommand)]
pub(crate) enum Backend {
    /// A Bindu agent as an SDK makes it; registers, heartbeats, unregisters on SIGTERM
    Bindu(BinduArgs),
    /// A stand-in for the Bindu core
    Core(Common),
    /// Open Astra
    Openastra(Common),
    /// SEAL gateway
    Seal(Common),
    /// Shannon, all five services on one port
    Shannon(Common),
    /// Our own Echo, all four kinds of call
    Echo(EchoArgs),
}

#[derive(Args)]
pub(crate) struct Common {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Makes ids and figures repeatable; default: another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// `real`, or the start of a logical clock, such as 2026-01-01T00:00:00Z, that moves 100 ms a call
    #[arg(long, default_value = "real")]
    clock: Clock,
    /// Longest message taken and sent, in bytes [default: 4 MiB; bindu: 64 MiB]
    #[arg(long)]
    max_message: Option<usize>,
    /// Pause before each answer
    #[arg(long, value_parser = duration, default_value = "0s")]
    delay: Duration,
    /// Share of calls that fail, 0.0 to 1.0
    #[arg(long, default_value_t = 0.0)]
    fail_share: f64,
    /// gRPC status number of those
    #[arg(long, default_value_t = 14)]
    fail_status: i32,
    /// Answer HealthCheck with healthy=false
    #[arg(long)]
    unhealthy: bool,
    /// Accept calls and answer nothing
    #[arg(long)]
    hang: bool,
}

#[derive(Args)]
pub(crate) struct BinduArgs {
    #[command(flatten)]
    common: Common,
    /// host:port of the registrar (core or Portunus); without it the agent only serves
    #[arg(long)]
    registrar: Option<String>,
    /// What the registrar is told as our address [default: localhost:PORT]
    #[arg(long)]
    callback: Option<String>,
    /// Agent name; all instances of an agent have one name and author
    #[arg(long, default_value = "sample-agent")]
    name: String,
    #[arg(long, default_value = "sample@example.com")]
    author: String,
    /// Names this instance in each answer's metadata [default: the name]
    #[arg(long)]
    instance: Option<String>,
    /// deployment.url of the configuration
    #[arg(long, default_value = "http://localhost:3773")]
    url: String,
    /// More of config_json, as a JSON object
    #[arg(long, default_value = "{}")]
    config: String,
    #[arg(long, value_parser = duration, default_value = "30s")]
    heartbeat: Duration,
    /// Do not serve HandleMessagesStream, as the TypeScript SDK
    #[arg(long)]
    no_stream: bool,
    /// Leave without UnregisterAgent, as the real SDKs do
    #[arg(long)]
    no_unregister: bool,
}

#[derive(Args)]
pub(crate) struct EchoArgs {
    #[command(flatten)]
    common: Common,
    /// Answer in gzip whoever accepts it
    #[arg(long)]
    gzip: bool,
    /// Metadata x-instance of every answer
    #[arg(long, default_value = "")]
    instance: String,
}

/// A started backend of any kind.
pub(crate) enum Started {
    Bindu(bindu::Agent),
    Core(core::Core),
    Openastra(openastra::Server),
    Seal(seal::Server),
    Shannon(shannon::Server),
    Echo(echo::Server),
}

impl Started {
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Bindu(agent) => agent.address(),
            Self::Core(core) => core.address(),
            Self::Openastra(server) => server.address(),
            Self::Seal(server) => server.address(),
            Self::Shannon(server) => server.address(),
            Self::Echo(server) => server.address(),
        }
    }

    pub(crate) async fn shutdown(self) {
        match self {
            Self::Bindu(agent) => agent.shutdown().await,
            Self::Core(core) => core.shutdown().await,
            Self::Openastra(server) => server.shutdown().await,
            Self::Seal(server) => server.shutdown().await,
            Self::Shannon(server) => server.shutdown().await,
            Self::Echo(server) => server.shutdown().await,
        }
    }
}

impl Backend {
    /// Runs the backend that was asked for.
    ///
    /// # Errors
    /// Its address cannot be bound; for an agent, its registrar cannot be reached or refuses.
    pub(crate) async fn start(self) -> io::Result<Started> {
        match self {
            Self::Bindu(args) => Ok(Started::Bindu(bindu::Agent::start(args.options()?).await?)),
            Self::Core(args) => {
                let (behaviour, seed, max_message) = (args.behaviour(), args.seed(), args.max_message());
                let options = core::Options {
                    listen: args.listen,
                    seed,
                    clock: args.clock,
                    max_message,
                    behaviour,
                    ..core::Options::default()
                };
                Ok(Started::Core(core::Core::start(options).await?))
            }
            Self::Openastra(args) => Ok(Started::Openastra(openastra::Server::start(args.options()).await?)),
            Self::Seal(args) => Ok(Started::Seal(seal::Server::start(args.options()).await?)),
            Self::Shannon(args) => Ok(Started::Shannon(shannon::Server::start(args.options()).await?)),
            Self::Echo(args) => {
                let common = args.common;
                let options = echo::Options {
                    listen: common.listen,
                    seed: common.seed(),
                    max_message: common.max_message(),
                    gzip: args.gzip,
                    instance: args.instance,
                    behaviour: common.behaviour(),
                };
                Ok(Started::Echo(echo::Server::start(options).await?))
            }
        }
    }
}

impl Common {
    fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(random_seed)
    }

    fn max_message(&self) -> usize {
        self.max_message.unwrap_or(4 * 1024 * 1024)
    }

    fn behaviour(&self) -> Behaviour {
        Behaviour {
            delay: self.delay,
            fail_share: self.fail_share,
            fail_status: Code::from_i32(self.fail_status),
            healthy: !self.unhealthy,
            hanging: self.hang,
        }
    }

    fn options(self) -> portunus_agents::Options {
        portunus_agents::Options {
            listen: self.listen,
            seed: self.seed(),
            max_message: self.max_message(),
            behaviour: self.behaviour(),
            clock: self.clock,
        }
    }
}

impl BinduArgs {
    fn options(self) -> io::Result<bindu::Options> {
        let config = serde_json::from_str(&self.config)
            .map_err(|e| io::Error::other(format!("--config is not a JSON object: {e}")))?;
        let defaults = bindu::Options::default();
        Ok(bindu::Options {
            listen: self.common.listen,
            seed: self.common.seed(),
            behaviour: self.common.behaviour(),
            max_message: self.common.max_message.unwrap_or(defaults.max_message),
            clock: self.common.clock,
            author: self.author,
            instance: self.instance.unwrap_or_else(|| self.name.clone()),
            name: self.name,
            url: self.url,
            config,
            registrar: self.registrar,
            callback: self.callback,
            heartbeat: self.heartbeat,
            unregister: !self.no_unregister,
            streaming: !self.no_stream,
            ..defaults
        })
    }
}

/// A number with a unit: `250us`, `50ms`, `30s`, `5m`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("`{text}`: write a whole number and a unit, such as 50ms"))?;
    match unit {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => Err(format!("`{text}`: the unit is us, ms, s or m")),
    }
}
