//! Evaluation. Every node takes a step, and work by octets or elements takes more: a meter bounds the sum, whatever a stranger's message
//! or token has in it.

use std::cmp::Ordering;

use super::build;
use super::compare;
use super::convert;
use super::failure::Failure;
use super::function::Function;
use super::message;
use super::node::{Constant, Loop, LoopKind, Node};
use super::text;
use super::time;
use super::value::{List, Value};
use crate::schema::{Meter, Octets, Schema, Text, View};

/// What is given to an expression from outside.
pub trait Names<'a> {
    /// What the declared name at this place has; none if this call has nothing under it.
    fn value(&self, at: usize) -> Option<Value<'a>>;
}

/// One evaluation.
pub(super) struct Evaluation<'a, 'e> {
    pub(super) names: &'e dyn Names<'a>,
    pub(super) schema: Option<&'a Schema>,
    pub(super) meter: &'e mut Meter,
    /// Variables of loops that are open.
    pub(super) locals: Vec<Value<'a>>,
}

type Result<T> = std::result::Result<T, Failure>;

impl<'a> Evaluation<'a, '_> {
    pub(super) fn of(&mut self, node: &'a Node) -> Result<Value<'a>> {
        self.meter.spend(1)?;
        match node {
            Node::Constant(constant) => Ok(constant.value()),
            Node::Name(at) => match self.names.value(*at).ok_or(Failure::NoValue)? {
                Value::Message(view) => message::message(view, self.meter, 0),
                value => Ok(value),
            },
            Node::Body(at, kind) => match (self.names.value(*at).ok_or(Failure::NoValue)?, self.schema) {
                (Value::Bytes(body), Some(schema)) => {
                    message::message(View::new(schema.type_at(*kind), body), self.meter, 0)
                }
                _ => Err(Failure::Unknown),
            },
            Node::HasName(at) => Ok(Value::Bool(self.names.value(*at).is_some())),
            Node::Local(at) => self.locals.get(*at).cloned().ok_or(Failure::Unknown),
            Node::Field(of, field, default) => self.field(of, *field, default),
            Node::HasField(of, field) => {
                let of = self.of(of)?;
                let field = self.schema.and_then(|schema| schema.field_at(*field)).ok_or(Failure::Unknown)?;
                message::has(&of, field, self.meter).map(Value::Bool)
            }
            Node::Select(of, name) => {
                let of = self.of(of)?;
                self.select(&of, name)?.ok_or(Failure::NoSuchKey)
            }
            Node::HasSelect(of, name) => {
                let of = self.of(of)?;
                self.has_select(&of, name).map(Value::Bool)
            }
            Node::List(items) => items.iter().map(|item| self.of(item)).collect::<Result<_>>().map(Value::list),
            Node::Map(entries) => self.map(entries),
            Node::Message(kind, fields) => {
                let schema = self.schema.ok_or(Failure::Unknown)?;
                let set =
                    fields.iter().map(|(field, node)| Ok((*field, self.of(node)?))).collect::<Result<Vec<_>>>()?;
                build::build(schema, *kind, &set, self.meter)
            }
            Node::And(sides) => self.logic(sides, false),
            Node::Or(sides) => self.logic(sides, true),
            Node::If(parts) => match self.of(&parts.0)? {
                Value::Bool(true) => self.of(&parts.1),
                Value::Bool(false) => self.of(&parts.2),
                _ => Err(Failure::NoOverload("?:")),
            },
            Node::Call(function, arguments) => self.call(*function, arguments),
            Node::Matches(of, pattern) => match self.of(of)? {
                Value::Text(text) => pattern.is_in(&text, self.meter).map(Value::Bool),
                _ => Err(Failure::NoOverload("matches")),
            },
            Node::Cidr(of, network) => match self.of(of)? {
                Value::Text(address) => text::is_within(&address, network).map(Value::Bool),
                _ => Err(Failure::NoOverload("cidr")),
            },
            Node::Loop(made) => self.repeat(made),
            Node::Fails(failure) => Err(*failure),
        }
    }

    fn field(&mut self, of: &'a Node, field: crate::schema::FieldId, default: &'a Constant) -> Result<Value<'a>> {
        let of = self.of(of)?;
        let field = self.schema.and_then(|schema| schema.field_at(field)).ok_or(Failure::Unknown)?;
        match message::field(&of, field, self.meter)? {
            Some(value) => Ok(value),
            None => match default {
                Constant::OfKind => message::default(field, self.meter),
                default => Ok(default.value()),
            },
        }
    }

    /// `&&` and `||`: one side that decides is enough, whatever the other is or fails with.
    fn logic(&mut self, sides: &'a (Node, Node), decides: bool) -> Result<Value<'a>> {
        let left = self.of(&sides.0);
        match left {
            Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
            Err(Failure::TooCostly) => return left,
            _ => {}
        }
        match (left, self.of(&sides.1)?) {
            (_, Value::Bool(value)) if value == decides => Ok(Value::Bool(decides)),
            (Err(failure), _) => Err(failure),
            (Ok(Value::Bool(_)), Value::Bool(value)) => Ok(Value::Bool(value)),
            _ => Err(Failure::NoOverload(if decides { "||" } else { "&&" })),
        }
    }

    fn map(&mut self, entries: &'a [(Node, Node)]) -> Result<Value<'a>> {
        let mut made: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = self.of(key)?;
            if !matches!(key, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Text(_)) {
                return Err(Failure::NoOverload("{}"));
            }
            for (other, _) in &made {
                if compare::equal(other, &key, self.meter)? {
                    return Err(Failure::Unconvertible("map: it has a key twice"));
                }
            }
            made.push((key, self.of(value)?));
        }
        Ok(Value::map(made))
    }

    /// A map's entry, or a field of a message whose type is known only now.
    fn select(&mut self, of: &Value<'a>, name: &'a str) -> Result<Option<Value<'a>>> {
        match of {
            Value::Map(map) => compare::entry(map, &Value::text(name), self.meter),
            Value::Message(view) => {
                let field = view.kind().field(name).ok_or(Failure::NoSuchField)?;
                match message::field(of, field, self.meter)? {
                    Some(value) => Ok(Some(value)),
                    None => message::default(field, self.meter).map(Some),
                }
            }
            _ => Err(Failure::NoOverload(".")),
        }
    }

    fn has_select(&mut self, of: &Value<'a>, name: &'a str) -> Result<bool> {
        match of {
            Value::Message(view) => {
                let field = view.kind().field(name).ok_or(Failure::NoSuchField)?;
                message::has(of, field, self.meter)
            }
            _ => self.select(of, name).map(|found| found.is_some()),
        }
    }

    fn call(&mut self, function: Function, arguments: &'a [Node]) -> Result<Value<'a>> {
        if let Function::Validation(check) = function {
            let values = arguments.iter().map(|argument| self.of(argument)).collect::<Result<Vec<_>>>()?;
            return check.call(&values, self.meter);
        }
        match arguments {
            [only] => {
                let value = self.of(only)?;
                self.unary(function, value)
            }
            [left, right] => {
                let (left, right) = (self.of(left)?, self.of(right)?);
                self.binary(function, left, right)
            }
            _ => Err(Failure::NoOverload(function.name())),
        }
    }

    fn unary(&mut self, function: Function, value: Value<'a>) -> Result<Value<'a>> {
        let no = Err(Failure::NoOverload(function.name()));
        match (function, value) {
            (Function::Not, Value::Bool(value)) => Ok(Value::Bool(!value)),
            (Function::Negate, Value::Int(value)) => value.checked_neg().map(Value::Int).ok_or(Failure::Overflow),
            (Function::Negate, Value::Double(value)) => Ok(Value::Double(-value)),
            (Function::Size, value) => {
                let size = match value {
                    Value::Text(text) => {
                        self.meter.spend_octets(text.len())?;
                        text.chars().count()
                    }
                    Value::Bytes(octets) => octets.len(),
                    Value::List(list) => list.len(),
                    Value::Map(map) => {
                        self.meter.spend(map.work())?;
                        map.len()
                    }
                    _ => return no,
                };
                i64::try_from(size).map(Value::Int).map_err(|_| Failure::Overflow)
            }
            (Function::ToDyn, value) => Ok(value),
            (Function::TypeOf, value) => Ok(Value::Type(value.type_name().to_owned().into())),
            (Function::Part(part), Value::Time(moment)) => moment.part(part, None).map(Value::Int),
            (Function::Part(part), Value::Duration(nanos)) => {
                time::span_part(nanos, part).map(Value::Int).ok_or(Failure::NoOverload(function.name()))
            }
            (
                Function::ToInt
                | Function::ToUint
                | Function::ToDouble
                | Function::ToText
                | Function::ToBytes
                | Function::ToBool
                | Function::ToTime
                | Function::ToDuration,
                value,
            ) => convert::convert(function, value, self.meter),
            _ => no,
        }
    }

    fn binary(&mut self, function: Function, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>> {
        use Function as F;
        let ordered = |wanted: fn(Ordering) -> bool, meter: &mut Meter| {
            let order = compare::order(&left, &right, function.name(), meter)?;
            Ok(Value::Bool(order.is_some_and(wanted)))
        };
        match function {
            F::Equal => compare::equal(&left, &right, self.meter).map(Value::Bool),
            F::NotEqual => compare::equal(&left, &right, self.meter).map(|equal| Value::Bool(!equal)),
            F::Less => ordered(Ordering::is_lt, self.meter),
            F::LessOrEqual => ordered(Ordering::is_le, self.meter),
            F::Greater => ordered(Ordering::is_gt, self.meter),
            F::GreaterOrEqual => ordered(Ordering::is_ge, self.meter),
            F::In => self.is_in(&left, &right).map(Value::Bool),
            F::Index => self.index(&left, &right),
            F::Contains | F::StartsWith | F::EndsWith | F::Matches | F::Cidr => self.texts(function, left, right),
            F::Part(part) => match (left, right) {
                (Value::Time(moment), Value::Text(zone)) => moment.part(part, Some(&zone)).map(Value::Int),
                _ => Err(Failure::NoOverload(function.name())),
            },
            _ => convert::arithmetic(function, left, right, self.meter),
        }
    }

    fn texts(&mut self, function: Function, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>> {
        let (Value::Text(text), Value::Text(other)) = (left, right) else {
            return Err(Failure::NoOverload(function.name()));
        };
        self.meter.spend_octets(text.len())?;
        let (text, other) = (&*text, &*other);
        Ok(Value::Bool(match function {
            Function::Contains => text.contains(other),
            Function::StartsWith => text.starts_with(other),
            Function::EndsWith => text.ends_with(other),
            Function::Matches => {
                // A pattern that is known only now is compiled now, which is work.
                self.meter.spend(text::COMPILING)?;
                let pattern = text::Pattern::new(other).map_err(|_| Failure::Unconvertible("pattern"))?;
                pattern.is_in(text, self.meter)?
            }
            _ => {
                let network = other.parse().map_err(|_| Failure::Unconvertible("network"))?;
                text::is_within(text, &network)?
            }
        }))
    }

    fn is_in(&mut self, element: &Value<'a>, of: &Value<'a>) -> Result<bool> {
        match of {
            Value::List(list) => {
                for at in 0..list.len() {
                    if let Some(item) = list.at(at)
                        && compare::equal(&item, element, self.meter)?
                    {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Map(map) => Ok(compare::entry(map, element, self.meter)?.is_some()),
            _ => Err(Failure::NoOverload("in")),
        }
    }

    fn index(&mut self, of: &Value<'a>, at: &Value<'a>) -> Result<Value<'a>> {
        match of {
            Value::List(list) => {
                let at = match at {
                    Value::Int(at) => usize::try_from(*at).ok(),
                    Value::Uint(at) => usize::try_from(*at).ok(),
                    Value::Double(at) if at.fract() == 0.0 && (0.0..1e15).contains(at) => Some(*at as usize),
                    _ => None,
                };
                at.and_then(|at| list.at(at)).ok_or(Failure::NoSuchKey)
            }
            Value::Map(map) => compare::entry(map, at, self.meter)?.ok_or(Failure::NoSuchKey),
            _ => Err(Failure::NoOverload("[]")),
        }
    }

    fn repeat(&mut self, made: &'a Loop) -> Result<Value<'a>> {
        let over = match self.of(&made.over)? {
            Value::List(list) => list,
            Value::Map(map) => {
                self.meter.spend(map.work())?;
                List::Made(map.keys().into())
            }
            _ => return Err(Failure::NoOverload("a macro")),
        };
        let place = self.locals.len();
        let result = self.each(made, &over);
        self.locals.truncate(place);
        result
    }

    fn each(&mut self, made: &'a Loop, over: &List<'a>) -> Result<Value<'a>> {
        let place = self.locals.len();
        let (mut failed, mut found, mut collected) = (None, 0u32, Vec::new());
        for at in 0..over.len() {
            self.meter.spend(1)?;
            let Some(element) = over.at(at) else { break };
            self.locals.truncate(place);
            self.locals.push(element);
            let passed = match made.test.as_ref().map(|test| self.of(test)) {
                None => Ok(true),
                Some(Ok(Value::Bool(passed))) => Ok(passed),
                Some(Ok(_)) => Err(Failure::NoOverload("a macro")),
                Some(Err(failure)) => Err(failure),
            };
            match (made.kind, passed) {
                (_, Err(Failure::TooCostly)) => return Err(Failure::TooCostly),
                (LoopKind::All, Ok(false)) => return Ok(Value::Bool(false)),
                (LoopKind::Exists, Ok(true)) => return Ok(Value::Bool(true)),
                (LoopKind::All | LoopKind::Exists, Ok(_)) => {}
                // Another element may decide.
                (LoopKind::All | LoopKind::Exists, Err(failure)) => failed = failed.or(Some(failure)),
                (LoopKind::ExistsOne | LoopKind::Collect, Err(failure)) => return Err(failure),
                (LoopKind::ExistsOne, Ok(passed)) => found += u32::from(passed),
                (LoopKind::Collect, Ok(passed)) => {
                    if let Some(make) = made.make.as_ref().filter(|_| passed) {
                        collected.push(self.of(make)?);
                    }
                }
            }
        }
        match (made.kind, failed) {
            (_, Some(failure)) => Err(failure),
            (LoopKind::All, None) => Ok(Value::Bool(true)),
            (LoopKind::Exists, None) => Ok(Value::Bool(false)),
            (LoopKind::ExistsOne, None) => Ok(Value::Bool(found == 1)),
            (LoopKind::Collect, None) => Ok(Value::list(collected)),
        }
    }
}

impl Constant {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Null | Self::OfKind => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Text(text) => Value::text(text),
            Self::Bytes(octets) => Value::Bytes(Octets::Lent(octets)),
            Self::Type(name) => Value::Type(Text::Lent(name)),
            Self::List(items) => Value::List(List::Constants(items)),
        }
    }
}

impl<'a> From<Vec<Value<'a>>> for List<'a> {
    fn from(items: Vec<Value<'a>>) -> Self {
        Self::Made(items.into())
    }
}
