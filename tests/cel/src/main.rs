//! `portunus-cel`: runs CEL's conformance cases, as `tests/peers/cel/export.js` writes them, through the proxy's expressions.
//!
//! A line for each case that fails, and then one of JSON with all counts. Which of them may fail is judged by
//! `tests/peers/cel/run.py`: the exit code says only whether the cases could be run.
#![allow(clippy::print_stdout, reason = "what it found is what it is for")]

mod case;
mod declared;
mod engine;
mod judge;
mod same;
mod value;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use clap::Parser;
use serde::Serialize;

use case::Case;
use engine::Expressions;
use judge::{Finding, judge};
use same::Types;

/// What ends a run early.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "Runs CEL's conformance cases through the proxy's expressions")]
struct Options {
    /// Cases, each a line of JSON
    cases: PathBuf,
    /// Descriptor set of the types that they name
    types: PathBuf,
}

/// The last line.
#[derive(Serialize)]
struct Summary {
    /// How many cases each file has.
    cases: BTreeMap<String, usize>,
    failures: Vec<Finding>,
}

fn main() -> Result<(), Error> {
    let options = Options::parse();
    let types = Types::of(&fs::read(&options.types)?)?;
    let schema = portunus::schema::from_set(&options.types)?;
    if !schema.problems().is_empty() {
        return Err(format!("{}: {}", options.types.display(), schema.problems().join("; ")).into());
    }
    let engine = Expressions::over(schema);
    let mut summary = Summary { cases: BTreeMap::new(), failures: Vec::new() };
    for (line, text) in (1..).zip(fs::read_to_string(&options.cases)?.lines()) {
        let case: Case =
            serde_json::from_str(text).map_err(|error| format!("{}:{line}: {error}", options.cases.display()))?;
        *summary.cases.entry(case.file.clone()).or_default() += 1;
        if let Some(finding) = judge(&case, &engine, &types) {
            println!("{finding}");
            summary.failures.push(finding);
        }
    }
    println!("{}", serde_json::to_string(&summary)?);
    Ok(())
}
