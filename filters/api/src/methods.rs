//! Patterns for services and methods, as routes, hashing and rules name them.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `pkg.Service`, or `pkg.*` for every service of a package and the packages below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServicePattern {
    /// This service.
    Exact(Box<str>),
    /// Services whose name starts with this prefix, which ends in a dot.
    Package(Box<str>),
}

impl ServicePattern {
    /// Whether a service is meant.
    pub fn matches(&self, service: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *service,
            Self::Package(prefix) => service.starts_with(&**prefix),
        }
    }
}

impl FromStr for ServicePattern {
    /// Continues a sentence that begins with the text.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let identifier = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let package = text.strip_suffix(".*");
        if !package.unwrap_or(text).split('.').all(identifier) {
            return Err("is not a service (`pkg.Service`) or a package (`pkg.*`)".to_owned());
        }
        Ok(package.map_or_else(|| Self::Exact(text.into()), |package| Self::Package(format!("{package}.").into())))
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

/// Texts of a configuration. The errors of both go on behind the text.
macro_rules! pattern {
    ($type:ident, $format:literal, $what:literal, $example:literal) => {
        impl $type {
            /// The JSON Schema `format` of this type.
            pub const FORMAT: &'static str = $format;
            /// What it is, in a sentence.
            pub const WHAT: &'static str = $what;
            /// One.
            pub const EXAMPLE: &'static str = $example;
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|why| D::Error::custom(format!("`{text}` {why}")))
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": Self::FORMAT, "description": Self::WHAT, "examples": [Self::EXAMPLE] })
            }
        }
    };
}
pattern!(ServicePattern, "portunus-service-pattern", "a service or `pkg.*`", "bindu.grpc.AgentHandler");
pattern!(MethodPattern, "portunus-method-pattern", "a pattern for methods", "*/SubmitTask");
