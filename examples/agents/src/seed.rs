//! Everything about a backend that would otherwise be random, derived from one number, so that two processes with the
//! same seed agree on every id and figure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// A seed and how many ids of each kind were made from it; clones share the count.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    seed: u64,
    made: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Seed {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, made: Arc::default() }
    }

    /// The next id of a kind: `kind-` and a UUID.
    pub(crate) fn id(&self, kind: &'static str) -> String {
        let number = {
            let mut made = self.made.lock();
            let count = made.entry(kind).or_insert(0);
            *count += 1;
            *count
        };
        format!("{kind}-{}", uuid(&self.hash(kind, &number.to_le_bytes())))
    }

    /// A number below `bound` (at least 1) that depends on the seed and the text alone.
    pub(crate) fn pick(&self, text: &str, bound: u64) -> u64 {
        let hash = self.hash("pick", text.as_bytes());
        let number = hash.iter().take(8).fold(0_u64, |n, byte| (n << 8) | u64::from(*byte));
        number % bound.max(1)
    }

    /// Whether the `number`th of many falls into a share of 0.0 to 1.0.
    pub(crate) fn falls(&self, number: u64, share: f64) -> bool {
        // A million steps: shares are given in percent or less.
        (self.pick(&number.to_string(), 1_000_000) as f64) < share * 1e6
    }

    fn hash(&self, kind: &str, of: &[u8]) -> Vec<u8> {
        let mut hasher = Sha256::new();
        hasher.update(self.seed.to_le_bytes());
        hasher.update(kind);
        hasher.update([0]);
        hasher.update(of);
        hasher.finalize().to_vec()
    }
}

/// A seed for who gave none.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The first 32 hex digits of a hash, written as a UUID.
pub(crate) fn uuid(hash: &[u8]) -> String {
    let hex = hex(hash.get(..16).unwrap_or(hash));
    let mut out = String::with_capacity(36);
    for (i, c) in hex.chars().enumerate() {
        if matches!(i, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(c);
    }
    out
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::{Seed, uuid};

    #[test]
    fn equal_seeds_make_equal_ids() {
        let (one, two, other) = (Seed::new(7), Seed::new(7), Seed::new(8));
        let ids: Vec<_> = (0..3).map(|_| one.id("task")).collect();
        assert_eq!(ids, (0..3).map(|_| two.id("task")).collect::<Vec<_>>());
        assert_ne!(ids[0], ids[1]);
        assert_ne!(ids[0], other.id("task"));
    }

    #[test]
    fn a_share_is_met() {
        let seed = Seed::new(1);
        let hits = (0..10_000).filter(|n| seed.falls(*n, 0.3)).count();
        assert!((2_800..3_200).contains(&hits), "{hits} of 10000");
    }

    #[test]
    fn a_hash_is_written_as_a_uuid() {
        assert_eq!(uuid(&[0xab; 32]), "abababab-abab-abab-abab-abababababab");
    }
}
