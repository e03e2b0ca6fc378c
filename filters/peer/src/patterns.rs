//! Patterns for the names that certificates have. Each is text in the configuration; what it means is decided once, at load.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

/// A SPIFFE ID, in which `*` stands for one segment of the path, and `**` at its end for one or more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", inline)]
pub(crate) struct SpiffePattern {
    /// Scheme, trust domain and path, by `/`.
    segments: Vec<String>,
    /// More may follow, one at least.
    and_below: bool,
}

/// A DNS name, whose first label may be `*` for any one label.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", inline)]
pub(crate) struct DnsPattern {
    /// In lower case; what follows `*.` where that is so.
    name: String,
    any_first: bool,
}

/// SHA-256 of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", inline)]
pub(crate) struct Fingerprint(String);

impl SpiffePattern {
    pub(crate) fn matches(&self, id: &str) -> bool {
        let mut segments = id.split('/');
        let fits = |pattern: &String, segment: &str| pattern == "*" || pattern == segment;
        let here = self.segments.iter().all(|pattern| segments.next().is_some_and(|segment| fits(pattern, segment)));
        here && segments.next().is_some() == self.and_below
    }
}

impl DnsPattern {
    pub(crate) fn matches(&self, name: &str) -> bool {
        if !self.any_first {
            return name == self.name;
        }
        name.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest == self.name)
    }
}

impl Fingerprint {
    pub(crate) fn matches(&self, fingerprint: &str) -> bool {
        self.0 == fingerprint
    }
}

impl FromStr for SpiffePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("`{text}` is no pattern for SPIFFE IDs: {why}"));
        let Some(rest) = text.strip_prefix("spiffe://") else {
            return wrong("write `spiffe://trust-domain/path`, where `*` stands for one segment of the path");
        };
        let mut parts: Vec<&str> = rest.split('/').collect();
        let and_below = parts.len() > 1 && parts.last() == Some(&"**");
        if and_below {
            parts.pop();
        }
        let Some((domain, path)) = parts.split_first() else { return wrong("it has no trust domain") };
        let in_domain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'_');
        if domain.is_empty() || !domain.bytes().all(in_domain) {
            return wrong("a trust domain is written out, in lower-case letters, digits, `.`, `-` and `_`");
        }
        for segment in path {
            let plain = segment.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'));
            if *segment != "*" && (!plain || matches!(*segment, "" | "." | "..")) {
                return wrong(
                    "a segment of its path has letters, digits, `.`, `-` and `_`, or is `*` as a whole; `**` is for the end",
                );
            }
        }
        let segments = ["spiffe:", ""].into_iter().chain(parts).map(str::to_owned).collect();
        Ok(Self { segments, and_below })
    }
}

impl FromStr for DnsPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let (name, any_first) = lower.strip_prefix("*.").map_or((lower.as_str(), false), |rest| (rest, true));
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
        };
        if !name.split('.').all(label) {
            return Err(format!("`{text}` is no DNS name such as `agent.example.com` or `*.example.com`"));
        }
        Ok(Self { name: name.to_owned(), any_first })
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // As openssl prints it, too.
        let digits = text.replace(':', "").to_ascii_lowercase();
        if digits.len() != 64 || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(format!(
                "`{text}` is no SHA-256 fingerprint: take what `openssl x509 -noout -fingerprint -sha256 -in FILE` prints behind `=`"
            ));
        }
        Ok(Self(digits))
    }
}

macro_rules! from_text {
    ($($type:ident),*) => { $(
        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    )* };
}
from_text!(SpiffePattern, DnsPattern, Fingerprint);

#[cfg(test)]
mod tests {
    use super::{DnsPattern, Fingerprint, SpiffePattern};

    #[test]
    fn a_star_is_one_segment_and_two_are_all_that_follow() {
        let matches = |pattern: &str, id: &str| pattern.parse::<SpiffePattern>().unwrap().matches(id);
        assert!(matches("spiffe://td/a/b", "spiffe://td/a/b"));
        assert!(matches("spiffe://td", "spiffe://td"));
        assert!(matches("spiffe://td/ns/*/sa/web", "spiffe://td/ns/prod/sa/web"));
        assert!(matches("spiffe://td/**", "spiffe://td/a/b/c") && matches("spiffe://td/a/*", "spiffe://td/a/b"));
        for (pattern, id) in [
            ("spiffe://td/a/b", "spiffe://td/a/bc"),
            ("spiffe://td/a/b", "spiffe://td/a"),
            ("spiffe://td/a", "spiffe://td/a/b"),
            ("spiffe://td/*", "spiffe://td/a/b"),
            ("spiffe://td/*", "spiffe://td"),
            ("spiffe://td/**", "spiffe://td"),
            ("spiffe://td/**", "spiffe://td.evil/a"),
            ("spiffe://td/ns/*/sa/web", "spiffe://td/ns/a/b/sa/web"),
            ("spiffe://td/a", "spiffe://other/a"),
        ] {
            assert!(!matches(pattern, id), "{pattern} {id}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "",
            "td/a",
            "spiffe://",
            "spiffe://*/a",
            "spiffe://TD/a",
            "spiffe://td/",
            "spiffe://td//a",
            "spiffe://td/a*",
            "spiffe://td/**/a",
            "spiffe://**",
            "spiffe://td/..",
            "spiffe://td/a?b",
            "https://td/a",
        ] {
            assert!(bad.parse::<SpiffePattern>().is_err(), "{bad}");
        }
        for bad in ["", "*", "*.", "a..b", "a.*.b", "**.a", "a b", ".a"] {
            assert!(bad.parse::<DnsPattern>().is_err(), "{bad}");
        }
        for bad in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_and_fingerprints() {
        let matches = |pattern: &str, name: &str| pattern.parse::<DnsPattern>().unwrap().matches(name);
        assert!(matches("A.test", "a.test") && matches("*.a.test", "b.a.test") && matches("*.a.test", "*.a.test"));
        assert!(
            !matches("*.a.test", "a.test") && !matches("*.a.test", "c.b.a.test") && !matches("*.a.test", ".a.test")
        );
        assert!(!matches("b.a.test", "*.a.test"), "a wildcard in a certificate is no name of one host");
        let digits = "0123456789abcdef".repeat(4);
        let printed = digits.as_bytes().chunks(2).map(|two| String::from_utf8_lossy(two).to_uppercase());
        let printed = printed.collect::<Vec<_>>().join(":");
        assert!(printed.parse::<Fingerprint>().unwrap().matches(&digits));
    }
}
