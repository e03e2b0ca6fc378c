//! Names and patterns as a configuration writes them: services, methods, authorities, headers, agents. Text in the file,
//! see `text`; DESIGN.md §4 "What is routed is what is forwarded" has the rules.

use std::fmt;
use std::str::FromStr;

use super::net::HostPort;
use super::text::text_type;

/// The name of a cluster or listener. Also a metric label and a path on the admin port, hence the few characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub String);
text_type!(Name, "portunus-name", "a name", "agents", pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$");

/// A host name without a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);
text_type!(HostName, "portunus-host-name", "a host name", "core.internal");

/// A gRPC service (`pkg.Service`) or all of a package and below (`pkg.*`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServicePattern {
    Exact(String),
    /// Without the `.*`.
    Package(String),
}
text_type!(ServicePattern, "portunus-service-pattern", "a service or `pkg.*`", "bindu.grpc.AgentHandler");

/// A gRPC method without its service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodName(pub String);
text_type!(MethodName, "portunus-method", "a method", "HandleMessages", pattern: "^[A-Za-z_][A-Za-z0-9_.]*$");

/// The host that a caller asked for (`api.example.com`) or all below one (`*.example.com`). Lower case, without a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthorityPattern {
    Exact(String),
    /// With the leading dot, without the `*`.
    Suffix(String),
}
text_type!(AuthorityPattern, "portunus-authority-pattern", "a host or `*.suffix`", "*.example.com");

/// A name of metadata (a header), in lower case as HTTP/2 sends it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(String);
text_type!(HeaderName, "portunus-header-name", "a header name", "x-canary");

/// A regular expression over a whole header value, in the syntax of the Rust crate `regex`.
#[derive(Clone, Debug)]
pub struct HeaderRegex {
    text: String,
    regex: regex::Regex,
}
text_type!(HeaderRegex, "portunus-regex", "a regular expression", "v[0-9]+");

/// Under which address a core reaches each agent: `{agent}.localhost:3790`, where `{agent}` is the agent's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallbackPattern {
    /// What follows `{agent}`, with its leading dot, in lower case: `.localhost`.
    pub suffix: String,
    pub port: u16,
}
text_type!(CallbackPattern, "portunus-callback", "an address with `{agent}`", "{agent}.localhost:3790");

/// Hosts whose first label names an agent: `*.agents.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgentPattern {
    /// With the leading dot, in lower case: `.agents.example.com`.
    pub suffix: String,
}
text_type!(AgentPattern, "portunus-agent-pattern", "`*.suffix`", "*.agents.example.com");

/// Where lines go: `stderr`, `stdout`, or a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogFile {
    Stderr,
    Stdout,
    /// Relative to the configuration's folder.
    Path(std::path::PathBuf),
}
text_type!(LogFile, "portunus-log-file", "`stderr`, `stdout` or a file", "stderr");

/// The longest regular expression, compiled; the default of the crate (10 MiB) times the headers of all routes is too much.
const LARGEST_REGEX: usize = 256 * 1024;

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let fits = text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if starts_well && fits {
            return Ok(Self(text.to_owned()));
        }
        Err("is not a name: use up to 63 letters, digits, `-`, `_` and `.`, starting with a letter or digit".to_owned())
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let label = |label: &str| {
            let inside = label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
            (1..=63).contains(&label.len()) && inside && !label.starts_with('-') && !label.ends_with('-')
        };
        if text.len() <= 253 && text.split('.').all(label) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err("is not a host name such as `core.internal`".to_owned())
    }
}

impl FromStr for ServicePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let package = text.strip_suffix(".*");
        if !is_identifier(package.unwrap_or(text)) {
            return Err("is not a service (`pkg.Service`) or a package (`pkg.*`)".to_owned());
        }
        Ok(package.map_or_else(|| Self::Exact(text.to_owned()), |package| Self::Package(package.to_owned())))
    }
}

impl FromStr for MethodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('/') {
            Some((_, method)) => {
                Err(format!("is more than a method: write `method: {method}` and the rest as `service`"))
            }
            None if is_identifier(text) => Ok(Self(text.to_owned())),
            None => Err("is not a method such as `HandleMessages`; leave it out for all methods".to_owned()),
        }
    }
}

