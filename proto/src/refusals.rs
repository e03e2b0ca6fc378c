//! The words in which the Bindu core refuses: `bindu` 2026.36.7 from PyPI, asked one by one. The registrar uses them, so
//! that an SDK reads the same with and without it, and the stand-in core does. tests/peers/bindu compares with the real one.

mod json;

pub use self::json::not_json;

/// Longest text of a stranger's that is quoted, in characters. The core quotes all of it.
const QUOTED: usize = 256;

/// `config_json` is JSON of another type, in Python's words: NoneType, bool, int, float, str or list.
pub fn not_an_object(kind: &str) -> String {
    format!("Registration failed: '{kind}' object has no attribute 'get'")
}

/// Required fields that are not there, empty or null, in the core's order: author, name, deployment.url.
///
/// With several the core means to say this and an example, and throws over the braces in the example.
pub fn missing(fields: &[&str]) -> String {
    match fields {
        [field] => {
            format!("Registration failed: ConfigError: '{field}' is a required field in the agent configuration.")
        }
        fields => format!(
            "Registration failed: ConfigError: missing required fields in the agent configuration:\n- {}",
            fields.join("\n- ")
        ),
    }
}

/// `deployment.url` without an http(s) scheme or a host.
pub fn not_a_url(url: &str) -> String {
    let url = quoted(url);
    format!("Registration failed: ConfigError: 'deployment.url' must be a valid http(s) URL, got '{url}'.")
}

/// A field that must be text is of another type.
pub fn not_text(field: &str) -> String {
    format!("Registration failed: Field '{field}' must be a str")
}

/// The deployment does not say whether it is exposed; null is enough for the core.
pub fn no_expose() -> String {
    "Registration failed: Missing required config field(s): deployment.expose".to_owned()
}

/// UnregisterAgent for an agent that is not there.
pub fn unknown_agent(id: &str) -> String {
    format!("Agent {} not found", quoted(id))
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{missing, unknown_agent};

    #[test]
    fn one_field_is_named_in_a_sentence_and_several_in_a_list() {
        assert_eq!(
            missing(&["author"]),
            "Registration failed: ConfigError: 'author' is a required field in the agent configuration."
        );
        assert!(missing(&["author", "name"]).ends_with(":\n- author\n- name"));
    }

    #[test]
    fn what_a_stranger_wrote_is_quoted_to_a_bound() {
        assert_eq!(unknown_agent(""), "Agent  not found");
        assert_eq!(unknown_agent(&"ä".repeat(256)), format!("Agent {} not found", "ä".repeat(256)));
        assert_eq!(unknown_agent(&"ä".repeat(257)), format!("Agent {}… not found", "ä".repeat(256)));
    }
}
