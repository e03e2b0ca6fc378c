//! Metadata that only the proxy may write: removed from every caller before anything looks at it (DESIGN.md §4).

use fields::Fields;
use filter_api::PeerIdentity;

/// What the proxy itself says of the caller's certificate.
pub const CLIENT_CERT: &str = "x-forwarded-client-cert";
/// Octets of it, at most: what is longer says the fingerprint and the SPIFFE ID only.
const MOST: usize = 4_096;

/// Who the caller is, in the form that Envoy gives this header.
pub fn client_cert(identity: &PeerIdentity) -> Vec<u8> {
    let mut short = format!("Hash={}", identity.fingerprint);
    let mut text = format!("{short};Subject=\"{}\"", identity.subject);
    if let Some(id) = &identity.spiffe {
        let uri = format!(";URI={id}");
        short.push_str(&uri);
        text.push_str(&uri);
    }
    for name in &identity.dns {
        text.push_str(";DNS=");
        text.push_str(name);
    }
    let mut value = Vec::with_capacity(text.len());
    for octet in text.bytes() {
        // Headers are ASCII; RFC 4514 lets any octet of a name be written so.
        match octet {
            b' '..=b'~' => value.push(octet),
            _ => value.extend_from_slice(format!("\\{octet:02X}").as_bytes()),
        }
    }
    if value.len() > MOST { short.into_bytes() } else { value }
}

/// Removes what a caller must not say about itself: `x-forwarded-*`, the client certificate's header, names of ours, and
/// `extra` names (what filters set as identity, without `-bin` and with `-` for `_`), each also in its `-bin` form and with `_` for `-`.
/// From a `trusted` proxy, `x-forwarded-*` stay that are written so, but for the certificate's.
///
/// `x-portunus-agent` and `x-portunus-hops` are for callers to say; they stay. True if the latter is there.
pub fn strip_identity(fields: &mut Fields, extra: &[String], trusted: bool) -> bool {
    let mut hops = false;
    // Most calls carry none: one pass that compares first bytes.
    fields.retain(|name, _| {
        hops |= name == b"x-portunus-hops";
        !is_identity(name, extra, trusted)
    });
    hops
}

fn is_identity(name: &[u8], extra: &[String], trusted: bool) -> bool {
    let of_ours =
        matches!(name, [b'x', b'-' | b'_', b'f' | b'p', ..]) && is_reserved(name) && !(trusted && is_forwarded(name));
    if of_ours || extra.is_empty() {
        return of_ours;
    }
    let bare = name.strip_suffix(b"-bin").or_else(|| name.strip_suffix(b"_bin")).unwrap_or(name);
    extra.iter().any(|identity| same_name(bare, identity))
}

fn is_reserved(name: &[u8]) -> bool {
    if starts_with(name, "x-portunus-") {
        return !matches!(name, b"x-portunus-agent" | b"x-portunus-hops");
    }
    starts_with(name, "x-forwarded-")
}

/// What proxies say of a call. Other spellings are none of theirs: a proxy that knows only its own lets them through from anybody.
fn is_forwarded(name: &[u8]) -> bool {
    let spelled = name.starts_with(b"x-forwarded-") && !name.contains(&b'_') && !name.ends_with(b"-bin");
    spelled && !name.starts_with(CLIENT_CERT.as_bytes())
}

/// Equal, where `-` and `_` count as one: many servers fold them into one variable name.
fn same_name(name: &[u8], identity: &str) -> bool {
    name.len() == identity.len() && starts_with(name, identity)
}

fn starts_with(name: &[u8], prefix: &str) -> bool {
    name.len() >= prefix.len() && name.iter().zip(prefix.as_bytes()).all(|(a, b)| a == b || (*a == b'_' && *b == b'-'))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use fields::Fields;
    use filter_api::PeerIdentity;

    use super::{client_cert, strip_identity};

    #[test]
    fn a_certificate_is_told_as_envoy_does() {
        let mut identity = PeerIdentity {
            spiffe: Some("spiffe://td/a".into()),
            dns: vec!["a.test".into(), "*.b.test".into()],
            subject: "CN=a\\\"é,O=x".into(),
            issuer: "CN=ca".into(),
            fingerprint: "ab12".into(),
            not_after: SystemTime::UNIX_EPOCH,
        };
        let text = |identity: &PeerIdentity| String::from_utf8(client_cert(identity)).unwrap();
        assert_eq!(
            text(&identity),
            "Hash=ab12;Subject=\"CN=a\\\"\\C3\\A9,O=x\";URI=spiffe://td/a;DNS=a.test;DNS=*.b.test"
        );
        identity.subject = "x".repeat(5_000).into();
        assert_eq!(text(&identity), "Hash=ab12;URI=spiffe://td/a");
    }

    #[test]
    fn only_the_proxy_writes_identity() {
        let gone = [
            "x-forwarded-client-cert",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-forwarded-client-cert-bin",
            "x-portunus-x",
            "x_portunus_agent",
            "x-portunus-agent-bin",
            "x-user-id",
            "x_user_id",
            "x-user-id-bin",
            "x_user_id_bin",
            "x-user_id-bin",
            "x-roles-bin",
            "x-roles",
            "x_roles_bin",
        ];
        let kept =
            ["x-portunus-agent", "x-portunus-hops", "x-user-idx", "x-f", "x-forwarded", "authorization", "user-id"];
        let mut fields = Fields::default();
        for name in gone.iter().chain(&kept) {
            fields.push(name, b"v");
        }
        let set = ["x-user-id".to_owned(), "x-roles".to_owned()];
        assert!(strip_identity(&mut fields, &set, false), "it says where it has been");
        assert_eq!(fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), kept);
    }

    #[test]
    fn a_trusted_proxy_writes_what_proxies_write() {
        let gone = [
            "x-forwarded-client-cert",
            "x-forwarded-client-cert-chain",
            "x-forwarded-for-bin",
            "x_forwarded_for",
            "x-forwarded_for",
            "x-forwarded-for_bin",
            "x-portunus-owner",
            "x-user-id",
            "x-forwarded-user",
        ];
        let kept = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"];
        let mut fields = Fields::default();
        for name in gone.iter().chain(&kept) {
            fields.push(name, b"v");
        }
        // A filter's own name is the filter's alone, whatever it is.
        strip_identity(&mut fields, &["x-user-id".to_owned(), "x-forwarded-user".to_owned()], true);
        assert_eq!(fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), kept);
    }
}
