//! What is made is believed by what the proxy reads it with, and by nobody who trusts another.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, which clippy only knows inside of tests")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portunus_dev::{Authority, Signer};
use portunus_tls::{Asks, Certificate, Trust};
use serde_json::json;
use tokens::{Algorithm, Answer, Issuer, KeySet, Rejection, Ring, Settings, System, Verified, Verifier};

fn verifier(signer: &Signer) -> Verifier<Verified> {
    let keys = KeySet::read(signer.key_set().unwrap().to_string().as_bytes()).unwrap();
    let settings = Settings {
        issuer: "dev".into(),
        audiences: vec!["dev".into()],
        algorithms: Algorithm::PUBLIC.to_vec(),
        leeway: Duration::from_secs(0),
        types: vec!["JWT".into()],
        require: vec!["exp".into(), "iat".into()],
    };
    let issuer = Issuer::new(settings, Arc::new(Ring::fixed("dev", keys)));
    Verifier::new(vec![Arc::new(issuer)], Arc::new(System), |verified| verified)
}

fn signer() -> Signer {
    Signer::of_pem(Signer::generate().unwrap().as_bytes()).unwrap()
}

#[test]
fn a_token_is_believed_by_who_knows_its_key() {
    let (signer, other) = (signer(), signer());
    let claims = json!({"iss": "dev", "aud": "dev", "sub": "ann"});
    let token = signer.token(&claims).unwrap();
    let Answer::Verified(verified) = verifier(&signer).verify(token.as_bytes()) else { panic!("it is good") };
    assert_eq!(verified.claims["sub"], "ann");
    let answer = verifier(&other).verify(token.as_bytes());
    assert!(matches!(answer, Answer::Rejected(Rejection::UnknownKey)), "{answer:?}");
    let expired = json!({"iss": "dev", "aud": "dev", "sub": "ann", "exp": 1});
    let answer = verifier(&signer).verify(signer.token(&expired).unwrap().as_bytes());
    assert!(matches!(answer, Answer::Rejected(Rejection::Expired)), "{answer:?}");
    assert!(!format!("{signer:?}").contains("key"), "{signer:?}");
}

#[test]
fn certificates_are_good_for_what_they_are_made_for() {
    let folder = std::env::temp_dir().join(format!("portunus-dev-good-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    };
    let ca = Authority::new().unwrap();
    let (server, ann) = (ca.server(&["localhost", "127.0.0.1"]).unwrap(), ca.workload("spiffe://td/ann").unwrap());
    let load = |issued: &portunus_dev::Issued| {
        let (chain, key) = (write("one.pem", &issued.certificate), write("one.key", &issued.key));
        Certificate::load(&chain, &key, SystemTime::now(), &[]).unwrap()
    };
    assert_eq!(load(&server).identity().dns, ["localhost"]);
    assert_eq!(load(&ann).identity().spiffe.as_deref(), Some("spiffe://td/ann"));
    let list = write("crl.pem", &ca.revocations(&[&ann]).unwrap());
    Trust::load(Asks::Required, &write("ca.pem", &ca.certificate()), Some(&list), SystemTime::now()).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}
