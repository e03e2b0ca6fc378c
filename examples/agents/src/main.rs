//! `portunus-agents`: one sample backend a subcommand. Prints `listening on ADDRESS` once it is ready, ends cleanly on
//! SIGTERM and Ctrl-C.

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match run(cli.backend) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about a closed stderr.
            let _ = writeln!(io::stderr(), "portunus-agents: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One thread is plenty for a backend, and keeps the others for the proxy under test.
#[tokio::main(flavor = "current_thread")]
async fn run(backend: cli::Backend) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let started = backend.start().await?;
    let mut out = io::stdout();
    writeln!(out, "listening on {}", started.address())?;
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        done = tokio::signal::ctrl_c() => done?,
    }
    started.shutdown().await;
    Ok(())
}
