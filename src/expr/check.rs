//! Types are checked, names become places, and fields become numbers. What is wrong is said with where it is and what would be right.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, MapExpr, SelectExpr, StructExpr,
};

use super::failure::Failure;
use super::function::{self, Function};
use super::kind::Type;
use super::macros;
use super::node::{Constant, Loop, LoopKind, Node};
use super::parse::{Parsed, Problem};
use super::resolve::{self, Resolved};
use super::validation;
use crate::schema::{Field, FieldId, Schema, TypeId};

/// A name that expressions may use, and the type of what it has. Dots are part of it: `request.method`.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The name.
    pub name: Cow<'static, str>,
    /// The type.
    pub kind: Type,
    /// Where it is known, if it is not where the expression stands.
    pub elsewhere: Option<&'static str>,
    /// What it has is the octets of a message of this type.
    pub body: Option<TypeId>,
}

impl Declared {
    /// A name that is known everywhere.
    pub fn new(name: impl Into<Cow<'static, str>>, kind: Type) -> Self {
        Self { name: name.into(), kind, elsewhere: None, body: None }
    }
}

/// What an expression is compiled against.
#[derive(Clone, Copy)]
pub struct Scope<'s> {
    /// Names that it may use.
    pub names: &'s [Declared],
    /// Where message types are.
    pub schema: Option<&'s Schema>,
    /// A package whose names need not be written in full.
    pub container: &'s str,
    /// Whether what is unknown is an error now, and not only when it is evaluated.
    pub strict: bool,
    /// Whether protovalidate's functions are there too.
    pub validation: bool,
}

impl<'s> Scope<'s> {
    /// These names, nothing left out, and every mistake an error.
    pub fn over(names: &'s [Declared]) -> Self {
        Self { names, schema: None, container: "", strict: true, validation: false }
    }
}

/// How deep the tree may be: evaluation recurses by it.
const MOST_DEPTH: usize = 200;

/// A tree that can be evaluated.
pub(super) struct Checked {
    pub(super) node: Node,
    pub(super) kind: Type,
    /// Places of the names that it uses.
    pub(super) names: BTreeSet<usize>,
    /// Fields that it reads.
    pub(super) fields: Vec<FieldId>,
}

/// Checks.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn check(parsed: &Parsed, scope: Scope<'_>) -> Result<Checked, Vec<Problem>> {
    let mut checker = Checker {
        parsed,
        scope,
        locals: Vec::new(),
        depth: 0,
        problems: Vec::new(),
        names: BTreeSet::new(),
        fields: Vec::new(),
    };
    let (node, kind) = checker.expr(&parsed.tree);
    match checker.problems.is_empty() {
        true => Ok(Checked { node, kind, names: checker.names, fields: checker.fields }),
        false => Err(checker.problems),
    }
}

pub(super) struct Checker<'p> {
    parsed: &'p Parsed,
    pub(super) scope: Scope<'p>,
    /// Variables of loops that are open, the outermost first.
    pub(super) locals: Vec<(&'p str, Type)>,
    depth: usize,
    problems: Vec<Problem>,
    names: BTreeSet<usize>,
    fields: Vec<FieldId>,
}

type Typed = (Node, Type);

impl<'p> Checker<'p> {
    fn expr(&mut self, expr: &'p IdedExpr) -> Typed {
        if self.depth >= MOST_DEPTH {
            return self.wrong(expr.id, format!("the expression is nested deeper than {MOST_DEPTH} levels"));
        }
        self.depth += 1;
        let typed = match &expr.expr {
            Expr::Literal(literal) => constant(literal),
            Expr::Ident(_) => self.name(expr),
            Expr::Select(select) => self.select(expr, select),
            Expr::Call(call) => self.call(expr.id, call),
            Expr::List(list) => {
                let typed: Vec<_> = list.elements.iter().map(|element| self.expr(element)).collect();
                let kind = joined(typed.iter().map(|(_, kind)| kind));
                (Node::list(typed.into_iter().map(|(node, _)| node).collect()), Type::list(kind))
            }
            Expr::Map(map) => self.map(map),
            Expr::Struct(made) => self.message(expr.id, made),
            Expr::Comprehension(made) => self.repeat(expr.id, made),
            Expr::Unspecified => self.wrong(expr.id, "nothing is written here".into()),
        };
        self.depth -= 1;
        typed
    }

    /// Notes what is wrong. Goes on with something of any type, so that one mistake is told once.
    fn wrong(&mut self, id: u64, message: String) -> Typed {
        self.problems.push(self.parsed.problem(id, message));
        (Node::Fails(Failure::Unknown), Type::Dyn)
    }

