//! What a head costs: nanoseconds to encode and to decode one, for the heads of a gRPC call as a proxy meets them on a connection
//! that is in use. Run it with `--release`, on an idle machine; an argument sets the number of heads.
#![allow(clippy::disallowed_types, reason = "a measurement wants the real clock, and this crate has no tokio")]

use hpack::{Bounds, Decoder, Encoder, Field, Outcome};
use std::error::Error;
use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

/// Heads of each kind, made before the clock runs: what repeats is the same in all, what does not differs in each.
const KINDS: usize = 512;
const ROUNDS: usize = 5;
const BOUNDS: Bounds = Bounds { list: 16_384, abort: 65_536 };

type Head = Vec<(&'static str, String)>;
/// The nth head of a kind.
type Make = fn(usize) -> Head;

fn main() -> Result<(), Box<dyn Error>> {
    let heads: usize = std::env::args().nth(1).map_or(Ok(400_000), |text| text.parse())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<28}{:>8}{:>10}{:>10}", "ns a head (best of 5)", "octets", "encode", "decode")?;
    let kinds: [(&str, Make); 4] = [
        ("request", request),
        ("request, token and traces", traced_request),
        ("response", |_| {
            pairs(&[(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "identity")])
        }),
        ("trailers", |_| pairs(&[("grpc-status", "0"), ("grpc-message", "")])),
    ];
    for (name, make) in kinds {
        let made: Vec<Head> = (0..KINDS).map(make).collect();
        let (octets, encode, decode) = measure(&made, heads)?;
        writeln!(out, "{name:<28}{octets:>8.1}{encode:>10.1}{decode:>10.1}")?;
    }
    Ok(())
}

/// Octets a head, and the least nanoseconds to encode and to decode one.
fn measure(made: &[Head], heads: usize) -> Result<(f64, f64, f64), hpack::Error> {
    let (mut octets, mut encode, mut decode) = (0.0, f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new());
        let mut wire = Vec::with_capacity(heads * 64);
        let mut ends = Vec::with_capacity(heads);
        let start = Instant::now();
        for head in made.iter().cycle().take(heads) {
            let mut block = encoder.block(&mut wire);
            for (name, value) in head {
                block.push(Field::new(name.as_bytes(), value.as_bytes()));
            }
            ends.push(wire.len());
        }
        encode = per_head(start, heads).min(encode);
        octets = wire.len() as f64 / heads as f64;
        let start = Instant::now();
        let mut begin = 0;
        for end in ends {
            let outcome = decoder.decode(&wire[begin..end], BOUNDS, |field| {
                black_box(field);
            })?;
            debug_assert!(matches!(outcome, Outcome::Complete { .. }));
            begin = end;
        }
        decode = per_head(start, heads).min(decode);
    }
    Ok((octets, encode, decode))
}

fn per_head(start: Instant, heads: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / heads as f64
}

fn pairs(head: &[(&'static str, &str)]) -> Head {
    head.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// What grpc-go sends for a unary call with a deadline; one of eight methods.
fn request(nth: usize) -> Head {
    let mut head = pairs(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "agents.internal:8443"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-go/1.70.0"),
        ("te", "trailers"),
        ("grpc-accept-encoding", "gzip"),
    ]);
    head.insert(2, (":path", format!("/agents.v1.AgentService/Method{}", nth % 8)));
    head.push(("grpc-timeout", format!("{}u", 999_000 + nth)));
    head
}

/// The same with what a mesh adds: a token, a trace, an id.
fn traced_request(nth: usize) -> Head {
    let mut head = request(nth);
    head.push(("authorization", format!("Bearer {}", "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.".repeat(8))));
    head.push(("traceparent", format!("00-4bf92f3577b34da6a3ce929d0e0e{nth:04x}-00f067aa0ba9{nth:04x}-01")));
    head.push(("x-request-id", format!("7f1d6b1e-6f5c-4c8e-9d57-0c2c1d5e{nth:04x}")));
    head
}
