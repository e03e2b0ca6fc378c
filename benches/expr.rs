//! What an evaluation takes: over a call's metadata, over a scalar of a small message, over one of a large message. Prints nanoseconds
//! for each, the best of several rounds; `cargo bench -p portunus --bench expr`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use fields::Fields;
use portunus::expr::{Declared, MAX_COST, Map, Names, Scope, Type, Value, compile};
use portunus::schema::{Meter, Octets, Schema, View, Writer, from_protos};
use tokio::time::Instant;

const ROUNDS: u32 = 20;
const RUNS: u32 = 50_000;

struct Call {
    schema: Arc<Schema>,
    metadata: Fields,
    message: Vec<u8>,
}

impl<'a> Names<'a> for &'a Call {
    fn value(&self, at: usize) -> Option<Value<'a>> {
        let call: &'a Call = self;
        Some(match at {
            0 => Value::text("bindu.grpc.BinduService"),
            1 => Value::Map(Map::Metadata(&call.metadata)),
            _ => Value::Message(View::new(call.schema.message_type("kinds.Plain")?, Octets::Lent(&call.message))),
        })
    }
}

/// A message of about so many octets in so many fields, the last of which has the tenant.
fn message(octets: usize, fields: usize) -> Vec<u8> {
    let mut writer = Writer::default();
    for _ in 0..fields - 1 {
        writer.octets(15, &vec![b'x'; octets / fields - 4]);
    }
    writer.octets(14, b"acme");
    writer.finish()
}

fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/expr");
    let schema = Arc::new(from_protos(&[root.join("kinds.proto")], &[root]).unwrap());
    let plain = Type::of_message(schema.message_type("kinds.Plain").unwrap());
    let names = [
        Declared::new("request.service", Type::Text),
        Declared::new("metadata", Type::Map(Box::new((Type::Text, Type::Text)))),
        Declared::new("message", plain),
    ];
    let mut metadata = Fields::default();
    for (name, value) in [
        ("user-agent", "grpc-go/1.74.2"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "5S"),
        ("authorization", "Bearer eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9"),
        ("x-request-id", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("x-tenant", "acme"),
    ] {
        metadata.push(name, value.as_bytes());
    }
    for (what, text, octets, fields) in [
        ("metadata", "metadata[\"x-tenant\"] == \"acme\" && request.service.startsWith(\"bindu.\")", 300, 12),
        ("scalar of 300 B", "message.text == \"acme\"", 300, 12),
        ("scalar of 16 KiB", "message.text == \"acme\"", 16 << 10, 40),
        ("hash key of 300 B", "message.text", 300, 12),
        ("hash key of 16 KiB", "message.text", 16 << 10, 40),
    ] {
        let call = Call { schema: Arc::clone(&schema), metadata: metadata.clone(), message: message(octets, fields) };
        let scope = Scope::over(&names);
        let program = compile(text, scope, Some(&schema), MAX_COST).unwrap();
        let mut best = f64::MAX;
        for _ in 0..ROUNDS {
            let began = Instant::now();
            for _ in 0..RUNS {
                let value = program.run(&black_box(&call), &mut Meter::new(MAX_COST)).unwrap();
                black_box(matches!(value, Value::Bool(true) | Value::Text(_)));
            }
            best = best.min(began.elapsed().as_secs_f64() * 1e9 / f64::from(RUNS));
        }
        println!("{what}: {best:.0} ns");
    }
}
