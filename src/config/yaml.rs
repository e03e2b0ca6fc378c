//! Reads YAML into a tree in which everything has its line and column. Called by `load`; knows nothing of our keys.
//! One document, no anchors, aliases or tags (so nothing can expand), bounded in size and depth.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::{Path, Position, Problem};

/// The longest file that is read, in bytes. A configuration of 10,000 routes is about 2 MB.
pub const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Lists and maps inside each other. Our deepest key is at about 10; JSON inside a filter may go deeper.
const MOST_DEPTH: usize = 64;
/// Mostly somebody meant `*.example.com`.
const NO_ALIAS: &str = "aliases (`*name`) are not supported: write the value, or put text with `*` in quotes";

/// A value and where it starts.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Entries),
}

/// The entries of a map in file order, and where each key is, so that looking one up in a long map takes no time.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    list: Vec<Entry>,
    places: HashMap<String, usize>,
}

/// A key with its value. Keys of one map are all different.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Position,
    pub(super) value: Node,
}

#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// In quotes or a block: always text, never a number.
    pub(super) quoted: bool,
    /// The text before `${NAME}` was replaced; `None` if nothing came from the environment.
    pub(super) written: Option<String>,
}

/// The tree of `text`, which is in the file of this number, or `None` if there is nothing that could be a tree. Problems that leave a tree (a key twice)
/// come with it, so that all problems of a file can be shown at once.
pub(super) fn parse(text: &str, file: u16, problems: &mut Vec<Problem>) -> Option<Node> {
    let start = Position { file, line: 1, column: 1 };
    if text.len() > MOST_BYTES {
        problems.push(problem(start, format!("is over {MOST_BYTES} bytes: a configuration cannot be that long")));
        return None;
    }
    let mut builder = Builder { file, problems, open: Vec::new(), root: None, documents: 0 };
    for event in Parser::new_from_str(text) {
        let ended = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(syntax_problem(file, &error, text)),
        };
        if let Err(problem) = ended {
            builder.problems.push(problem);
            return None;
        }
    }
    let root = builder.root;
    let empty = matches!(&root, Some(Node { kind: Kind::Scalar(scalar), .. }) if scalar.is_null());
    if root.is_none() || empty {
        problems.push(problem(
            start,
            "the file is empty: write at least `listeners:` and `clusters:`; config/endpoints.yaml is a start"
                .to_owned(),
        ));
        return None;
    }
    root
}

impl Entries {
    pub(super) fn find(&self, key: &str) -> Option<&Entry> {
        self.places.get(key).and_then(|place| self.list.get(*place))
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.list.iter()
    }

    pub(super) fn find_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.places.get(key).and_then(|place| self.list.get_mut(*place))
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Entry> {
        self.list.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn into_list(self) -> Vec<Entry> {
        self.list
    }

    /// `entry` must have a key of its own.
    pub(super) fn push(&mut self, entry: Entry) {
        self.places.insert(entry.key.clone(), self.list.len());
        self.list.push(entry);
    }
}

impl Scalar {
    /// What YAML 1.2 calls null. An empty value from the environment is text.
    pub(super) fn is_null(&self) -> bool {
        self.is_plain() && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match self.text.as_str() {
            "true" | "True" | "TRUE" if !self.is_text() => Some(true),
            "false" | "False" | "FALSE" if !self.is_text() => Some(false),
            _ => None,
        }
    }

    /// A whole number as YAML 1.2 writes it.
    pub(super) fn as_integer(&self) -> Option<i128> {
        let digits = |text: &str, radix| {
            let well_formed = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
            well_formed.then(|| i128::from_str_radix(text, radix).ok()).flatten()
        };
        if self.is_text() {
            return None;
        }
        match self.text.as_bytes() {
            [b'0', b'x', ..] => digits(&self.text[2..], 16),
            [b'0', b'o', ..] => digits(&self.text[2..], 8),
            [b'-', ..] => digits(&self.text[1..], 10).map(|number| -number),
            [b'+', ..] => digits(&self.text[1..], 10),
            _ => digits(&self.text, 10),
        }
    }

    /// A finite number; what YAML calls `.inf` and `.nan` is no use in a configuration.
    pub(super) fn as_number(&self) -> Option<f64> {
        let starts = self.text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
        let number: f64 = if starts && !self.is_text() { self.text.parse().ok()? } else { return None };
        number.is_finite().then_some(number)
    }

    /// The value as a message may show it: never what came from the environment.
    pub(super) fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.text)
    }

    /// Can be nothing but text. `"${PORT}"` can: the quotes are often only there for YAML's sake.
    pub(super) fn is_text(&self) -> bool {
        self.quoted && self.written.is_none()
    }

    fn is_plain(&self) -> bool {
        !self.quoted && self.written.is_none()
    }
}

