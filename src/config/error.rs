//! What is wrong with a configuration: every problem with its line, column, key path and the fix. Made by all parts of
//! this layer and by the snapshot builder; printed by `check`, `run` and the admin page. Knows nothing of YAML.

use std::fmt;

/// The most problems that are printed; a file that is not a configuration at all could have thousands.
const MOST_PRINTED: usize = 100;

/// A place in a file, line and column counted from 1 (columns in characters).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Which of the configuration's files, from 0: the one that includes the others.
    pub file: u16,
    pub line: usize,
    pub column: usize,
}

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// Where in the configuration something stands: `listeners.edge.routes[2].cluster`. [`path!`](crate::path) writes one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<Step>);

/// Writes a [`Path`]: `path!["listeners", name, "routes", 2, "cluster"]`.
#[macro_export]
macro_rules! path {
    ($($step:expr),* $(,)?) => { $crate::config::Path(vec![$($crate::config::Step::from($step)),*]) };
}

/// One thing that is wrong. `message` says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub at: Position,
    pub path: Path,
    pub message: String,
}

/// Everything that is wrong with a configuration, in the order of its files. Prints one problem a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Errors {
    /// By [`Position::file`], as the user named them.
    files: Vec<String>,
    problems: Vec<Problem>,
}

impl Errors {
    /// `files` are as the user named them; `problems` must not be empty, and may be in any order.
    pub fn new(files: Vec<String>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (a.at, &a.path, &a.message).cmp(&(b.at, &b.path, &b.message)));
        problems.dedup();
        Self { files, problems }
    }

    /// The file in which a place is, as the user named it.
    pub fn file(&self, at: Position) -> &str {
        self.files.get(usize::from(at.file)).map(String::as_str).unwrap_or_default()
    }

    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(MOST_PRINTED).enumerate() {
            let (file, Position { line, column, .. }) = (self.file(problem.at), problem.at);
            let newline = if index == 0 { "" } else { "\n" };
            // A file that could not be read at all has no line to point at.
            match line {
                0 => write!(f, "{newline}{file}: {}", problem.message)?,
                _ => write!(f, "{newline}{file}:{line}:{column}: {problem}")?,
            }
        }
        match self.problems.len().saturating_sub(MOST_PRINTED) {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more", self.file(Position::default())),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.0.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

impl Path {
    /// This path and one step more.
    pub fn with(&self, step: impl Into<Step>) -> Self {
        let mut steps = self.0.clone();
        steps.push(step.into());
        Self(steps)
    }

    /// The path of what holds this; `None` for the whole file.
    pub fn parent(&self) -> Option<Self> {
        let (_, steps) = self.0.split_last()?;
        Some(Self(steps.to_vec()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if index == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<&String> for Step {
    fn from(key: &String) -> Self {
        Self::Key(key.clone())
    }
}

impl From<String> for Step {
    fn from(key: String) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}
