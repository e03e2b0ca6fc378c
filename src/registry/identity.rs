//! Who an agent is: its id and DID as the Bindu core computes them, and the names that may not be registered.
//! Follows `bindu` 2026.36.7 (`penguin/bindufy.py`, `extensions/did/did_agent_extension.py`).

use std::sync::{Arc, LazyLock};

use regex::Regex;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::address::clip;

/// Longest author that is taken, in characters; the core sets no bound.
const AUTHOR_CHARS: usize = 256;

/// An agent as its configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Config `id`, else made of author and name; a UUID in lower case with hyphens.
    pub id: Arc<str>,
    /// `did:bindu:author:name:id`.
    pub did: Arc<str>,
    /// As the configuration has it.
    pub name: Arc<str>,
    /// As the configuration has it.
    pub author: Arc<str>,
}

impl Identity {
    /// Checks author, name and id, and computes the rest. The error says what to change.
    pub fn new(author: &str, name: &str, id: Option<&str>) -> Result<Self, String> {
        check_author(author)?;
        check_name(name)?;
        let id = match id {
            Some(text) => Uuid::try_parse(text).map_err(|_| {
                format!(
                    "`id` is a UUID such as 3f2b8c1e-0d4a-4b6f-9a51-7c2e8d90b1f3, not `{}`; leave it out to have one \
                         made of author and name",
                    clip(text)
                )
            })?,
            None => computed_id(author, name),
        };
        let id = id.hyphenated().to_string();
        let did = format!("did:bindu:{}:{}:{id}", did_part(author), did_part(name));
        Ok(Self { id: id.into(), did: did.into(), name: name.into(), author: author.into() })
    }
}

/// The first 32 hex digits of sha256("author:name"), as a UUID.
fn computed_id(author: &str, name: &str) -> Uuid {
    let digest = Sha256::new().chain_update(author).chain_update(":").chain_update(name).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}

/// `_sanitize_identifier` of the core.
fn did_part(text: &str) -> String {
    text.to_lowercase().replace(' ', "_").replace('@', "_at_").replace('.', "_")
}

fn check_author(author: &str) -> Result<(), String> {
    if author.trim().is_empty() {
        return Err("`author` is empty: name who answers for the agent, such as you@example.com".into());
    }
    if author.contains(':') || author.chars().any(char::is_control) || author.chars().count() > AUTHOR_CHARS {
        return Err(format!(
            "`author` must be at most {AUTHOR_CHARS} characters without `:` and control characters, since the agent's \
             id and DID are made of it"
        ));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    // The core makes a folder of this name, and its id and DID.
    static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\A[A-Za-z0-9][A-Za-z0-9 ._-]{0,127}\z").ok());
    if !NAME.as_ref().is_some_and(|pattern| pattern.is_match(name)) {
        return Err(format!(
            "`name` must begin with a letter or digit and go on with at most 127 letters, digits, spaces, `.`, `_` or `-`; \
             `{}` does not",
            clip(name)
        ));
    }
    if Uuid::try_parse(name).is_ok() {
        return Err(format!(
            "`name` has the form of an agent id ({name}): callers could not tell the two apart; choose another"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Identity;

    #[test]
    fn id_and_did_are_those_of_the_core() {
        // python3 -c 'import hashlib,uuid; print(uuid.UUID(hashlib.sha256(b"Dev@example.com:My Agent.v2").hexdigest()[:32]))'
        let identity = Identity::new("Dev@example.com", "My Agent.v2", None).unwrap();
        assert_eq!(&*identity.id, "e2f8e2ac-288a-a2a3-21cc-d15e10cf8719");
        assert_eq!(&*identity.did, "did:bindu:dev_at_example_com:my_agent_v2:e2f8e2ac-288a-a2a3-21cc-d15e10cf8719");
    }

    #[test]
    fn a_configured_id_is_written_canonically() {
        let identity = Identity::new("a", "n", Some("{3F2B8C1E0D4A4B6F9A517C2E8D90B1F3}"));
        assert!(identity.is_err(), "braces around bare digits are no UUID for us");
        let identity = Identity::new("a", "n", Some("3F2B8C1E0D4A4B6F9A517C2E8D90B1F3")).unwrap();
        assert_eq!(&*identity.id, "3f2b8c1e-0d4a-4b6f-9a51-7c2e8d90b1f3");
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        for (author, name, id) in [
            ("", "n", None),
            (" ", "n", None),
            ("a:b", "n", None),
            ("a\nb", "n", None),
            ("a", "", None),
            ("a", "n:m", None),
            ("a", "../../etc", None),
            ("a", ".hidden", None),
            ("a", "n\n", None),
            ("a", "did:bindu:x", None),
            ("a", "3f2b8c1e-0d4a-4b6f-9a51-7c2e8d90b1f3", None),
            ("a", "3f2b8c1e0d4a4b6f9a517c2e8d90b1f3", None),
            ("a", "n", Some("7")),
            ("a", "n", Some("")),
        ] {
            assert!(Identity::new(author, name, id).is_err(), "{author:?} {name:?} {id:?}");
        }
        assert!(Identity::new("a", &"n".repeat(128), None).is_ok());
        assert!(Identity::new("a", &"n".repeat(129), None).is_err());
        assert!(Identity::new(&"ä".repeat(256), "n", None).is_ok());
    }
}
