use std::sync::Arc;

use fields::Fields;
use filter_api::{Admitted, Claims, Code, Reason, Signed, Token};
use filter_testkit::{Bench, TestCall};
use serde_json::{Value, json};

use super::Jwt;

/// A bench whose issuers know the tokens `good` and `late`, of which the second is known only once it was waited for.
fn bench(config: Value) -> Bench {
    let claims = json!({
        "sub": "ann", "n": 7, "f": 1.5, "t": true, "none": null, "roles": ["a", "b"], "realm": {"name": "r", "of": {"x": 1}},
        "blank": " x", "empty": "", "umlaut": "ä", "line": "a\nb", "long": "x".repeat(1_025), "most": "x".repeat(1_024)
    });
    let all = claims.as_object().unwrap().clone();
    let claims = Claims { issuer: "iss".into(), all, ends: 9, signed: Signed::default() };
    Bench::with_tokens::<Jwt>(config, &[("good", Arc::new(claims))]).unwrap()
}

fn shown(fields: &Fields) -> String {
    let pairs: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))).collect();
    pairs.join(" ")
}

fn reason(result: Result<TestCall, Box<filter_api::Refusal>>) -> (Code, Reason) {
    let refusal = result.err().unwrap();
    assert!(!refusal.message.contains("bad") && !refusal.message.contains("good"), "{}", refusal.message);
    (refusal.code, refusal.reason)
}

const MALFORMED: (Code, Reason) = (Code::Unauthenticated, Reason::TokenMalformed);
const MISSING: (Code, Reason) = (Code::Unauthenticated, Reason::TokenMissing);

#[test]
fn a_good_token_passes_and_ends_here() {
    let bench = bench(json!({"issuers": ["a"], "metadata": {"sub": "x-user-id"}}));
    for value in ["Bearer good", "bearer good", "BEARER   good", "bEaReR good"] {
        let call = bench.call(&[("k", "v"), ("authorization", value)]).unwrap();
        assert_eq!(shown(&call.head.fields), "k=v x-user-id=ann", "{value}");
        assert_eq!(call.claims().unwrap().subject(), Some("ann"));
        assert!(!call.is_followed());
    }
    let call =
        self::bench(json!({"issuers": ["a"], "forward": true})).call(&[("authorization", "Bearer good")]).unwrap();
    assert_eq!(shown(&call.head.fields), "authorization=Bearer good");
}

#[test]
fn a_call_ends_with_its_token_where_that_is_asked_for() {
    let expires = |config| bench(config).call(&[("authorization", "Bearer good")]).unwrap().bounds.expires;
    assert_eq!(expires(json!({"issuers": ["a"], "enforce_expiry": true})), Some(9));
    assert_eq!(expires(json!({"issuers": ["a"]})), None);
}

#[test]
fn the_scheme_stands_at_the_start_of_the_one_value() {
    for config in [json!({"issuers": ["a"]}), json!({"issuers": ["a"], "optional": true})] {
        let bench = bench(config);
        for value in [
            "",
            "good",
            "Bearer",
            "Bearergood",
            "Basic good",
            " Bearer good",
            "x Bearer good",
            "Bearer\tgood",
            "Token good",
        ] {
            assert_eq!(reason(bench.call(&[("authorization", value)])), MALFORMED, "{value:?}");
        }
        let twice = [("authorization", "Bearer good"), ("authorization", "Bearer good")];
        assert_eq!(reason(bench.call(&twice)), MALFORMED);
        for value in ["Bearer bad", "Bearer ", "Bearer good ", "Bearer good, Bearer good", "Bearer Bearer good"] {
            let refused = reason(bench.call(&[("authorization", value)]));
            assert_eq!(
                refused,
                (Code::Unauthenticated, Reason::TokenSignature),
                "{value:?}: whoever checks tokens says no"
            );
        }
    }
}

#[test]
fn no_token_passes_only_where_it_may() {
    assert_eq!(reason(bench(json!({"issuers": ["a"]})).call(&[])), MISSING);
    assert_eq!(
        reason(bench(json!({"issuers": ["a"], "from": "x-token"})).call(&[("authorization", "Bearer good")])),
        MISSING
    );
    let call = bench(json!({"issuers": ["a"], "optional": true, "metadata": {"sub": "x-user-id"}}))
        .call(&[("k", "v")])
        .unwrap();
    assert_eq!(shown(&call.head.fields), "k=v");
    assert!(call.claims().is_none());
}

#[test]
fn a_token_may_come_under_another_name() {
    let bench = bench(json!({"issuers": ["a"], "from": "x-token"}));
    for value in ["good", "Bearer good"] {
        let call = bench.call(&[("authorization", "Basic theirs"), ("x-token", value)]).unwrap();
        assert_eq!(shown(&call.head.fields), "authorization=Basic theirs", "{value}");
    }
}

