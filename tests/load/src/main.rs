//! `portunus-load`: drives the release proxy, as a process of its own, with real load over loopback, and says what held.
//!
//! The sample backends run in this process, so that both ends of a call are seen with one clock. Each section starts a
//! fresh proxy. Exit code 0 only if every check of every section passed.
#![allow(clippy::print_stdout, reason = "a table on stdout is what it is for")]

mod attack;
mod balance;
mod call;
mod cancel;
mod chaos;
mod kill;
mod metrics;
mod plan;
mod proxy;
mod registry;
mod reload;
mod report;
mod settle;
mod soak;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use portunus_agents::echo;
use portunus_proto::echo::echo_client::EchoClient;
use tonic::transport::{Channel, Endpoint};

use report::Report;

/// What ends a section early.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// No section may take longer: something hangs then.
const PATIENCE: Duration = Duration::from_secs(8 * 60);
/// Longest message that backends and callers take: answers of ClientStream are a little longer than the request.
const MESSAGE: usize = 8 * 1024 * 1024;

#[derive(Parser)]
#[command(about = "Drives the release proxy with load, and checks what must hold")]
struct Options {
    /// What to run; default: all, one after the other
    sections: Vec<Section>,
    /// The proxy's binary; default: `portunus` beside this one
    #[arg(long)]
    proxy: Option<PathBuf>,
    /// The sample backends' binary; default: `portunus-agents` beside this one
    #[arg(long)]
    agents: Option<PathBuf>,
    /// Calls of the soak; sizes and shares stay as they are
    #[arg(long, default_value_t = 100_000)]
    calls: u32,
    /// Seconds for which instances and callers are killed at random
    #[arg(long, default_value_t = 30)]
    chaos: u64,
    /// Of the attacks, those whose name contains this; default: all
    #[arg(long, default_value = "")]
    attacks: String,
    /// Agents of the registry, with ten instances each; every instance takes a descriptor of the proxy's and one of ours
    #[arg(long, default_value_t = 50)]
    registered: u32,
    /// Makes the soak's calls repeatable
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The proxy's `workers`
    #[arg(long, default_value_t = 2)]
    workers: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Mixed calls, a tenth cancelled: nothing may leak, every outcome is accounted for
    Soak,
    /// How soon a backend learns of a cancellation
    Cancel,
    /// How calls spread over instances
    Balance,
    /// Instances that die and instances that restart
    Kill,
    /// What attacks on HTTP/2 cost, and what a caller beside them notices
    Attack,
    /// Instances and callers killed at random
    Chaos,
    /// Many agents of ten instances: registering, at rest, called
    Registry,
    /// A thousand configurations, one after the other, under load; and how soon a large one is built
    Reload,
}

const ALL: [Section; 8] = [
    Section::Soak,
    Section::Cancel,
    Section::Balance,
    Section::Kill,
    Section::Attack,
    Section::Chaos,
    Section::Registry,
    Section::Reload,
];

#[tokio::main]
async fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.sections.is_empty() {
        options.sections = ALL.to_vec();
    }
    let mut report = Report::default();
    for section in options.sections.clone() {
        let outcome = Box::pin(tokio::time::timeout(
            PATIENCE + Duration::from_secs(options.chaos),
            run(section, &options, &mut report),
        ))
        .await;
        let failed = match outcome {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => format!("could not go on: {error}"),
            Err(_) => format!("not over after {} s", PATIENCE.as_secs()),
        };
        report.check("the section runs to its end", false, failed);
    }
    report.finish()
}

async fn run(section: Section, options: &Options, report: &mut Report) -> Result<()> {
    match section {
        Section::Soak => soak::run(options, report).await,
        Section::Cancel => cancel::run(options, report).await,
        Section::Balance => balance::run(options, report).await,
        Section::Kill => kill::run(options, report).await,
        Section::Attack => attack::run(options, report).await,
        Section::Chaos => chaos::run(options, report).await,
        Section::Registry => registry::run(options, report).await,
        Section::Reload => reload::run(options, report).await,
    }
}

impl Options {
    fn proxy(&self) -> Result<PathBuf> {
        binary(self.proxy.as_ref(), "portunus")
    }

    fn agents(&self) -> Result<PathBuf> {
        binary(self.agents.as_ref(), "portunus-agents")
    }
}

fn binary(given: Option<&PathBuf>, name: &str) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name(name),
    };
    if path.exists() {
        return Ok(path);
    }
    let build = "cargo build --release -p portunus -p portunus-agents -p portunus-load";
    Err(format!("{} does not exist: build it first ({build}), or name it with --proxy or --agents", path.display())
        .into())
}

/// Three echo servers of this process, `one`, `two` and `three`.
async fn backends() -> Result<Vec<echo::Server>> {
    let mut servers = Vec::new();
    for instance in ["one", "two", "three"] {
        let options = echo::Options { max_message: MESSAGE, instance: instance.into(), ..echo::Options::default() };
        servers.push(echo::Server::start(options).await?);
    }
    Ok(servers)
}

/// The backends' addresses as a YAML list.
fn endpoints(backends: &[echo::Server]) -> String {
    let addresses: Vec<_> = backends.iter().map(|server| server.address().to_string()).collect();
    format!("[{}]", addresses.join(", "))
}

/// A proxy's configuration: one listener, `edge`, before these backends.
fn before(backends: &[echo::Server], workers: u16) -> String {
    format!(
        "workers: {workers}\nadmin: {{address: 127.0.0.1:0}}\nclusters:\n  echo: {{endpoints: {}}}\n\
         listeners:\n  edge:\n    address: 127.0.0.1:0\n    routes:\n      - cluster: echo\n",
        endpoints(backends)
    )
}

/// A connection of a caller's own.
async fn client(address: std::net::SocketAddr) -> Result<EchoClient<Channel>> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?;
    Ok(EchoClient::new(channel).max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE))
}
