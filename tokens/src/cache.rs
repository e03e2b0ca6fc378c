//! Tokens that have passed, so that a caller who comes again costs a look-up and no signature. Found by a keyed hash, and then compared
//! whole. What it answers is still to be checked for its times and its key.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::quality::RandomState;
use parking_lot::Mutex;

use crate::claims::Times;
use crate::key::Key;

/// Parts with a lock each, so that workers seldom meet.
const SHARDS: usize = 16;
/// The most tokens of a part.
const MOST_TOKENS: usize = 1024;
/// The most octets of a part's tokens; what they say takes a small multiple of it.
const MOST_OCTETS: usize = 512 * 1024;

/// A token that has passed, and what its passing hangs on.
#[derive(Debug)]
pub(crate) struct Passed<T> {
    pub(crate) verified: Arc<T>,
    pub(crate) times: Times,
    pub(crate) key: Arc<Key>,
    /// Which of the verifier's issuers.
    pub(crate) issuer: usize,
}

/// Tokens that have passed.
pub(crate) struct Cache<T> {
    hasher: RandomState,
    shards: [Mutex<Shard<T>>; SHARDS],
}

struct Shard<T> {
    entries: HashMap<u64, Entry<T>, foldhash::fast::FixedState>,
    /// The oldest first.
    order: VecDeque<u64>,
    octets: usize,
}

struct Entry<T> {
    token: Box<[u8]>,
    passed: Passed<T>,
    /// It was asked for since it was last looked at for room.
    is_used: bool,
}

impl<T> Cache<T> {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::default(), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// By the whole token: nothing else finds it again.
    pub(crate) fn find(&self, token: &[u8]) -> Option<Passed<T>> {
        let hash = self.hasher.hash_one(token);
        let mut shard = self.shard(hash).lock();
        let entry = shard.entries.get_mut(&hash)?;
        if *entry.token != *token {
            return None;
        }
        entry.is_used = true;
        Some(entry.passed.clone())
    }

    pub(crate) fn put(&self, token: &[u8], passed: Passed<T>) {
        let hash = self.hasher.hash_one(token);
        let mut shard = self.shard(hash).lock();
        shard.remove(hash);
        shard.make_room(token.len());
        shard.octets += token.len();
        shard.order.push_back(hash);
        shard.entries.insert(hash, Entry { token: token.into(), passed, is_used: false });
    }

    /// For one that does not pass any more.
    pub(crate) fn forget(&self, token: &[u8]) {
        let hash = self.hasher.hash_one(token);
        self.shard(hash).lock().remove(hash);
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard<T>> {
        // The remainder is below the number of shards.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

impl<T> Clone for Passed<T> {
    fn clone(&self) -> Self {
        let Self { verified, times, key, issuer } = self;
        Self { verified: Arc::clone(verified), times: *times, key: Arc::clone(key), issuer: *issuer }
    }
}

impl<T> Default for Shard<T> {
    fn default() -> Self {
        Self { entries: HashMap::default(), order: VecDeque::new(), octets: 0 }
    }
}

impl<T> Shard<T> {
    fn remove(&mut self, hash: u64) {
        if let Some(entry) = self.entries.remove(&hash) {
            self.octets -= entry.token.len();
            self.order.retain(|other| *other != hash);
        }
    }

    /// Second chance: the oldest goes, unless it was used since; then it is the newest.
    fn make_room(&mut self, octets: usize) {
        while self.entries.len() >= MOST_TOKENS || self.octets + octets > MOST_OCTETS {
            let Some(oldest) = self.order.pop_front() else { return };
            match self.entries.get_mut(&oldest) {
                Some(entry) if entry.is_used => {
                    entry.is_used = false;
                    self.order.push_back(oldest);
                }
                Some(_) => {
                    if let Some(entry) = self.entries.remove(&oldest) {
                        self.octets -= entry.token.len();
                    }
                }
                None => {}
            }
        }
    }
}

impl<T> std::fmt::Debug for Cache<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

#[cfg(test)]
impl<T> Cache<T> {
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries.len()).sum()
    }
}
