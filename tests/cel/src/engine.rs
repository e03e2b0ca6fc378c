//! The proxy's expressions, as the cases ask for them: the one place that names their interface.

use std::sync::Arc;

use portunus::schema::Schema;

use crate::api as conformance;
use crate::case::Case;
use crate::value::Wanted;

pub(crate) use conformance::Failure;
use conformance::Value;

/// Who evaluates.
pub(crate) trait Engine {
    /// What comes of a case.
    fn evaluate(&self, case: &Case) -> Result<Wanted, Failure>;
}

/// The proxy's own.
pub(crate) struct Expressions {
    schema: Arc<Schema>,
}

impl Expressions {
    pub(crate) fn over(schema: Schema) -> Self {
        Self { schema: Arc::new(schema) }
    }
}

impl Engine for Expressions {
    fn evaluate(&self, case: &Case) -> Result<Wanted, Failure> {
        let variables: Vec<_> = case
            .variables
            .iter()
            .map(|variable| (variable.name.as_str(), variable.declared.as_str(), variable.value.clone().into()))
            .collect();
        let case = conformance::Case {
            source: &case.source,
            container: &case.container,
            variables: &variables,
            checked: case.checked,
        };
        conformance::run(&self.schema, &case).map(Wanted::from)
    }
}

/// The two enums have the same kinds: one side of a pair becomes the other.
macro_rules! convert {
    ($from:ident => $to:ident) => {
        impl From<$from> for $to {
            fn from(value: $from) -> Self {
                match value {
                    $from::Null => Self::Null,
                    $from::Bool(value) => Self::Bool(value),
                    $from::Int(value) => Self::Int(value),
                    $from::Uint(value) => Self::Uint(value),
                    $from::Double(value) => Self::Double(value),
                    $from::String(text) => Self::String(text),
                    $from::Bytes(octets) => Self::Bytes(octets),
                    $from::List(values) => Self::List(values.into_iter().map(Into::into).collect()),
                    $from::Map(entries) => {
                        Self::Map(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
                    }
                    $from::Message { name, wire } => Self::Message { name, wire },
                    $from::Duration { seconds, nanos } => Self::Duration { seconds, nanos },
                    $from::Timestamp { seconds, nanos } => Self::Timestamp { seconds, nanos },
                    $from::Type(name) => Self::Type(name),
                }
            }
        }
    };
}

convert!(Wanted => Value);
convert!(Value => Wanted);