    /// The same for what may be found only when it is evaluated, if that is how this is compiled.
    fn unknown(&mut self, id: u64, failure: Failure, message: impl FnOnce() -> String) -> Typed {
        match self.scope.strict {
            true => self.wrong(id, message()),
            false => (Node::Fails(failure), Type::Dyn),
        }
    }

    /// A name, with dots in it or not.
    fn name(&mut self, expr: &'p IdedExpr) -> Typed {
        match self.resolve(expr) {
            Some(typed) => typed,
            None => {
                let name = resolve::written(expr).unwrap_or_default();
                let scope = self.scope;
                self.unknown(expr.id, Failure::NoValue, || resolve::unknown_name(scope, &name))
            }
        }
    }

    fn resolve(&mut self, expr: &IdedExpr) -> Option<Typed> {
        Some(match resolve::resolve(self, expr)? {
            Resolved::Local(at, kind) => (Node::Local(at), kind),
            Resolved::Name(at, kind) => {
                self.names.insert(at);
                match self.scope.names.get(at).and_then(|declared| declared.body) {
                    Some(message) => (Node::Body(at, message), kind),
                    None => (Node::Name(at), kind),
                }
            }
            Resolved::Constant(constant, kind) => (Node::Constant(constant), kind),
            Resolved::Elsewhere(name, known) => self.wrong(expr.id, format!("`{name}` is not known here, but {known}")),
        })
    }

    fn select(&mut self, expr: &'p IdedExpr, select: &'p SelectExpr) -> Typed {
        if !select.test
            && let Some(typed) = self.resolve(expr)
        {
            return typed;
        }
        if select.test
            && let Some(at) = resolve::declared(self, expr)
        {
            self.names.insert(at);
            return (Node::HasName(at), Type::Bool);
        }
        let known = self.problems.len();
        let (of, kind) = match resolve::written(expr).filter(|_| self.resolve_root(&select.operand)) {
            // The whole name is told where none of it is known.
            Some(name) => {
                let scope = self.scope;
                return self.unknown(expr.id, Failure::NoValue, || resolve::unknown_name(scope, &name));
            }
            None => self.expr(&select.operand),
        };
        if self.problems.len() > known {
            return (Node::Fails(Failure::Unknown), Type::Dyn);
        }
        self.select_of(expr.id, select, (of, kind))
    }

    /// Whether a chain of names begins with one that nobody knows.
    fn resolve_root(&mut self, operand: &'p IdedExpr) -> bool {
        let mut root = operand;
        while let Expr::Select(select) = &root.expr {
            if resolve::resolve(self, root).is_some() {
                return false;
            }
            root = &select.operand;
        }
        matches!(root.expr, Expr::Ident(_)) && resolve::resolve(self, root).is_none()
    }

    fn select_of(&mut self, id: u64, select: &SelectExpr, (of, kind): Typed) -> Typed {
        let of = Box::new(of);
        let name = || Arc::from(select.field.as_str());
        match (&kind, self.scope.schema) {
            (Type::Message(message), Some(schema)) => {
                let message = schema.type_at(*message);
                let Some(field) = message.field(&select.field) else {
                    let message = message.lacks(&select.field);
                    return self.unknown(id, Failure::NoSuchField, || message);
                };
                if !self.fields.contains(&field.id()) {
                    self.fields.push(field.id());
                }
                match select.test {
                    true => (Node::HasField(of, field.id()), Type::Bool),
                    false => (Node::Field(of, field.id(), default(field)), Type::of_field(field)),
                }
            }
            (Type::Map(_) | Type::Dyn, _) if select.test => (Node::HasSelect(of, name()), Type::Bool),
            (Type::Map(entry), _) if Type::Text.fits(&entry.0) => (Node::Select(of, name()), entry.1.clone()),
            (Type::Dyn, _) => (Node::Select(of, name()), Type::Dyn),
            _ => {
                let kind = kind.name(self.scope.schema);
                self.unknown(id, Failure::NoOverload("."), || match function::find(&select.field, true) {
                    Some(_) => format!("`{0}` is a function: write `.{0}()`", select.field),
                    None => format!("`.{}` is asked of {kind}, which has no fields", select.field),
                })
            }
        }
    }

