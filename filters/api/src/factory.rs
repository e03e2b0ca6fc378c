//! How a filter comes into being: from its part of the configuration, once, before any call.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;

use crate::{
    Expression, Extract, Filter, Gives, Hidden, Issuers, Keep, MethodPattern, Readers, Redaction, Rules, Validation,
    Verifier, check_target, target::folded,
};

/// When a filter runs. DESIGN.md §2 and docs/request-path.md have the order of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Sees every call, refused ones too.
    Observe,
    /// Refuses before anybody is known: CORS, faults.
    Admit,
    /// Finds out who calls.
    Authenticate,
    /// Decides whether they may.
    Authorize,
    /// Bounds how much.
    Limit,
    /// Changes what goes upstream; runs again at each try.
    Transform,
}

impl Phase {
    /// The word that documentation and the admin port use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Admit => "admit",
            Self::Authenticate => "authenticate",
            Self::Authorize => "authorize",
            Self::Limit => "limit",
            Self::Transform => "transform",
        }
    }
}

/// Makes filters of one kind.
pub trait Factory {
    /// The key in the configuration.
    const NAME: &'static str;
    /// When filters of this kind run.
    const PHASE: Phase;
    /// What a person writes under the key. Unknown keys must be refused (`#[serde(deny_unknown_fields)]`).
    type Config: DeserializeOwned + JsonSchema;

    /// Checks everything that can be wrong and builds the filter: what fails, fails here.
    fn build(config: Self::Config, cx: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError>;
}

/// Takes note of a file that is about to be read, or says why it may not be, in words that follow its name.
pub type Noting<'a> = dyn Fn(&Path) -> Result<(), String> + 'a;

/// What a filter may ask for while it is built.
///
/// It is the only door to the proxy: what a later filter needs (a counter that survives a reload, a clock, a fetch) comes as a
/// method here, so that a unit test can hand in a fake.
pub struct BuildCx<'a> {
    place: &'a str,
    readers: &'a dyn Readers,
    issuers: Option<&'a dyn Issuers>,
    identity: Vec<String>,
    folder: &'a Path,
    reads: Option<&'a Noting<'a>>,
    keep: Keep,
}

impl<'a> BuildCx<'a> {
    /// `place` is where the filter stands in the configuration, such as `listeners.edge.filters[0]`.
    pub fn new(place: &'a str, readers: &'a dyn Readers) -> Self {
        Self {
            place,
            readers,
            issuers: None,
            identity: Vec::new(),
            folder: Path::new(""),
            reads: None,
            keep: Keep::default(),
        }
    }

    /// The same, with those who may sign tokens.
    #[must_use]
    pub fn with_issuers(self, issuers: &'a dyn Issuers) -> Self {
        Self { issuers: Some(issuers), ..self }
    }

    /// Relative paths are relative to this folder.
    #[must_use]
    pub fn within(self, folder: &'a Path) -> Self {
        Self { folder, ..self }
    }

    /// Who wants to know which files filters are made of, and says which may not be read: why, in words that follow the file's name.
    #[must_use]
    pub fn telling(self, reads: &'a Noting<'a>) -> Self {
        Self { reads: Some(reads), ..self }
    }

    /// What filters keep is kept here.
    #[must_use]
    pub fn keeping(self, keep: &Keep) -> Self {
        Self { keep: keep.clone(), ..self }
    }

    /// A path of the configuration, as it is to be opened.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The same for a file that the filter is about to read: when it changes, the filter is built anew.
    ///
    /// # Errors
    /// It may not be read: why, in words that follow its name.
    pub fn to_read(&self, path: &Path) -> Result<PathBuf, String> {
        let file = self.resolve(path);
        self.reads.map_or(Ok(()), |reads| reads(&file)).map(|()| file)
    }

    /// What filters of the configuration before this one kept under a name, or a new one: counters and open files survive a reload so. A
    /// filter that shares it with no other takes [`place`](Self::place) as the name.
    pub fn keep<T: Any + Send + Sync>(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        self.keep.find_or_make(name, make)
    }

    /// Where the filter stands in the configuration: unique within it, and stable over reloads of an unchanged file.
    pub fn place(&self) -> &str {
        self.place
    }

