//! Good tokens, of every algorithm and in every form that is allowed; and keys that are used or not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, which clippy only knows inside of tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use support::Signer;
use tokens::{Algorithm, Answer, Issuer, KeySet, Rejection, Ring, Settings, System, Verified, Verifier};

const FOREVER: u64 = 4_000_000_000;

fn settings(algorithms: &[Algorithm]) -> Settings {
    Settings {
        issuer: "iss".into(),
        audiences: vec!["aud".into(), "also".into()],
        algorithms: algorithms.to_vec(),
        leeway: Duration::from_secs(30),
        types: vec!["JWT".into(), "at+jwt".into()],
        require: Vec::new(),
    }
}

fn verifier(keys: KeySet) -> Verifier<Verified> {
    let all: Vec<_> = Algorithm::PUBLIC.into_iter().chain(Algorithm::SECRET).collect();
    let issuer = Issuer::new(settings(&all), Arc::new(Ring::fixed("test", keys)));
    Verifier::new(vec![Arc::new(issuer)], Arc::new(System), |verified| verified)
}

fn answer(verifier: &Verifier<Verified>, token: &str) -> Result<Value, Rejection> {
    match verifier.verify(token.as_bytes()) {
        Answer::Verified(verified) => Ok(Value::Object(verified.claims.clone())),
        Answer::Rejected(rejection) => Err(rejection),
        Answer::Wait(_) => panic!("a fixed ring makes nobody wait"),
    }
}

fn claims() -> Value {
    json!({"iss": "iss", "aud": "aud", "sub": "ann", "exp": FOREVER})
}

#[test]
fn every_algorithm_passes_and_only_with_its_own_key() {
    let algorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];
    for algorithm in algorithms {
        let signer = Signer::new(algorithm, "k");
        let verifier = verifier(KeySet::read(signer.set().as_bytes()).unwrap());
        let token = signer.token(&claims());
        for _ in 0..2 {
            assert_eq!(answer(&verifier, &token), Ok(claims()), "{algorithm}, then from memory");
        }
        let other = Signer::new(algorithm, "k").token(&claims());
        assert_eq!(answer(&verifier, &other), Err(Rejection::Signature), "{algorithm}");
        // Each octet of the signature counts.
        let (signed, _) = token.rsplit_once('.').unwrap();
        let mut signature = signer.signature(signed.as_bytes());
        for at in [0, signature.len() / 2, signature.len() - 1] {
            signature[at] ^= 1;
            let bent = format!("{signed}.{}", support::encode(&signature));
            assert_eq!(answer(&verifier, &bent), Err(Rejection::Signature), "{algorithm} {at}");
            signature[at] ^= 1;
        }
    }
}

