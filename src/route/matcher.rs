//! One route's conditions, and how specific they are.

use fields::RequestHead;
use regex::Regex;

use super::{AuthorityPattern, PatternError, ServicePattern};

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
    Regex(Regex),
    /// Anything, but there.
    Present,
}

/// More specific routes have a greater rank (DESIGN.md §2): authority, then method, service, package, then headers.
pub(super) type Rank = (u8, usize, bool, u8, usize, usize);

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
        (kind, length, self.method.is_some(), service, package, self.headers.len())
    }

    pub(super) fn fits_service(&self, service: &str) -> bool {
        self.service.as_ref().is_none_or(|pattern| pattern.matches(service))
    }

    /// Whether a call meets all conditions.
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
            HeaderTest::Regex(pattern) => std::str::from_utf8(value).is_ok_and(|value| pattern.is_match(value)),
            HeaderTest::Present => true,
        })
    }
}

impl HeaderTest {
    /// Compiles a pattern that must match a value as a whole: half a match would let `evil-admin` pass for `admin`.
    pub fn regex(pattern: &str) -> Result<Self, PatternError> {
        let whole = Regex::new(&format!("^(?:{pattern})$"));
        whole.map(Self::Regex).map_err(|error| PatternError(format!("`{pattern}` is no regular expression: {error}")))
    }
}

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
        if parts.is_empty() { f.write_str("every call") } else { f.write_str(&parts.join(", ")) }
    }
}
