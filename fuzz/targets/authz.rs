//! Rules of `authz` that anybody may have written, for a call that anybody may have made: refused with a place in their text, or
//! evaluated to yes, no, or a failure (which refuses), and again to the same; what reads no message goes by none, and what reads one
//! has no answer before its definition is known.
//!
//! The input is an expression, and apart by an octet 0 metadata, claims in JSON and a message.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::UNIX_EPOCH;

use fields::{Method, RequestHead};
use filter_api::{AgentInfo, CallInfo, Claims, PeerIdentity, Protocol, Signed};
use libfuzzer_sys::fuzz_target;
use portunus::expr::{Expression, Facts, Failure, Moment, Place, Wanted};
use portunus::schema::{Definition, Definitions, from_protos};

/// Two methods, whose messages have the same fields under other types.
static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("protos");
    let schema = from_protos(&[root.join("guarded.proto")], &[root]);
    let schema = Arc::new(schema.unwrap_or_else(|error| panic!("the file of this target: {error}")));
    Definitions::of(schema).all().map(|(_, _, definition)| definition.clone()).collect()
});

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(4, |octet| *octet == 0);
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    let metadata = parts.next().unwrap_or_default();
    let claims = parts.next().and_then(|claims| serde_json::from_slice(claims).ok());
    let message = parts.next().unwrap_or_default();
    let rule = match Expression::compile(text, Place::Judge, Wanted::Truth, 100_000) {
        Ok(rule) => rule,
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let line = text.split('\n').nth(problem.line - 1);
                let line = line.unwrap_or_else(|| panic!("{problem} is in no line"));
                assert!(problem.column <= line.chars().count() + 1, "{problem} is behind the end of its line");
            }
            return;
        }
    };
    let (call, head) = (call(claims), head(metadata));
    let facts = Facts { time: Moment::new(1_800_000_000, 5).ok(), ..Facts::of_call(&call, &head) };
    let with_message = Facts { message: Some(message), ..facts.clone() };
    if !rule.reads_message() {
        let judged = rule.holds(&facts, None);
        assert_eq!(judged, rule.holds(&with_message, Some(DEFINITIONS[0].id)), "a message counts that is not read");
        return;
    }
    assert_eq!(rule.holds(&with_message, None), Err(Failure::NoSchema));
    for definition in DEFINITIONS.iter() {
        assert_eq!(rule.holds(&with_message, Some(definition.id)), Err(Failure::NoSchema), "it is not bound yet");
    }
    for definition in DEFINITIONS.iter() {
        let bound = rule.bind(definition);
        let judged = rule.holds(&with_message, Some(definition.id));
        assert_eq!(judged, rule.holds(&with_message, Some(definition.id)));
        if bound.is_err() {
            assert_eq!(judged, Err(Failure::Unknown), "it does not fit this definition, and has an answer by it");
        }
    }
});

fn call(claims: Option<serde_json::Map<String, serde_json::Value>>) -> CallInfo {
    let identity = PeerIdentity {
        spiffe: Some("spiffe://td/agents/a".into()),
        dns: vec!["a.td".into(), "*.b.td".into()],
        subject: "CN=a,O=b".into(),
        issuer: "CN=ca".into(),
        fingerprint: "ab".into(),
        not_after: UNIX_EPOCH,
    };
    let agent = AgentInfo {
        id: "0b6f0c56-9b3e-5f2c-8a1d-3c2b1a09f8e7".into(),
        did: "did:bindu:a:b:0b6f0c56-9b3e-5f2c-8a1d-3c2b1a09f8e7".into(),
        name: "b".into(),
        author: "a".into(),
        owner: "spiffe://td/agents/a".into(),
    };
    CallInfo {
        service: "guarded.Tools".into(),
        method: "Invoke".into(),
        protocol: Protocol::Grpc,
        listener: "edge".into(),
        peer: ([203, 0, 113, 9], 4_711).into(),
        identity: Some(Arc::new(identity)),
        agent: Some(Arc::new(agent)),
        claims: claims.map(|all| Arc::new(Claims { issuer: "idp".into(), all, ends: u64::MAX, signed: Signed::default() })),
        tokens: Vec::new(),
    }
}

/// Lines `name:value`; a name may be there more than once.
fn head(metadata: &[u8]) -> RequestHead {
    let mut head = RequestHead::new(Method::Post, "/guarded.Tools/Invoke", "edge.test", (0, 0));
    for line in metadata.split(|octet| *octet == b'\n').take(32) {
        if let Some(at) = line.iter().position(|octet| *octet == b':')
            && fields::is_name(&line[..at])
            && fields::is_value(&line[at + 1..])
        {
            head.fields.push_as_it_came(&line[..at], &line[at + 1..], false);
        }
    }
    head
}
