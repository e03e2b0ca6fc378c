//! What strangers send as a token, and what stands as a key set behind a URL: no panic, and nothing passes that no key of the test has
//! signed. Header and claims of the input are signed too, so that claims are looked at behind a good signature.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use tokens::{Algorithm, Answer, Clock, Issuer, KeySet, Ring, Settings, Verified, Verifier};

const NOW: u64 = 1_800_000_000;

#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> u64 {
        NOW
    }
}

static KEY: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed"));

static VERIFIER: LazyLock<Verifier<Verified>> = LazyLock::new(|| {
    let x = URL_SAFE_NO_PAD.encode(KEY.public_key().as_ref());
    let set = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k","x":"{x}"}}]}}"#);
    let keys = KeySet::read(set.as_bytes()).expect("a set");
    let settings = Settings {
        issuer: "iss".into(),
        audiences: vec!["aud".into()],
        algorithms: Algorithm::PUBLIC.to_vec(),
        leeway: Duration::from_secs(30),
        types: vec!["JWT".into()],
        require: vec!["sub".into()],
    };
    let issuer = Issuer::new(settings, Arc::new(Ring::fixed("fuzz", keys)));
    Verifier::new(vec![Arc::new(issuer)], Arc::new(Stopped), |verified| verified)
});

fuzz_target!(|data: &[u8]| {
    assert!(!matches!(VERIFIER.verify(data), Answer::Verified(_)), "nobody has signed this");
    if let Ok(keys) = KeySet::read(data) {
        assert!(keys.len() + keys.skipped().len() <= 100);
    }
    // Header, line end, claims.
    let at = data.iter().position(|octet| *octet == b'\n').unwrap_or(data.len());
    let (header, claims) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(KEY.sign(signed.as_bytes())));
    let Answer::Verified(verified) = VERIFIER.verify(token.as_bytes()) else { return };
    assert!(verified.ends > NOW && *verified.issuer == *"iss" && verified.claims["sub"].is_string(), "{verified:?}");
    assert!(token.len() <= tokens::MOST_OCTETS);
    // It is the same from memory.
    assert!(matches!(VERIFIER.verify(token.as_bytes()), Answer::Verified(again) if again.claims == verified.claims));
});
