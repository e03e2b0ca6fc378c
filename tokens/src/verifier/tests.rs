use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{Answer, Signed, Verified, Verifier};
use crate::{Algorithm, Clock, Issuer, KeySet, Rejection, Ring, Settings};

#[path = "../../tests/support/mod.rs"]
mod support;

use support::Signer;

#[derive(Debug)]
struct Moved(AtomicU64);

impl Clock for Moved {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn verifier(ring: &Arc<Ring>) -> (Verifier<Verified>, Arc<Moved>) {
    let settings = Settings {
        issuer: "a".into(),
        audiences: vec!["aud".into()],
        algorithms: Algorithm::PUBLIC.to_vec(),
        leeway: Duration::from_secs(10),
        types: vec!["JWT".into()],
        require: Vec::new(),
    };
    let clock = Arc::new(Moved(AtomicU64::new(1_000)));
    let issuer = Arc::new(Issuer::new(settings, Arc::clone(ring)));
    (Verifier::new(vec![issuer], Arc::clone(&clock) as Arc<dyn Clock>, |verified| verified), clock)
}

fn ring(signer: &Signer) -> Arc<Ring> {
    Arc::new(Ring::fixed("a", KeySet::read(signer.set().as_bytes()).unwrap()))
}

fn ask(verifier: &Verifier<Verified>, token: &str) -> Result<u64, Rejection> {
    match verifier.verify(token.as_bytes()) {
        Answer::Verified(verified) => Ok(verified.ends),
        Answer::Rejected(rejection) => Err(rejection),
        Answer::Wait(_) => panic!("nothing is fetched here"),
    }
}

#[test]
fn what_has_passed_is_remembered_and_not_longer_than_it_is_valid() {
    let signer = Signer::new("EdDSA", "k");
    let (verifier, clock) = verifier(&ring(&signer));
    let token = signer.token(&json!({"iss": "a", "aud": "aud", "exp": 2_000, "nbf": 900}));
    assert_eq!(ask(&verifier, &token), Ok(2_010));
    assert_eq!(verifier.cache.len(), 1);
    let first = verifier.cache.find(token.as_bytes()).unwrap().verified;
    for (now, wanted) in [
        (2_009, Ok(2_010)),
        // A clock that is set back counts too.
        (889, Err(Rejection::Early)),
        (1_500, Ok(2_010)),
        (2_010, Err(Rejection::Expired)),
        (u64::MAX, Err(Rejection::Expired)),
    ] {
        clock.0.store(now, Ordering::Relaxed);
        assert_eq!(ask(&verifier, &token), wanted, "at {now}");
    }
    assert_eq!(verifier.cache.len(), 0, "what has expired is forgotten");
    assert!(Arc::strong_count(&first) == 1);
}

#[test]
fn a_memory_ends_with_the_key() {
    let signer = Signer::new("EdDSA", "k");
    let ring = ring(&signer);
    let (verifier, _) = verifier(&ring);
    let token = signer.token(&json!({"iss": "a", "aud": "aud", "exp": 2_000}));
    assert!(ask(&verifier, &token).is_ok());
    // The same key again changes nothing; the same name for another key does.
    ring.publish(KeySet::read(signer.set().as_bytes()).unwrap());
    assert!(verifier.cache.find(token.as_bytes()).is_some_and(|passed| verifier.passes_still(&passed, 1_000)));
    ring.publish(KeySet::read(Signer::new("EdDSA", "k").set().as_bytes()).unwrap());
    assert_eq!(ask(&verifier, &token), Err(Rejection::Signature));
    ring.publish(KeySet::read(b"{\"keys\":[]}").unwrap());
    assert_eq!(ask(&verifier, &token), Err(Rejection::UnknownKey));
    assert_eq!(verifier.cache.len(), 0);
}

#[test]
fn the_memory_is_bounded_and_keeps_what_is_used() {
    let signer = Signer::new("EdDSA", "k");
    let (verifier, _) = verifier(&ring(&signer));
    let token = |sub: u32, fill: usize| {
        signer.token(&json!({"iss": "a", "aud": "aud", "exp": 2_000, "sub": sub.to_string(), "x": "x".repeat(fill)}))
    };
    let often = token(0, 5_000);
    for sub in 0..2_000 {
        assert!(ask(&verifier, &token(sub, 5_000)).is_ok());
        assert!(ask(&verifier, &often).is_ok());
    }
    let kept = verifier.cache.len();
    // 16 parts of 512 KiB, of tokens of some 7 KiB.
    assert!((600..1_300).contains(&kept), "{kept}");
    assert!(verifier.cache.find(often.as_bytes()).is_some());
}

#[test]
fn rejected_tokens_leave_nothing_behind() {
    let signer = Signer::new("EdDSA", "k");
    let (verifier, _) = verifier(&ring(&signer));
    for exp in 0..100 {
        assert!(ask(&verifier, &signer.token(&json!({"iss": "a", "aud": "aud", "exp": exp}))).is_err());
    }
    assert_eq!(verifier.cache.len(), 0);
}

#[test]
fn nothing_of_a_token_is_in_what_is_printed() {
    let signer = Signer::new("EdDSA", "k");
    let (verifier, _) = verifier(&ring(&signer));
    let token = signer.token(&json!({"iss": "a", "aud": "aud", "exp": 2_000, "sub": "ann"}));
    let Answer::Verified(verified) = verifier.verify(token.as_bytes()) else { panic!() };
    let printed = format!("{verifier:?} {verified:?} {:?}", verifier.issuers());
    assert!(!printed.contains("ann") && !printed.contains(&token[..20]), "{printed}");
    let secret = b"0123456789abcdef0123456789abcdef";
    let printed = format!("{:?}", KeySet::of_secret(secret));
    assert!(!printed.contains("0123456789") && !printed.contains("48, 49"), "{printed}");
}

#[test]
fn a_token_that_has_passed_is_trusted_for_as_long_as_its_key_is() {
    let (signer, other) = (Signer::new("EdDSA", "k"), Signer::new("EdDSA", "k"));
    let (verifier, clock) = verifier(&ring(&signer));
    let token = signer.token(&json!({"iss": "a", "aud": "aud", "exp": 2_000}));
    let Answer::Verified(passed) = verifier.verify(token.as_bytes()) else { panic!("it is good") };
    let Signed { algorithm, kid, typ, key } = &passed.signed;
    let signed = Signed { algorithm: *algorithm, kid: kid.as_deref(), typ: typ.as_deref(), key: *key };
    let trusts = |verifier: &Verifier<Verified>, iss: &str| verifier.trusts(iss, &passed.claims, &signed);
    clock.0.store(5_000, Ordering::Relaxed);
    assert_eq!(trusts(&verifier, "a"), Ok(()), "whatever time it is");
    assert_eq!(trusts(&self::verifier(&ring(&signer)).0, "a"), Ok(()), "by a set that was read anew");
    assert_eq!(trusts(&verifier, "b"), Err(Rejection::Issuer));
    assert_eq!(trusts(&self::verifier(&ring(&other)).0, "a"), Err(Rejection::UnknownKey), "another key of that name");
    let unfetched = Arc::new(Ring::fetched("a"));
    assert_eq!(trusts(&self::verifier(&unfetched).0, "a"), Err(Rejection::KeysUnavailable));
}
