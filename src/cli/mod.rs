//! The commands: one file each.

mod audit;
mod call;
pub mod check;
mod demo;
mod descriptors;
mod dev;
mod dial;
mod following;
mod online;
mod run;
pub mod schema;
mod systemd;

use std::io::{BufReader, stderr, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{app, config, filters};

/// A programmable gRPC proxy in front of AI-agent backends.
#[derive(Debug, Parser)]
#[command(name = "portunus", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy. Exit 0 after a clean drain, 2 for a bad configuration, 1 otherwise.
    Run(File),
    /// Build everything that `run` would build, print every error, bind nothing. Exit 0 or 2.
    Check {
        #[command(flatten)]
        file: File,
        /// Print the configuration with every default filled in.
        #[arg(long)]
        defaults: bool,
        /// Also dial every endpoint and core, ask instances for their schemas, and check by these what reads messages. Takes 30 s at
        /// most. Whoever cannot be reached is an error.
        #[arg(long)]
        online: bool,
    },
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Call any method of any server, with JSON in and out, by its reflection or by files. The exit code is the gRPC status.
    Call(call::Arguments),
    /// Audit files: whether they are as they were written.
    Audit {
        #[command(subcommand)]
        action: audit::Action,
    },
    /// Schemas as files.
    Descriptors {
        #[command(subcommand)]
        action: descriptors::Action,
    },
    /// Throw-away certificates and tokens, for trying things.
    Dev {
        #[command(subcommand)]
        action: dev::Action,
    },
    /// Everything in one process: a core, the proxy, three instances of one agent. Runs until Ctrl-C.
    Demo {
        /// Send real calls through, print which instance answered and what was refused, and exit.
        #[arg(long)]
        once: bool,
    },
}

#[derive(Debug, clap::Args)]
struct File {
    /// The configuration.
    #[arg(short = 'c', long = "config", env = "PORTUNUS_CONFIG", value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(File { file }) => run::run(&file),
        Command::Check { file: File { file }, defaults, online } => {
            let check = check::Check { file: &file, defaults, environment: &config::process, filters: filters::ALL };
            let output = check::Output { out: &mut stdout(), err: &mut stderr() };
            let build = |loaded: &config::Loaded| {
                let offline = |snapshot: config::snapshot::Snapshot| check::Built {
                    warnings: snapshot.warnings(),
                    ..check::Built::default()
                };
                if online { online::build(loaded) } else { app::build(loaded).map(offline) }
            };
            check.run(build, output).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Command::Call(arguments) => {
            let input = Box::new(BufReader::new(stdin()));
            call::run(&arguments, call::Streams { input, out: &mut stdout(), err: &mut stderr() })
        }
        Command::Audit { action } => audit::run(&action, &mut stdout(), &mut stderr()),
        Command::Descriptors { action } => descriptors::run(&action, &mut stdout(), &mut stderr()),
        Command::Dev { action } => dev::run(&action, &mut stdout(), &mut stderr()),
        Command::Demo { once } => demo::run(once),
        Command::Schema => schema::run(filters::ALL, &mut stdout()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
    }
}
