//! Patterns for names: a service or its package, an authority or its suffix.

/// Why a pattern is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub(super) String);

/// `pkg.Service`, or `pkg.*` for every service of a package and the packages below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServicePattern {
    /// This service.
    Exact(Box<str>),
    /// Services whose name starts with this prefix, which ends in a dot.
    Package(Box<str>),
}

impl ServicePattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let name = text.strip_suffix(".*").unwrap_or(text);
        let identifier = |part: &str| {
            part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if !name.split('.').all(identifier) {
            return Err(PatternError(format!(
                "`{text}` is no service: write `package.Service`, or `package.*` for all of a package"
            )));
        }
        Ok(if name.len() == text.len() { Self::Exact(name.into()) } else { Self::Package(format!("{name}.").into()) })
    }

    /// Whether a service is meant.
    pub fn matches(&self, service: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *service,
            Self::Package(prefix) => service.starts_with(&**prefix),
        }
    }
}

impl std::fmt::Display for ServicePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Package(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// `host.example.com`, or `*.example.com` for every host below it. Compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AuthorityPattern {
    /// This host, in lower case.
    Exact(Box<str>),
    /// Hosts that end with this, in lower case; it starts with a dot.
    Suffix(Box<str>),
}

impl AuthorityPattern {
    /// Reads a pattern: no port, since a listener has one.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (star, host) = match text.strip_prefix('*') {
            Some(suffix) => (true, suffix.strip_prefix('.').unwrap_or_default()),
            None => (false, text),
        };
        let v6 = !star && host.parse::<std::net::Ipv6Addr>().is_ok();
        let name =
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !(name || v6) || host.starts_with('.') || host.ends_with('.') {
            return Err(PatternError(format!("`{text}` is no authority: write a host without port, or `*.suffix`")));
        }
        let host = host.to_ascii_lowercase();
        Ok(if star { Self::Suffix(format!(".{host}").into()) } else { Self::Exact(host.into()) })
    }

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

impl std::fmt::Display for AuthorityPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}
