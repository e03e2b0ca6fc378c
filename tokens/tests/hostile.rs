//! Hostile tokens: what an attacker would try, and what each of them gets, exactly. None of them passes, and none crashes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, which clippy only knows inside of tests")]
#![allow(clippy::too_many_lines, reason = "tables")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Signer, encode};
use tokens::{Algorithm, Answer, Clock, Issuer, KeySet, Rejection, Ring, Settings, Verified, Verifier};

const NOW: u64 = 1_800_000_000;

#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> u64 {
        NOW
    }
}

/// Two issuers with public keys, one with a secret, and one whose keys are not there yet.
struct World {
    rsa: Signer,
    ec: Signer,
    ed: Signer,
    /// Of the other issuer, under the same name.
    other: Signer,
    secret: Signer,
    verifier: Verifier<Verified>,
}

impl World {
    fn new() -> Self {
        let (rsa, ec, ed) = (Signer::new("RS256", "rsa"), Signer::new("ES256", "ec"), Signer::new("EdDSA", "ed"));
        let other = Signer::new("RS256", "rsa");
        let secret = Signer::with_secret("HS256", b"0123456789abcdef0123456789abcdef");
        let mut narrow = ec.jwk();
        narrow["kid"] = json!("narrow");
        narrow["use"] = json!("sig");
        let keys =
            json!({"keys": [rsa.jwk(), ec.jwk(), ed.jwk(), narrow, {"kty": "oct", "kid": "oct", "k": "c2VjcmV0"}]});
        let read = |text: String| KeySet::read(text.as_bytes()).unwrap();
        let public = |issuer: &str, ring| issuer_of(issuer, &Algorithm::PUBLIC, ring);
        let issuers = vec![
            public("a", Ring::fixed("a", read(keys.to_string()))),
            public("b", Ring::fixed("b", read(other.set()))),
            issuer_of(
                "s",
                &Algorithm::SECRET,
                Ring::fixed("s", KeySet::of_secret(b"0123456789abcdef0123456789abcdef")),
            ),
            public("later", Ring::fetched("later")),
        ];
        let verifier = Verifier::new(issuers, Arc::new(Stopped), |verified| verified);
        Self { rsa, ec, ed, other, secret, verifier }
    }

    /// What becomes of a token; twice, as the first may have left something behind.
    fn rejection(&self, token: &[u8]) -> Result<(), Rejection> {
        let ask = || match self.verifier.verify(token) {
            Answer::Verified(_) => Ok(()),
            Answer::Rejected(rejection) => Err(rejection),
            Answer::Wait(_) => panic!("nothing is fetched here"),
        };
        let first = ask();
        assert_eq!(first, ask());
        first
    }
}

fn issuer_of(name: &str, algorithms: &[Algorithm], ring: Ring) -> Arc<Issuer> {
    let settings = Settings {
        issuer: name.into(),
        audiences: vec!["aud".into()],
        algorithms: algorithms.to_vec(),
        leeway: Duration::from_secs(30),
        types: vec!["JWT".into(), "at+jwt".into()],
        require: vec!["sub".into()],
    };
    Arc::new(Issuer::new(settings, Arc::new(ring)))
}

fn claims() -> Value {
    json!({"iss": "a", "aud": "aud", "sub": "ann", "exp": NOW + 600})
}