    fn call(&mut self, id: u64, call: &'p CallExpr) -> Typed {
        let own = call.target.as_deref().into_iter().chain(&call.args);
        let typed: Vec<_> = own.map(|argument| self.expr(argument)).collect();
        let (nodes, kinds): (Vec<_>, Vec<_>) = typed.into_iter().unzip();
        match call.func_name.as_str() {
            "_&&_" | "_||_" => self.logic(id, call, nodes, &kinds),
            "_?_:_" => self.choice(id, nodes, kinds),
            name => match self.function(name, call.target.is_some()) {
                Some(function) => self.apply(id, function, nodes, &kinds),
                None => self.unknown(id, Failure::NoOverload("an unknown function"), || {
                    resolve::unknown_function(name, call.target.is_some())
                }),
            },
        }
    }

    fn function(&self, name: &str, member: bool) -> Option<Function> {
        let own = validation::find(name, member).filter(|_| self.scope.validation).map(Function::Validation);
        own.or_else(|| function::find(name, member))
    }

    fn logic(&mut self, id: u64, call: &CallExpr, nodes: Vec<Node>, kinds: &[Type]) -> Typed {
        let schema = self.scope.schema;
        if let Some(other) = kinds.iter().find(|kind| !kind.fits(&Type::Bool)).filter(|_| self.scope.strict) {
            let operator = call.func_name.trim_matches('_');
            return self.wrong(id, format!("`{operator}` is for bool, and one side is {}", other.name(schema)));
        }
        let make = match call.func_name.as_str() {
            "_&&_" => Node::And,
            _ => Node::Or,
        };
        let mut nodes = nodes.into_iter();
        let first = nodes.next().unwrap_or(Node::Fails(Failure::Unknown));
        (nodes.fold(first, |left, right| make(Box::new((left, right)))), Type::Bool)
    }

    fn choice(&mut self, id: u64, nodes: Vec<Node>, kinds: Vec<Type>) -> Typed {
        let (Ok([test, yes, no]), [if_kind, yes_kind, no_kind]) = (<[Node; 3]>::try_from(nodes), kinds.as_slice())
        else {
            return self.wrong(id, "`?:` takes three parts".into());
        };
        if self.scope.strict && !if_kind.fits(&Type::Bool) {
            let kind = if_kind.name(self.scope.schema);
            return self.wrong(id, format!("what stands before `?` is {kind}, and must be bool"));
        }
        (Node::If(Box::new((test, yes, no))), yes_kind.clone().join(no_kind))
    }

    fn apply(&mut self, id: u64, function: Function, mut nodes: Vec<Node>, kinds: &[Type]) -> Typed {
        let Some(gives) = function.gives(kinds) else {
            if !self.scope.strict {
                // It may be one when it is evaluated, where types are known for sure.
                return (Node::Call(function, nodes), Type::Dyn);
            }
            return self.wrong(id, function.refuses(kinds, self.scope.schema));
        };
        match (function, nodes.last()) {
            (Function::Matches, Some(Node::Constant(Constant::Text(pattern)))) => {
                match super::text::Pattern::new(pattern) {
                    Ok(pattern) => {
                        nodes.pop();
                        let text = nodes.pop().unwrap_or(Node::Fails(Failure::Unknown));
                        return (Node::Matches(Box::new(text), Box::new(pattern)), gives);
                    }
                    Err(why) => return self.unknown(id, Failure::Unconvertible("pattern"), || why),
                }
            }
            (Function::Cidr, Some(Node::Constant(Constant::Text(network)))) => match network.parse() {
                Ok(network) => {
                    nodes.pop();
                    let address = nodes.pop().unwrap_or(Node::Fails(Failure::Unknown));
                    return (Node::Cidr(Box::new(address), network), gives);
                }
                Err(_) => {
                    let message = format!("`{network}` is no network: write one as `10.0.0.0/8`");
                    return self.unknown(id, Failure::Unconvertible("network"), || message);
                }
            },
            (Function::Part(_), Some(Node::Constant(Constant::Text(zone)))) if !super::time::is_zone(zone) => {
                let message = format!(
                    "`{zone}` is no time zone: write a name of the time zone database such as `Europe/Berlin`, or `+02:00`"
                );
                return self.unknown(id, Failure::Unconvertible("time zone"), || message);
            }
            _ => {}
        }
        (Node::Call(function, nodes), gives)
    }

