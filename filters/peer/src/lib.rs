//! `peer: {spiffe: [spiffe://example.org/agents/*], dns: ["*.agents.example.org"], fingerprints: […]}`: who may call, by the certificate that
//! they have shown. One that any of the lists has may.

mod patterns;

use filter_api::{
    Admitted, BuildCx, BuildError, Code, Factory, Filter, PeerIdentity, Phase, Reason, Refusal, RequestView, Start,
};
use patterns::{DnsPattern, Fingerprint, SpiffePattern};
use schemars::JsonSchema;
use serde::Deserialize;

/// What a person writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PeerConfig {
    /// SPIFFE IDs; `*` stands for one segment of the path, `**` at the end for all that follow.
    spiffe: Vec<SpiffePattern>,
    /// DNS names of the certificate; `*.example.com` stands for one label in front.
    dns: Vec<DnsPattern>,
    /// SHA-256 fingerprints of certificates, as openssl prints them.
    fingerprints: Vec<Fingerprint>,
}

/// The factory.
#[derive(Debug)]
pub struct Peer;

impl Factory for Peer {
    const NAME: &'static str = "peer";
    const PHASE: Phase = Phase::Authenticate;
    type Config = PeerConfig;

    fn build(config: PeerConfig, _: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        if config == PeerConfig::default() {
            let message = "lets nobody call: give `spiffe`, `dns` or `fingerprints` of those who may";
            return Err(BuildError::at(&[], message));
        }
        Ok(Box::new(Rules(config)))
    }
}

struct Rules(PeerConfig);

impl Filter for Rules {
    fn request_head(&self, view: &mut RequestView<'_>) -> Start {
        self.admit(view.call.identity.as_deref()).map_or_else(Start::Refuse, |()| Start::Pass)
    }

    fn still(&self, view: &mut RequestView<'_>, _: &Admitted<'_>) -> Result<(), Box<Refusal>> {
        self.admit(view.call.identity.as_deref())
    }
}

impl Rules {
    fn admit(&self, shown: Option<&PeerIdentity>) -> Result<(), Box<Refusal>> {
        let message = match shown {
            Some(identity) if self.allows(identity) => return Ok(()),
            Some(_) => "the identity of this certificate is none that may call here",
            None => "who calls here must show a certificate, and this connection has none",
        };
        Err(Box::new(Refusal::new(Code::PermissionDenied, Reason::Peer, message)))
    }

    fn allows(&self, PeerIdentity { spiffe, dns, fingerprint, .. }: &PeerIdentity) -> bool {
        let PeerConfig { spiffe: ids, dns: names, fingerprints } = &self.0;
        spiffe.as_ref().is_some_and(|id| ids.iter().any(|pattern| pattern.matches(id)))
            || dns.iter().any(|name| names.iter().any(|pattern| pattern.matches(name)))
            || fingerprints.iter().any(|known| known.matches(fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use filter_api::{Admitted, BuildError, Code, PeerIdentity, Reason};
    use filter_testkit::Bench;
    use serde_json::{Value, json};

    use super::Peer;

    fn identity(spiffe: Option<&str>, dns: &[&str]) -> PeerIdentity {
        PeerIdentity {
            spiffe: spiffe.map(Into::into),
            dns: dns.iter().map(|name| (*name).into()).collect(),
            subject: "CN=spiffe://td/agents/a".into(),
            issuer: "CN=ca".into(),
            fingerprint: "ab".repeat(32).into(),
            not_after: SystemTime::UNIX_EPOCH,
        }
    }

    fn build(config: Value) -> Result<Bench, BuildError> {
        Bench::build::<Peer>(config)
    }

    fn passes(config: Value, identity: Option<PeerIdentity>) -> bool {
        let bench = build(config).unwrap();
        let bench = match identity {
            Some(identity) => bench.for_peer(identity),
            None => bench,
        };
        match bench.call(&[("x-forwarded-client-cert", "URI=spiffe://td/agents/a")]) {
            Ok(call) => {
                assert!(!call.is_followed() && bench.still(&[], &Admitted::default()).is_ok());
                true
            }
            Err(refusal) => {
                assert_eq!(bench.still(&[], &Admitted::default()).err(), Some(refusal.clone()));
                assert_eq!((refusal.code, refusal.reason), (Code::PermissionDenied, Reason::Peer));
                false
            }
        }
    }

    #[test]
    fn only_who_is_listed_may_call() {
        let agents = || json!({"spiffe": ["spiffe://td/agents/*"], "dns": ["*.a.test"]});
        assert!(passes(agents(), Some(identity(Some("spiffe://td/agents/a"), &[]))));
        assert!(passes(agents(), Some(identity(None, &["x.test", "b.a.test"]))));
        assert!(!passes(agents(), Some(identity(Some("spiffe://td/others/a"), &["x.test"]))));
        assert!(!passes(agents(), Some(identity(None, &[]))), "its subject says what it likes");
        assert!(!passes(agents(), None), "what a caller says of itself counts for nothing");
        let prints = |digits: &str| json!({"fingerprints": [digits]});
        assert!(passes(prints(&"AB".repeat(32)), Some(identity(None, &[]))));
        assert!(!passes(prints(&"ac".repeat(32)), Some(identity(None, &[]))));
    }

    #[test]
    fn what_lets_nobody_in_is_no_configuration() {
        assert!(build(json!({})).err().unwrap().message.contains("nobody"));
        assert!(build(json!({"spiffe": []})).err().unwrap().message.contains("nobody"));
        assert!(build(json!({"spiffe": ["agents"]})).err().unwrap().message.contains("spiffe://"));
        assert!(build(json!({"names": ["a"]})).is_err());
    }
}
