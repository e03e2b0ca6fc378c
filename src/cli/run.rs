//! `portunus run`: the proxy, until a signal ends it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::following::Following;
use crate::app::{self, StartError};
use crate::{config, filters, observe};

/// A bad configuration ends with this, in `check` too.
const BAD_CONFIGURATION: u8 = 2;
/// How long calls that are open at a SIGTERM may go on. A second signal ends them at once.
const DRAIN: Duration = Duration::from_secs(30);

/// Runs the proxy with the configuration in `file`.
pub(super) fn run(file: &Path) -> ExitCode {
    let log = match observe::log::set_up() {
        Ok(log) => log,
        Err(error) => {
            // There is no log to write it to.
            drop(std::io::Write::write_all(&mut std::io::stderr(), format!("{error}\n").as_bytes()));
            return ExitCode::FAILURE;
        }
    };
    let loaded = match config::load(file, &config::process, filters::ALL) {
        Ok(loaded) => loaded,
        Err(errors) => return refuse(&errors.to_string(), BAD_CONFIGURATION),
    };
    // The control runtime has one thread beside the workers: it has little to do, and must not take their cores.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error.to_string(), 1),
    };
    let code = runtime.block_on(async {
        let (Ok(mut term), Ok(mut interrupt), Ok(hangup)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
        else {
            return refuse("signals cannot be received", 1);
        };
        let reads = loaded.source.reads().clone();
        let started = tokio::select! {
            started = app::start(loaded) => started,
            // It stood by, and had nothing to end.
            _ = term.recv() => return ExitCode::SUCCESS,
            _ = interrupt.recv() => return ExitCode::SUCCESS,
        };
        match started {
            Ok(proxy) => {
                let following = Following::begin(file, &reads);
                until_signal((proxy, following), hangup, term, interrupt).await
            }
            Err(error @ StartError::Config(_)) => refuse(&error.to_string(), BAD_CONFIGURATION),
            Err(error) => refuse(&error.to_string(), 1),
        }
    });
    drop(log);
    runtime.shutdown_background();
    code
}

async fn until_signal(
    (proxy, mut following): (app::Proxy, Following),
    mut hangup: Signal,
    mut term: Signal,
    mut interrupt: Signal,
) -> ExitCode {
    for (name, addresses) in proxy.listeners() {
        let first = addresses.first().map(ToString::to_string).unwrap_or_default();
        tracing::info!(listener = &*name, address = first, ports = addresses.len(), "listening");
    }
    tracing::info!(address = %proxy.admin(), "admin server is listening");
    if let Some(address) = proxy.public() {
        tracing::info!(%address, "admin server is listening for anybody");
    }
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
            cause = following.changed() => following.reload(&proxy, &cause).await,
            _ = hangup.recv() => {
                following.reload(&proxy, "SIGHUP").await;
                reopen_audit(&proxy).await;
            }
        }
    }
    tracing::info!(
        seconds = DRAIN.as_secs(),
        "draining: no new connections, open calls go on; a second signal ends them"
    );
    let clean = tokio::select! {
        clean = proxy.drain(DRAIN) => clean,
        _ = term.recv() => false,
        _ = interrupt.recv() => false,
    };
    tracing::info!(clean, "ended");
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Audit files that were moved aside go on under their names.
async fn reopen_audit(proxy: &app::Proxy) {
    for error in proxy.reopen_audit().await {
        tracing::error!(error, "an audit file cannot go on in a new one; it goes on in the one it has");
    }
}

fn refuse(message: &str, code: u8) -> ExitCode {
    drop(std::io::Write::write_all(&mut std::io::stderr(), format!("{message}\n").as_bytes()));
    ExitCode::from(code)
}
