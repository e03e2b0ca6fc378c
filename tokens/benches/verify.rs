//! What a token costs that nobody has seen before, and one that has passed already. Prints microseconds of CPU-bound work for each
//! algorithm, the best of several rounds; `cargo bench -p tokens --bench verify`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use support::Signer;
use tokens::{Algorithm, Answer, Issuer, KeySet, Ring, Settings, System, Verified, Verifier};
use tokio::time::Instant;

const ROUNDS: usize = 10;
const TOKENS: usize = 500;
const FOREVER: u64 = 4_000_000_000;

fn verifier(signer: &Signer) -> Verifier<Verified> {
    let settings = Settings {
        issuer: "iss".into(),
        audiences: vec!["aud".into()],
        algorithms: Algorithm::PUBLIC.to_vec(),
        leeway: Duration::from_secs(30),
        types: vec!["JWT".into()],
        require: Vec::new(),
    };
    let keys = KeySet::read(signer.set().as_bytes()).unwrap();
    let issuer = Issuer::new(settings, Arc::new(Ring::fixed("bench", keys)));
    Verifier::new(vec![Arc::new(issuer)], Arc::new(System), |verified| verified)
}

/// Microseconds for one of these.
fn each(verifier: &Verifier<Verified>, tokens: &[String]) -> f64 {
    let begun = Instant::now();
    for token in tokens {
        let answer = verifier.verify(black_box(token.as_bytes()));
        assert!(matches!(answer, Answer::Verified(_)), "a good token");
    }
    begun.elapsed().as_secs_f64() * 1e6 / tokens.len() as f64
}

fn main() {
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let signer = Signer::new(algorithm, "k");
        let claims = |number| json!({"iss": "iss", "aud": "aud", "sub": format!("user-{number}"), "exp": FOREVER});
        let tokens: Vec<_> = (0..TOKENS).map(|number| signer.token(&claims(number))).collect();
        let (mut fresh, mut known) = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            // One that knows none of them.
            let verifier = verifier(&signer);
            fresh = fresh.min(each(&verifier, &tokens));
            known = known.min(each(&verifier, &tokens));
        }
        println!("{algorithm}: {fresh:.1} us a token that is new, {known:.2} us one that has passed");
    }
}
