//! Who may ask the admin server, built of `admin`: its TLS, the token, the names under which it is asked.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use filter_api::read_secret;
use portunus_tls::Server;
use sha2::{Digest as _, Sha256};

use super::file::Admin;
use super::{Problem, Source, secure};
use crate::path;

/// Octets of the shortest token: what can be tried in a lifetime must not be among them.
const LEAST: usize = 32;

/// Who may ask the admin server.
#[derive(Debug, Default)]
pub struct Access {
    /// What its connections need for TLS; none where they are in the clear.
    pub tls: Option<Arc<Server>>,
    /// What every request must bring, if it must.
    pub token: Option<Token>,
    /// Names besides IP literals and `localhost` under which it may be asked, in lower case.
    pub hosts: BTreeSet<String>,
    /// Others may listen on the way.
    pub overheard: bool,
}

/// A secret that requests bring. Only its hash is kept.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Access {
    /// Reads certificates and the token. `before` is what was in force.
    pub(super) fn build(admin: &Admin, source: &Source, before: Option<&Self>, problems: &mut Vec<Problem>) -> Self {
        let at = path!["admin"];
        let before = before.and_then(|before| before.tls.as_deref());
        let tls = admin.tls.as_ref().and_then(|tls| {
            let made = secure::server(source, &at.with("tls"), (tls, secure::HTTP1), before);
            made.map_err(|problem| problems.push(problem)).ok()
        });
        let token = admin.token_file.as_ref().and_then(|file| {
            let read = source.to_read(file).and_then(|file| read_secret(&file)).and_then(|secret| Token::of(&secret));
            let told = |why: String| source.error_at(&at.with("token_file"), format!("`{}` {why}", file.display()));
            read.map_err(|why| problems.push(told(why))).ok()
        });
        let overheard = tls.is_none() && !admin.address.0.ip().to_canonical().is_loopback();
        let hosts = admin.hosts.iter().map(|host| host.to_string().to_ascii_lowercase()).collect();
        Self { tls: tls.map(Arc::new), token, hosts, overheard }
    }

    /// What works, and would be better otherwise.
    pub(super) fn warning(&self) -> Option<String> {
        let message =
            "admin.token_file: whoever can listen on the way to `admin.address` can read the token: add `tls`";
        (self.token.is_some() && self.overheard).then(|| message.to_owned())
    }
}

impl Token {
    /// A token that can stand in a header as it is (RFC 6750 section 2.1).
    ///
    /// # Errors
    /// It is too short, or has other characters.
    pub fn of(octets: &[u8]) -> Result<Self, String> {
        let plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~+/=".contains(octet);
        if octets.len() < LEAST {
            let has = octets.len();
            return Err(format!(
                "has a token of {has} characters, and {LEAST} is the least: make one with `openssl rand -hex 32`"
            ));
        }
        if !octets.iter().all(plain) {
            let message = "has characters in it that no token has (letters, digits and `-._~+/=`): make one with `openssl rand -hex 32`";
            return Err(message.to_owned());
        }
        Ok(Self(Sha256::digest(octets).into()))
    }

    /// Whether this is it. How long that takes says nothing: hashes are compared, and to the end.
    pub fn is(&self, shown: &[u8]) -> bool {
        let shown = Sha256::digest(shown);
        self.0.iter().zip(shown).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn a_token_is_itself_alone_and_never_shown() {
        let text = "0123456789abcdef0123456789ABCDEF";
        let token = Token::of(text.as_bytes()).unwrap();
        assert!(token.is(text.as_bytes()));
        for other in ["", &text[1..], &text.to_lowercase(), &format!("{text} "), &format!("{text}0")] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{token:?}"), "Token(***)");
    }

    #[test]
    fn what_can_be_guessed_or_cannot_be_sent_is_no_token() {
        assert!(Token::of(&[b'a'; 31]).unwrap_err().contains("31 characters"));
        for wrong in ["ä", " ", "\n", ":", "\0"] {
            let text = format!("{}{wrong}", "a".repeat(40));
            assert!(Token::of(text.as_bytes()).unwrap_err().contains("openssl"), "{wrong:?}");
        }
    }
}
