//! `include`: reads the files that a configuration names as further parts of itself, and makes one tree of all. What they list by name
//! (listeners, clusters, issuers) is put together; everything else may stand in any one of them.

use std::path::{Path as FilePath, PathBuf};

use super::yaml::{self, Entries, Entry, Kind, Node};
use super::{Environment, Path, Position, Problem, Reads, env};
use crate::path;
use crate::watch::listing::{has_wildcards, is_pattern};

/// The most files that one configuration is made of.
const MOST_FILES: usize = 1_000;
/// What is listed by name.
const BY_NAME: [&str; 3] = ["clusters", "issuers", "listeners"];
const INCLUDE: &str = "include";

/// A file that holds a part of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) file: PathBuf,
    /// As messages name it.
    pub(super) name: String,
}

/// A tree that grows file by file.
pub(super) struct Joining<'a> {
    /// What relative paths are relative to: the folder of the first file.
    pub(super) folder: &'a FilePath,
    pub(super) reads: &'a Reads,
    pub(super) environment: Environment<'a>,
    pub(super) parts: Vec<Part>,
    /// Octets that all files together may still have.
    pub(super) left: usize,
}

/// A file that is to be read, and the entry that names it.
struct Named {
    file: PathBuf,
    /// As messages name it: without what came from the environment.
    name: String,
    entry: Place,
}

#[derive(Clone)]
struct Place {
    at: Position,
    path: Path,
}

impl Joining<'_> {
    /// Adds what the files have that `root` includes. Where something is wrong with one of them, it is as if it were not there.
    pub(super) fn join(&mut self, root: &mut Node, problems: &mut Vec<Problem>) {
        let named = self.named(root, problems);
        let Kind::Map(entries) = &mut root.kind else { return };
        for Named { file, name, entry } in named {
            let told = |message: String| Problem { at: entry.at, path: entry.path.clone(), message };
            let Ok(number) = u16::try_from(self.parts.len()) else { return };
            if self.parts.len() > MOST_FILES {
                return problems
                    .push(told(format!("includes more than {MOST_FILES} files: put some of them together")));
            }
            let text = match self.read(&file) {
                Ok(text) => text,
                Err(why) => {
                    problems.push(told(format!("`{name}` {why}")));
                    continue;
                }
            };
            self.parts.push(Part { file, name });
            let Some(mut part) = yaml::parse(&text, number, problems) else { continue };
            env::substitute(&mut part, self.environment, problems);
            match part.kind {
                Kind::Map(part) => self.add(entries, part, problems),
                _ => {
                    let message = "must be a map, as in the file that includes it: `clusters:`, `listeners:` and so on";
                    problems.push(Problem { at: part.at, path: Path::default(), message: message.to_owned() });
                }
            }
        }
    }

    /// What `root` includes, each file once, in order. The shape of `include` itself is looked at by whoever checks all keys.
    fn named(&self, root: &Node, problems: &mut Vec<Problem>) -> Vec<Named> {
        let Kind::Map(entries) = &root.kind else { return Vec::new() };
        let Some(Entry { value: Node { kind: Kind::List(items), .. }, .. }) = entries.find(INCLUDE) else {
            return Vec::new();
        };
        let identity = |file: &FilePath| file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let mut known: Vec<_> = self.parts.iter().map(|part| identity(&part.file)).collect();
        let mut named = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Kind::Scalar(scalar) = &item.kind else { continue };
            let entry = Place { at: item.at, path: path![INCLUDE, index] };
            let file = self.folder.join(&scalar.text);
            let files = match FilePath::new(&scalar.text) {
                text if text.parent().is_some_and(has_wildcards) => {
                    Err("has a wildcard in the name of a folder: only the last part may have one".to_owned())
                }
                text if is_pattern(text) => self.reads.list(&file),
                _ => Ok(vec![file]),
            };
            match files {
                Ok(files) => {
                    for file in files {
                        let identity = identity(&file);
                        if !known.contains(&identity) {
                            known.push(identity);
                            let name = match (&scalar.written, file.file_name()) {
                                (None, _) => file.display().to_string(),
                                (Some(written), Some(name)) if is_pattern(FilePath::new(&scalar.text)) => {
                                    FilePath::new(written).with_file_name(name).display().to_string()
                                }
                                (Some(written), _) => written.clone(),
                            };
                            named.push(Named { file, name, entry: entry.clone() });
                        }
                    }
                }
                Err(why) => problems.push(Problem {
                    at: entry.at,
                    path: entry.path,
                    message: format!("`{}` {why}", scalar.shown()),
                }),
            }
        }
        named
    }

    fn read(&mut self, file: &FilePath) -> Result<String, String> {
        let octets = self.reads.read(file, yaml::MOST_BYTES as u64)?;
        let too_long = || format!("and the files before it are over {} octets", yaml::MOST_BYTES);
        self.left = self.left.checked_sub(octets.len()).ok_or_else(too_long)?;
        String::from_utf8(octets).map_err(|_| "is not UTF-8: save it as UTF-8".to_owned())
    }

    fn add(&self, entries: &mut Entries, part: Entries, problems: &mut Vec<Problem>) {
        for entry in part.into_list() {
            let path = path![&entry.key];
            if entry.key == INCLUDE {
                let message = format!("only `{}` includes files: name them there", self.name(Position::default()));
                problems.push(Problem { at: entry.key_at, path, message });
                continue;
            }
            let Some(known) = entries.find_mut(&entry.key) else {
                entries.push(entry);
                continue;
            };
            let by_name = BY_NAME.contains(&entry.key.as_str());
            match (&mut known.value.kind, entry.value.kind) {
                (Kind::Map(all), Kind::Map(more)) if by_name => {
                    for entry in more.into_list() {
                        match all.find(&entry.key) {
                            None => all.push(entry),
                            Some(first) => problems.push(self.twice(first.key_at, entry.key_at, path.with(&entry.key))),
                        }
                    }
                }
                _ => problems.push(self.twice(known.key_at, entry.key_at, path)),
            }
        }
    }

    fn twice(&self, first: Position, at: Position, path: Path) -> Problem {
        let message = format!("is in line {} of {} already: keep one", first.line, self.name(first));
        Problem { at, path, message }
    }

    fn name(&self, at: Position) -> &str {
        self.parts.get(usize::from(at.file)).map(|part| part.name.as_str()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
