//! `clusters.NAME.schema`: where the definitions of a cluster's messages come from.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds;
use filter_api::units::Period;

/// Where the definitions of messages come from. Only what reads messages needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterSchema {
    /// Whether instances are asked what they serve, and how often. Default: on, but for `mode: pinned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reflection: Option<Reflection>,
    /// `.proto` files (their imports are looked for beside them and in each folder up to this file's), and descriptor sets (of
    /// `protoc --descriptor_set_out`, `buf build`, `portunus descriptors pull`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
    /// Which of the two decides. Default: `pinned` with `files`, `live` without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<SchemaMode>,
}

/// `false`, or how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Reflection {
    /// Whether instances are asked at all.
    Switch(bool),
    /// They are.
    On(ReflectionSettings),
}

/// How instances are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReflectionSettings {
    /// Between two looks at an instance; one that (re)appears is looked at at once.
    pub refresh: Period,
}

/// Which definitions count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaMode {
    /// What each instance says of itself.
    Live,
    /// The files; where instances say otherwise, `/schema` shows it.
    Verify,
    /// The files; nobody is asked.
    Pinned,
}

impl ClusterSchema {
    /// Fills in what depends on other keys.
    pub(super) fn complete(&mut self) {
        let mode = if self.files.is_empty() { SchemaMode::Live } else { SchemaMode::Pinned };
        let mode = *self.mode.get_or_insert(mode);
        match self.reflection {
            None if mode == SchemaMode::Pinned => {}
            None | Some(Reflection::Switch(true)) => {
                self.reflection = Some(Reflection::On(ReflectionSettings::default()))
            }
            Some(Reflection::Switch(false) | Reflection::On(_)) => {}
        }
    }

    /// How often instances are asked, if they are.
    pub fn refresh(&self) -> Option<Period> {
        match &self.reflection {
            Some(Reflection::On(settings)) => Some(settings.refresh),
            Some(Reflection::Switch(_)) | None => None,
        }
    }
}

impl Default for ReflectionSettings {
    fn default() -> Self {
        Self { refresh: seconds(60) }
    }
}