#[test]
fn claims_become_metadata_or_refuse() {
    let told = |claim: &str, name: &str| {
        let bench = bench(json!({"issuers": ["a"], "metadata": {claim: name}}));
        let call = bench.call(&[("authorization", "Bearer good")]);
        call.map(|call| call.head.fields.get_str(name).map(str::to_owned))
            .map_err(|refusal| (refusal.code, refusal.reason))
    };
    for (claim, wanted) in [
        ("sub", Some("ann")),
        ("n", Some("7")),
        ("f", Some("1.5")),
        ("t", Some("true")),
        ("realm.name", Some("r")),
        ("realm.of.x", Some("1")),
        ("absent", None),
        ("realm.absent", None),
        ("sub.x", None),
    ] {
        assert_eq!(told(claim, "x-a"), Ok(wanted.map(str::to_owned)), "{claim}");
    }
    assert_eq!(told("most", "x-a").unwrap().unwrap().len(), 1_024);
    for claim in ["none", "roles", "realm", "blank", "empty", "umlaut", "line", "long"] {
        assert_eq!(told(claim, "x-a"), Err((Code::PermissionDenied, Reason::ClaimUnfit)), "{claim}");
    }
    for (claim, wanted) in [
        ("sub", "YW5u"),
        ("umlaut", "w6Q"),
        ("line", "YQpi"),
        ("empty", ""),
        ("roles", "WyJhIiwiYiJd"),
        ("realm.of", "eyJ4IjoxfQ"),
        ("n", "Nw"),
    ] {
        assert_eq!(told(claim, "x-a-bin"), Ok(Some(wanted.to_owned())), "{claim}");
    }
    assert_eq!(told("none", "x-a-bin"), Err((Code::PermissionDenied, Reason::ClaimUnfit)));
}

#[test]
fn what_is_told_takes_the_place_of_what_was_there() {
    let bench = bench(json!({"issuers": ["a"], "metadata": {"sub": "x-a", "absent": "x-b"}}));
    let call = bench.call(&[("x-a", "1"), ("x-a", "2"), ("x-b", "3"), ("authorization", "Bearer good")]).unwrap();
    assert_eq!(shown(&call.head.fields), "x-a=ann");
}

#[test]
fn a_configuration_that_cannot_work_says_why() {
    for (config, path, word) in [
        (json!({"issuers": []}), &["issuers"][..], "nobody could pass"),
        (json!({"issuers": ["a", "unknown"]}), &["issuers", "1"], "unknown"),
        (json!({}), &[], "issuers"),
        (json!({"issuers": ["a"], "issuer": "a"}), &[], "issuer"),
        (json!({"issuers": ["a"], "from": "X-Token"}), &["from"], "lower case"),
        (json!({"issuers": ["a"], "from": "x-portunus-token"}), &["from"], "Portunus"),
        (json!({"issuers": ["a"], "from": "x-forwarded-token"}), &["from"], "taken off"),
        (json!({"issuers": ["a"], "from": "x-token-bin"}), &["from"], "binary"),
        (json!({"issuers": ["a"], "metadata": {"sub": "authorization"}}), &["metadata", "sub"], "belongs"),
        (json!({"issuers": ["a"], "metadata": {"sub": "grpc-user"}}), &["metadata", "sub"], "belongs"),
        (json!({"issuers": ["a"], "metadata": {"sub": "x-portunus-agent"}}), &["metadata", "sub"], "belongs"),
        (json!({"issuers": ["a"], "metadata": {"sub": "X-User"}}), &["metadata", "sub"], "lower case"),
        (json!({"issuers": ["a"], "metadata": {"a": "x-a", "b": "x_a"}}), &["metadata", "b"], "one name"),
        (json!({"issuers": ["a"], "metadata": {"a": "x-a", "b": "x-a-bin"}}), &["metadata", "b"], "one name"),
        (json!({"issuers": ["a"], "from": "x-a", "metadata": {"a": "x_a"}}), &["metadata", "a"], "token itself"),
    ] {
        let error = Bench::with_tokens::<Jwt>(config.clone(), &[]).err().unwrap();
        assert!(error.path == path && error.message.contains(word), "{config}: {error:?}");
    }
    // Nobody may sign tokens in a file without `issuers`.
    assert_eq!(Bench::build::<Jwt>(json!({"issuers": ["a"]})).err().unwrap().path, ["issuers", "0"]);
}

#[test]
fn a_token_that_has_passed_is_asked_for_by_what_it_was() {
    let claims = |issuer: &str| {
        let claims = bench(json!({"issuers": ["a"]})).call(&[("authorization", "Bearer good")]).unwrap();
        Claims { issuer: issuer.into(), ..claims.claims().unwrap().clone() }
    };
    let token = |from: &str, issuer: &str| Token { from: from.into(), claims: Arc::new(claims(issuer)) };
    let still = |config: Value, metadata: &[(&str, &str)], tokens: &[Token]| {
        bench(config).still(metadata, &Admitted { tokens, rules: &[] })
    };
    let plain = || json!({"issuers": ["a"], "metadata": {"sub": "x-user-id"}});
    let good = [token("authorization", "iss")];
    let call = still(plain(), &[("authorization", "Bearer ")], &good).unwrap();
    assert_eq!(shown(&call.head.fields), "x-user-id=ann", "what comes behind it sees what it would see");
    assert_eq!(call.claims().unwrap().subject(), Some("ann"));
    let other = [token("authorization", "other")];
    assert_eq!(reason(still(plain(), &[("authorization", "Bearer ")], &other)).1, Reason::TokenSignature);
    // Of another place, or taken off by a filter before this one: nobody has shown it here.
    let elsewhere = json!({"issuers": ["a"], "from": "x-token"});
    assert_eq!(reason(still(elsewhere.clone(), &[("authorization", "Bearer ")], &good)), MISSING);
    assert_eq!(reason(still(plain(), &[], &good)), MISSING);
    let optional = still(json!({"issuers": ["a"], "optional": true}), &[], &[]).unwrap();
    assert!(optional.claims().is_none());
    // One that nobody has looked at yet is looked at.
    assert!(still(elsewhere.clone(), &[("x-token", "good")], &[]).is_ok());
    assert_eq!(reason(still(elsewhere, &[("x-token", "none")], &[])).1, Reason::TokenSignature);
}
