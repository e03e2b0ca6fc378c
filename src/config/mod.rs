//! The configuration: a YAML file and those that it includes, read with positions, checked as a whole, and turned into [`Config`].
//! Called by the commands and the reload; the snapshot is built from what this returns. Does no I/O but reading files.
//!
//! The way of a file: `yaml` (tree with positions) → `env` (`${NAME}`) → `include` (one tree of all files) → `shape` (against the
//! JSON Schema) → `file` (types) → `rules` (what no schema can say). Each step reports everything it finds; none stops at its first
//! error, but that nothing is said of a whole of which a part is missing.

mod access;
mod build;
mod diff;
mod env;
mod error;
mod expressions;
mod file;
mod formats;
mod health;
mod include;
mod issuers;
pub mod names;
pub mod net;
pub mod policies;
mod readers;
mod reads;
mod render;
mod rules;
mod schema;
mod secure;
mod shape;
pub mod snapshot;
mod source;
mod suggest;
mod text;
mod warnings;
mod yaml;

use std::path::Path as FilePath;

use filter_api::Known;

pub use diff::{Told, in_words};
pub use env::{Environment, process};
pub use error::{Errors, Path, Position, Problem, Step};
pub use file::{
    AccessLog, Admin, Balance, Callback, CallbackPorts, CertificateFiles, ClientAuth, ClientAuthMode, ClientCertHeader,
    Cluster, ClusterLimits, ClusterSchema, Config, Dns, Drain, Endpoint, Expr, Expression, FilterUse, Forwarded,
    HashBy, HeaderMatch, HeaderPattern, Health, HoldFirst, Issuer, Jwks, KeptState, Listener, ListenerLimits,
    ListenerTls, Match, Members, Memory, Present, ProxyProtocol, Reflection, ReflectionSettings, Registry,
    RegistryLimits, Route, SchemaMode, Serve, ServeSettings, Served, ServedHealth, ServedReflection, SplitShare, State,
    Target, WeightedEndpoint,
};
use include::{Joining, Part};
pub use reads::Reads;
pub use render::{render_defaults, view};
pub use schema::compose;
pub use source::Source;
pub use yaml::MOST_BYTES;

/// A configuration without errors, and where everything in it stands.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub source: Source,
}

/// Reads and checks the file at `path`, and those that it includes.
///
/// # Errors
/// Everything that is wrong with them, or that they could not be read.
pub fn load(path: &FilePath, environment: Environment<'_>, filters: &[Known]) -> Result<Loaded, Errors> {
    // Before it is read: what is written while it is read is seen then.
    load_noting(path, Reads::of(path), environment, filters)
}

/// As [`load`], for whoever wants to know which files were read also where something is wrong with them.
///
/// # Errors
/// As [`load`].
pub fn load_noting(
    path: &FilePath,
    reads: Reads,
    environment: Environment<'_>,
    filters: &[Known],
) -> Result<Loaded, Errors> {
    let unreadable = |message: String| {
        let problem = Problem { at: Position::default(), path: Path::default(), message };
        Errors::new(vec![path.display().to_string()], vec![problem])
    };
    let too_long = |length: u64| length > yaml::MOST_BYTES as u64;
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    // Before it is read: somebody may have named a device or a core dump.
    if metadata.is_dir() || too_long(metadata.len()) {
        return Err(unreadable(format!("is a folder or over {} bytes: name a YAML file", yaml::MOST_BYTES)));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("is not UTF-8: save it as UTF-8".to_owned()))?;
    Text { text: &text, name: path.display().to_string(), file: path, reads }.load(environment, filters)
}

/// As [`load`], with the text at hand; `path` is for messages and for relative paths in the file.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn load_str(
    text: &str,
    path: &FilePath,
    environment: Environment<'_>,
    filters: &[Known],
) -> Result<Loaded, Errors> {
    Text { text, name: path.display().to_string(), file: path, reads: Reads::of(path) }.load(environment, filters)
}

/// The text of a configuration.
pub struct Text<'t> {
    pub text: &'t str,
    /// As messages name it.
    pub name: String,
    /// Where it is, or would be: what relative paths are relative to.
    pub file: &'t FilePath,
    /// What it is made of, and may be.
    pub reads: Reads,
}

impl Text<'_> {
    /// Reads what the text includes, and checks all of it.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(self, environment: Environment<'_>, filters: &[Known]) -> Result<Loaded, Errors> {
        let Self { text, name, file, reads } = self;
        let mut problems = Vec::new();
        let Some(mut root) = yaml::parse(text, 0, &mut problems) else { return Err(Errors::new(vec![name], problems)) };
        env::substitute(&mut root, environment, &mut problems);
        let mut joining = Joining {
            folder: file.parent().unwrap_or(FilePath::new("")),
            reads: &reads,
            environment,
            parts: vec![Part { file: file.to_owned(), name }],
            left: yaml::MOST_BYTES.saturating_sub(text.len()),
        };
        let mut missing = Vec::new();
        joining.join(&mut root, &mut missing);
        let parts = joining.parts;
        let source = Source::new(file.to_owned(), (root, parts), reads);
        if !missing.is_empty() {
            // What else would be found is mostly that a part is not there.
            problems.extend(missing);
            return Err(source.errors(problems));
        }
        check(source, problems, filters)
    }
}

fn check(source: Source, mut problems: Vec<Problem>, filters: &[Known]) -> Result<Loaded, Errors> {
    let checked = shape::check(source.root(), &compose(filters));
    problems.extend(checked.problems);
    let config = match checked.value.map(serde_path_to_error::deserialize::<_, Config>) {
        Some(Ok(config)) => Some(config),
        Some(Err(error)) => {
            // What the walk let pass and the types do not. With other problems it may only be their consequence.
            if problems.is_empty() {
                problems.push(residual(&source, &error));
            }
            None
        }
        None => None,
    };
    let config = config.map(|mut config| {
        config.complete();
        problems.extend(rules::check(&config, &source, filters, checked.gaps));
        config
    });
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, source }),
        _ => Err(source.errors(problems)),
    }
}

fn residual(source: &Source, error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    use serde_path_to_error::Segment;
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    let path = Path(error.path().iter().map_while(step).collect());
    source.error_at(&path, error.inner().to_string())
}

#[cfg(test)]
mod tests;
