//! The form of a SPIFFE ID (SPIFFE-ID standard, section 2): a trust domain, and a path of plain segments.

/// Octets of an ID.
const MOST: usize = 2_048;
/// Octets of a trust domain.
const MOST_DOMAIN: usize = 255;
const SCHEME: &str = "spiffe:";

/// Whether `uri` is a SPIFFE ID in the one form that it has: there is nothing to normalise, so that equal IDs are equal texts.
pub fn is_spiffe_id(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("spiffe://").filter(|_| uri.len() <= MOST) else { return false };
    let (domain, path) = rest.find('/').map_or((rest, None), |at| (&rest[..at], Some(&rest[at + 1..])));
    let in_domain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'_');
    let in_path = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    let segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_path);
    (1..=MOST_DOMAIN).contains(&domain.len())
        && domain.bytes().all(in_domain)
        && path.is_none_or(|path| path.split('/').all(segment))
}

/// Whether `uri` means to be one, however it is spelled: schemes are equal in any case (RFC 3986 §3.1).
pub(crate) fn claims_to_be(uri: &str) -> bool {
    uri.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

#[cfg(test)]
mod tests {
    use super::{claims_to_be, is_spiffe_id};

    #[test]
    fn an_id_has_one_form() {
        for good in ["spiffe://td", "spiffe://example.org/ns/prod/sa/agent-1", "spiffe://a_b-c.d/E_f.g"] {
            assert!(is_spiffe_id(good) && claims_to_be(good), "{good}");
        }
        let long = format!("spiffe://td/{}", "a".repeat(2_048));
        let domain = format!("spiffe://{}", "a".repeat(256));
        let bad = [
            "SPIFFE://td/a",
            "spiffe://",
            "spiffe:///a",
            "spiffe://TD/a",
            "spiffe://td/",
            "spiffe://td//a",
            "spiffe://td/./a",
            "spiffe://td/..",
            "spiffe://td/a?b",
            "spiffe://td/a#b",
            "spiffe://td:80/a",
            "spiffe://u@td/a",
            "spiffe://td/%61",
            "spiffe://td/a\0",
            "spiffe://td/ä",
            "spiffe:td/a",
            &long,
            &domain,
        ];
        for bad in bad {
            assert!(!is_spiffe_id(bad) && claims_to_be(bad), "{bad}");
        }
        assert!(!claims_to_be("https://td/a") && !claims_to_be("spiff") && !claims_to_be("ä"));
    }
}
