//! An expression of a configuration: compiled when it is loaded, against the names of its place; and once more for every definition of
//! the messages that it reads, as soon as that definition is known. A call only looks up what has been compiled.

use std::sync::Arc;

use super::check::Scope;
use super::failure::Failure;
use super::kind::Type;
use super::parse::Problem;
use super::value::Value;
use super::vocabulary::{self, Facts, MESSAGE, Place, RESPONSE, STATUS};
use super::{Program, compile};
use crate::schema::{Definition, Made, Meter, Schema};

/// What an expression must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `true` or `false`.
    Truth,
    /// Text, or a number or truth value that becomes text.
    Text,
}

/// An expression.
pub struct Expression {
    text: Box<str>,
    place: Place,
    wanted: Wanted,
    max_cost: u64,
    /// What it is without a schema: all there is to it if it reads no message.
    program: Program,
    /// What it is for definitions of messages. Few are in force at a time.
    bound: Made<Program>,
}

impl Expression {
    /// Compiles an expression that stands at `place`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(text: &str, place: Place, wanted: Wanted, max_cost: u64) -> Result<Self, Vec<Problem>> {
        let names = vocabulary::declared(place);
        let program = checked(text, Scope::over(&names), None, wanted, max_cost)?;
        Ok(Self { text: text.into(), place, wanted, max_cost, program, bound: Made::default() })
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it reads a message of the request.
    pub fn reads_message(&self) -> bool {
        self.program.uses(MESSAGE)
    }

    /// Whether it reads a message of the answer.
    pub fn reads_response(&self) -> bool {
        self.program.uses(RESPONSE)
    }

    /// Whether it reads how a call ended.
    pub fn reads_status(&self) -> bool {
        self.program.uses(STATUS)
    }

    /// Compiles it for a definition of the messages that it reads. Takes as long as compiling does: not for the path of a call.
    ///
    /// # Errors
    /// It does not fit that definition; evaluated under it, it fails.
    pub fn bind(&self, definition: &Definition) -> Result<(), Vec<Problem>> {
        if !self.reads_message() && !self.reads_response() {
            return Ok(());
        }
        let mut names = vocabulary::declared(self.place);
        for (at, message) in [(MESSAGE, definition.input()), (RESPONSE, definition.output())] {
            if let Some(name) = names.get_mut(at) {
                name.kind = Type::of_message(message);
                name.body = Some(message.id());
            }
        }
        let made = checked(&self.text, Scope::over(&names), Some(&definition.schema), self.wanted, self.max_cost);
        self.bound.keep(definition, made)
    }

    /// Whether a field that it reads under a definition it has been bound to is another one in the accepted definition: says how.
    pub fn conflicts(&self, definition: &Definition, accepted: &Definition) -> Option<String> {
        let program = self.bound.of(definition.id)??;
        let schema = program.schema()?;
        program.fields().iter().find_map(|field| schema.field_at(*field)?.conflicts(&accepted.schema))
    }

    /// Whether it holds. `definition` is that of the messages in the facts.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn holds(&self, facts: &Facts<'_>, definition: Option<u64>) -> Result<bool, Failure> {
        self.with(facts, definition, |value| match value {
            Value::Bool(value) => Ok(value),
            _ => Err(Failure::NoOverload("bool")),
        })
    }

    /// The text that it gives; none for null.
    ///
    /// # Errors
    /// There is none.
    pub fn gives(&self, facts: &Facts<'_>, definition: Option<u64>) -> Result<Option<String>, Failure> {
        self.with(facts, definition, |value| match value {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text.to_string())),
            Value::Int(value) => Ok(Some(value.to_string())),
            Value::Uint(value) => Ok(Some(value.to_string())),
            Value::Double(value) => Ok(Some(value.to_string())),
            Value::Bool(value) => Ok(Some(value.to_string())),
            _ => Err(Failure::NoOverload("string")),
        })
    }

    /// Evaluates it, and hands the value on.
    ///
    /// # Errors
    /// There is none, or the receiver's own.
    pub fn with<T>(
        &self,
        facts: &Facts<'_>,
        definition: Option<u64>,
        what: impl FnOnce(Value<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut meter = Meter::new(self.max_cost);
        if !self.reads_message() && !self.reads_response() {
            return self.program.run(facts, &mut meter).and_then(what);
        }
        let found = definition.and_then(|definition| self.bound.of(definition)).ok_or(Failure::NoSchema)?;
        let program = found.ok_or(Failure::Unknown)?;
        program.run(facts, &mut meter).and_then(what)
    }
}

/// Compiles, and sees to it that it gives what is wanted.
fn checked(
    text: &str,
    scope: Scope<'_>,
    schema: Option<&Arc<Schema>>,
    wanted: Wanted,
    max_cost: u64,
) -> Result<Program, Vec<Problem>> {
    let program = compile(text, scope, schema, max_cost)?;
    let fits = match wanted {
        Wanted::Truth => program.kind().fits(&Type::Bool),
        Wanted::Text => {
            [Type::Text, Type::Int, Type::Uint, Type::Double, Type::Bool].iter().any(|kind| program.kind().fits(kind))
        }
    };
    if fits {
        return Ok(program);
    }
    let wanted = match wanted {
        Wanted::Truth => "true or false",
        Wanted::Text => "a text, a number or a truth value",
    };
    let message = format!("it gives {}, and {wanted} is wanted", program.kind().name(schema.map(|schema| &**schema)));
    Err(vec![Problem { line: 1, column: 1, message }])
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Expression({})", self.text)
    }
}
