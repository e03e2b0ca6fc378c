//! What the sample agents have for intelligence: arithmetic, word counts, and knowing when to ask back. Pure: the same
//! conversation gets the same answer from every instance.

/// An answer, or what keeps the agent from giving one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Thought {
    Answer(String),
    /// The user must say more.
    InputRequired(String),
    /// The user must sign in first.
    AuthRequired(String),
}

/// Answers the last thing said, knowing how many messages came before it.
pub(crate) fn think(last: &str, before: usize) -> Thought {
    let text = last.trim();
    let lower = text.to_lowercase();
    if text.is_empty() {
        return Thought::InputRequired("Your message is empty: what would you like to know?".into());
    }
    if lower.contains("my account") || lower.contains("my balance") {
        return Thought::AuthRequired("Sign in, then ask again: this needs your account.".into());
    }
    if let Some((expression, value)) = arithmetic(text) {
        return Thought::Answer(format!("{expression} is {value}."));
    }
    let words = text.split_whitespace().count();
    let longest = text.split_whitespace().max_by_key(|word| word.chars().count()).unwrap_or_default();
    let turn = if before == 0 { String::new() } else { format!(" after {before} earlier messages") };
    Thought::Answer(format!(
        "You asked{turn}: \"{text}\". That is {words} words and {} characters; the longest word is \"{longest}\".",
        text.chars().count()
    ))
}

/// Roughly as many tokens as a model would count.
pub(crate) fn tokens(text: &str) -> i32 {
    i32::try_from(text.len().div_ceil(4)).unwrap_or(i32::MAX)
}

/// The pieces in which a model would say it: words, each with the space before it.
pub(crate) fn pieces(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

/// The first calculation in a text (`2 + 3 * 4`), with its value.
pub(crate) fn arithmetic(text: &str) -> Option<(String, String)> {
    let start = text.find(|c: char| c.is_ascii_digit() || c == '(')?;
    let rest = text.get(start..)?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || " .+-*/()".contains(c))).unwrap_or(rest.len());
    let expression = rest.get(..end)?.trim().trim_end_matches('.').trim();
    if !expression.contains(['+', '-', '*', '/']) {
        return None;
    }
    let mut parser = Parser { rest: expression, depth: 0 };
    let value = parser.sum()?;
    (parser.rest.trim().is_empty() && value.is_finite()).then(|| (expression.to_owned(), format!("{value}")))
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn sum(&mut self) -> Option<f64> {
        let mut value = self.product()?;
        while let Some(sign) = self.take(&['+', '-']) {
            let next = self.product()?;
            value = if sign == '+' { value + next } else { value - next };
        }
        Some(value)
    }

    fn product(&mut self) -> Option<f64> {
        let mut value = self.term()?;
        while let Some(sign) = self.take(&['*', '/']) {
            let next = self.term()?;
            value = if sign == '*' { value * next } else { value / next };
        }
        Some(value)
    }

    fn term(&mut self) -> Option<f64> {
        if self.take(&['(']).is_some() {
            // A stranger's brackets must not become our stack.
            self.depth += 1;
            if self.depth > 32 {
                return None;
            }
            let value = self.sum()?;
            self.take(&[')'])?;
            self.depth -= 1;
            return Some(value);
        }
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        number.parse().ok()
    }

    fn take(&mut self, wanted: &[char]) -> Option<char> {
        self.rest = self.rest.trim_start();
        let first = self.rest.chars().next().filter(|c| wanted.contains(c))?;
        self.rest = self.rest.get(1..)?;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::{Thought, arithmetic, pieces, think};

    #[test]
    fn it_calculates() {
        let value = |text| arithmetic(text).map(|(_, value)| value);
        assert_eq!(value("What is 2 + 3 * (4 - 1)?").as_deref(), Some("11"));
        assert_eq!(value("7 / 2").as_deref(), Some("3.5"));
        assert_eq!(value("1 / 0"), None);
        assert_eq!(value("version 2 is out"), None);
        assert_eq!(value(&"(".repeat(10_000)), None);
    }

    #[test]
    fn it_asks_back() {
        assert!(matches!(think("  ", 0), Thought::InputRequired(_)));
        assert!(matches!(think("show my account", 3), Thought::AuthRequired(_)));
        assert!(matches!(think("hello", 1), Thought::Answer(text) if text.contains("after 1 earlier")));
    }

    #[test]
    fn pieces_join_to_the_text() {
        let text = "one two  three";
        assert_eq!(pieces(text).concat(), text);
    }
}