/// A list or map whose end has not come yet.
enum Open {
    List { at: Position, items: Vec<Node> },
    Map { at: Position, entries: Entries, key: Option<(String, Position)> },
}

/// Builds the tree without recursion, so that no input can overflow the stack.
struct Builder<'a> {
    file: u16,
    problems: &'a mut Vec<Problem>,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
}

impl Builder<'_> {
    /// An error ends the reading: what follows could not be understood.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let at = position(self.file, span.start);
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
            _ => (0, false),
        };
        if anchor != 0 {
            return Err(problem(
                at,
                "anchors (`&name`) are not supported: write the value where it is used".to_owned(),
            ));
        }
        if tag {
            return Err(problem(at, "tags (`!name`) are not supported: leave it out".to_owned()));
        }
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second document starts here: keep one, without `---` after it".to_owned();
                    return Err(problem(at, message));
                }
            }
            Event::Alias(_) => {
                return Err(problem(at, NO_ALIAS.to_owned()));
            }
            Event::Scalar(text, style, ..) => {
                let quoted = !matches!(style, ScalarStyle::Plain);
                let scalar = Scalar { text: text.into_owned(), quoted, written: None };
                self.add(Node { at, kind: Kind::Scalar(scalar) })?;
            }
            Event::SequenceStart(..) => self.start(Open::List { at, items: Vec::new() }, at)?,
            Event::MappingStart(..) => {
                self.start(Open::Map { at, entries: Entries::default(), key: None }, at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.open.pop() {
                    Some(Open::List { at, items }) => Node { at, kind: Kind::List(items) },
                    Some(Open::Map { at, entries, .. }) => Node { at, kind: Kind::Map(entries) },
                    None => return Ok(()),
                };
                self.add(node)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, open: Open, at: Position) -> Result<(), Problem> {
        if self.open.len() == MOST_DEPTH {
            return Err(problem(at, format!("more than {MOST_DEPTH} lists and maps inside each other")));
        }
        if matches!(self.open.last(), Some(Open::Map { key: None, .. })) {
            let message = "a key must be text: put text that starts with `{` or `[` in quotes".to_owned();
            return Err(problem(at, message));
        }
        self.open.push(open);
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<(), Problem> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                None => {
                    let (text, key_at) = key_of(node)?;
                    if text.contains("${") {
                        let message = "the environment is replaced in values, not in keys".to_owned();
                        self.problems.push(problem(key_at, message));
                    }
                    *key = Some((text, key_at));
                }
                Some((key, key_at)) => match entries.find(&key) {
                    None => entries.push(Entry { key, key_at, value: node }),
                    Some(Entry { key_at: Position { line: first, .. }, .. }) => {
                        let message = format!("key `{key}` is here twice, first in line {first}: keep one");
                        let path = self.path();
                        self.problems.push(Problem { at: key_at, path, message });
                    }
                },
            },
        }
        Ok(())
    }

    /// Where the innermost open list or map stands.
    fn path(&self) -> Path {
        let outer = self.open.len().saturating_sub(1);
        let step = |open: &Open| match open {
            Open::List { items, .. } => Some(items.len().into()),
            Open::Map { key, .. } => key.as_ref().map(|(key, _)| key.into()),
        };
        Path(self.open[..outer].iter().filter_map(step).collect())
    }
}

fn key_of(node: Node) -> Result<(String, Position), Problem> {
    let Kind::Scalar(scalar) = node.kind else {
        return Err(problem(node.at, "a key must be text".to_owned()));
    };
    if scalar.text == "<<" && !scalar.quoted {
        return Err(problem(node.at, "merge keys (`<<`) are not supported: write the keys out".to_owned()));
    }
    Ok((scalar.text, node.at))
}

/// The parser's own words, with what to do for the mistakes that it words worst.
fn syntax_problem(file: u16, error: &ScanError, text: &str) -> Problem {
    let at = position(file, *error.marker());
    let line = text.lines().nth(at.line.saturating_sub(1)).unwrap_or_default();
    if error.info().contains("unknown anchor") {
        return problem(at, NO_ALIAS.to_owned());
    }
    let hint = if line.contains('\t') {
        ": indent with spaces, not with a tab"
    } else if error.info().contains("flow") {
        ": close the `{` or `[` that is open here"
    } else if line.contains(": {") || line.contains("- {") || line.contains(": %") || line.contains(": @") {
        ": put text with `{`, `}`, `%` or `@` at its start in quotes"
    } else if error.info().contains("expected key") {
        ": indent this line like the keys beside it"
    } else {
        ""
    };
    problem(at, format!("not YAML: {}{hint}", error.info()))
}

fn problem(at: Position, message: String) -> Problem {
    Problem { at, path: Path::default(), message }
}

fn position(file: u16, marker: Marker) -> Position {
    Position { file, line: marker.line(), column: marker.col() + 1 }
}

#[cfg(test)]
mod tests;
