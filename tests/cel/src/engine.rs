//! The proxy's expressions, as the cases ask for them: the one place that names their interface.

use std::sync::Arc;

use portunus::expr::{self, Declared, List, Map, Moment, Names, Scope, Type, Value};
use portunus::schema::{Meter, Octets, Schema, Text, View};

use crate::case::Case;
use crate::value::Wanted;

/// Steps that a case may take.
const STEPS: u64 = 1_000_000;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is no expression, or, where types are checked, one that does not fit them.
    Refused(String),
    /// Evaluation failed.
    Failed(String),
}

/// Who evaluates.
pub(crate) trait Engine {
    /// What comes of a case.
    fn evaluate(&self, case: &Case) -> Result<Wanted, Failure>;
}

/// The proxy's own.
pub(crate) struct Expressions {
    schema: Arc<Schema>,
}

/// Variables of a case, by their places.
struct Bound<'a>(Vec<Value<'a>>);

impl<'a> Names<'a> for Bound<'a> {
    fn value(&self, at: usize) -> Option<Value<'a>> {
        self.0.get(at).cloned()
    }
}

impl Expressions {
    pub(crate) fn over(schema: Schema) -> Self {
        Self { schema: Arc::new(schema) }
    }

    fn value<'a>(&'a self, wanted: &'a Wanted) -> Result<Value<'a>, Failure> {
        let no_type = |name: &str| Failure::Refused(format!("no type {name}"));
        Ok(match wanted {
            Wanted::Null => Value::Null,
            Wanted::Bool(value) => Value::Bool(*value),
            Wanted::Int(value) => Value::Int(*value),
            Wanted::Uint(value) => Value::Uint(*value),
            Wanted::Double(value) => Value::Double(*value),
            Wanted::String(text) => Value::text(text),
            Wanted::Bytes(octets) => Value::Bytes(Octets::Lent(octets)),
            Wanted::List(items) => {
                Value::list(items.iter().map(|item| self.value(item)).collect::<Result<_, Failure>>()?)
            }
            Wanted::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| Ok((self.value(key)?, self.value(value)?)));
                Value::map(entries.collect::<Result<_, Failure>>()?)
            }
            Wanted::Message { name, wire } => {
                let kind = self.schema.message_type(name).ok_or_else(|| no_type(name))?;
                Value::Message(View::new(kind, Octets::Lent(wire)))
            }
            Wanted::Duration { seconds, nanos } => Value::Duration(seconds * 1_000_000_000 + i64::from(*nanos)),
            Wanted::Timestamp { seconds, nanos } => {
                let moment = Moment::new(*seconds, (*nanos).into());
                Value::Time(moment.map_err(|failure| Failure::Refused(failure.to_string()))?)
            }
            Wanted::Type(name) => Value::Type(Text::Lent(name)),
        })
    }

    /// A type as CEL writes it.
    fn kind(&self, text: &str) -> Option<Type> {
        if let Some(of) = text.strip_prefix("list(").and_then(|rest| rest.strip_suffix(')')) {
            return self.kind(of).map(Type::list);
        }
        if let Some((key, value)) = text.strip_prefix("map(").and_then(|rest| rest.strip_suffix(')')?.split_once(", "))
        {
            return Some(Type::Map(Box::new((self.kind(key)?, self.kind(value)?))));
        }
        Some(match text {
            "dyn" => Type::Dyn,
            "null_type" => Type::Null,
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::Text,
            "bytes" => Type::Bytes,
            name => Type::of_message(self.schema.message_type(name)?),
        })
    }
}

impl Engine for Expressions {
    fn evaluate(&self, case: &Case) -> Result<Wanted, Failure> {
        let mut names = Vec::new();
        for variable in &case.variables {
            let kind = self.kind(&variable.declared);
            let kind = kind.ok_or_else(|| Failure::Refused(format!("no type {}", variable.declared)))?;
            names.push(Declared::new(variable.name.clone(), kind));
        }
        let scope = Scope { container: &case.container, strict: case.checked, ..Scope::over(&names) };
        let program = expr::compile(&case.source, scope, Some(&self.schema), STEPS).map_err(|problems| {
            Failure::Refused(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let values = case.variables.iter().map(|variable| self.value(&variable.value));
        let bound = Bound(values.collect::<Result<_, Failure>>()?);
        let value = program.run(&bound, &mut Meter::new(STEPS));
        value.map(|value| wanted(&value)).map_err(|failure| Failure::Failed(failure.to_string()))
    }
}

fn wanted(value: &Value<'_>) -> Wanted {
    match value {
        Value::Null => Wanted::Null,
        Value::Bool(value) => Wanted::Bool(*value),
        Value::Int(value) => Wanted::Int(*value),
        Value::Uint(value) => Wanted::Uint(*value),
        Value::Double(value) => Wanted::Double(*value),
        Value::Text(text) => Wanted::String(text.to_string()),
        Value::Bytes(octets) => Wanted::Bytes(octets.to_vec()),
        Value::Duration(nanos) => Wanted::Duration {
            seconds: nanos / 1_000_000_000,
            nanos: i32::try_from(nanos % 1_000_000_000).unwrap_or_default(),
        },
        Value::Time(moment) => {
            Wanted::Timestamp { seconds: moment.seconds(), nanos: i32::try_from(moment.nanos()).unwrap_or_default() }
        }
        Value::List(list) => Wanted::List(items(list)),
        Value::Map(map) => Wanted::Map(entries(map)),
        Value::Message(view) => Wanted::Message { name: view.kind().name().to_owned(), wire: view.to_octets() },
        Value::Type(name) => Wanted::Type(name.to_string()),
    }
}

fn items(list: &List<'_>) -> Vec<Wanted> {
    (0..list.len()).filter_map(|at| list.at(at)).map(|item| wanted(&item)).collect()
}

fn entries(map: &Map<'_>) -> Vec<(Wanted, Wanted)> {
    match map {
        Map::Made(entries) => entries.iter().map(|(key, value)| (wanted(key), wanted(value))).collect(),
        Map::Json(_) | Map::Metadata(_) | Map::Empty => Vec::new(),
    }
}
