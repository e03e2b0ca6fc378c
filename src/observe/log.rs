//! Portunus' own log: what happened to the proxy, for operators, on stderr. `portunus run` sets it up once.
//! Calls are told by the access log and by metrics, not here.

use std::io::stderr;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// The environment variable with the level: `info`, `debug`, or directives such as `info,portunus::registry=debug`.
pub const LEVEL_VARIABLE: &str = "PORTUNUS_LOG";

/// The environment variable with the format: `human` (the default) or `json`.
pub const FORMAT_VARIABLE: &str = "PORTUNUS_LOG_FORMAT";

const DEFAULT_LEVEL: &str = "info";

/// What went wrong with the log's settings. Each names the variable and what it takes.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level could not be read.
    #[error(
        "cannot read the log level `{given}`: {why}. Use error, warn, info, debug, trace or off, or directives such as \
         `info,portunus::registry=debug` ({LEVEL_VARIABLE})"
    )]
    Level {
        /// What was given.
        given: String,
        /// What the parser says.
        why: String,
    },
    /// The format is none that exists.
    #[error("{FORMAT_VARIABLE} is `{0}`; use `human` or `json`")]
    Format(String),
    /// A second set-up in one process.
    #[error("the log of this process is set up already; keep the handle of the first set-up")]
    SetUpTwice,
    /// The process's log is gone.
    #[error("the log of this process has ended, so that its level cannot change")]
    Ended,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Changes the level while the process runs.
#[derive(Debug)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    // What was asked for, as written: the filter prints its directives in another order.
    level: Mutex<String>,
}

impl LogHandle {
    /// The level in force, as it was given.
    pub fn level(&self) -> String {
        self.level.lock().clone()
    }

    /// Puts another level in force. A level that cannot be read changes nothing.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = read_level(level)?;
        let mut kept = self.level.lock();
        self.filter.reload(filter).map_err(|_| LogError::Ended)?;
        level.clone_into(&mut kept);
        Ok(())
    }
}

/// Sets up the process's log as the environment says. Once a process, before anything logs.
pub fn set_up() -> Result<LogHandle, LogError> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let format = read_format(variable(FORMAT_VARIABLE).as_deref())?;
    let level = variable(LEVEL_VARIABLE).unwrap_or_else(|| DEFAULT_LEVEL.to_owned());
    let (filter, handle) = reload::Layer::new(read_level(&level)?);
    let lines = match format {
        LogFormat::Human => fmt::layer().with_writer(stderr).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(stderr).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|_| LogError::SetUpTwice)?;
    Ok(LogHandle { filter: handle, level: Mutex::new(level) })
}

fn read_format(given: Option<&str>) -> Result<LogFormat, LogError> {
    match given {
        None | Some("human") => Ok(LogFormat::Human),
        Some("json") => Ok(LogFormat::Json),
        Some(other) => Err(LogError::Format(other.to_owned())),
    }
}

fn read_level(given: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(given)
        .map_err(|error| LogError::Level { given: given.to_owned(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read() {
        assert_eq!(read_format(None).unwrap(), LogFormat::Human);
        assert_eq!(read_format(Some("json")).unwrap(), LogFormat::Json);
        let refusal = read_format(Some("xml")).unwrap_err().to_string();
        assert!(refusal.contains("PORTUNUS_LOG_FORMAT") && refusal.contains("`human` or `json`"), "{refusal}");
    }

    #[test]
    fn a_level_changes_and_a_bad_one_changes_nothing() {
        let (filter, handle) = reload::Layer::new(read_level("info").unwrap());
        let subscriber = tracing_subscriber::registry().with(filter);
        let log = LogHandle { filter: handle, level: Mutex::new("info".to_owned()) };
        tracing::subscriber::with_default(subscriber, || {
            assert!(!tracing::enabled!(tracing::Level::DEBUG));
            log.set_level("debug").unwrap();
            assert!(tracing::enabled!(tracing::Level::DEBUG));
            let refusal = log.set_level("portunus=loud").unwrap_err().to_string();
            assert!(refusal.contains("portunus=loud") && refusal.contains("PORTUNUS_LOG"), "{refusal}");
            assert_eq!(log.level(), "debug");
            assert!(tracing::enabled!(tracing::Level::DEBUG));
        });
    }
}
