//! Expressions that anybody may have written, over a message that anybody may have sent: whatever comes, it is refused with a place in
//! its text, or evaluated within its steps to a value of the type that was promised, and again with the same outcome.
//!
//! The input is an expression and, behind the first octet that is 0, a message.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use portunus::expr::{Declared, Names, Scope, Type, Value, compile};
use portunus::schema::{Meter, Octets, Schema, View, from_protos};

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/expr");
    let schema = from_protos(&[root.join("kinds.proto"), root.join("old.proto")], &[root]);
    Arc::new(schema.unwrap_or_else(|error| panic!("the files of the tests: {error}")))
});

struct Call<'a>(&'a [u8]);

impl<'a> Names<'a> for Call<'a> {
    fn value(&self, at: usize) -> Option<Value<'a>> {
        let message = |name| Some(Value::Message(View::new(SCHEMA.message_type(name)?, Octets::Lent(self.0))));
        match at {
            0 => Some(Value::text("bindu.grpc.BinduService")),
            1 => message("kinds.Plain"),
            2 => message("kinds.Known"),
            3 => message("old.Old"),
            _ => None,
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |octet| *octet == 0);
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    let wire = parts.next().unwrap_or_default();
    let kind = |name| SCHEMA.message_type(name).map_or(Type::Dyn, Type::of_message);
    let declared = |name: &'static str, kind| Declared::new(name, kind);
    let names = [
        declared("request.service", Type::Text),
        declared("m", kind("kinds.Plain")),
        declared("k", kind("kinds.Known")),
        declared("o", kind("old.Old")),
        declared("absent", Type::Dyn),
    ];
    for strict in [true, false] {
        let scope = Scope { container: "kinds", strict, ..Scope::over(&names) };
        match compile(text, scope, Some(&SCHEMA), 100_000) {
            Ok(program) => {
                let run = || program.run(&Call(wire), &mut Meter::new(10_000));
                let (first, second) = (run(), run());
                assert_eq!(format!("{first:?}"), format!("{second:?}"));
                if let (Ok(value), true) = (&first, strict) {
                    assert!(is_of(value, program.kind()), "{value:?} is given, and {:?} is promised", program.kind());
                }
            }
            Err(problems) => {
                assert!(!problems.is_empty());
                let lines: Vec<&str> = text.split('\n').collect();
                for problem in problems {
                    let line = lines.get(problem.line - 1).unwrap_or_else(|| panic!("{problem} is in no line"));
                    assert!(problem.column <= line.chars().count() + 1, "{problem} is behind the end of its line");
                    assert!(
                        !problem.message.is_empty() && !problem.message.contains('\n'),
                        "{problem} is not one line"
                    );
                }
            }
        }
    }
});

/// Whether a value is of the type that the checker promised.
fn is_of(value: &Value<'_>, kind: &Type) -> bool {
    match (value, kind) {
        (_, Type::Dyn)
        | (Value::Null, Type::Null | Type::OrNull(_))
        | (Value::Bool(_), Type::Bool)
        | (Value::Int(_), Type::Int)
        | (Value::Uint(_), Type::Uint)
        | (Value::Double(_), Type::Double)
        | (Value::Text(_), Type::Text)
        | (Value::Bytes(_), Type::Bytes)
        | (Value::Duration(_), Type::Duration)
        | (Value::Time(_), Type::Time)
        | (Value::Type(_), Type::Type) => true,
        (value, Type::OrNull(kind)) => is_of(value, kind),
        (Value::List(list), Type::List(kind)) => {
            (0..list.len()).all(|at| list.at(at).is_some_and(|item| is_of(&item, kind)))
        }
        (Value::Map(map), Type::Map(entry)) => map.keys().iter().all(|key| is_of(key, &entry.0)),
        (Value::Message(view), Type::Message(id)) => view.kind().id() == *id,
        _ => false,
    }
}
