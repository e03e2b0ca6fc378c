//! Metadata that only the proxy may write: removed from every caller before anything looks at it (DESIGN.md §4).

use fields::Fields;

/// Removes what a caller must not say about itself: `x-forwarded-*`, the client certificate's header, names of ours, and
/// `extra` names (what filters set as identity, without `-bin` and with `-` for `_`), each also in its `-bin` form and with `_` for `-`.
///
/// `x-portunus-agent` and `x-portunus-hops` are for callers to say; they stay. True if the latter is there.
pub fn strip_identity(fields: &mut Fields, extra: &[String]) -> bool {
    let mut hops = false;
    // Most calls carry none: one pass that compares first bytes.
    fields.retain(|name, _| {
        hops |= name == b"x-portunus-hops";
        !is_identity(name, extra)
    });
    hops
}

fn is_identity(name: &[u8], extra: &[String]) -> bool {
    let of_ours = matches!(name, [b'x', b'-' | b'_', b'f' | b'p', ..]) && is_reserved(name);
    of_ours
        || (!extra.is_empty()
            && extra.iter().any(|identity| {
                let bare = name.strip_suffix(b"-bin").or_else(|| name.strip_suffix(b"_bin")).unwrap_or(name);
                same_name(bare, identity)
            }))
}

fn is_reserved(name: &[u8]) -> bool {
    if starts_with(name, "x-portunus-") {
        return !matches!(name, b"x-portunus-agent" | b"x-portunus-hops");
    }
    starts_with(name, "x-forwarded-")
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
    use fields::Fields;

    use super::strip_identity;

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
        assert!(
            strip_identity(&mut fields, &["x-user-id".to_owned(), "x-roles".to_owned()]),
            "it says where it has been"
        );
        assert_eq!(fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), kept);
    }
}
