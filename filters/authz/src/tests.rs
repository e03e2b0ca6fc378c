//! Rules and what they make of calls of `test.Service/Method`.

use filter_api::{Code, Depth, Reason};
use filter_testkit::Bench;
use serde_json::{Value, json};

use super::Authz;

const REFUSES_ALL: &str =
    "refuses every call, since nothing is allowed: add `allow` (`allow: 'true'` for all that no `deny` refuses)";

fn bench(config: Value) -> Bench {
    Bench::build::<Authz>(config).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether a call is refused by its head, and in which words.
fn refused(config: Value) -> Option<String> {
    let refusal = bench(config.clone()).call(&[]).err()?;
    assert_eq!((refusal.code, refusal.reason), (Code::PermissionDenied, Reason::Denied), "{config}");
    Some(refusal.message.split([' ', ',']).take(3).collect::<Vec<_>>().join(" "))
}

#[test]
fn heads_are_judged_by_rules_that_read_no_message() {
    let rules = |rules: Value| json!({ "rules": rules });
    for (config, wanted) in [
        (json!({"allow": "true"}), None),
        (json!({"allow": "false"}), Some("no rule allows")),
        (json!({"allow": "fails"}), Some("a rule could")),
        (json!({"allow": "true", "deny": "false"}), None),
        (json!({"allow": "true", "deny": "true"}), Some("a rule refuses")),
        (json!({"allow": "true", "deny": "fails"}), Some("a rule could")),
        (json!({"allow": "false", "deny": "true"}), Some("a rule refuses")),
        // Nothing that no rule names is allowed.
        (rules(json!([{"method": "*/Other", "allow": "true"}])), Some("no rule allows")),
        (rules(json!([{"method": "*/Method", "allow": "true"}])), None),
        (rules(json!([{"method": "test.*/*", "allow": "true"}])), None),
        (rules(json!([{"method": "*/*", "allow": "true"}])), None),
        // The most specific decides, wherever it stands.
        (
            rules(json!([{"method": "*/*", "allow": "true"}, {"method": "*/Method", "allow": "false"}])),
            Some("no rule allows"),
        ),
        (
            rules(
                json!([{"method": "test.Service/Method", "allow": "true"}, {"method": "*/Method", "allow": "false"}]),
            ),
            None,
        ),
        (
            rules(
                json!([{"method": "*/Method", "allow": "false"}, {"method": "test.Service/Method", "allow": "true"}]),
            ),
            None,
        ),
        (
            rules(json!([{"method": "test.Service/*", "allow": "false"}, {"method": "test.*/*", "allow": "true"}])),
            Some("no rule allows"),
        ),
        // One that only refuses leaves it to the next who may.
        (rules(json!([{"method": "*/Method", "deny": "false"}, {"method": "*/*", "allow": "true"}])), None),
        (
            rules(json!([{"method": "*/Method", "deny": "true"}, {"method": "*/*", "allow": "true"}])),
            Some("a rule refuses"),
        ),
        // Each that refuses does.
        (
            rules(json!([{"method": "*/Method", "allow": "true"}, {"method": "*/*", "deny": "true"}])),
            Some("a rule refuses"),
        ),
        (rules(json!([{"method": "*/Other", "deny": "true"}, {"method": "*/*", "allow": "true"}])), None),
        // No message makes up for it.
        (
            rules(json!([{"method": "*/Method", "deny": "says bad"}, {"method": "*/Other", "allow": "true"}])),
            Some("no rule allows"),
        ),
        (json!({"allow": "says good", "deny": "true"}), Some("a rule refuses")),
        (json!({"allow": "says good"}), None),
    ] {
        assert_eq!(refused(config.clone()).as_deref(), wanted, "{config}");
    }
}

#[test]
fn each_message_is_judged_by_rules_that_read_it() {
    let allow = bench(json!({"allow": "says good"}));
    assert_eq!(allow.reads().request, Depth::Bodies);
    let mut call = allow.call(&[]).unwrap();
    assert_eq!(call.request_body(b"a good one").unwrap(), None);
    let refusal = call.request_body(b"another").unwrap_err();
    assert_eq!((refusal.code, refusal.reason), (Code::PermissionDenied, Reason::Denied));
    let deny = bench(json!({"allow": "true", "deny": "says bad"}));
    let mut call = deny.call(&[]).unwrap();
    assert_eq!(call.request_body(b"a good one").unwrap(), None);
    assert!(call.request_body(b"a bad one").unwrap_err().message.starts_with("a rule refuses"));
    // What cannot be read is not waved through by either.
    for bench in [&allow, &deny] {
        let refusal = bench.call(&[]).unwrap().request_body(&[0xff]).unwrap_err();
        assert_eq!((refusal.code, refusal.reason), (Code::Unavailable, Reason::SchemaUnavailable));
    }
}

#[test]
fn only_calls_with_a_rule_over_messages_are_followed() {
    let bench = bench(json!({"rules": [
        {"method": "*/Other", "allow": "says good"}, {"method": "*/*", "allow": "true"},
    ]}));
    assert!(!bench.call(&[]).unwrap().is_followed());
}

#[test]
fn a_mistake_is_one_when_it_is_built() {
    for (config, path, said) in [
        (json!({}), "", REFUSES_ALL),
        (json!({"deny": "true"}), "", REFUSES_ALL),
        (json!({"rules": [{"method": "*/*", "deny": "true"}]}), "", REFUSES_ALL),
        (json!({"allow": "what"}), "allow", "`what` is none of"),
        (json!({"allow": "true", "deny": "'text'"}), "deny", "`'text'` is none of"),
        (json!({"allow": "true", "rules": [{"method": "*/*", "allow": "true"}]}), "", "has rules twice"),
        (json!({"rules": [{"method": "*/*", "allow": "true"}, {"method": "*/M"}]}), "rules.1", "says nothing"),
        (json!({"rules": [{"method": "M", "allow": "true"}]}), "", "`M` is no pattern for methods"),
        (json!({"rules": [{"method": "*/M", "allow": "what"}]}), "rules.0.allow", "`what` is none of"),
        (
            json!({"rules": [{"method": "*/M", "allow": "true"}, {"method": "*/M", "deny": "true"}]}),
            "rules.1.method",
            "`*/M` has a rule already",
        ),
    ] {
        let error = Bench::build::<Authz>(config.clone()).err().unwrap_or_else(|| panic!("{config}"));
        assert_eq!(error.path.join("."), path, "{config}");
        assert!(error.message.starts_with(said), "{config}: {}", error.message);
    }
}

#[test]
fn an_open_call_is_asked_for_by_what_needs_no_message() {
    let still = |config: serde_json::Value, rules: &[&str]| {
        let admitted = filter_api::Admitted { tokens: &[], rules };
        Bench::build::<Authz>(config).unwrap().still(&[], &admitted).map(drop).map_err(|refusal| refusal.reason)
    };
    assert_eq!(still(json!({"allow": "true"}), &[]), Ok(()));
    assert_eq!(still(json!({"allow": "false"}), &[]), Err(Reason::Denied));
    assert_eq!(still(json!({"allow": "true", "deny": "fails"}), &[]), Err(Reason::Denied));
    assert_eq!(
        still(json!({"allow": "true", "deny": "says bad"}), &[]),
        Ok(()),
        "its messages are judged as they come"
    );
    assert_eq!(still(json!({"allow": "says good"}), &["says good"]), Ok(()), "it goes by that");
    assert_eq!(still(json!({"allow": "says good"}), &["says fine"]), Err(Reason::Denied));
    assert_eq!(still(json!({"allow": "says good"}), &[]), Err(Reason::Denied), "what let it in is gone");
    assert_eq!(still(json!({"allow": "says good", "deny": "true"}), &["says good"]), Err(Reason::Denied));
}
