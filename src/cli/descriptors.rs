//! `portunus descriptors pull`: a server's schema by its reflection, as a file that can be pinned.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tonic::transport::Endpoint;

use crate::schema::Bounds;
use crate::upstream::reflection::{causes, reflect};

/// What to do with descriptors.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Ask a server by reflection for its schema and write it down as a descriptor set. Prints its digest.
    Pull {
        /// host:port of the server.
        address: String,
        /// Where to write it.
        #[arg(short = 'o', long = "output", value_name = "FILE")]
        output: PathBuf,
    },
}

/// Pulls; exit 0, or 1 with the reason.
pub(super) fn run(action: &Action, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let Action::Pull { address, output } = action;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let pulled =
        runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(pull(address, output, err)));
    match pulled {
        Ok(line) => writeln!(out, "{line}").map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        Err(why) => {
            // Nobody is left to tell of an error of stderr.
            writeln!(err, "{why}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn pull(address: &str, output: &Path, err: &mut dyn Write) -> Result<String, String> {
    let address = address.trim_start_matches("http://");
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| causes(&error))?;
    let channel = endpoint.connect_timeout(Duration::from_secs(10)).connect().await;
    let channel = channel.map_err(|error| format!("{address}: {}", causes(&error)))?;
    let schema = reflect(channel, Bounds::REMOTE).await.map_err(|error| format!("{address}: {error}"))?;
    for problem in schema.problems() {
        writeln!(err, "{problem}").map_err(|error| error.to_string())?;
    }
    std::fs::write(output, schema.to_set()).map_err(|error| format!("{}: {error}", output.display()))?;
    let (services, digest) = (schema.services().count(), schema.digest());
    Ok(format!("{}: {services} services, {} messages, sha256:{digest}", output.display(), schema.messages()))
}
