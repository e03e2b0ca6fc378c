//! A line: one JSON object that begins with its number and the seal of the line before, and ends with its own. docs/audit.md has the form.

use std::time::SystemTime;

use filter_api::Rfc3339;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::key::{Key, Seal, hex, unhex};

/// No line is longer: values are cut before they get here.
pub(crate) const MOST_LINE: usize = 256 * 1_024;

/// Where a chain has come to: the last line's number and seal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) number: u64,
    pub(crate) seal: Seal,
}

/// A line as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) number: u64,
    /// The seal of the line before.
    pub(crate) before: Seal,
    pub(crate) seal: Seal,
    /// Whether the seal is the one that the line has under the key.
    pub(crate) fits: bool,
    pub(crate) event: String,
    /// Of a `recovered` line: what lies between it and the line that it follows.
    pub(crate) torn: Option<Torn>,
    /// Of an `open` line: the key by its name.
    pub(crate) key: Option<String>,
    /// Of a `gap` line: how many were lost.
    pub(crate) lost: Option<u64>,
}

/// Octets between two lines that are none.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) octets: u64,
    pub(crate) sha256: String,
}

#[derive(Deserialize)]
struct Head {
    n: u64,
    prev: String,
    event: String,
    torn: Option<Torn>,
    key: Option<String>,
    lost: Option<u64>,
}

const KEYED: &[u8] = b",\"hmac\":\"";
const KEYLESS: &[u8] = b",\"hash\":\"";
/// From the comma before the seal to the brace behind it.
const END: usize = KEYED.len() + 64 + 2;

/// Writes the next line of a chain, whose event and other fields are given as JSON without braces.
pub(crate) fn write(out: &mut Vec<u8>, key: &Key, last: Link, time: SystemTime, fields: &[u8]) -> Link {
    let begin = out.len();
    let number = last.number + 1;
    let head = format!("{{\"n\":{number},\"prev\":\"{}\",\"time\":\"{}\",", hex(&last.seal), Rfc3339(time));
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(fields);
    let seal = key.seal(out.get(begin..).unwrap_or_default());
    out.extend_from_slice(if key.is_some() { KEYED } else { KEYLESS });
    out.extend_from_slice(hex(&seal).as_bytes());
    out.extend_from_slice(b"\"}\n");
    Link { number, seal }
}

/// Reads a line, without its break; none where it has not the form of one.
pub(crate) fn read(line: &[u8], key: &Key) -> Option<Line> {
    let (body, end) = line.split_at_checked(line.len().checked_sub(END)?)?;
    let (name, rest) = end.split_at_checked(KEYED.len())?;
    let seal = unhex(rest.strip_suffix(b"\"}")?)?;
    let keyed = match name {
        KEYED => true,
        KEYLESS => false,
        _ => return None,
    };
    let Head { n, prev, event, torn, key: named, lost } = serde_json::from_slice(line).ok()?;
    let fits = keyed == key.is_some() && key.seal(body) == seal;
    Some(Line { number: n, before: unhex(prev.as_bytes())?, seal, fits, event, torn, key: named, lost })
}

impl Line {
    pub(crate) fn link(&self) -> Link {
        Link { number: self.number, seal: self.seal }
    }
}

impl Torn {
    pub(crate) fn of(octets: &[u8]) -> Self {
        Self { octets: octets.len() as u64, sha256: hex(&Sha256::digest(octets)) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{Key, Link, read, write};

    #[test]
    fn a_line_says_what_it_follows_and_is_sealed() {
        let (key, mut out) = (Key::of(&[7; 32]).unwrap(), Vec::new());
        let time = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let first = write(&mut out, &key, Link::default(), time, br#""event":"open""#);
        let second = write(&mut out, &key, first, time, br#""event":"begin","x":"y""#);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(&format!(
            r#"{{"n":1,"prev":"{}","time":"2026-09-21T14:13:20.000Z","event":"open","hmac":""#,
            "0".repeat(64)
        )));
        let read_second = read(lines[1].as_bytes(), &key).unwrap();
        assert_eq!((read_second.link(), read_second.before, read_second.fits), (second, first.seal, true));
        assert!(!read(lines[1].replace('y', "z").as_bytes(), &key).unwrap().fits);
        assert!(!read(lines[1].as_bytes(), &Key::none()).unwrap().fits);
        for torn in [&lines[1][..lines[1].len() - 1], &lines[1][5..], "", "{}"] {
            assert!(read(torn.as_bytes(), &key).is_none(), "{torn}");
        }
    }
}
