//! From text to a tree, by the `cel` crate, which expands macros too. Bounds what it is given (both recurse); places in the text are told as people
//! count them.

use cel::common::ast::{IdedExpr, SourceInfo};
use cel::parser::Parser;

use super::extent::{self, Over};

/// The longest expression. What is deeper than the parser follows fails before the tree is walked.
pub const MOST_OCTETS: usize = 8 * 1024;
/// How deep an expression may be nested.
const MOST_DEPTH: usize = 48;
/// How many operators and fields may follow each other, those around brackets and in them together.
const MOST_CHAINED: usize = 150;

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line in the expression, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

/// A tree, and where in the text its parts were.
pub(super) struct Parsed {
    pub(super) tree: IdedExpr,
    places: SourceInfo,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Parses.
///
/// # Errors
/// All that the parser finds.
pub(super) fn parse(text: &str) -> Result<Parsed, Vec<Problem>> {
    let at = |offset: usize, message: String| {
        let (line, column) = place(text, offset);
        vec![Problem { line, column, message }]
    };
    if text.len() > MOST_OCTETS {
        return Err(at(0, format!("the expression has {} octets, and {MOST_OCTETS} is the most", text.len())));
    }
    extent::measure(text, MOST_DEPTH, MOST_CHAINED).map_err(|over| match over {
        Over::Nested(offset) => at(offset, format!("the expression is nested deeper than {MOST_DEPTH} levels here")),
        Over::Chained(offset) => at(offset, format!("more than {MOST_CHAINED} operators or fields in a row end here")),
        Over::Open(offset) => at(offset, "the text that begins here has no end on its line".to_owned()),
    })?;
    let parser = Parser::new().max_recursion_depth(250).enable_ident_escape_syntax(true);
    match parser.parse_with_source_info(text) {
        Ok((tree, places)) => Ok(Parsed { tree, places }),
        Err(errors) => {
            let place = |at: isize| usize::try_from(at).unwrap_or(1).max(1);
            let problems = errors.errors.into_iter().map(|error| {
                let (line, column) = (place(error.pos.0), place(error.pos.1));
                let rest =
                    text.split('\n').nth(line - 1).unwrap_or_default().chars().skip(column - 1).collect::<String>();
                Problem { line, column, message: said(&error.msg, &rest) }
            });
            // Those behind the first are mostly about what the parser made of it; the one of a rule without its end is of none.
            let mut problems: Vec<_> = problems.collect();
            if problems.len() > 1 {
                problems.retain(|problem| !problem.message.starts_with("Incomplete"));
            }
            problems.truncate(1);
            Err(problems)
        }
    }
}

/// What the parser says, for people who do not know its grammar. `rest` is the line from there on.
fn said(message: &str, rest: &str) -> String {
    let quoted = || {
        let (_, quoted) = message.split_once('\'')?;
        quoted.rsplit_once("' expecting").map_or_else(|| quoted.strip_suffix('\''), |(quoted, _)| Some(quoted))
    };
    let what = message.strip_prefix("Syntax error: ").unwrap_or(message);
    if what.starts_with("token recognition error") {
        let letter = rest.chars().next().unwrap_or_default();
        return match letter {
            '=' if rest.starts_with("=~") => "`=~` is no operator: write `x.matches('…')`".to_owned(),
            '=' => "`=` is no operator: write `==`, or `:` before the value of a field".to_owned(),
            '&' | '|' => format!("`{letter}` is no operator: write `{letter}{letter}`"),
            '\'' | '"' => "in the text that begins here, a `\\` stands before what it cannot stand before".to_owned(),
            _ => format!("`{letter}` can stand in a text, and nowhere else"),
        };
    }
    if let Some((missing, _)) = what.strip_prefix("missing '").and_then(|missing| missing.split_once('\'')) {
        return format!("`{missing}` is missing here");
    }
    if let Some(word) = what.strip_prefix("reserved identifier: ") {
        return format!("`{word}` is a reserved word");
    }
    if let Some(syntax) = what.strip_prefix("unsupported syntax '").and_then(|rest| rest.strip_suffix('\'')) {
        return format!("`{syntax}` is not there");
    }
    match what {
        "invalid int literal" => "this number does not fit an int".to_owned(),
        "invalid uint literal" => "this number does not fit a uint".to_owned(),
        "invalid argument to has() macro" => "`has` takes a field or an entry: `has(x.y)`".to_owned(),
        "argument must be a simple name" => "what comes first in a macro is a new name: `list.all(x, …)`".to_owned(),
        _ if !what.contains(" input '") => what.to_owned(),
        _ if rest.trim().is_empty() => "the expression ends too early".to_owned(),
        _ => match quoted() {
            Some("and") => "`and` is no operator: write `&&`".to_owned(),
            Some("or") => "`or` is no operator: write `||`".to_owned(),
            Some(token) => format!("`{}` cannot stand here", shown(token)),
            None => what.to_owned(),
        },
    }
}

/// What is quoted reaches to where it went wrong, and may have any number of lines before that.
fn shown(token: &str) -> String {
    let last = token.lines().last().unwrap_or_default().trim();
    match last.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", last.get(..end).unwrap_or_default()),
        None => last.to_owned(),
    }
}

fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1)
}

impl Parsed {
    /// Where a part of the tree was.
    pub(super) fn problem(&self, id: u64, message: String) -> Problem {
        let begin = self.places.offset_for(id).map_or(0, |(start, _)| start as usize);
        // The parser counts characters.
        let source = &*self.places.source;
        let offset = source.char_indices().nth(begin).map_or(source.len(), |(offset, _)| offset);
        let (line, column) = place(source, word_at(source, offset));
        Problem { line, column, message }
    }
}

/// Of a field the parser has the dot, and of a call the bracket: the place of the name is what people look for.
fn word_at(text: &str, offset: usize) -> usize {
    let (before, rest) = text.split_at_checked(offset).unwrap_or((text, ""));
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    match rest.chars().next() {
        Some('.') => offset + 1 + rest[1..].len() - rest[1..].trim_start().len(),
        Some('(') => before.trim_end().trim_end_matches(is_of_word).len(),
        _ => offset,
    }
}
