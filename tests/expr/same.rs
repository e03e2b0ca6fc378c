//! What an expression says of a message as it came is what it says of the message decoded and written again.

use std::sync::Arc;

use portunus::expr::{Declared, Failure, MAX_COST, Names, Scope, Type, Value, compile};
use portunus::schema::{Meter, Octets, Schema, View};

use crate::generate::Generator;
use crate::oracle::Oracle;
use crate::rounds;
use crate::support::{EDITION, SCHEMA};

/// Two messages of a type, as `a` and `b`.
struct Two<'a> {
    schema: &'a Schema,
    name: &'a str,
    wires: [&'a [u8]; 2],
}

impl<'a> Names<'a> for Two<'a> {
    fn value(&self, at: usize) -> Option<Value<'a>> {
        let kind = self.schema.message_type(self.name)?;
        Some(Value::Message(View::new(kind, Octets::Lent(self.wires.get(at)?))))
    }
}

impl Two<'_> {
    fn says(&self, schema: &Arc<Schema>, text: &str) -> Result<bool, Failure> {
        let kind = Type::of_message(schema.message_type(self.name).unwrap());
        let names = ["a", "b"].map(|name| Declared::new(name, kind.clone()));
        let scope = Scope::over(&names);
        let program =
            compile(text, scope, Some(schema), u64::MAX).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        match program.run(self, &mut Meter::new(MAX_COST))? {
            Value::Bool(value) => Ok(value),
            other => panic!("{text}: {other:?}"),
        }
    }
}

fn random_messages_of(schema: &Arc<Schema>, name: &str, count: u64) {
    let (oracle, kind) = (Oracle::of(schema), schema.message_type(name).unwrap());
    for seed in 0..rounds(count) {
        let mut generator = Generator::new(1_000_000 + seed);
        // What a type does not know is there too, in an order of its own; it is compared where whole messages are.
        generator.strange = false;
        let wire = generator.message(kind, 2);
        let again = oracle.decode(name, &wire).unwrap().encode_to_vec();
        let two = Two { schema, name, wires: [&wire, &again] };
        assert_eq!(two.says(schema, "a == b"), Ok(true), "{name} {seed}");
        for field in kind.fields() {
            let field = field.name();
            let text = format!("a.{field} == b.{field} && has(a.{field}) == has(b.{field})");
            assert_eq!(two.says(schema, &text), Ok(true), "{name} {seed}: {text}\n{wire:02x?}\n{again:02x?}");
        }
        if kind.field("inner").is_some() {
            let text = "a.inner.inner == b.inner.inner && has(a.inner.inner) == has(b.inner.inner)";
            assert_eq!(two.says(schema, text), Ok(true), "{name} {seed}: {text}");
        }
    }
}

#[test]
fn an_expression_reads_a_message_as_it_came() {
    random_messages_of(&SCHEMA, "kinds.Plain", 300);
    random_messages_of(&SCHEMA, "old.Old", 300);
    random_messages_of(&EDITION, "edition.New", 300);
}

#[test]
fn an_expression_reads_known_types_as_they_came() {
    random_messages_of(&SCHEMA, "kinds.Known", 300);
}

/// Without this, an engine to which all is equal would pass.
#[test]
fn what_differs_is_not_equal() {
    let (oracle, name) = (Oracle::of(&SCHEMA), "kinds.Plain");
    let kind = SCHEMA.message_type(name).unwrap();
    let (mut equal, mut different) = (0, 0);
    for seed in 0..rounds(1500) {
        let mut generator = Generator::new(2_000_000 + seed);
        generator.strange = false;
        let one = generator.message(kind, 1);
        let other = match seed % 3 {
            0 => [one.clone(), generator.message(kind, 1)].concat(),
            1 => generator.message(kind, 0),
            _ => oracle.decode(name, &one).unwrap().encode_to_vec(),
        };
        // The decoder keeps a zero that was sent where there is no presence; written, it is gone.
        let canonical = |wire: &[u8]| {
            let decoded = oracle.decode(name, wire).unwrap();
            oracle.decode(name, &decoded.encode_to_vec()).unwrap()
        };
        let wanted = canonical(&one) == canonical(&other);
        let two = Two { schema: &SCHEMA, name, wires: [&one, &other] };
        assert_eq!(two.says(&SCHEMA, "a == b"), Ok(wanted), "{seed}\n{one:02x?}\n{other:02x?}");
        *if wanted { &mut equal } else { &mut different } += 1;
    }
    assert!(equal > 300 && different > 300, "{equal} equal, {different} not");
}
