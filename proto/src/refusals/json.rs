//! Why a text is no JSON, as Python's decoder says it (`json/decoder.py`, `_json.c` of CPython 3.12): the core passes those
//! words on. Iterative, since a stranger decides how deep the text goes. Values are of no interest here.

/// The refusal of a `config_json` that Python does not take; `None` if it takes it (it takes more than others: NaN, any
/// depth up to its stack's, numbers of any size).
pub fn not_json(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let (what, at) = Scanner { chars: &chars, at: 0 }.document().err()?;
    let before = chars.get(..at).unwrap_or(&chars);
    let line = before.iter().filter(|c| **c == '\n').count() + 1;
    let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
    Some(format!("Invalid config_json: {what}: line {line} column {column} (char {at})"))
}

/// What was expected, and at which character it is not.
type Fault = (&'static str, usize);

struct Scanner<'a> {
    chars: &'a [char],
    at: usize,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        if self.peek() == Some('\u{feff}') {
            return Err(("Unexpected UTF-8 BOM (decode using utf-8-sig)", 0));
        }
        self.skip_space();
        // The closing brackets of what is open.
        let mut open = Vec::new();
        loop {
            if self.begin(&mut open)? {
                // An object or array that has a first member.
                continue;
            }
            // A value has ended: go on in what holds it.
            loop {
                self.skip_space();
                let Some(close) = open.last().copied() else {
                    return if self.at == self.chars.len() { Ok(()) } else { Err(("Extra data", self.at)) };
                };
                if self.take(close) {
                    open.pop();
                    continue;
                }
                if !self.take(',') {
                    return Err(("Expecting ',' delimiter", self.at));
                }
                self.skip_space();
                if close == '}' {
                    self.key()?;
                }
                break;
            }
        }
    }

    /// Begins a value; answers whether another one follows inside it.
    fn begin(&mut self, open: &mut Vec<char>) -> Result<bool, Fault> {
        let close = match self.peek() {
            Some('{') => '}',
            Some('[') => ']',
            Some('"') => return self.string().map(|()| false),
            _ => return self.plain().map(|()| false),
        };
        self.at += 1;
        self.skip_space();
        if self.take(close) {
            return Ok(false);
        }
        open.push(close);
        if close == '}' {
            self.key()?;
        }
        Ok(true)
    }

    /// A key, its colon and what is before the value.
    fn key(&mut self) -> Result<(), Fault> {
        if self.peek() != Some('"') {
            return Err(("Expecting property name enclosed in double quotes", self.at));
        }
        self.string()?;
        self.skip_space();
        if !self.take(':') {
            return Err(("Expecting ':' delimiter", self.at));
        }
        self.skip_space();
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        let unterminated = ("Unterminated string starting at", self.at);
        self.at += 1;
        loop {
            let at = self.at;
            self.at += 1;
            match self.chars.get(at) {
                None => return Err(unterminated),
                Some('"') => return Ok(()),
                Some('\\') => self.escape(at, unterminated)?,
                Some(c) if *c <= '\u{1f}' => return Err(("Invalid control character at", at)),
                Some(_) => {}
            }
        }
    }

    /// What follows the backslash at `at`.
    fn escape(&mut self, at: usize, unterminated: Fault) -> Result<(), Fault> {
        match self.peek() {
            None => return Err(unterminated),
            Some('u') => {
                let digits = self.chars.get(at + 2..at + 6).unwrap_or_default();
                // Python wants another character after the four, be it the quote.
                let whole = digits.len() == 4 && self.chars.len() > at + 6;
                if !whole || !digits.iter().all(char::is_ascii_hexdigit) {
                    return Err(("Invalid \\uXXXX escape", at + 1));
                }
                self.at += 5;
            }
            Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => self.at += 1,
            Some(_) => return Err(("Invalid \\escape", at)),
        }
        Ok(())
    }

    /// A word or a number.
    fn plain(&mut self) -> Result<(), Fault> {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let words = ["null", "true", "false", "NaN", "Infinity", "-Infinity"];
        let starts = |word: &&&str| rest.iter().copied().take(word.len()).eq(word.chars());
        let length = words.iter().find(starts).map_or_else(|| number(rest), |word| word.len());
        if length == 0 {
            return Err(("Expecting value", self.at));
        }
        self.at += length;
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }
}

/// How many characters are a number: `-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?`.
fn number(rest: &[char]) -> usize {
    let digits = |from: usize| rest.iter().skip(from).take_while(|c| c.is_ascii_digit()).count();
    let is = |at: usize, wanted: &[char]| rest.get(at).is_some_and(|c| wanted.contains(c));
    let mut end = usize::from(is(0, &['-']));
    end += match digits(end) {
        0 => return 0,
        _ if is(end, &['0']) => 1,
        whole => whole,
    };
    if is(end, &['.']) && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if is(end, &['e', 'E']) {
        let sign = usize::from(is(end + 1, &['+', '-']));
        if digits(end + 1 + sign) > 0 {
            end += 1 + sign + digits(end + 1 + sign);
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::not_json;

    /// Each as the core answered it.
    #[test]
    fn faults_are_named_as_python_names_them() {
        for (text, fault) in [
            ("{author: me}", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
            ("", "Expecting value: line 1 column 1 (char 0)"),
            ("  ", "Expecting value: line 1 column 3 (char 2)"),
            ("\n\n x", "Expecting value: line 3 column 2 (char 3)"),
            ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
            (r#"{"a":1,}"#, "Expecting property name enclosed in double quotes: line 1 column 8 (char 7)"),
            ("[1,]", "Expecting value: line 1 column 4 (char 3)"),
            ("[1", "Expecting ',' delimiter: line 1 column 3 (char 2)"),
            ("[", "Expecting value: line 1 column 2 (char 1)"),
            ("tru", "Expecting value: line 1 column 1 (char 0)"),
            ("🔑 key", "Expecting value: line 1 column 1 (char 0)"),
            ("-", "Expecting value: line 1 column 1 (char 0)"),
            ("\"abc", "Unterminated string starting at: line 1 column 1 (char 0)"),
            ("\"é\\", "Unterminated string starting at: line 1 column 1 (char 0)"),
            (r#"{"a" 1}"#, "Expecting ':' delimiter: line 1 column 6 (char 5)"),
            (r#"{"a":1 "b"}"#, "Expecting ',' delimiter: line 1 column 8 (char 7)"),
            (r#"{"a":}"#, "Expecting value: line 1 column 6 (char 5)"),
            (r#"{"a":"#, "Expecting value: line 1 column 6 (char 5)"),
            ("{} x", "Extra data: line 1 column 4 (char 3)"),
            ("01", "Extra data: line 1 column 2 (char 1)"),
            ("{\"a\":\"x\ty\"}", "Invalid control character at: line 1 column 8 (char 7)"),
            (r#"{"a":"\q"}"#, "Invalid \\escape: line 1 column 7 (char 6)"),
            (r#"{"a":"\u12"}"#, "Invalid \\uXXXX escape: line 1 column 8 (char 7)"),
            ("\u{feff}{}", "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"),
        ] {
            assert_eq!(not_json(text), Some(format!("Invalid config_json: {fault}")), "{text}");
        }
    }

    #[test]
    fn json_has_no_fault() {
        for text in [
            "0",
            "-1.5e+3",
            "null",
            "NaN",
            "-Infinity",
            " [ ] ",
            "[[],{}, [1 , {\"a\" : \"\\u00e9\\n\"} ] ]",
            r#"{"a": {"b": [true, false]}, "c": ""}"#,
        ] {
            assert_eq!(not_json(text), None, "{text}");
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(not_json(&deep), None);
    }
}
