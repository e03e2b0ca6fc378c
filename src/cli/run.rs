//! `portunus run`: the proxy, until a signal ends it.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::following::Following;
use super::systemd;
use crate::app::{self, Inherited, Program, StartError};
use crate::config::Drain;
use crate::{config, filters, observe};

/// A bad configuration ends with this, in `check` too.
const BAD_CONFIGURATION: u8 = 2;

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
    // First of all: later its file may be another.
    let program = Program::current();
    let inherited = match Inherited::receive() {
        Ok(inherited) => inherited,
        Err(error) => return refuse(&error, 1),
    };
    systemd::take_sockets(&inherited);
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
    let code = runtime.block_on(start((loaded, file), (&program, &inherited)));
    drop(log);
    runtime.shutdown_background();
    code
}

async fn start(
    (loaded, file): (config::Loaded, &Path),
    (program, inherited): (&io::Result<Program>, &Inherited),
) -> ExitCode {
    let Ok(mut signals) = Signals::new() else { return refuse("signals cannot be received", 1) };
    let reads = loaded.source.reads().clone();
    let started = tokio::select! {
        started = app::start_with(loaded, inherited) => started,
        // It stood by, and had nothing to end.
        () = signals.end.comes() => return ExitCode::SUCCESS,
    };
    match started {
        Ok(proxy) => {
            inherited.succeed();
            until_told((proxy, Following::begin(file, &reads)), program, signals).await
        }
        Err(StartError::Told) => ExitCode::SUCCESS,
        Err(error @ StartError::Config(_)) => refuse(&error.to_string(), BAD_CONFIGURATION),
        Err(error) => refuse(&error.to_string(), 1),
    }
}

async fn until_told(
    (proxy, mut following): (app::Proxy, Following),
    program: &io::Result<Program>,
    mut signals: Signals,
) -> ExitCode {
    for (name, addresses) in proxy.listeners() {
        let first = addresses.first().map(ToString::to_string).unwrap_or_default();
        tracing::info!(listener = &*name, address = first, ports = addresses.len(), "listening");
    }
    tracing::info!(address = %proxy.admin(), "admin server is listening");
    if let Some(address) = proxy.public() {
        tracing::info!(%address, "admin server is listening for anybody");
    }
    systemd::say(systemd::READY);
    let handed_over = loop {
        tokio::select! {
            () = signals.end.comes() => break false,
            () = proxy.asked_to_drain() => break false,
            cause = following.changed() => following.reload(&proxy, &cause).await,
            _ = signals.hangup.recv() => {
                following.reload(&proxy, "SIGHUP").await;
                reopen_audit(&proxy).await;
            }
            _ = signals.upgrade.recv() => {
                tokio::select! {
                    done = upgrade(&proxy, program) => if done { break true },
                    // The new process has nobody to take over from then, or is on its way and does.
                    () = signals.end.comes() => break false,
                }
            }
        }
    };
    end((proxy, handed_over), signals).await
}

/// Ends well, unless it is told a second time.
async fn end((proxy, handed_over): (app::Proxy, bool), mut signals: Signals) -> ExitCode {
    proxy.leave();
    let Drain { mut delay, timeout } = proxy.drain_settings().await;
    if handed_over {
        // Nobody has to be told: whoever comes is served by the new process.
        delay.0 = Duration::ZERO;
    } else {
        systemd::say("STOPPING=1\nSTATUS=draining");
    }
    tracing::info!(
        delay = %delay,
        timeout = %timeout,
        "draining: open calls go on; after the delay no new connections are taken; a second signal ends everything at once"
    );
    let drained = async {
        tokio::time::sleep(delay.0).await;
        proxy.drain(timeout.0).await
    };
    let clean = tokio::select! {
        clean = drained => clean,
        () = signals.end.comes() => false,
    };
    tracing::info!(clean, "ended");
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The signals that say something to a proxy.
struct Signals {
    end: End,
    hangup: Signal,
    upgrade: Signal,
}

/// Those that end it.
struct End {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let end = End { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok(Self { end, hangup: signal(SignalKind::hangup())?, upgrade: signal(SignalKind::user_defined2())? })
    }
}

impl End {
    async fn comes(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Has the program that is there now take the place of this process; false if it cannot, and all goes on here.
async fn upgrade(proxy: &app::Proxy, program: &io::Result<Program>) -> bool {
    let program = match program {
        Ok(program) => program,
        Err(error) => {
            tracing::error!(%error, "SIGUSR2: the system does not say which file this program is (is /proc there?)");
            return false;
        }
    };
    let path = program.path().display().to_string();
    tracing::info!(path, "SIGUSR2: a new process is started to take the place of this one");
    match proxy.hand_over(program).await {
        Ok(pid) => {
            tracing::info!(pid, "the new process has taken the place of this one");
            systemd::say(&format!("MAINPID={pid}"));
            true
        }
        Err(error) => {
            tracing::error!(error, path, "SIGUSR2: the new process cannot take the place of this one, which goes on");
            false
        }
    }
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
