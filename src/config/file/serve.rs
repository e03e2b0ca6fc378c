//! `listeners.NAME.serve`: services that the listener serves itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A service's name, or a map with it as the one key and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Serve {
    /// With every default.
    Plain(Served),
    /// With settings.
    With(ServeSettings),
}

/// What can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Served {
    /// `grpc.reflection.v1` and `v1alpha`: the services that the listener's routes lead to, and their messages.
    Reflection,
    /// `grpc.health.v1`: whether the listener, and each service, can take calls.
    Health,
}

/// Settings of what is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServeSettings {
    /// Of reflection.
    Reflection(ServedReflection),
}

/// How reflection is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServedReflection {
    /// Off loopback, `true` says that you know that whoever reaches the listener can read what its services are.
    pub public: bool,
}

impl Serve {
    /// What is served.
    pub fn what(self) -> Served {
        match self {
            Self::Plain(what) => what,
            Self::With(ServeSettings::Reflection(_)) => Served::Reflection,
        }
    }

    /// Whether anybody may have it.
    pub fn is_public(self) -> bool {
        matches!(self, Self::With(ServeSettings::Reflection(ServedReflection { public: true })))
    }
}
