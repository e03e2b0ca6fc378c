//! Patterns for methods with their services: `pkg.Service/Method`, where `*` stands for any of either.

use std::str::FromStr;

use super::ServicePattern;

/// `pkg.Service/Method`, `pkg.*/Method`, `*/Method`, `pkg.Service/*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MethodPattern {
    service: Option<ServicePattern>,
    method: Option<Box<str>>,
}

impl MethodPattern {
    /// Whether a method is meant.
    pub fn matches(&self, service: &str, method: &str) -> bool {
        self.service.as_ref().is_none_or(|pattern| pattern.matches(service))
            && self.method.as_ref().is_none_or(|name| **name == *method)
    }

    /// A greater one is more specific: the method before the service, a service before a package.
    pub fn rank(&self) -> (bool, u8, usize) {
        let (kind, length) = match &self.service {
            Some(ServicePattern::Exact(_)) => (2, 0),
            Some(ServicePattern::Package(prefix)) => (1, prefix.len()),
            None => (0, 0),
        };
        (self.method.is_some(), kind, length)
    }
}

impl FromStr for MethodPattern {
    /// Continues a sentence that begins with the text.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            "is no pattern for methods: write `pkg.Service/Method`, `pkg.*/Method`, `*/Method` or `pkg.Service/*`";
        let (service, method) = text.split_once('/').ok_or(wrong)?;
        let service = match service {
            "*" => None,
            service => Some(service.parse::<ServicePattern>().map_err(|_| wrong)?),
        };
        let named = method.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && method.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
        match method {
            "*" => Ok(Self { service, method: None }),
            method if named => Ok(Self { service, method: Some(method.into()) }),
            _ => Err(wrong.into()),
        }
    }
}

impl std::fmt::Display for MethodPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.service {
            Some(service) => write!(f, "{service}/")?,
            None => f.write_str("*/")?,
        }
        f.write_str(self.method.as_deref().unwrap_or("*"))
    }
}
