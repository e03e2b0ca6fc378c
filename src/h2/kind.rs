//! What a field is and what is wrong with it, by its name and value alone (RFC 9113 §8.2). The decoder keeps the answer with the
//! field, so that one that comes again by its index is not looked at again.

use fields::{is_name, is_value};

/// A kind of field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Nothing is special about it, and nothing wrong.
    Plain,
    ContentLength,
    Method,
    Scheme,
    Path,
    Authority,
    Status,
    /// A pseudo-field that neither requests nor responses have.
    OtherPseudo,
    /// A pseudo-field whose value it cannot have.
    BadPseudo,
    BadName,
    BadValue,
    /// It is for one connection, and HTTP/2 has no such fields.
    Hop,
    BadTe,
}

const ALL: [Kind; 13] = [
    Kind::Plain,
    Kind::ContentLength,
    Kind::Method,
    Kind::Scheme,
    Kind::Path,
    Kind::Authority,
    Kind::Status,
    Kind::OtherPseudo,
    Kind::BadPseudo,
    Kind::BadName,
    Kind::BadValue,
    Kind::Hop,
    Kind::BadTe,
];

/// The mark of a field ([`hpack::Judge`]).
pub(super) fn judge(name: &[u8], value: &[u8]) -> u8 {
    (if name.first() == Some(&b':') { pseudo(name, value) } else { regular(name, value) }) as u8
}

fn pseudo(name: &[u8], value: &[u8]) -> Kind {
    let (kind, good) = match name {
        b":method" => (Kind::Method, is_value(value)),
        b":scheme" => (Kind::Scheme, is_value(value)),
        b":path" => (Kind::Path, is_value(value)),
        // What is matched is text; a host is never anything else.
        b":authority" => (Kind::Authority, value.iter().all(u8::is_ascii_graphic)),
        b":status" => (Kind::Status, is_value(value)),
        _ => (Kind::OtherPseudo, true),
    };
    if good { kind } else { Kind::BadPseudo }
}

fn regular(name: &[u8], value: &[u8]) -> Kind {
    if !is_name(name) {
        return Kind::BadName;
    }
    if !is_value(value) {
        return Kind::BadValue;
    }
    match name {
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => Kind::Hop,
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => Kind::BadTe,
        b"content-length" => Kind::ContentLength,
        _ => Kind::Plain,
    }
}

impl Kind {
    /// The kind that a mark stands for.
    #[inline]
    pub(super) fn of(mark: u8) -> Self {
        ALL.get(usize::from(mark)).copied().unwrap_or(Self::BadName)
    }

    #[inline]
    pub(super) fn is_pseudo(self) -> bool {
        matches!(
            self,
            Self::Method
                | Self::Scheme
                | Self::Path
                | Self::Authority
                | Self::Status
                | Self::OtherPseudo
                | Self::BadPseudo
        )
    }

    /// Which rule it breaks wherever it stands.
    pub(super) fn fault(self) -> &'static str {
        match self {
            Self::OtherPseudo => "a pseudo-field that is none (§8.3)",
            Self::BadPseudo => "a pseudo-field with a value that it cannot have (§8.2.1, §8.3.1)",
            Self::BadValue => "a field value with a control character, or a blank at an end (§8.2.1)",
            Self::Hop => "a field of one connection (§8.2.2)",
            Self::BadTe => "te other than trailers (§8.2.2)",
            _ => "a field name that is no lower-case token (§8.2.1)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Kind, judge};

    #[test]
    fn every_kind_has_its_mark() {
        for kind in ALL {
            assert_eq!(Kind::of(kind as u8), kind);
        }
        assert_eq!(Kind::of(200), Kind::BadName);
    }

    #[test]
    fn fields_are_told_by_name_and_value() {
        for (name, value, kind) in [
            ("x-a", "v", Kind::Plain),
            ("te", "Trailers", Kind::Plain),
            ("te", "gzip", Kind::BadTe),
            ("content-length", "x", Kind::ContentLength),
            (":path", "/a", Kind::Path),
            (":path", "/a\0", Kind::BadPseudo),
            (":authority", "a b", Kind::BadPseudo),
            (":protocol", "x", Kind::OtherPseudo),
            ("upgrade", "h2c", Kind::Hop),
            ("X-A", "v", Kind::BadName),
            ("", "v", Kind::BadName),
            ("x-a", " v", Kind::BadValue),
        ] {
            assert_eq!(Kind::of(judge(name.as_bytes(), value.as_bytes())), kind, "{name}: {value}");
        }
    }
}