    fn map(&mut self, map: &'p MapExpr) -> Typed {
        let (mut nodes, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &map.entries {
            let EntryExpr::MapEntry(written) = &entry.expr else { continue };
            let ((key, key_kind), (value, value_kind)) = (self.expr(&written.key), self.expr(&written.value));
            let can_be = matches!(key_kind, Type::Dyn | Type::Bool | Type::Int | Type::Uint | Type::Text);
            if !can_be && self.scope.strict {
                let kind = key_kind.name(self.scope.schema);
                self.wrong(entry.id, format!("a key of a map is bool, int, uint or string, and this one is {kind}"));
            }
            nodes.push((key, value));
            keys.push(key_kind);
            values.push(value_kind);
        }
        (Node::Map(nodes), Type::Map(Box::new((joined(keys.iter()), joined(values.iter())))))
    }

    fn message(&mut self, id: u64, made: &'p StructExpr) -> Typed {
        let Some(kind) = resolve::message_type(self.scope, &made.type_name) else {
            return self.unknown(id, Failure::Unknown, || format!("there is no message type `{}`", made.type_name));
        };
        let mut fields = Vec::with_capacity(made.entries.len());
        for entry in &made.entries {
            let EntryExpr::StructField(written) = &entry.expr else { continue };
            let (value, value_kind) = self.expr(&written.value);
            let Some(field) = kind.field(&written.field) else {
                let message = kind.lacks(&written.field);
                self.unknown(entry.id, Failure::NoSuchField, || message);
                continue;
            };
            let wanted = Type::of_field(field);
            if self.scope.strict && !value_kind.fits(&wanted) {
                let (schema, name) = (self.scope.schema, &written.field);
                let (own, wanted) = (value_kind.name(schema), wanted.name(schema));
                self.wrong(entry.id, format!("`{name}` is {wanted}, and what it is set to is {own}"));
            }
            fields.push((field.id(), value));
        }
        (Node::Message(kind.id(), fields), Type::of_message(kind))
    }

    fn repeat(&mut self, id: u64, made: &'p ComprehensionExpr) -> Typed {
        let Some(found) = macros::recognise(made) else {
            return self.wrong(id, "this macro is not known: all, exists, exists_one, map and filter are".into());
        };
        let (over, over_kind) = self.expr(&made.iter_range);
        let element = match over_kind {
            Type::List(of) => *of,
            Type::Map(entry) => entry.0,
            Type::Dyn => Type::Dyn,
            other => {
                let kind = other.name(self.scope.schema);
                return self.unknown(id, Failure::NoOverload("a macro"), || {
                    format!("macros are for lists and maps, and this is {kind}")
                });
            }
        };
        self.locals.push((made.iter_var.as_str(), element));
        let test = found.test.map(|test| self.expr(test));
        let make = found.make.map(|make| self.expr(make));
        self.locals.pop();
        if let Some((_, kind)) = &test
            && self.scope.strict
            && !kind.fits(&Type::Bool)
        {
            let kind = kind.name(self.scope.schema);
            return self.wrong(id, format!("the test of a macro is bool, and this one is {kind}"));
        }
        let kind = match (found.kind, &make) {
            (LoopKind::Collect, Some((_, kind))) => Type::list(kind.clone()),
            _ => Type::Bool,
        };
        let (test, make) = (test.map(|(node, _)| node), make.map(|(node, _)| node));
        (Node::Loop(Box::new(Loop { kind: found.kind, over, test, make })), kind)
    }
}

fn constant(literal: &LiteralValue) -> Typed {
    let (constant, kind) = match literal {
        LiteralValue::Null => (Constant::Null, Type::Null),
        LiteralValue::Boolean(value) => (Constant::Bool(*value.inner()), Type::Bool),
        LiteralValue::Int(value) => (Constant::Int(*value.inner()), Type::Int),
        LiteralValue::UInt(value) => (Constant::Uint(*value.inner()), Type::Uint),
        LiteralValue::Double(value) => (Constant::Double(*value.inner()), Type::Double),
        LiteralValue::String(value) => (Constant::Text(value.inner().into()), Type::Text),
        LiteralValue::Bytes(value) => (Constant::Bytes(value.inner().into()), Type::Bytes),
    };
    (Node::Constant(constant), kind)
}

fn joined<'t>(kinds: impl Iterator<Item = &'t Type>) -> Type {
    let mut joined: Option<Type> = None;
    for kind in kinds {
        joined = Some(match joined {
            Some(joined) => joined.join(kind),
            None => kind.clone(),
        });
    }
    joined.unwrap_or(Type::Dyn)
}

/// What a field has that is not there, where its declaration says so; otherwise what its kind has.
fn default(field: Field<'_>) -> Constant {
    super::message::declared_default(field).unwrap_or(Constant::OfKind)
}
