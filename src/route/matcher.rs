//! One route's conditions, and how specific they are.

use std::str::FromStr;

use fields::RequestHead;
use regex::{Regex, RegexBuilder};

use super::{AuthorityPattern, ServicePattern};

/// The longest regular expression, compiled; the default of the crate (10 MiB) times the headers of all routes is too much.
const LARGEST_REGEX: usize = 256 * 1024;

/// The conditions of a route; one without any takes every call.
#[derive(Clone, Debug, Default)]
pub struct RouteMatch {
    /// The host that the call names.
    pub authority: Option<AuthorityPattern>,
    /// The service.
    pub service: Option<ServicePattern>,
    /// The method.
    pub method: Option<Box<str>>,
    /// All of these.
    pub headers: Vec<HeaderMatch>,
    /// An expression that must hold too: its text. Whoever asks for candidates evaluates it.
    pub when: Option<Box<str>>,
}

/// A condition on metadata: some value of this name passes the test.
#[derive(Clone, Debug)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: Box<str>,
    /// What a value must be.
    pub test: HeaderTest,
}

/// What a value must be.
#[derive(Clone, Debug)]
pub enum HeaderTest {
    /// Equal.
    Exact(Box<str>),
    /// Begins so.
    Prefix(Box<str>),
    /// Matches as a whole.
    Regex(HeaderRegex),
    /// Anything, but there.
    Present,
}

/// A regular expression over a whole header value, in the syntax of the Rust crate `regex`.
#[derive(Clone, Debug)]
pub struct HeaderRegex {
    text: Box<str>,
    whole: Regex,
}

/// More specific routes have a greater rank (DESIGN.md §2): authority, then method, service, package, then `when`, then headers.
pub(super) type Rank = (u8, usize, bool, u8, usize, bool, usize);

impl RouteMatch {
    pub(super) fn rank(&self) -> Rank {
        let (kind, length) = match &self.authority {
            Some(AuthorityPattern::Exact(_)) => (2, 0),
            Some(AuthorityPattern::Suffix(suffix)) => (1, suffix.len()),
            None => (0, 0),
        };
        let (service, package) = match &self.service {
            Some(ServicePattern::Exact(_)) => (2, 0),
            Some(ServicePattern::Package(prefix)) => (1, prefix.len()),
            None => (0, 0),
        };
        (kind, length, self.method.is_some(), service, package, self.when.is_some(), self.headers.len())
    }

    /// Whether it takes all calls of each service that it takes any of.
    pub fn takes_whole_services(&self) -> bool {
        self.method.is_none() && self.takes_whole_methods()
    }

    /// Whether it takes all calls of each method that it takes any of.
    pub fn takes_whole_methods(&self) -> bool {
        // In full, so that a new condition is not forgotten here.
        let Self { authority, service: _, method: _, headers, when } = self;
        authority.is_none() && headers.is_empty() && when.is_none()
    }

    /// Whether calls of a service can meet all conditions.
    pub fn fits_service(&self, service: &str) -> bool {
        self.service.as_ref().is_none_or(|pattern| pattern.matches(service))
    }

    /// Whether a call meets all conditions but `when`.
    pub fn matches(&self, head: &RequestHead, host: &str, service: &str, method: &str) -> bool {
        self.fits_service(service)
            && self.method.as_ref().is_none_or(|name| **name == *method)
            && self.authority.as_ref().is_none_or(|pattern| pattern.matches(host))
            && self.headers.iter().all(|header| header.matches(head))
    }
}

impl HeaderMatch {
    fn matches(&self, head: &RequestHead) -> bool {
        head.fields.get_all(&self.name).any(|value| match &self.test {
            HeaderTest::Exact(text) => value == text.as_bytes(),
            HeaderTest::Prefix(text) => value.starts_with(text.as_bytes()),
            HeaderTest::Regex(pattern) => std::str::from_utf8(value).is_ok_and(|value| pattern.fits(value)),
            HeaderTest::Present => true,
        })
    }
}

impl HeaderRegex {
    /// Whether the whole of a value fits: half a match would let `evil-admin` pass for `admin`.
    pub fn fits(&self, value: &str) -> bool {
        self.whole.is_match(value)
    }
}

impl FromStr for HeaderRegex {
    /// Continues a sentence that begins with the text.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: only an empty value would match it; `present: true` matches any".to_owned());
        }
        // The text alone first: `a)(b` would only compile inside our brackets.
        let compile = |text: &str| RegexBuilder::new(text).size_limit(LARGEST_REGEX).build();
        let whole = compile(text).and_then(|_| compile(&format!("^(?:{text})$")));
        whole.map(|whole| Self { text: text.into(), whole }).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "is too large when compiled: shorten it".to_owned(),
            error => {
                let words = error.to_string();
                let last = words.lines().last().unwrap_or_default();
                format!("is not a regular expression: {}", last.trim_start_matches("error: "))
            }
        })
    }
}

impl std::fmt::Display for HeaderRegex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for HeaderRegex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for HeaderRegex {}

impl std::fmt::Display for RouteMatch {
    /// One line for logs and the admin port.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.authority.as_ref().map(|authority| format!("authority {authority}")));
        parts.extend(self.service.as_ref().map(|service| format!("service {service}")));
        parts.extend(self.method.as_ref().map(|method| format!("method {method}")));
        parts.extend(self.headers.iter().map(|header| match &header.test {
            HeaderTest::Exact(text) => format!("{}: {text}", header.name),
            HeaderTest::Prefix(text) => format!("{}: {text}…", header.name),
            HeaderTest::Regex(pattern) => format!("{}: /{pattern}/", header.name),
            HeaderTest::Present => format!("{} present", header.name),
        }));
        parts.extend(self.when.as_ref().map(|when| format!("when {when}")));
        if parts.is_empty() { f.write_str("every call") } else { f.write_str(&parts.join(", ")) }
    }
}
