//! What cannot be checked here is an error when it is compiled: nothing is passed over.

use super::Built;

/// A message `M`, and what is said of it.
const REFUSED: &[(&str, &str)] = &[
    (
        "message M { int32 v = 1 [(buf.validate.field).string.min_len = 1]; }",
        "t.M.v: it has rules of `string`, and takes those of `int32`",
    ),
    (
        "message X {} message M { X v = 1 [(buf.validate.field).string.min_len = 1]; }",
        "t.M.v: it has rules of `string`, and takes none of a type",
    ),
    (
        "message M { repeated string v = 1 [(buf.validate.field).string.min_len = 1]; }",
        "t.M.v: it has rules of `string`, and takes those of `repeated`",
    ),
    (
        "message M { string v = 1 [(buf.validate.field).cel = {id: \"x\", expression: \"this > 5\"}]; }",
        "t.M.v: the rule x cannot be checked here: at 1:6: `>` does not take string with int",
    ),
    (
        "message M { string v = 1 [(buf.validate.field).cel = {id: \"x\", expression: \"this.lowerAscii() == ''\"}]; }",
        "t.M.v: the rule x cannot be checked here: at 1:6: there is no function `lowerAscii`; docs/expressions.md lists those \
         that there are",
    ),
    (
        "message M { string v = 1 [(buf.validate.field).cel = {id: \"x\", expression: \"5\"}]; }",
        "t.M.v: the rule x cannot be checked here: it gives neither bool nor string",
    ),
    (
        "message M { string v = 1 [(buf.validate.field).cel_expression = \"this ==\"]; }",
        "t.M.v: the rule this == cannot be checked here: ",
    ),
    (
        "message M { option (buf.validate.message).cel = {id: \"x\", expression: \"this.nope\"}; string name = 1; }",
        "t.M: the rule x cannot be checked here: ",
    ),
    (
        "message M { string v = 1 [(buf.validate.field).string.pattern = \"(?=a)\"]; }",
        "t.M.v: the rule string.pattern cannot be checked here: ",
    ),
    (
        "message M { option (buf.validate.message).oneof = {fields: [\"x\"]}; string v = 1; }",
        "t.M: a `oneof` rule names `x`, which is no field",
    ),
    (
        "message M { option (buf.validate.message).oneof = {fields: [\"v\", \"v\"]}; string v = 1; }",
        "t.M: a `oneof` rule names `v` twice",
    ),
    ("message M { option (buf.validate.message).oneof = {}; string v = 1; }", "t.M: a `oneof` rule names no field"),
    (
        "message X { string v = 1 [(buf.validate.field).bool.const = true]; } message M { map<string, X> v = 1; }",
        "t.X.v: it has rules of `bool`, and takes those of `string`",
    ),
];

#[test]
fn rules_that_cannot_be_checked_are_errors() {
    for (at, (messages, told)) in REFUSED.iter().enumerate() {
        let built = Built::of(&format!("refused{at}"), messages);
        let refused = built.validator("M").unwrap_err();
        assert!(refused.starts_with(told), "{messages}\n  {refused}");
    }
}

#[test]
fn predefined_rules_of_somebodys_own_are_errors() {
    let built = Built::file(
        "predefined",
        r#"
syntax = "proto2";
package t;
import "buf/validate/validate.proto";
extend buf.validate.StringRules {
  optional bool shout = 1161 [(buf.validate.predefined).cel = {id: "shout", expression: "!rule || this.endsWith('!')"}];
}
message M { optional string v = 1 [(buf.validate.field).string.(shout) = true]; }
"#,
    );
    assert_eq!(
        built.validator("M").unwrap_err(),
        "t.M.v: a predefined rule of somebody's own (number 1161 of buf.validate.StringRules) cannot be checked here"
    );
}

#[test]
fn an_expression_that_costs_too_much_is_an_error() {
    let built = Built::of(
        "cost",
        r#"message M { repeated int32 v = 1 [(buf.validate.field).cel = {
          id: "x", expression: "this.all(a, this.all(b, this.all(c, this.all(d, a + b + c + d > 0))))"
        }]; }"#,
    );
    let refused = built.validator("M").unwrap_err();
    assert!(refused.contains("the expression may take"), "{refused}");
}

#[test]
fn functions_of_rules_are_not_there_in_other_expressions() {
    use crate::expr::{Declared, MAX_COST, Scope, Type, compile};
    let names = [Declared::new("x", Type::Text)];
    let run = |validation| compile("x.isEmail()", Scope { validation, ..Scope::over(&names) }, None, MAX_COST);
    assert!(run(true).is_ok());
    assert!(run(false).is_err());
}
