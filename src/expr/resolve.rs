//! What names in an expression stand for: variables of loops, what is declared, types, values of enums. And what to say of those
//! that stand for nothing.

use std::sync::Arc;

use cel::common::ast::{Expr, IdedExpr};

use super::check::{Checker, Scope};
use super::function;
use super::kind::Type;
use super::node::Constant;
use crate::schema::{MessageType, nearest};

/// What a name stands for.
pub(super) enum Resolved {
    Local(usize, Type),
    Name(usize, Type),
    Constant(Constant, Type),
    /// A name that is known in other places: which, and where.
    Elsewhere(String, &'static str),
}

/// Types that are values too.
const TYPES: [&str; 11] =
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "dyn"];

/// A name with its dots, if that is all that is written.
pub(super) fn written(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) => Some(format!("{}.{}", written(&select.operand)?, select.field)),
        _ => None,
    }
}

/// What a whole name stands for: the innermost variable of a loop, then what is declared, then types and values of enums.
pub(super) fn resolve(checker: &Checker<'_>, expr: &IdedExpr) -> Option<Resolved> {
    let name = written(expr)?;
    let root = name.split('.').next().unwrap_or_default();
    if let Some(at) = checker.locals.iter().rposition(|(local, _)| *local == root) {
        let (_, kind) = checker.locals.get(at)?;
        return (root == name).then(|| Resolved::Local(at, kind.clone()));
    }
    candidates(checker.scope, &name).find_map(|name| resolve_full(checker.scope, &name))
}

/// The place of a declared name that is written out.
pub(super) fn declared(checker: &Checker<'_>, expr: &IdedExpr) -> Option<usize> {
    let name = written(expr)?;
    let root = name.split('.').next().unwrap_or_default();
    let shadowed = checker.locals.iter().any(|(local, _)| *local == root);
    let at = checker.scope.names.iter().position(|declared| declared.name == name)?;
    // `has(a.b)` of a map that is declared as `a` asks for its entry.
    (!shadowed).then_some(at)
}

/// A message type by a name that may leave out the container.
pub(super) fn message_type<'s>(scope: Scope<'s>, name: &str) -> Option<MessageType<'s>> {
    candidates(scope, name).find_map(|name| scope.schema?.message_type(&name))
}

fn resolve_full(scope: Scope<'_>, name: &str) -> Option<Resolved> {
    if let Some(at) = scope.names.iter().position(|declared| declared.name == name) {
        let declared = scope.names.get(at)?;
        return Some(match declared.elsewhere {
            Some(known) => Resolved::Elsewhere(name.to_owned(), known),
            None => Resolved::Name(at, declared.kind.clone()),
        });
    }
    let known = TYPES.contains(&name) || matches!(name, "google.protobuf.Timestamp" | "google.protobuf.Duration");
    if known || scope.schema.is_some_and(|schema| schema.message_type(name).is_some()) {
        return Some(Resolved::Constant(Constant::Type(Arc::from(name)), Type::Type));
    }
    let number = scope.schema?.enum_value(name)?;
    Some(Resolved::Constant(Constant::Int(number.into()), Type::Int))
}

/// A name as it would be in the container, then in what the container is in, then as it stands.
fn candidates(scope: Scope<'_>, name: &str) -> impl Iterator<Item = String> {
    let (mut container, name) = match name.strip_prefix('.') {
        Some(absolute) => ("", absolute),
        None => (scope.container, name),
    };
    let mut names = Vec::new();
    while !container.is_empty() {
        names.push(format!("{container}.{name}"));
        container = container.rsplit_once('.').map_or("", |(outer, _)| outer);
    }
    names.push(name.to_owned());
    names.into_iter()
}

/// What to say of a name that nobody knows.
pub(super) fn unknown_name(scope: Scope<'_>, name: &str) -> String {
    let known: Vec<&str> =
        scope.names.iter().filter(|declared| declared.elsewhere.is_none()).map(|declared| &*declared.name).collect();
    let is_within = |known: &&&str| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    let within: Vec<&str> = known.iter().filter(is_within).copied().collect();
    if !within.is_empty() {
        return format!("`{name}` is no value by itself: write {}", within.join(", "));
    }
    if let Some((kind, value)) = name.rsplit_once('.')
        && let Some(schema) = scope.schema
        && schema.has_enum(kind)
    {
        let known = || schema.enum_values(kind);
        return match nearest(value, known()) {
            Some(near) => format!("{kind} has no value `{value}`; did you mean `{near}`?"),
            None => {
                format!("{kind} has no value `{value}`; it has {}", known().take(10).collect::<Vec<_>>().join(", "))
            }
        };
    }
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("`{name}` is unknown here; did you mean `{near}`?"),
        None => format!("`{name}` is unknown here; known are {}", known.join(", ")),
    }
}

/// What to say of a function that nobody knows.
pub(super) fn unknown_function(name: &str, member: bool) -> String {
    if function::find(name, !member).is_some() {
        return match member {
            true => format!("`{name}` is written `{name}(x)`, not `x.{name}()`"),
            false => format!("`{name}` is written `x.{name}()`, not `{name}(x)`"),
        };
    }
    match nearest(name, function::names()) {
        Some(near) => format!("there is no function `{name}`; did you mean `{near}`?"),
        None => format!("there is no function `{name}`; docs/expressions.md lists those that there are"),
    }
}