/// The claims with one of them changed, or without it.
fn but(name: &str, value: Value) -> String {
    let mut claims = claims();
    match value {
        Value::String(text) if text == "ABSENT" => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims.to_string()
}

type Row = (String, Vec<u8>, Rejection);

fn row(what: impl Into<String>, token: impl Into<Vec<u8>>, rejection: Rejection) -> Row {
    (what.into(), token.into(), rejection)
}

#[test]
fn no_hostile_token_passes_and_each_gets_its_rejection() {
    let world = World::new();
    // The table is worth nothing if the good one does not pass.
    assert_eq!(world.rejection(world.rsa.token(&claims()).as_bytes()), Ok(()));
    let rows: Vec<Row> = [forms(&world), headers(&world), keys(&world), says(&world)].concat();
    assert!(rows.len() >= 60, "{}", rows.len());
    for (what, token, wanted) in &rows {
        assert_eq!(world.rejection(token), Err(wanted.clone()), "{what}");
    }
    assert_eq!(world.rejection(world.rsa.token(&claims()).as_bytes()), Ok(()), "and it still passes");
}

/// What is no token in the one form that is taken.
fn forms(world: &World) -> Vec<Row> {
    let good = world.rsa.token(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!() };
    let three = Rejection::Malformed("it does not have three parts with dots between them");
    let head64 = Rejection::Malformed("its header is no base64url without padding");
    let head = Rejection::Malformed("its header is no JSON object with each name once");
    let claims64 = Rejection::Malformed("its claims are no base64url without padding");
    let said = Rejection::Malformed("its claims are no JSON object with each name once");
    let signature64 = Rejection::Malformed("its signature is no base64url without padding");
    let signed = format!("{header}.{payload}");
    let doubled = |json: &str| world.rsa.sign(r#"{"alg":"RS256","kid":"rsa"}"#, json);
    // The last letter of a signature of 256 octets holds two bits that must be zero: another spelling of the same octets.
    let last = signature.as_bytes()[signature.len() - 1];
    let spelled = format!("{signed}.{}{}", &signature[..signature.len() - 1], char::from(last + 1));
    vec![
        row("nothing", "", three.clone()),
        row("one part", "abc", three.clone()),
        row("two parts", signed.clone(), three.clone()),
        row("four parts", format!("{good}.x"), three.clone()),
        row("five parts, as an encrypted token has", "a.b.c.d.e", three.clone()),
        row("dots only", "..", head.clone()),
        row("a dot behind it", format!("{good}."), three),
        row("a blank before it", format!(" {good}"), head64.clone()),
        row("a line end behind it", format!("{good}\n"), signature64.clone()),
        row("a blank within", format!("{signed} .{signature}"), claims64.clone()),
        row("padded header", format!("{header}=.{payload}.{signature}"), head64.clone()),
        row("padded claims", format!("{header}.{payload}==.{signature}"), claims64.clone()),
        row("padded signature", format!("{signed}.{signature}=="), signature64.clone()),
        row("the other alphabet", format!("{signed}.{}+/", &signature[..signature.len() - 2]), signature64.clone()),
        row("another spelling of the same signature", spelled, signature64.clone()),
        row("percent signs", format!("{signed}.%41{signature}"), signature64),
        row("not ASCII", format!("{header}.{payload}ä.{signature}"), claims64),
        row(
            "not UTF-8",
            [good.as_bytes(), &[0xff]].concat(),
            Rejection::Malformed("its signature is no base64url without padding"),
        ),
        row("NUL", [b"\0", good.as_bytes()].concat(), head64),
        row("1 MiB", "a".repeat(1 << 20), Rejection::TooLarge),
        row("1 MiB of dots", ".".repeat(1 << 20), Rejection::TooLarge),
        row("an octet too many", but_of_length(world, 8 * 1024 + 1), Rejection::TooLarge),
        row("claims that are a list", doubled(r#"["iss","a"]"#), said.clone()),
        row("claims that are a text: a token within a token", doubled(&format!("\"{good}\"")), said.clone()),
        row("claims that are another token", format!("{header}.{}.{signature}", encode(&good)), said.clone()),
        row("no claims", doubled(""), said.clone()),
        row("claims cut short", doubled(&claims().to_string()[..40]), said.clone()),
        row("`iss` twice", doubled(&claims().to_string().replace("{\"", "{\"iss\":\"b\",\"")), said.clone()),
        row(
            "`sub` twice, once with an escape",
            doubled(&claims().to_string().replace("{\"", "{\"s\\u0075b\":\"root\",\"")),
            said.clone(),
        ),
        row(
            "a name twice, nested",
            doubled(&but("realm", json!({"roles": []})).replace("\"roles\":[]", "\"roles\":[],\"roles\":[1]")),
            said.clone(),
        ),
        row(
            "claims nested deeper than anybody needs",
            doubled(&but("x", json!(1)).replace(":1}", &format!(":{}{}}}", "[".repeat(2_000), "]".repeat(2_000)))),
            said.clone(),
        ),
        row("a number that no double holds", doubled(&but("x", json!(1)).replace(":1}", ":1e400}")), said.clone()),
        row("half a surrogate", doubled(&but("sub", json!("X")).replace("\"X\"", "\"\\ud800\"")), said.clone()),
        row("a byte order mark", doubled(&format!("\u{feff}{}", claims())), said),
    ]
}

/// A token of that many octets.
fn but_of_length(world: &World, octets: usize) -> String {
    let mut fill = octets * 3 / 4 - 500;
    loop {
        let token = world.rsa.sign(r#"{"alg":"RS256","kid":"rsa"}"#, but("x", json!("x".repeat(fill))));
        if token.len() >= octets {
            return token;
        }
        fill += 1;
    }
}

/// What a header asks for.
fn headers(world: &World) -> Vec<Row> {
    let World { rsa, .. } = world;
    let sign = |header: &str| rsa.sign(header, claims().to_string());
    let mut rows = Vec::new();
    for alg in
        ["none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "RS1", "HS1", "ES256K", "dir", "RSA-OAEP", "A256GCM"]
    {
        let unsigned = format!("{}.{}.", encode(json!({"alg": alg}).to_string()), encode(claims().to_string()));
        rows.push(row(format!("alg {alg:?} without a signature"), unsigned, Rejection::Algorithm));
        rows.push(row(
            format!("alg {alg:?} with a good one"),
            sign(&json!({"alg": alg}).to_string()),
            Rejection::Algorithm,
        ));
    }
    let no_alg = Rejection::Malformed("its header has no text under `alg`");
    let own = Signer::new("ES256", "mine");
    let embedded = json!({"alg": "ES256", "jwk": own.jwk(), "kid": "mine"}).to_string();
    let embedded_under_theirs = json!({"alg": "ES256", "jwk": own.jwk(), "kid": "ec"}).to_string();
    let linked = r#"{"alg":"ES256","kid":"mine","jku":"https://evil.example/keys","x5u":"https://evil.example/cert"}"#;
    rows.extend([
        row("no alg", sign(r#"{"kid":"rsa"}"#), no_alg.clone()),
        row("alg null", sign(r#"{"alg":null}"#), no_alg.clone()),
        row("alg a list", sign(r#"{"alg":["RS256"]}"#), no_alg.clone()),
        row("alg a number", sign(r#"{"alg":256}"#), no_alg),
        row(
            "alg twice",
            sign(r#"{"alg":"none","alg":"RS256"}"#),
            Rejection::Malformed("its header is no JSON object with each name once"),
        ),
        row(
            "a header that is no object",
            sign(r#""RS256""#),
            Rejection::Malformed("its header is no JSON object with each name once"),
        ),
        row("typ of a logout token", sign(r#"{"alg":"RS256","kid":"rsa","typ":"logout+jwt"}"#), Rejection::Type),
        row("typ of an ID token's relative", sign(r#"{"alg":"RS256","kid":"rsa","typ":"dpop+jwt"}"#), Rejection::Type),
        row("typ empty", sign(r#"{"alg":"RS256","kid":"rsa","typ":""}"#), Rejection::Type),
        row(
            "typ no text",
            sign(r#"{"alg":"RS256","kid":"rsa","typ":["JWT"]}"#),
            Rejection::Malformed("its header has something else than text under `typ`"),
        ),
        row("crit unknown", sign(r#"{"alg":"RS256","kid":"rsa","crit":["exp"],"exp":1}"#), Rejection::Critical),
        row("crit empty", sign(r#"{"alg":"RS256","kid":"rsa","crit":[]}"#), Rejection::Critical),
        row("crit null", sign(r#"{"alg":"RS256","kid":"rsa","crit":null}"#), Rejection::Critical),
        row("crit b64", sign(r#"{"alg":"RS256","kid":"rsa","crit":["b64"],"b64":false}"#), Rejection::Critical),
        row("b64 without crit", sign(r#"{"alg":"RS256","kid":"rsa","b64":false}"#), Rejection::Critical),
        row("its own key in the header", own.sign(&embedded, claims().to_string()), Rejection::UnknownKey),
        row(
            "its own key in the header, under a name of ours",
            own.sign(&embedded_under_theirs, claims().to_string()),
            Rejection::Signature,
        ),
        row("its own key behind a link", own.sign(linked, claims().to_string()), Rejection::UnknownKey),
    ]);
    rows
}

/// Keys that are somebody else's, or meant for something else.
fn keys(world: &World) -> Vec<Row> {
    let World { rsa, ec, ed, other, secret, .. } = world;
    let mut rows = Vec::new();
    let all = claims().to_string();
    for kid in [
        "../../../../dev/null",
        "' OR '1'='1",
        "rsa\u{0}",
        "RSA",
        "rsa ",
        "",
        "oct",
        "https://evil.example/key",
        "$(id)",
        "ä",
    ] {
        let header = json!({"alg": "RS256", "kid": kid}).to_string();
        rows.push(row(format!("kid {kid:?}"), rsa.sign(header, &all), Rejection::UnknownKey));
    }
    // The classic: what is public is the secret.
    let confused = Signer::with_secret("HS256", &rsa.public_octets());
    let confused_text = Signer::with_secret("HS256", rsa.set().as_bytes());
    let of_b = json!({"iss": "b", "aud": "aud", "sub": "ann", "exp": NOW + 600});
    let of_s = json!({"iss": "s", "aud": "aud", "sub": "ann", "exp": NOW + 600});
    let of_later = json!({"iss": "later", "aud": "aud", "sub": "ann", "exp": NOW + 600});
    let good = rsa.token(&claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let kid_list = rsa.sign(r#"{"alg":"RS256","kid":["rsa"]}"#, &all);
    let ec_good = ec.token(&claims());
    let (ec_signed, _) = ec_good.rsplit_once('.').unwrap();
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&order[at * 2..at * 2 + 2], 16).unwrap()).collect();
    let ec_with = |signature: &[u8]| format!("{ec_signed}.{}", encode(signature));
    rows.extend([
        row("kid no text", kid_list, Rejection::Malformed("its header has something else than text under `kid`")),
        row(
            "HS256 with the public key as the secret",
            confused.sign(r#"{"alg":"HS256","kid":"rsa"}"#, &all),
            Rejection::Algorithm,
        ),
        row(
            "HS256 with the key set as the secret",
            confused_text.sign(r#"{"alg":"HS256","kid":"rsa"}"#, &all),
            Rejection::Algorithm,
        ),
        row(
            "HS256 with the secret of the set",
            Signer::with_secret("HS256", b"secret").sign(r#"{"alg":"HS256","kid":"oct"}"#, &all),
            Rejection::Algorithm,
        ),
        row("HS256 of who has a secret, with another", confused.token(&of_s), Rejection::Signature),
        row(
            "HS256 of who has a secret, without one",
            Signer::with_secret("HS256", b"").token(&of_s),
            Rejection::Signature,
        ),
        row("the secret's token, for who has keys", secret.token(&claims()), Rejection::Algorithm),
        row("RS256 for who has a secret", rsa.token(&of_s), Rejection::Algorithm),
        row("the key of another issuer", other.token(&claims()), Rejection::Signature),
        row("the key of another issuer, the other way", rsa.token(&of_b), Rejection::Signature),
        row("an issuer whose keys are not there yet", rsa.token(&of_later), Rejection::KeysUnavailable),
        row("RS256 with the name of an EC key", rsa.sign(r#"{"alg":"RS256","kid":"ec"}"#, &all), Rejection::Algorithm),
        row("ES256 with the name of an RSA key", ec.sign(r#"{"alg":"ES256","kid":"rsa"}"#, &all), Rejection::Algorithm),
        row("EdDSA with the name of an EC key", ed.sign(r#"{"alg":"EdDSA","kid":"ec"}"#, &all), Rejection::Algorithm),
        row("says PS256, signed as RS256", rsa.sign(r#"{"alg":"PS256","kid":"rsa"}"#, &all), Rejection::Signature),
        row("says RS512, signed as RS256", rsa.sign(r#"{"alg":"RS512","kid":"rsa"}"#, &all), Rejection::Signature),
        row("no signature", format!("{signed}."), Rejection::Signature),
        row("a signature cut short", format!("{signed}.{}", &signature[..100]), Rejection::Signature),
        row("a signature of zeros", format!("{signed}.{}", encode([0; 256])), Rejection::Signature),
        row("a signature of ones", format!("{signed}.{}", encode([0xff; 256])), Rejection::Signature),
        row(
            "a signature and more",
            format!("{signed}.{}", encode([&rsa.signature(signed.as_bytes())[..], b"x"].concat())),
            Rejection::Signature,
        ),
        row(
            "another's claims under this signature",
            format!("{header}.{}.{signature}", encode(but("sub", json!("root")))),
            Rejection::Signature,
        ),
        row("ECDSA of zeros", ec_with(&[0; 64]), Rejection::Signature),
        row("ECDSA with r and s the order", ec_with(&[order.clone(), order].concat()), Rejection::Signature),
        row(
            "ECDSA in DER",
            ec_with(&[&[0x30, 0x44, 0x02, 0x20][..], &[1; 32], &[0x02, 0x20], &[1; 32]].concat()),
            Rejection::Signature,
        ),
        row("ECDSA of one octet", ec_with(&[1]), Rejection::Signature),
        row(
            "Ed25519 of zeros",
            {
                let good = ed.token(&claims());
                format!("{}.{}", good.rsplit_once('.').unwrap().0, encode([0; 64]))
            },
            Rejection::Signature,
        ),
    ]);
    rows
}

/// What a token says, with a good signature.
fn says(world: &World) -> Vec<Row> {
    let sign = |claims: String| world.rsa.sign(r#"{"alg":"RS256","kid":"rsa"}"#, claims);
    let claim = |name: &str| Rejection::Claim(name.to_owned());
    let mut rows = Vec::new();
    let mut says = |what: &str, name: &str, value: Value, rejection: Rejection| {
        rows.push(row(format!("{name} {what}: {value}"), sign(but(name, value)), rejection));
    };
    says("missing", "exp", json!("ABSENT"), claim("exp"));
    says("null", "exp", Value::Null, claim("exp"));
    says("text", "exp", json!((NOW + 600).to_string()), claim("exp"));
    says("truth", "exp", json!(true), claim("exp"));
    says("a list", "exp", json!([NOW + 600]), claim("exp"));
    says("huge", "exp", json!(1e300), claim("exp"));
    says("of 64 bits", "exp", json!(u64::MAX), claim("exp"));
    says("in milliseconds", "exp", json!((NOW + 600) * 1000), claim("exp"));
    says("negative", "exp", json!(-1), claim("exp"));
    says("zero", "exp", json!(0), Rejection::Expired);
    says("past, with the leeway", "exp", json!(NOW - 30), Rejection::Expired);
    says("past, as a fraction", "exp", json!(1_799_999_970.5), Rejection::Expired);
    says("ahead", "nbf", json!(NOW + 31), Rejection::Early);
    says("ahead by a fraction", "nbf", json!(1_800_000_030.1), Rejection::Early);
    says("text", "nbf", json!("0"), claim("nbf"));
    says("ahead", "iat", json!(NOW + 3_600), Rejection::Early);
    says("text", "iat", json!("now"), claim("iat"));
    says("missing", "aud", json!("ABSENT"), Rejection::Audience);
    says("another", "aud", json!("other"), Rejection::Audience);
    says("others", "aud", json!(["other", "another"]), Rejection::Audience);
    says("empty", "aud", json!([]), Rejection::Audience);
    says("in another case", "aud", json!("AUD"), Rejection::Audience);
    says("a part of ours", "aud", json!("au"), Rejection::Audience);
    says("nested", "aud", json!([["aud"]]), claim("aud"));
    says("ours, and what is no text", "aud", json!(["aud", 1]), claim("aud"));
    says("a map", "aud", json!({"aud": true}), claim("aud"));
    says("null", "aud", Value::Null, claim("aud"));
    says("missing", "iss", json!("ABSENT"), Rejection::Issuer);
    says("unknown", "iss", json!("https://evil.example"), Rejection::Issuer);
    says("with a slash more", "iss", json!("a/"), Rejection::Issuer);
    says("in another case", "iss", json!("A"), Rejection::Issuer);
    says("empty", "iss", json!(""), Rejection::Issuer);
    says("several", "iss", json!(["a", "b"]), claim("iss"));
    says("null", "iss", Value::Null, claim("iss"));
    says("missing, and required", "sub", json!("ABSENT"), claim("sub"));
    says("a number", "sub", json!(0), claim("sub"));
    says("a map", "sub", json!({"sub": "ann"}), claim("sub"));
    rows
}
