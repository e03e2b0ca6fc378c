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
    /// Of health.
    Health(ServedHealth),
}

/// How reflection is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServedReflection {
    /// Off loopback, `true` says that you know that whoever reaches the listener can read what its services are.
    pub public: bool,
}

/// How health is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServedHealth {
    /// `true`: whoever reaches the listener may ask how it is itself (Check and Watch of `""`), without the authenticate filters of the
    /// listener. What is of a service, they hold for.
    pub public: bool,
}

impl Serve {
    /// What is served.
    pub fn what(self) -> Served {
        match self {
            Self::Plain(what) => what,
            Self::With(ServeSettings::Reflection(_)) => Served::Reflection,
            Self::With(ServeSettings::Health(_)) => Served::Health,
        }
    }

    /// Whether anybody may have it.
    pub fn is_public(self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::With(ServeSettings::Reflection(ServedReflection { public })) => public,
            Self::With(ServeSettings::Health(ServedHealth { public })) => public,
        }
    }
}
