//! A case, as its line of JSON has it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::declared::Declaration;
use crate::value::Wanted;

/// An expression, what it is evaluated with, and what must come of it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Line")]
pub(crate) struct Case {
    /// `basic`, `comparisons` and so on.
    pub(crate) file: String,
    /// `file/section/name`.
    pub(crate) name: String,
    pub(crate) source: String,
    /// The package in which names are looked up.
    pub(crate) container: String,
    /// Whether types are checked before it is evaluated.
    pub(crate) checked: bool,
    pub(crate) variables: Vec<Variable>,
    pub(crate) expected: Expected,
}

/// A name that the expression may use.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// Its type as CEL writes types: `int`, `map(string, int)`, `google.protobuf.Duration`.
    pub(crate) declared: String,
    pub(crate) value: Wanted,
}

/// What must come of a case.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Expected {
    Value(Wanted),
    /// Evaluation fails. The words are another implementation's, and are not compared.
    EvalError(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    file: String,
    section: String,
    name: String,
    expr: String,
    container: String,
    disable_check: bool,
    type_env: Vec<Declaration>,
    bindings: BTreeMap<String, Wanted>,
    expected: Expected,
}

impl TryFrom<Line> for Case {
    type Error = String;

    fn try_from(line: Line) -> Result<Self, String> {
        let mut declared = BTreeMap::new();
        for declaration in line.type_env {
            declared.insert(declaration.name.clone(), declaration.into_text()?);
        }
        let mut variables = Vec::new();
        for (name, value) in line.bindings {
            // Where types are not checked, what has a value need not have been declared.
            let declared = match declared.remove(&name) {
                Some(declared) => declared,
                None if line.disable_check => "dyn".to_owned(),
                None => return Err(format!("{name} has a value and no declaration")),
            };
            variables.push(Variable { name, declared, value });
        }
        match declared.into_keys().next() {
            Some(name) => Err(format!("{name} is declared and has no value")),
            None => Ok(Self {
                name: format!("{}/{}/{}", line.file, line.section, line.name),
                file: line.file,
                source: line.expr,
                container: line.container,
                checked: !line.disable_check,
                variables,
                expected: line.expected,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Case, Expected};
    use crate::value::Wanted;

    fn line(type_env: &str, bindings: &str, disable_check: bool) -> Result<Case, serde_json::Error> {
        serde_json::from_str(&format!(
            r#"{{"file":"f","section":"s","name":"n","expr":"x","container":"","disable_check":{disable_check},
            "type_env":{type_env},"bindings":{bindings},"expected":{{"value":{{"int64Value":"1"}}}}}}"#
        ))
    }

    const DECLARED: &str = r#"[{"name":"x","ident":{"type":{"primitive":"INT64"}}}]"#;
    const BOUND: &str = r#"{"x":{"int64Value":"1"}}"#;

    #[test]
    fn a_line_becomes_a_case() {
        let case = line(DECLARED, BOUND, false).unwrap();
        assert_eq!((case.name.as_str(), case.checked), ("f/s/n", true));
        assert!(matches!(case.expected, Expected::Value(Wanted::Int(1))));
        let [variable] = &case.variables[..] else { panic!("{:?}", case.variables) };
        assert_eq!((variable.name.as_str(), variable.declared.as_str()), ("x", "int"));
        assert_eq!(line("[]", BOUND, true).unwrap().variables[0].declared, "dyn");
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        let refused = |line: Result<Case, serde_json::Error>| line.unwrap_err().to_string();
        assert!(refused(line("[]", BOUND, false)).starts_with("x has a value and no declaration"));
        assert!(refused(line(DECLARED, "{}", false)).starts_with("x is declared and has no value"));
        let unknown = r#"{"file":"f","check_only":true}"#;
        assert!(refused(serde_json::from_str(unknown)).starts_with("unknown field `check_only`"));
    }
}
