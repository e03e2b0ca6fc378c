//! Patterns for authorities: one, or a suffix.

use std::str::FromStr;

/// `host.example.com`, or `*.example.com` for every host below it. Compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AuthorityPattern {
    /// This host, in lower case.
    Exact(Box<str>),
    /// Hosts that end with this, in lower case; it starts with a dot.
    Suffix(Box<str>),
}

impl AuthorityPattern {
    /// Whether a host is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Suffix(suffix) => {
                let tail = host.len().checked_sub(suffix.len()).filter(|at| *at > 0).and_then(|at| host.get(at..));
                tail.is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
            }
        }
    }
}

impl FromStr for AuthorityPattern {
    /// Continues a sentence that begins with the text.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            return Err("has a port: authorities are matched without one, leave it out".to_owned());
        }
        let suffix = text.strip_prefix("*.");
        let host = suffix.unwrap_or(text);
        if !is_host_name(host) {
            return Err(NO_AUTHORITY.to_owned());
        }
        let host = host.to_ascii_lowercase();
        Ok(if suffix.is_some() { Self::Suffix(format!(".{host}").into()) } else { Self::Exact(host.into()) })
    }
}

/// The error of an [`AuthorityPattern`] that is neither a host nor a suffix.
pub const NO_AUTHORITY: &str = "is not a host (`api.example.com`) or a suffix (`*.example.com`)";

/// Whether a text is a host name, or an IPv4 address: labels of letters, digits, `-` and `_`.
pub fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        (1..=63).contains(&label.len()) && inside && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

impl std::fmt::Display for AuthorityPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}