    /// Compiles the expression that stands at `path` below the filter's key.
    ///
    /// # Errors
    /// What is wrong with it, at that place.
    pub fn expression(&self, path: &[&str], text: &str, gives: Gives) -> Result<Arc<dyn Expression>, BuildError> {
        self.readers.expression(text, gives, None).map_err(|message| BuildError::at(path, message))
    }

    /// The same for one that is asked only in calls of these methods: where it reads messages, it has to fit those of no others.
    ///
    /// # Errors
    /// What is wrong with it, at that place.
    pub fn expression_for(
        &self,
        methods: &MethodPattern,
        path: &[&str],
        text: &str,
        gives: Gives,
    ) -> Result<Arc<dyn Expression>, BuildError> {
        self.readers.expression(text, gives, Some(methods)).map_err(|message| BuildError::at(path, message))
    }

    /// What checks tokens of the issuers that stand at `path` below the filter's key.
    ///
    /// # Errors
    /// The first of them that cannot be used, at its place.
    pub fn verifier(&self, path: &[&str], names: &[String]) -> Result<Arc<dyn Verifier>, BuildError> {
        let verifier = match self.issuers {
            Some(issuers) => issuers.verifier(names),
            None => Err((0, "nobody may sign tokens here".to_owned())),
        };
        verifier.map_err(|(at, message)| {
            let at = at.to_string();
            BuildError::at(&path.iter().copied().chain([at.as_str()]).collect::<Vec<_>>(), message)
        })
    }

    /// Says that the filter tells instances under this name, which stands at `path` below its key, who calls. No caller of any listener
    /// can send it any more, in none of its forms.
    ///
    /// # Errors
    /// Nothing may be written under it.
    pub fn sets_identity(&mut self, path: &[&str], name: &str) -> Result<(), BuildError> {
        check_target(name).map_err(|message| BuildError::at(path, message))?;
        self.identity.push(folded(name));
        Ok(())
    }

    /// The names under which it does, without `-bin` and with `-` for `_`: what all their forms have in common.
    pub fn into_identity(self) -> Vec<String> {
        self.identity
    }

    /// What hides fields of messages.
    pub fn redaction(&self, hidden: Hidden) -> Arc<dyn Redaction> {
        self.readers.redaction(hidden)
    }

    /// What reads fields of request messages, by their paths, less those that somebody hides.
    pub fn extract(&self, paths: Vec<String>) -> Arc<dyn Extract> {
        self.readers.extract(paths)
    }

    /// What judges messages. The files are named at `path` below the filter's key, each by the path that it is for.
    ///
    /// # Errors
    /// What is wrong with a file, at its place.
    pub fn validation(&self, path: &[&str], rules: Rules) -> Result<Arc<dyn Validation>, BuildError> {
        self.readers.validation(rules).map_err(|(key, message)| BuildError::at(&[path, &[&key]].concat(), message))
    }
}

/// Why a filter cannot be built: the key below the filter's own, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BuildError {
    /// Keys from the filter's configuration down to what is wrong; empty for the whole.
    pub path: Vec<String>,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl BuildError {
    /// An error at `path` below the filter's key.
    pub fn at(path: &[&str], message: impl Into<String>) -> Self {
        Self { path: path.iter().map(|key| (*key).to_owned()).collect(), message: message.into() }
    }
}

/// Reads a filter's configuration and builds it.
pub type Build = fn(serde_json::Value, &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError>;

/// A kind of filter with its types erased: an entry of the proxy's list.
#[derive(Clone, Copy)]
pub struct Known {
    /// The key in the configuration.
    pub name: &'static str,
    /// When it runs.
    pub phase: Phase,
    /// The JSON Schema of its configuration.
    pub schema: fn() -> Schema,
    /// Reads its configuration and builds it.
    pub build: Build,
}

impl Known {
    /// The entry of a factory.
    pub const fn of<F: Factory>() -> Self {
        Self {
            name: F::NAME,
            phase: F::PHASE,
            schema: || schemars::schema_for!(F::Config),
            build: |value, cx| {
                let config = serde_json::from_value::<F::Config>(value)
                    .map_err(|error| BuildError { path: Vec::new(), message: error.to_string() })?;
                F::build(config, cx)
            },
        }
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("name", &self.name).field("phase", &self.phase).finish_non_exhaustive()
    }
}
