//! Macros: the parser has made general loops of them, and here they are told by their shape again, as each is evaluated in its own
//! way and none by copying a list for every element.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

use super::node::LoopKind;

/// A macro.
pub(super) struct Macro<'e> {
    pub(super) kind: LoopKind,
    pub(super) test: Option<&'e IdedExpr>,
    pub(super) make: Option<&'e IdedExpr>,
}

/// Which macro a loop was; none for what no macro makes.
pub(super) fn recognise(made: &ComprehensionExpr) -> Option<Macro<'_>> {
    if made.iter_var2.is_some() {
        return None;
    }
    let step = call(&made.loop_step)?;
    let aggregate = |kind| Some(Macro { kind, test: Some(step.args.get(1)?), make: None });
    match (&made.accu_init.expr, step.func_name.as_str()) {
        (Expr::Literal(LiteralValue::Boolean(_)), operators::LOGICAL_AND) => aggregate(LoopKind::All),
        (Expr::Literal(LiteralValue::Boolean(_)), operators::LOGICAL_OR) => aggregate(LoopKind::Exists),
        (Expr::Literal(LiteralValue::Int(_)), operators::CONDITIONAL) => {
            Some(Macro { kind: LoopKind::ExistsOne, test: Some(step.args.first()?), make: None })
        }
        (Expr::List(_), operators::ADD) => {
            Some(Macro { kind: LoopKind::Collect, test: None, make: Some(appended(step)?) })
        }
        (Expr::List(_), operators::CONDITIONAL) => {
            let add = call(step.args.get(1)?)?;
            Some(Macro { kind: LoopKind::Collect, test: Some(step.args.first()?), make: Some(appended(add)?) })
        }
        _ => None,
    }
}

fn call(expr: &IdedExpr) -> Option<&CallExpr> {
    match &expr.expr {
        Expr::Call(call) => Some(call),
        _ => None,
    }
}

/// What a step adds to the list.
fn appended(add: &CallExpr) -> Option<&IdedExpr> {
    match &add.args.get(1)?.expr {
        Expr::List(list) => list.elements.first(),
        _ => None,
    }
}
