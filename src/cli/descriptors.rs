//! `portunus descriptors pull`: a server's schema by its reflection, as a file that can be pinned.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::dial;
use crate::schema::{Bounds, SchemaError};
use crate::upstream::reflection::reflect;

/// What to do with descriptors.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Ask a server by reflection for its schema and write it down as a descriptor set. Prints its digest.
    Pull {
        #[command(flatten)]
        from: dial::Peer,
        /// Where to write it.
        #[arg(short = 'o', long = "output", value_name = "FILE")]
        output: PathBuf,
    },
}

/// Pulls; exit 0, or 1 with the reason.
pub(super) fn run(action: &Action, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let Action::Pull { from, output } = action;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let pulled =
        runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(pull(from, output, err)));
    match pulled {
        Ok(line) => writeln!(out, "{line}").map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        Err(why) => {
            // Nobody is left to tell of an error of stderr.
            writeln!(err, "{why}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn pull(from: &dial::Peer, output: &Path, err: &mut dyn Write) -> Result<String, String> {
    let channel =
        from.connect().await.map_err(|(dial::Failure::Arguments(why) | dial::Failure::Unreachable(why))| why)?;
    let metadata = from.metadata()?;
    let schema = reflect(channel, &metadata, Bounds::REMOTE).await.map_err(|error| match error {
        SchemaError::Unreachable(why) => format!("{why}{}", from.hint()),
        error => error.to_string(),
    })?;
    for problem in schema.problems() {
        writeln!(err, "{}", problem.escape_debug()).map_err(|error| error.to_string())?;
    }
    std::fs::write(output, schema.to_set()).map_err(|error| format!("{}: {error}", output.display()))?;
    let (services, digest) = (schema.services().count(), schema.digest());
    Ok(format!("{}: {services} services, {} messages, sha256:{digest}", output.display(), schema.messages()))
}
