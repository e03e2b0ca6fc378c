//! How deep an expression is, told from its text before it is parsed: the parser recurses by brackets, and whoever walks its tree by
//! chains of operators too, so either could run out of stack.

/// What is over a bound, by the place of the octet where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Brackets, `?:` and `!` in each other.
    Nested(usize),
    /// Operators and fields in a row, and what they stand around.
    Chained(usize),
    /// A text without an end.
    Open(usize),
}

/// What is between two brackets.
#[derive(Default)]
struct Level {
    /// Height of what is written right now, and of the highest before it.
    now: usize,
    highest: usize,
    /// Of `?` and of `&&` and `||`.
    choices: usize,
    logic: usize,
}

impl Level {
    /// Something else begins.
    fn next(&mut self) {
        self.highest = self.highest.max(self.now);
        self.now = 0;
    }

    fn height(&self) -> usize {
        // Rows of `&&` and of `||` become trees as low as can be.
        let logic = (usize::BITS - self.logic.leading_zeros()) as usize;
        self.highest.max(self.now) + self.choices + logic + 1
    }
}

/// Whether a text is within bounds.
///
/// # Errors
/// It is not, and where.
pub(super) fn measure(text: &str, most_nested: usize, most_chained: usize) -> Result<(), Over> {
    let octets = text.as_bytes();
    let mut levels = vec![Level::default()];
    // Brackets and choices that are open, and signs in a row.
    let (mut open, mut signs, mut at) = (0, 0, 0);
    // Whether what is before is a value, to which `-` is no sign.
    let mut value = false;
    while let Some(&octet) = octets.get(at) {
        let begin = at;
        at += 1;
        let Some(level) = levels.last_mut() else { return Ok(()) };
        match octet {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0c => continue,
            b'/' if octets.get(at) == Some(&b'/') => {
                at = find(octets, at, b"\n").unwrap_or(octets.len());
                continue;
            }
            b'"' | b'\'' => at = end_of_text(octets, begin, false).ok_or(Over::Open(begin))?,
            b'`' => at = find(octets, at, b"`").ok_or(Over::Open(begin))?,
            _ if is_of_word(octet) => {
                at = (at..).find(|at| !octets.get(*at).copied().is_some_and(is_of_word)).unwrap_or(at);
                let word = octets.get(begin..at).unwrap_or_default();
                if matches!(octets.get(at), Some(b'"' | b'\'')) && word.len() <= 2 {
                    at = end_of_text(octets, at, word.ends_with(b"r") || word.ends_with(b"R")).ok_or(Over::Open(at))?;
                } else if word == b"in" {
                    (level.now, value, signs) = (level.now + 1, false, 0);
                    continue;
                }
            }
            b'(' | b'[' | b'{' => {
                // After a value it is a call, an index or a message.
                level.now += usize::from(value);
                open += 1;
                levels.push(Level::default());
                value = false;
                deep(open + signs, most_nested).ok_or(Over::Nested(begin))?;
                continue;
            }
            b')' | b']' | b'}' => {
                if levels.len() > 1
                    && let Some(closed) = levels.pop()
                    && let Some(level) = levels.last_mut()
                {
                    open = open.saturating_sub(1 + closed.choices);
                    level.now = level.now.max(closed.height());
                }
            }
            b',' | b':' => level.next(),
            b'?' => {
                level.next();
                (level.choices, open) = (level.choices + 1, open + 1);
            }
            b'&' | b'|' => {
                level.next();
                level.logic += 1;
            }
            // The second half of `==`, `!=`, `<=` and `>=`.
            b'=' if begin > 0 && matches!(octets.get(begin - 1), Some(b'=' | b'!' | b'<' | b'>')) => {}
            b'!' | b'-' if !value => signs += 1,
            _ => level.now += 1,
        }
        value = matches!(octet, b')' | b']' | b'}' | b'"' | b'\'' | b'`') || is_of_word(octet);
        if value || !matches!(octet, b'!' | b'-') {
            signs = 0;
        }
        deep(open + signs, most_nested).ok_or(Over::Nested(begin))?;
        let height = levels.last().map_or(0, Level::height);
        deep(height, most_chained).ok_or(Over::Chained(begin))?;
    }
    Ok(())
}

fn deep(is: usize, most: usize) -> Option<()> {
    (is <= most).then_some(())
}

fn is_of_word(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'_' || octet >= 0x80
}

/// The place behind the next of these.
fn find(octets: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    let place = octets.get(from..)?.windows(what.len()).position(|window| window == what)?;
    Some(from + place + what.len())
}

/// The place behind a text that begins here.
fn end_of_text(octets: &[u8], begin: usize, raw: bool) -> Option<usize> {
    let quote = *octets.get(begin)?;
    let triple = [quote; 3];
    let is_triple = octets.get(begin..begin + 3) == Some(&triple);
    let end: &[u8] = if is_triple { &triple } else { &triple[..1] };
    let mut at = begin + end.len();
    while let Some(&octet) = octets.get(at) {
        match octet {
            b'\\' if !raw => at += 1,
            b'\n' | b'\r' if !is_triple => return None,
            _ if octets.get(at..at + end.len()) == Some(end) => return Some(at + end.len()),
            _ => {}
        }
        at += 1;
    }
    None
}
