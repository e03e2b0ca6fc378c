//! Finds a field in the encoder's dynamic table by its hash. The encoder keeps it in step with the table.
//!
//! Links go from newer to older entries only, and the table evicts the oldest first: so a chain ends where it meets an entry
//! that is gone, and nothing is ever taken out of a chain.

use std::collections::VecDeque;

/// Chains of each kind. A table of 4 KiB holds 128 fields at the very most, and some 50 as they come.
const CHAINS: usize = 64;

/// The hashes of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashes {
    /// Of the name.
    pub(crate) name: u64,
    /// Of the name and the value.
    pub(crate) field: u64,
}

/// The chains: one kind for whole fields, one for names.
#[derive(Debug)]
pub(crate) struct Index {
    /// The newest first, as in the table.
    links: VecDeque<Link>,
    /// How many entries there ever were; the number of the newest. No entry has number 0.
    inserted: u64,
    by_field: [u64; CHAINS],
    by_name: [u64; CHAINS],
}

#[derive(Clone, Copy, Debug)]
struct Link {
    hashes: Hashes,
    older_field: u64,
    older_name: u64,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { links: VecDeque::new(), inserted: 0, by_field: [0; CHAINS], by_name: [0; CHAINS] }
    }

    /// The octets held from the allocator.
    pub(crate) fn allocated(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
    }

    /// The position of the newest entry of this field; `is` compares with the table, since hashes may collide.
    #[inline]
    pub(crate) fn field(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        let mut number = self.by_field[chain(hash)];
        // As many turns as the table has entries, at most.
        while let Some((position, link)) = self.link(number) {
            if link.hashes.field == hash && is(position) {
                return Some(position);
            }
            number = link.older_field;
        }
        None
    }

    /// The position of the newest entry of this name.
    #[inline]
    pub(crate) fn name(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        let mut number = self.by_name[chain(hash)];
        while let Some((position, link)) = self.link(number) {
            if link.hashes.name == hash && is(position) {
                return Some(position);
            }
            number = link.older_name;
        }
        None
    }

    /// Follows an insertion into the table.
    pub(crate) fn insert(&mut self, hashes: Hashes) {
        self.inserted += 1;
        let older_field = std::mem::replace(&mut self.by_field[chain(hashes.field)], self.inserted);
        let older_name = std::mem::replace(&mut self.by_name[chain(hashes.name)], self.inserted);
        self.links.push_front(Link { hashes, older_field, older_name });
    }

    /// Follows what the table evicted: it has `len` entries now.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.links.truncate(len);
    }

    fn link(&self, number: u64) -> Option<(usize, &Link)> {
        let position = usize::try_from(self.inserted - number).ok()?;
        self.links.get(position).map(|link| (position, link))
    }
}

fn chain(hash: u64) -> usize {
    (hash % CHAINS as u64) as usize
}

/// Remembers fields that were sent lately and not indexed, to tell those that repeat from those that do not.
///
/// A field enters the dynamic table when it is seen for the second time. The first field of its kind costs a few octets more
/// once a connection; in return no value that never repeats evicts one that does, whatever its name is.
#[derive(Debug)]
pub(crate) struct Seen {
    sets: [[u32; WAYS]; SETS],
}

const SETS: usize = 32;
/// More than one, lest two fields of every head that share a set push each other out for ever.
const WAYS: usize = 4;

impl Seen {
    pub(crate) fn new() -> Self {
        Self { sets: [[0; WAYS]; SETS] }
    }

    /// Whether this field was seen lately; if not, it is from now on.
    pub(crate) fn again(&mut self, hash: u64) -> bool {
        let set = &mut self.sets[(hash % SETS as u64) as usize];
        // The odd bit tells a tag from an empty way.
        let tag = (hash >> 32) as u32 | 1;
        if set.contains(&tag) {
            return true;
        }
        set.rotate_right(1);
        set[0] = tag;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{Hashes, Index, Seen};

    #[test]
    fn colliding_fields_are_told_apart_and_gone_ones_are_not_found() {
        let mut index = Index::new();
        let mut table: Vec<u64> = Vec::new();
        for number in 0..1000_u64 {
            // Two chains in all, and three fields of the same hash at any time.
            let hashes = Hashes { name: number % 2, field: number % 2 };
            index.insert(hashes);
            table.insert(0, number);
            table.truncate(6);
            index.truncate(table.len());
            for (position, wanted) in table.iter().enumerate() {
                assert_eq!(index.field(wanted % 2, |at| table[at] == *wanted), Some(position));
                assert_eq!(index.name(wanted % 2, |at| table[at] == *wanted), Some(position));
            }
            let gone = number.wrapping_sub(6);
            assert_eq!(index.field(gone % 2, |at| table[at] == gone), None);
        }
        index.truncate(0);
        assert_eq!(index.field(0, |_| true), None);
    }

    #[test]
    fn what_repeats_is_noticed_among_what_does_not() {
        let mut seen = Seen::new();
        let repeating: Vec<u64> = (1..=12_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let mut unique = 1_u64;
        let mut noticed = 0;
        for _ in 0..100 {
            noticed += repeating.iter().filter(|hash| seen.again(**hash)).count();
            for _ in 0..4 {
                unique = unique.wrapping_mul(0xd6e8_feb8_6659_fd93).wrapping_add(0x1234_5678_9abc_def1);
                assert!(!seen.again(unique), "what never came before is never called seen");
            }
        }
        assert!(noticed >= 12 * 90, "{noticed}");
    }
}
