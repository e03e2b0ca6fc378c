//! Whether a case came out as it must.

use std::fmt;

use serde::Serialize;

use crate::case::{Case, Expected};
use crate::engine::{Engine, Failure};
use crate::same::Types;

/// A case that did not.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    case: String,
    source: String,
    wanted: String,
    got: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, source, wanted, got } = self;
        write!(f, "{case}: {source:?} wants {wanted}, got {got}")
    }
}

/// Evaluates a case; nothing if it comes out as it must.
///
/// What must fail must fail when it is evaluated: an engine that refuses every expression has got no case right.
pub(crate) fn judge(case: &Case, engine: &impl Engine, types: &Types) -> Option<Finding> {
    let got = engine.evaluate(case);
    let right = match (&case.expected, &got) {
        (Expected::Value(wanted), Ok(got)) => types.same(wanted, got),
        (Expected::EvalError(_), Err(Failure::Failed(_))) => true,
        (Expected::Value(_), Err(_)) | (Expected::EvalError(_), Ok(_) | Err(Failure::Refused(_))) => false,
    };
    if right {
        return None;
    }
    let wanted = match &case.expected {
        Expected::Value(wanted) => format!("{wanted:?}"),
        Expected::EvalError(words) => format!("an error ({})", words.join(", ")),
    };
    let got = match got {
        Ok(got) => format!("{got:?}"),
        Err(Failure::Failed(why)) => format!("an error ({why})"),
        Err(Failure::Refused(why)) => format!("a refusal ({why})"),
    };
    Some(Finding { case: case.name.clone(), source: case.source.clone(), wanted, got })
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::case::{Case, Expected};
    use crate::engine::{Engine, Failure};
    use crate::same::Types;
    use crate::value::Wanted;

    /// Knows `1 + 1`, and that nothing is divided by zero.
    struct Double;

    impl Engine for Double {
        fn evaluate(&self, case: &Case) -> Result<Wanted, Failure> {
            match case.source.as_str() {
                "1 + 1" => Ok(Wanted::Int(2)),
                "1 / 0" => Err(Failure::Failed("division by zero".into())),
                _ => Err(Failure::Refused("unknown".into())),
            }
        }
    }

    fn finding(source: &str, expected: Expected) -> Option<String> {
        let case = Case {
            file: "basic".into(),
            name: "basic/functions/add".into(),
            source: source.into(),
            container: String::new(),
            checked: true,
            variables: Vec::new(),
            expected,
        };
        judge(&case, &Double, &Types::of(&[]).unwrap()).map(|finding| finding.to_string())
    }

    #[test]
    fn right_answers_are_no_findings() {
        assert_eq!(finding("1 + 1", Expected::Value(Wanted::Int(2))), None);
        assert_eq!(finding("1 / 0", Expected::EvalError(vec!["divide by zero".into()])), None);
    }

    #[test]
    fn everything_else_is_one() {
        let error = || Expected::EvalError(vec!["divide by zero".into()]);
        for (source, expected, words) in [
            ("1 + 1", Expected::Value(Wanted::Uint(2)), "wants Uint(2), got Int(2)"),
            ("1 + 1", error(), "wants an error (divide by zero), got Int(2)"),
            ("1 / 0", Expected::Value(Wanted::Int(0)), "wants Int(0), got an error (division by zero)"),
            ("?", error(), "wants an error (divide by zero), got a refusal (unknown)"),
        ] {
            assert_eq!(finding(source, expected).unwrap(), format!("basic/functions/add: {source:?} {words}"));
        }
    }
}
