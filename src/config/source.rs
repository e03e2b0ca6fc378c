//! The files behind a configuration: turns a path of the configuration into a line and column, so that whoever finds
//! something wrong later (rules, the snapshot builder) can say where. Also knows which values must not be shown.

use std::path::{Path as FilePath, PathBuf};

use super::include::Part;
use super::yaml::{Entry, Kind, Node, Scalar};
use super::{Errors, Path, Position, Problem, Reads, Step};

/// Parsed files. Cheap to keep beside the configuration that was built from them.
#[derive(Clone, Debug)]
pub struct Source {
    file: PathBuf,
    /// By [`Position::file`](super::Position): that file first, then those that it includes.
    parts: Vec<Part>,
    root: Node,
    reads: Reads,
}

impl Source {
    pub(super) fn new(file: PathBuf, (root, parts): (Node, Vec<Part>), reads: Reads) -> Self {
        Self { file, parts, root, reads }
    }

    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// The file that includes the others, as the user named it.
    pub fn file(&self) -> &FilePath {
        &self.file
    }

    /// Relative paths in a configuration are relative to its file.
    pub fn resolve(&self, path: &FilePath) -> PathBuf {
        self.file.parent().unwrap_or(FilePath::new("")).join(path)
    }

    /// The same for a file that is about to be read: what is made of it depends on it from now on.
    ///
    /// # Errors
    /// It may not be read: why, in words that follow its name.
    pub fn to_read(&self, path: &FilePath) -> Result<PathBuf, String> {
        let file = self.resolve(path);
        self.reads.note(&file).map(|()| file)
    }

    /// The files that it is made of.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// The files that hold the configuration itself, and not those that it names.
    pub fn parts(&self) -> impl Iterator<Item = &FilePath> {
        self.parts.iter().map(|part| part.file.as_path())
    }

    /// What is in a file that a configuration names: all of it, of at most `most` octets.
    ///
    /// # Errors
    /// Why not, in words that follow its name.
    pub(super) fn read(&self, path: &FilePath, most: u64) -> Result<Vec<u8>, String> {
        self.reads.read(&self.resolve(path), most)
    }

    /// A problem at `path`, or at the nearest thing around it that is in the file (a default is not).
    /// Where the message quotes a value that came from the environment, it shows `${NAME}` instead.
    pub fn error_at(&self, path: &Path, message: impl Into<String>) -> Problem {
        let mut message = message.into();
        if let Some(Node { kind: Kind::Scalar(scalar), .. }) = self.node(path) {
            message = hide(message, scalar);
        }
        Problem { at: self.position(path), path: path.clone(), message }
    }

    /// `problems` as the errors of this configuration.
    pub fn errors(&self, problems: Vec<Problem>) -> Errors {
        Errors::new(self.parts.iter().map(|part| part.name.clone()).collect(), problems)
    }

    /// The place of `path`, for a message that stands at `from`: `line 7`, or `line 7 of conf.d/a.yaml`.
    pub(super) fn line(&self, path: &Path, from: &Path) -> String {
        let (at, seen_from) = (self.position(path), self.position(from));
        let file = self.parts.get(usize::from(at.file)).filter(|_| at.file != seen_from.file);
        let of = file.map(|part| format!(" of {}", part.name)).unwrap_or_default();
        format!("line {}{of}", at.line)
    }

    /// Where `path` stands: a value's own place, but for a list or map its key's, which is where people look.
    pub fn position(&self, path: &Path) -> Position {
        let mut node = &self.root;
        let mut at = node.at;
        for step in &path.0 {
            match child(node, step) {
                Some((next, key_at)) => {
                    at = match (&next.kind, key_at) {
                        (Kind::List(_) | Kind::Map(_), Some(key_at)) => key_at,
                        _ => next.at,
                    };
                    node = next;
                }
                None => break,
            }
        }
        at
    }

    /// Whether the file itself says something at `path`: false for a default.
    pub fn has(&self, path: &Path) -> bool {
        self.node(path).is_some()
    }

    /// The keys of the map at `path`; none where there is no map.
    pub fn keys(&self, path: &Path) -> impl Iterator<Item = &str> {
        let entries = match self.node(path).map(|node| &node.kind) {
            Some(Kind::Map(entries)) => Some(entries),
            _ => None,
        };
        entries.into_iter().flat_map(|entries| entries.iter()).map(|entry| entry.key.as_str())
    }

    /// The paths of all values that hold something from the environment.
    pub(super) fn environment_values(&self) -> Vec<Path> {
        let mut found = Vec::new();
        collect(&self.root, &Path::default(), &mut found);
        found
    }

    pub(super) fn node(&self, path: &Path) -> Option<&Node> {
        path.0.iter().try_fold(&self.root, |node, step| child(node, step).map(|(node, _)| node))
    }
}

/// `message` with what `scalar` took from the environment replaced by what the file says.
pub(super) fn hide(message: String, scalar: &Scalar) -> String {
    let Some(written) = &scalar.written else { return message };
    if scalar.text.is_empty() {
        return message;
    }
    let quotes = [('`', '`'), ('"', '"'), ('\'', '\'')];
    let hidden = quotes.iter().fold(message, |message, (open, close)| {
        message.replace(&format!("{open}{}{close}", scalar.text), &format!("{open}{written}{close}"))
    });
    // Other people's messages (a regex, a parser) may show it without quotes. A short value would hit ordinary words.
    if scalar.text.len() >= 4 { hidden.replace(&scalar.text, written) } else { hidden }
}

fn child<'a>(node: &'a Node, step: &Step) -> Option<(&'a Node, Option<Position>)> {
    match (&node.kind, step) {
        (Kind::List(items), Step::Index(index)) => Some((items.get(*index)?, None)),
        (Kind::Map(entries), Step::Key(key)) => {
            let Entry { key_at, value, .. } = entries.find(key)?;
            Some((value, Some(*key_at)))
        }
        _ => None,
    }
}

fn collect(node: &Node, path: &Path, found: &mut Vec<Path>) {
    match &node.kind {
        Kind::Scalar(Scalar { written: Some(_), .. }) => found.push(path.clone()),
        Kind::Scalar(_) => {}
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &path.with(index), found);
            }
        }
        Kind::Map(entries) => {
            for entry in entries.iter() {
                collect(&entry.value, &path.with(&entry.key), found);
            }
        }
    }
}