#[test]
fn a_secret_signs_for_digests_that_it_is_long_enough_for() {
    let secret = [7; 50];
    let verifier = verifier(KeySet::of_secret(&secret));
    for (algorithm, wanted) in [("HS256", Ok(claims())), ("HS384", Ok(claims())), ("HS512", Err(Rejection::UnknownKey))]
    {
        let signer = Signer::with_secret(algorithm, &secret);
        assert_eq!(answer(&verifier, &signer.token(&claims())), wanted, "{algorithm}");
    }
    let signer = Signer::with_secret("HS256", &secret);
    let named = signer.sign(r#"{"alg":"HS256","kid":"what they call it"}"#, claims().to_string());
    assert_eq!(answer(&verifier, &named), Ok(claims()));
}

#[test]
fn what_may_vary_may() {
    let signer = Signer::new("ES256", "k");
    let verifier = verifier(KeySet::read(signer.set().as_bytes()).unwrap());
    let headers = [
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#,
        r#"{"typ":"application/AT+JWT", "alg":"ES256"}"#,
        "{\"typ\":\"jwt\",\r\n \"alg\":\"ES256\"}",
        r#"{"alg":"ES256","jwk":{"kty":"oct","k":"AAAA"},"jku":"https://evil","x5u":"https://evil","x5c":["AAAA"],"x5t":"x"}"#,
        r#"{"alg":"ES256","b64":true,"cty":"x","foo":{"bar":[1]}}"#,
    ];
    for header in headers {
        assert!(answer(&verifier, &signer.sign(header, claims().to_string())).is_ok(), "{header}");
    }
    for (name, value) in [
        ("aud", json!(["other", "also"])),
        ("exp", json!(4e9)),
        ("exp", json!(4_000_000_000.5)),
        ("nbf", json!(1)),
        ("iat", json!(0)),
        ("sub", json!("")),
        ("deep", json!({"a": [{"b": {"c": [1, 2, null]}}]})),
    ] {
        let mut claims = claims();
        claims[name] = value;
        assert_eq!(answer(&verifier, &signer.token(&claims)), Ok(claims.clone()), "{claims}");
    }
}

/// A set, what becomes of its one key, and what becomes of a token that it signed.
#[test]
fn keys_say_what_they_are_for_and_are_believed() {
    let rsa = Signer::new("RS256", "k");
    let ec = Signer::new("ES256", "k");
    let with = |signer: &Signer, entries: Value| {
        let mut jwk = signer.jwk();
        jwk.as_object_mut().unwrap().extend(entries.as_object().unwrap().clone());
        jwk
    };
    let good = [
        with(&rsa, json!({"use": "sig"})),
        with(&rsa, json!({"key_ops": ["verify"]})),
        with(&rsa, json!({"key_ops": ["sign", "verify"], "use": "sig", "alg": "RS256"})),
        with(&rsa, json!({"x5c": ["nonsense"], "x5t": 1, "ext": true})),
    ];
    for jwk in good {
        let set = json!({"keys": [jwk]}).to_string();
        let verifier = verifier(KeySet::read(set.as_bytes()).unwrap());
        assert_eq!(answer(&verifier, &rsa.token(&claims())), Ok(claims()), "{set}");
    }
    let small = "AQAB".repeat(64);
    let unused = [
        (with(&rsa, json!({"use": "enc"})), "`use`"),
        (with(&rsa, json!({"use": 1})), "`use`"),
        (with(&rsa, json!({"key_ops": ["encrypt"]})), "`key_ops`"),
        (with(&rsa, json!({"key_ops": []})), "`key_ops`"),
        (with(&rsa, json!({"key_ops": "verify"})), "`key_ops`"),
        (with(&rsa, json!({"key_ops": ["verify", 1]})), "`key_ops`"),
        (with(&rsa, json!({"alg": "RSA-OAEP"})), "RSA-OAEP"),
        (with(&rsa, json!({"alg": "ES256"})), "ES256"),
        (with(&rsa, json!({"alg": "HS256"})), "HS256"),
        (with(&rsa, json!({"alg": "none"})), "none"),
        (with(&rsa, json!({"alg": 256})), "`alg`"),
        (with(&rsa, json!({"kid": 1})), "`kid`"),
        (with(&rsa, json!({"d": "AQAB"})), "private"),
        (with(&rsa, json!({"e": "Aw"})), "exponent"),
        (with(&rsa, json!({"e": "AQAA"})), "exponent"),
        (with(&rsa, json!({"e": "AQABAQAB"})), "exponent"),
        (with(&rsa, json!({"e": ""})), "zero"),
        (with(&rsa, json!({"n": small})), "bits"),
        (with(&rsa, json!({"n": "AQAB".repeat(400)})), "bits"),
        (with(&rsa, json!({"n": "AQ+/"})), "base64url"),
        (with(&rsa, json!({"n": "AQA="})), "base64url"),
        (with(&ec, json!({"x": "AQAB"})), "32 octets"),
        (with(&ec, json!({"y": support::encode([7; 32])})), "no key"),
        (with(&ec, json!({"crv": "secp256k1"})), "secp256k1"),
        (with(&ec, json!({"crv": "P-384"})), "48 octets"),
        (json!({"kty": "oct", "kid": "k", "k": "AQAB"}), "secret_file"),
        (json!({"kty": "OKP", "crv": "Ed448", "x": "AQAB"}), "Ed448"),
        (json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AQAB"}), "AKP"),
        (json!({"kty": "rsa"}), "rsa"),
        (json!({}), "`kty`"),
        (json!("key"), "object"),
    ];
    for (jwk, word) in unused {
        let set = json!({"keys": [jwk]}).to_string();
        let read = KeySet::read(set.as_bytes()).unwrap();
        assert!(read.is_empty() && read.skipped()[0].contains(word), "{set}: {:?}", read.skipped());
        let verifier = verifier(read);
        for signer in [&rsa, &ec] {
            assert_eq!(answer(&verifier, &signer.token(&claims())), Err(Rejection::UnknownKey), "{set}");
        }
        // What cannot be used does not take the others with it.
        let both = json!({"keys": [jwk, with(&rsa, json!({"kid": "good"}))]}).to_string();
        let verifier = self::verifier(KeySet::read(both.as_bytes()).unwrap());
        let token = rsa.sign(r#"{"alg":"RS256","kid":"good"}"#, claims().to_string());
        assert_eq!(answer(&verifier, &token), Ok(claims()), "{both}");
    }
}

#[test]
fn an_algorithm_that_the_key_is_not_for_is_forbidden() {
    let signer = Signer::new("RS256", "k");
    let mut jwk = signer.jwk();
    jwk["alg"] = json!("RS256");
    let verifier = verifier(KeySet::read(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap());
    assert_eq!(answer(&verifier, &signer.token(&claims())), Ok(claims()));
    let signer = signer.using("PS256");
    assert_eq!(answer(&verifier, &signer.token(&claims())), Err(Rejection::Algorithm));
}

#[test]
fn what_is_no_key_set_is_refused() {
    let many = json!({"keys": vec![json!({}); 101]}).to_string();
    let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300_000));
    let deep = format!("{{\"keys\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    for text in [
        "",
        "{}",
        "[]",
        "<html>",
        "{\"keys\":{}}",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[{\"kty\":\"a\",\"kty\":\"b\"}]}",
        &many,
        &large,
        &deep,
    ] {
        assert!(KeySet::read(text.as_bytes()).is_err(), "{}", &text[..text.len().min(80)]);
    }
    assert_eq!(KeySet::read(b"{\"keys\":[]}").unwrap().len(), 0);
}

#[test]
fn a_token_that_names_no_key_is_tried_with_a_few() {
    let signers: Vec<_> = (0..9).map(|_| Signer::new("EdDSA", "")).collect();
    let set = json!({"keys": signers.iter().map(Signer::jwk).collect::<Vec<_>>()}).to_string();
    let verifier = verifier(KeySet::read(set.as_bytes()).unwrap());
    for (at, signer) in signers.iter().enumerate() {
        let wanted = if at < 8 { Ok(claims()) } else { Err(Rejection::Signature) };
        assert_eq!(answer(&verifier, &signer.token(&claims())), wanted, "{at}");
    }
}
