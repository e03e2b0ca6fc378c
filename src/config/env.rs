//! `${NAME}` and `${NAME:-default}` in the values of a configuration, after parsing, so that a value can never add keys.
//! Called by `yaml` for each value. The environment is a function: tests and `POST /config/check` bring their own.

use super::yaml::{Kind, Node, Scalar};
use super::{Path, Problem};

/// Looks a name up; `None` if it is not set.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process. A value that is not UTF-8 counts as not set.
pub fn process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The most that all values of a file may grow to: a file of `${A}${A}…` would otherwise multiply.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Replaces the references in every value below `root`. What came from the environment is remembered in the node, so
/// that it is never shown.
pub(super) fn substitute(root: &mut Node, environment: Environment<'_>, problems: &mut Vec<Problem>) {
    let mut left = MOST_BYTES;
    visit(root, &Path::default(), &mut |scalar, node_at, path| {
        if !scalar.text.contains("${") {
            return;
        }
        match expand(&scalar.text, environment, left) {
            Ok(Expanded { text, from_environment }) => {
                left -= text.len().min(left);
                let written = std::mem::replace(&mut scalar.text, text);
                scalar.written = from_environment.then_some(written);
            }
            Err(message) => problems.push(Problem { at: node_at, path: path.clone(), message }),
        }
    });
}

struct Expanded {
    text: String,
    /// False where the text only held `$${`.
    from_environment: bool,
}

fn expand(text: &str, environment: Environment<'_>, most: usize) -> Result<Expanded, String> {
    let mut expanded = Expanded { text: String::with_capacity(text.len()), from_environment: false };
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.text.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$${") {
            expanded.text.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let Some((reference, after)) = after.split_once('}') else {
                return Err("`${` has no `}`: write `${NAME}`, or `$${` for a literal `${`".to_owned());
            };
            expanded.text.push_str(&look_up(reference, environment)?);
            expanded.from_environment = true;
            rest = after;
        } else {
            expanded.text.push('$');
            rest = &rest[1..];
        }
        if expanded.text.len() > most {
            return Err(format!("the values from the environment are over {MOST_BYTES} bytes: shorten them"));
        }
    }
    expanded.text.push_str(rest);
    Ok(expanded)
}

/// As in a shell, `:-` also stands in for a name that is set to nothing.
fn look_up(reference: &str, environment: Environment<'_>) -> Result<String, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!(
            "`${{{name}}}` is not the name of an environment variable: use letters, digits and `_`, \
             or write `$${{` for a literal `${{`"
        ));
    }
    match (environment(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable `{name}` is not set: set it, or give a default: `${{{name}:-default}}`"
        )),
    }
}

fn visit(node: &mut Node, path: &Path, each: &mut impl FnMut(&mut Scalar, super::Position, &Path)) {
    let at = node.at;
    match &mut node.kind {
        Kind::Scalar(scalar) => each(scalar, at, path),
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                visit(item, &path.with(index), each);
            }
        }
        Kind::Map(entries) => {
            for entry in entries.iter_mut() {
                visit(&mut entry.value, &path.with(&entry.key), each);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8443".to_owned()),
            "EMPTY" => Some(String::new()),
            "_A1" => Some("${PORT}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn replaces_names_defaults_and_escapes() {
        let cases = [
            ("127.0.0.1:${PORT}", "127.0.0.1:8443"),
            ("${NONE:-9}${PORT:-9}", "98443"),
            ("${EMPTY}|${EMPTY:-x}|${NONE:-}", "|x|"),
            ("$${PORT} $PORT $ $$ ^a$", "${PORT} $PORT $ $$ ^a$"),
            ("$$${PORT}", "$${PORT}"),
            // What a value holds is never looked at again.
            ("${_A1}", "${PORT}"),
        ];
        for (text, wanted) in cases {
            let expanded = expand(text, &environment, MOST_BYTES).unwrap();
            assert_eq!(expanded.text, wanted, "{text}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_replace() {
        for (text, wanted) in [
            ("${NONE}", "`NONE` is not set"),
            ("${PORT", "has no `}`"),
            ("${}", "not the name of an environment variable"),
            ("${1A}", "not the name of an environment variable"),
            ("${A-B}", "not the name of an environment variable"),
        ] {
            let message = expand(text, &environment, MOST_BYTES).err().unwrap();
            assert!(message.contains(wanted), "{text}: {message}");
        }
    }

    #[test]
    fn is_bounded() {
        let text = "${PORT}".repeat(100);
        assert!(expand(&text, &environment, 399).err().unwrap().contains("shorten"));
        assert_eq!(expand(&text, &environment, 400).unwrap().text.len(), 400);
    }
}
