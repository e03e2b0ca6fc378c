//! `portunus audit verify`: what happened to audit files since they were written.

use std::fs::File;
use std::io::{self, BufReader, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use filter_audit::{Finding, Key, Report, What, first_number, verify};

/// Lines were changed, are missing, or are in another order.
const DAMAGED: u8 = 3;
/// Lines are missing at the end, and nothing else is wrong.
const CUT: u8 = 4;
/// The files were written with another key.
const WRONG_KEY: u8 = 5;

/// What to do with audit files.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Check the chain of lines. Exit 0 if it is whole, 1 if a file cannot be read, 3 if lines were changed, are missing or in another
    /// order, 4 if only the end is missing, 5 if the key is another.
    Verify {
        /// The file, and those that were rotated, in any order.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// The key that the filter has (`key_file`).
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// A number that is known to have been written: `portunus_audit_last_number` of /metrics.
        #[arg(long, value_name = "NUMBER")]
        last: Option<u64>,
    },
}

/// Verifies.
pub(super) fn run(action: &Action, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let Action::Verify { files, key_file, last } = action;
    let key = match key_file {
        None => Ok(Key::none()),
        Some(path) => Key::read(path).map_err(|why| format!("{} {why}", path.display())),
    };
    let verified = key.and_then(|key| Ok((verify_files(files, &key, *last)?, key)));
    match verified {
        Ok((report, key)) => tell(&report, &key, out).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(why) => {
            // Nobody is left to tell of an error of stderr.
            writeln!(err, "{why}").ok();
            ExitCode::FAILURE
        }
    }
}

fn verify_files(paths: &[PathBuf], key: &Key, last: Option<u64>) -> Result<Report, String> {
    let at = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let mut files = Vec::new();
    for path in paths {
        let mut file = BufReader::new(File::open(path).map_err(|error| at(path, error))?);
        let number = first_number(&mut file).map_err(|error| at(path, error))?;
        file.rewind().map_err(|error| at(path, error))?;
        files.push((number, (path.display().to_string(), file)));
    }
    files.sort_by_key(|(number, _)| *number);
    verify(files.into_iter().map(|(_, file)| file), key, last).map_err(|error| error.to_string())
}

fn tell(report: &Report, key: &Key, out: &mut dyn Write) -> io::Result<u8> {
    for Finding { file, line, what } in &report.findings {
        let note = if what.is_note() { "note: " } else { "" };
        match line {
            0 => writeln!(out, "{file}: {note}{what}")?,
            line => writeln!(out, "{file}:{line}: {note}{what}")?,
        }
    }
    if report.more > 0 {
        writeln!(out, "and {} more", report.more)?;
    }
    let found = |is: fn(&What) -> bool| report.findings.iter().any(|finding| is(&finding.what));
    let (word, code) = if report.is_whole() {
        ("whole", 0)
    } else if found(|what| *what == What::WrongKey) {
        ("another key", WRONG_KEY)
    } else if report.more > 0 || found(|what| !what.is_note() && !matches!(what, What::CutTail { .. } | What::Empty)) {
        ("damaged", DAMAGED)
    } else {
        ("cut", CUT)
    };
    writeln!(out, "{} lines, the last is number {}: {word}", report.lines, report.last)?;
    if !key.is_some() {
        writeln!(
            out,
            "without a key this shows accidents, and no attackers: whoever can write the file can make another chain"
        )?;
    }
    Ok(code)
}