impl FromStr for AuthorityPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            return Err("has a port: authorities are matched without one, leave it out".to_owned());
        }
        let host = |host: &str| host.parse::<HostName>().map(|host| host.0).map_err(|_| HOST_OR_SUFFIX.to_owned());
        match text.strip_prefix("*.") {
            Some(suffix) => Ok(Self::Suffix(format!(".{}", host(suffix)?))),
            None => Ok(Self::Exact(host(text)?)),
        }
    }
}

const HOST_OR_SUFFIX: &str = "is not a host (`api.example.com`) or a suffix (`*.example.com`)";

impl FromStr for HeaderName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(':') {
            return Err("is not a header: match `service`, `method` or `authority` instead".to_owned());
        }
        if text.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(format!("has capitals, which HTTP/2 never sends: write `{}`", text.to_ascii_lowercase()));
        }
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if text.is_empty() || !text.chars().all(token) {
            return Err("is not a header name such as `x-canary`".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl HeaderRegex {
    /// Compiled; matches whole values only.
    pub fn regex(&self) -> &regex::Regex {
        &self.regex
    }
}

impl FromStr for HeaderRegex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: only an empty value would match it; `present: true` matches any".to_owned());
        }
        // The text alone first: `a)(b` would only compile inside our brackets.
        let compile = |text: &str| regex::RegexBuilder::new(text).size_limit(LARGEST_REGEX).build();
        let anchored = compile(text).and_then(|_| compile(&format!("^(?:{text})$")));
        anchored.map(|regex| Self { text: text.to_owned(), regex }).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "is too large when compiled: shorten it".to_owned(),
            error => {
                let words = error.to_string();
                let last = words.lines().last().unwrap_or_default();
                format!("is not a regular expression: {}", last.trim_start_matches("error: "))
            }
        })
    }
}

impl PartialEq for HeaderRegex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for HeaderRegex {}

impl FromStr for CallbackPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains("{agent}") {
            return Err(
                "must hold `{agent}`, or no agent could be told from another: `{agent}.localhost:3790`".to_owned()
            );
        }
        let Some(rest) = text.strip_prefix("{agent}.") else {
            return Err("must start with `{agent}.`, for example `{agent}.localhost:3790`".to_owned());
        };
        let HostPort { host, port } = rest.parse().map_err(|error| format!("{error} (after `{{agent}}.`)"))?;
        match host {
            super::net::Host::Name(name) => Ok(Self { suffix: format!(".{name}"), port }),
            super::net::Host::Ip(_) => {
                Err("puts a label before an IP address: use a name such as `{agent}.localhost`".to_owned())
            }
        }
    }
}

impl FromStr for AgentPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(AuthorityPattern::Suffix(suffix)) => Ok(Self { suffix }),
            Ok(AuthorityPattern::Exact(_)) => {
                Err("names no agent: start it with `*.`, the label that does, as in `*.agents.example.com`".to_owned())
            }
            Err(error) if error == HOST_OR_SUFFIX => Err("is not a pattern such as `*.agents.example.com`".to_owned()),
            Err(error) => Err(error),
        }
    }
}

impl FromStr for LogFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("is empty: write `stderr`, `stdout` or a file".to_owned()),
            "stderr" => Ok(Self::Stderr),
            "stdout" => Ok(Self::Stdout),
            path => Ok(Self::Path(path.into())),
        }
    }
}

impl AsRef<str> for HeaderName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Shows each of these types as the file writes it.
macro_rules! display {
    ($($type:ty: $self:ident => $format:literal, $value:expr;)*) => { $(
        impl fmt::Display for $type {
            fn fmt(&$self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, $value)
            }
        }
    )* };
}

display! {
    Name: self => "{}", self.0;
    HostName: self => "{}", self.0;
    MethodName: self => "{}", self.0;
    HeaderName: self => "{}", self.0;
    HeaderRegex: self => "{}", self.text;
    AgentPattern: self => "*{}", self.suffix;
}

impl fmt::Display for CallbackPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{agent}}{}:{}", self.suffix, self.port)
    }
}

impl fmt::Display for ServicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(service) => f.write_str(service),
            Self::Package(package) => write!(f, "{package}.*"),
        }
    }
}

impl fmt::Display for AuthorityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stderr => f.write_str("stderr"),
            Self::Stdout => f.write_str("stdout"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// What DESIGN.md §4 lets stand between the slashes of a path.
fn is_identifier(text: &str) -> bool {
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

#[cfg(test)]
mod tests;
