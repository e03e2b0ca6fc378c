//! From text to a tree, by the `cel` crate, which expands macros too. Bounds what it is given; places in the text are told as people
//! count them.

use cel::common::ast::{IdedExpr, SourceInfo};
use cel::parser::Parser;

/// The longest expression. What is deeper than the parser follows fails before the tree is walked.
pub const MOST_OCTETS: usize = 8 * 1024;
/// How deep an expression may be nested.
pub(super) const MOST_DEPTH: usize = 48;

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
    let whole = |message: String| vec![Problem { line: 1, column: 1, message }];
    if text.len() > MOST_OCTETS {
        return Err(whole(format!("the expression has {} octets, and {MOST_OCTETS} is the most", text.len())));
    }
    if nesting(text) > MOST_DEPTH {
        return Err(whole(format!("the expression is nested deeper than {MOST_DEPTH} levels")));
    }
    let parser = Parser::new().max_recursion_depth(250).enable_ident_escape_syntax(true);
    match parser.parse_with_source_info(text) {
        Ok((tree, places)) => Ok(Parsed { tree, places }),
        Err(errors) => {
            let place = |at: isize| usize::try_from(at).unwrap_or(1).max(1);
            let problems = errors.errors.into_iter().map(|error| Problem {
                line: place(error.pos.0),
                column: place(error.pos.1),
                message: error.msg,
            });
            Err(problems.collect())
        }
    }
}

/// How deep brackets lie in each other, and how many operators of one operand stand in a row: what the parser recurses by.
fn nesting(text: &str) -> usize {
    let (mut open, mut unary, mut most) = (0usize, 0usize, 0);
    for octet in text.bytes() {
        match octet {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'!' | b'-' | b'?' => unary += 1,
            b' ' | b'\t' | b'\n' => continue,
            _ => {}
        }
        if !matches!(octet, b'!' | b'-' | b'(' | b'[' | b'{' | b'?') && !octet.is_ascii_alphanumeric() {
            unary = 0;
        }
        most = most.max(open + unary);
    }
    most
}

impl Parsed {
    /// Where a part of the tree was.
    pub(super) fn problem(&self, id: u64, message: String) -> Problem {
        let offset = self.places.offset_for(id).map_or(0, |(start, _)| start as usize);
        // The parser counts characters.
        let before: String = self.places.source.chars().take(offset).collect();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        Problem { line, column, message }
    }
}
