//! What a registrant has shown of itself: whoever answers at its instance's address by TLS must show as much.

use std::sync::Arc;

/// By what a caller of the registrar was told from others, apart from whom the registry's `owner` takes it for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// A certificate with this SPIFFE ID.
    Spiffe(Arc<str>),
    /// A certificate without one, of this subject by this issuer.
    Certificate {
        /// As RFC 4514 writes it. Not empty.
        subject: Arc<str>,
        /// In the same way.
        issuer: Arc<str>,
    },
    /// A token, or a certificate that names nobody: nothing that the instance's own certificate could carry.
    Token,
    /// Nothing.
    Nothing,
    /// It was not kept: an older Portunus wrote the record.
    #[default]
    Unknown,
}

/// Its form in a record: a number, and two texts.
pub(super) type Kept = (u32, String, String);

impl Shown {
    pub(super) fn to_kept(&self) -> Kept {
        let plain = |number| (number, String::new(), String::new());
        match self {
            Self::Unknown => plain(0),
            Self::Spiffe(id) => (1, id.to_string(), String::new()),
            Self::Certificate { subject, issuer } => (2, subject.to_string(), issuer.to_string()),
            Self::Token => plain(3),
            Self::Nothing => plain(4),
        }
    }

    /// What makes no sense is unknown, which lets the fewest answer.
    pub(super) fn of_kept((number, name, issuer): (u32, &str, &str)) -> Self {
        match (number, name) {
            (1, id) if !id.is_empty() => Self::Spiffe(id.into()),
            (2, subject) if !subject.is_empty() => Self::Certificate { subject: subject.into(), issuer: issuer.into() },
            (3, _) => Self::Token,
            (4, _) => Self::Nothing,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Shown;

    #[test]
    fn what_is_kept_comes_back_and_nothing_else_passes_for_it() {
        let certificate = Shown::Certificate { subject: "CN=a".into(), issuer: "CN=b".into() };
        for shown in [Shown::Spiffe("spiffe://td/a".into()), certificate, Shown::Token, Shown::Nothing, Shown::Unknown]
        {
            let (number, name, issuer) = shown.to_kept();
            assert_eq!(Shown::of_kept((number, &name, &issuer)), shown);
        }
        for odd in [(0, "spiffe://td/a", ""), (1, "", ""), (2, "", "CN=b"), (5, "x", "y")] {
            assert_eq!(Shown::of_kept(odd), Shown::Unknown, "{odd:?}");
        }
    }
}
