//! What lines are sealed with: HMAC-SHA256 with a key from a file, or SHA-256 without one. A key is never shown.

use std::fmt;
use std::path::Path;

use filter_api::read_secret;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// The shortest key: what HMAC-SHA256 gives of strength, a key must have.
const LEAST: usize = 32;

/// The seal of a line.
pub(crate) type Seal = [u8; 32];

/// What seals lines.
#[derive(Clone)]
pub struct Key(Option<Hmac<Sha256>>);

impl Key {
    /// No key: SHA-256, which shows accidents and not attackers.
    pub fn none() -> Self {
        Self(None)
    }

    /// A key of these octets.
    ///
    /// # Errors
    /// It is too short.
    pub fn of(octets: &[u8]) -> Result<Self, String> {
        if octets.len() < LEAST {
            return Err(format!(
                "has a key of {} octets, and {LEAST} is the least: make one with `openssl rand -hex 32`",
                octets.len()
            ));
        }
        let mac = Hmac::new_from_slice(octets).map_err(|_| "has a key that cannot be used".to_owned())?;
        Ok(Self(Some(mac)))
    }

    /// The key in a [file of a secret](read_secret).
    ///
    /// # Errors
    /// What is wrong with the file, in words that follow its name.
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::of(&read_secret(path)?)
    }

    /// Whether there is one.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The seal of a line.
    pub(crate) fn seal(&self, body: &[u8]) -> Seal {
        match &self.0 {
            Some(key) => key.clone().chain_update(body).finalize().into_bytes().into(),
            None => Sha256::digest(body).into(),
        }
    }

    /// By what a file says which key it was sealed with; none without a key. It gives nothing of the key away: a line's seal does not either.
    pub(crate) fn id(&self) -> Option<String> {
        let key = self.0.as_ref()?;
        let seal = key.clone().chain_update(b"portunus audit key").finalize().into_bytes();
        Some(hex(seal.get(..8).unwrap_or_default()))
    }

    /// Whether both seal alike.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.is_some() == other.is_some() && self.seal(b"alike?") == other.seal(b"alike?")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_some() { "Key(***)" } else { "Key(none)" })
    }
}

/// In hexadecimal digits.
pub(crate) fn hex(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = octets.iter().flat_map(|octet| [DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
    digits.map(char::from).collect()
}

/// The seal in so many lower-case digits.
pub(crate) fn unhex(digits: &[u8]) -> Option<Seal> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut seal = Seal::default();
    if digits.len() != 2 * seal.len() {
        return None;
    }
    for (octet, pair) in seal.iter_mut().zip(digits.as_chunks::<2>().0) {
        *octet = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(seal)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::{Key, hex, unhex};
    use crate::scratch::Scratch;

    #[test]
    fn a_key_file_is_looked_at_closely() {
        let folder = Scratch::new("key");
        let read = |name: &str, text: &[u8], mode: u32| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            Key::read(&path)
        };
        let secret = b"0123456789abcdef0123456789abcdef";
        let one = read("one", secret, 0o600).unwrap();
        let two = read("two", &[secret.as_slice(), b"\n"].concat(), 0o440).unwrap();
        assert!(one.is_as(&two) && !one.is_as(&Key::none()) && one.id() == two.id());
        assert!(read("short", &secret[1..], 0o600).unwrap_err().contains("31 octets"));
        assert!(read("others", secret, 0o604).unwrap_err().contains("mode 0604"));
        assert!(read("group", secret, 0o620).unwrap_err().contains("chmod 0600"));
        assert!(read("large", &[b'x'; 4_097], 0o600).unwrap_err().contains("over 4096"));
        assert!(Key::read(&folder).unwrap_err().contains("is no file"));
        assert!(Key::read(&folder.join("none")).unwrap_err().contains("cannot be read"));
        assert_eq!(format!("{one:?} {:?}", Key::none()), "Key(***) Key(none)");
    }

    /// RFC 4231, test case 6.
    #[test]
    fn seals_are_hmac_sha256() {
        let key = Key::of(&[0xaa; 131]).unwrap();
        let seal = key.seal(b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(&seal), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
        assert_eq!(unhex(hex(&seal).as_bytes()), Some(seal));
        assert_eq!(unhex(&[b'G'; 64]), None);
    }
}
