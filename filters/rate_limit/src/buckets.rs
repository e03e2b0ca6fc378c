//! What each key has used of its rate, by the generic cell rate algorithm: of a key one number is kept, the time at which it will have used
//! nothing any more. Bounded: where there are too many keys, the one that is nearest to that time is forgotten.
//!
//! <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>, as a virtual scheduler.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Workers seldom meet at one of so many.
const SHARDS: usize = 16;
/// With fewer keys than this there is one shard: a bound that is divided is not met exactly.
const LEAST_KEYS: usize = 1_024;
/// Keys that have used nothing any more, of which so many are forgotten when another call comes.
const SWEPT: usize = 2;

/// What keys have used. Outlives the filter that counts in it.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// Keys are kept by their hash, 8 octets whatever a caller sends. It is seeded, so that nobody can make two that collide.
    hash: RandomState,
    begun: Instant,
    shards: Vec<Mutex<Shard>>,
}

/// How much a key may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Nanoseconds that each call uses.
    pub(crate) interval: u64,
    /// Nanoseconds that may be used ahead.
    pub(crate) ahead: u64,
    /// The most keys that are kept.
    pub(crate) keys: usize,
}

#[derive(Debug, Default)]
struct Shard {
    /// By the hash of a key, the time at which it has used nothing.
    free_at: HashMap<u64, u64, BuildHasherDefault<AsIs>>,
    /// The same by time.
    order: BTreeSet<(u64, u64)>,
}

/// Keys are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = self.0 << 8 | u64::from(*octet);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

impl Default for Buckets {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hash: RandomState::new(), begun: Instant::now(), shards }
    }
}

impl Buckets {
    /// Takes a call of a key.
    ///
    /// # Errors
    /// It may not begin yet; in so many nanoseconds it may.
    pub(crate) fn take(&self, key: &str, allowance: Allowance) -> Result<(), u64> {
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let key = self.hash.hash_one(key);
        let shards = if allowance.keys < LEAST_KEYS { 1 } else { SHARDS };
        let at = usize::try_from(key >> 32).unwrap_or_default() % shards;
        let Some(shard) = self.shards.get(at) else { return Ok(()) };
        shard.lock().take(key, now, Allowance { keys: allowance.keys.div_ceil(shards), ..allowance })
    }

    /// Keys that are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().free_at.len()).sum()
    }
}

impl Shard {
    fn take(&mut self, key: u64, now: u64, Allowance { interval, ahead, keys }: Allowance) -> Result<(), u64> {
        self.sweep(now);
        let have = self.free_at.get(&key).copied();
        let used = have.unwrap_or(now).max(now);
        let over = (used - now).saturating_sub(ahead);
        if over > 0 {
            return Err(over);
        }
        if have.is_none() {
            // The one that owes least: whoever fills this with new keys pushes out those, and none that has used up its rate.
            while self.free_at.len() >= keys
                && let Some((_, least)) = self.order.pop_first()
            {
                self.free_at.remove(&least);
            }
        }
        let free_at = used.saturating_add(interval);
        match self.free_at.entry(key) {
            Entry::Occupied(mut entry) => {
                self.order.remove(&(*entry.get(), key));
                entry.insert(free_at);
            }
            Entry::Vacant(entry) => drop(entry.insert(free_at)),
        }
        self.order.insert((free_at, key));
        Ok(())
    }

    /// Forgets keys that have used nothing any more: they are as if they had never come.
    fn sweep(&mut self, now: u64) {
        for _ in 0..SWEPT {
            match self.order.first() {
                Some((free_at, key)) if *free_at <= now => {
                    self.free_at.remove(key);
                    self.order.pop_first();
                }
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
