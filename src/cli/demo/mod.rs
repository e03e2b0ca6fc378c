//! `portunus demo`: everything in one process, with no file, no network and no set-up. Three instances of one sample Bindu
//! agent register with the proxy, a stand-in core calls them through it, and so do callers with certificates and tokens.

mod papers;
mod stage;
mod story;
mod table;

use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

use stage::Stage;

/// Runs the demo: with `once` it tells its story and ends, without it runs until Ctrl-C.
pub(super) fn run(once: bool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let told = match runtime {
        Ok(runtime) => runtime.block_on(show(once)),
        Err(error) => Err(error.to_string()),
    };
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Where even stderr is closed nobody listens.
            drop(writeln!(stderr(), "demo: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn show(once: bool) -> Result<bool, String> {
    let mut stage = Stage::set_up(once).await?;
    print(&stage.describe())?;
    if !once {
        print(&stage.commands())?;
        // Without Ctrl-C there would be no way out but kill, which works too.
        tokio::signal::ctrl_c().await.map_err(|error| error.to_string())?;
        stage.strike().await;
        return Ok(true);
    }
    let story = story::tell(&mut stage).await;
    stage.strike().await;
    print(&table::render(&story).map_err(|error| error.to_string())?)?;
    Ok(story.all_as_expected())
}

fn print(text: &str) -> Result<(), String> {
    stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}
