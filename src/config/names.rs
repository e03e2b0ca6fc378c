//! Names and patterns as a configuration writes them: services, methods, authorities, headers, agents. Text in the file,
//! see `text`; DESIGN.md §4 "What is routed is what is forwarded" has the rules.

use std::fmt;
use std::str::FromStr;

use super::net::HostPort;
use super::text::text_type;
use crate::route::{AuthorityPattern, HeaderRegex, MethodPattern, NO_AUTHORITY, is_host_name};

/// The name of a cluster or listener. Also a metric label and a path on the admin port, hence the few characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub String);
text_type!(Name, "portunus-name", "a name", "agents", pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$");

/// A host name without a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);
text_type!(HostName, "portunus-host-name", "a host name", "core.internal");

/// A gRPC method without its service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodName(pub String);
text_type!(MethodName, "portunus-method", "a method", "HandleMessages", pattern: "^[A-Za-z_][A-Za-z0-9_.]*$");

/// A gRPC method with its service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullMethod {
    pub service: String,
    pub method: String,
}
text_type!(FullMethod, "portunus-full-method", "a method with its service", "grpc.health.v1.Health/Check");

/// A name of metadata (a header), in lower case as HTTP/2 sends it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(String);
text_type!(HeaderName, "portunus-header-name", "a header name", "x-canary");

// The router's own types, as the file writes them.
text_type!(AuthorityPattern, "portunus-authority-pattern", "a host or `*.suffix`", "*.example.com");
text_type!(HeaderRegex, "portunus-regex", "a regular expression", "v[0-9]+");

/// Which methods something is for: a pattern, or `default` for those that no pattern names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Methods {
    /// Those that no pattern names.
    Default,
    /// Those that this names.
    Pattern(MethodPattern),
}
text_type!(Methods, "portunus-methods", "a pattern for methods or `default`", "*/SubmitTask");

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
        if is_host_name(text) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err("is not a host name such as `core.internal`".to_owned())
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

impl FromStr for FullMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((service, method)) if is_identifier(service) && is_identifier(method) => {
                Ok(Self { service: service.to_owned(), method: method.to_owned() })
            }
            _ => Err("is not a method with its service, such as `grpc.health.v1.Health/Check`".to_owned()),
        }
    }
}

impl FromStr for Methods {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "default" => Ok(Self::Default),
            text => text.parse().map(Self::Pattern),
        }
    }
}

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
            Ok(AuthorityPattern::Suffix(suffix)) => Ok(Self { suffix: suffix.into() }),
            Ok(AuthorityPattern::Exact(_)) => {
                Err("names no agent: start it with `*.`, the label that does, as in `*.agents.example.com`".to_owned())
            }
            Err(error) if error == NO_AUTHORITY => Err("is not a pattern such as `*.agents.example.com`".to_owned()),
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
    AgentPattern: self => "*{}", self.suffix;
}

impl fmt::Display for FullMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.method)
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Pattern(pattern) => pattern.fmt(f),
        }
    }
}

/// As their texts are ordered.
impl Ord for Methods {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl PartialOrd for Methods {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for CallbackPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{agent}}{}:{}", self.suffix, self.port)
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
