//! The dynamic table (RFC 7541 §2.3.2, §4): a queue of fields that is bounded by their size. Decoder and encoder have one each.

use crate::FIELD_OVERHEAD;
use std::collections::VecDeque;

/// Names and values stand in one buffer, so that a field that enters costs no allocation once the buffer has its size.
pub(crate) struct Table {
    /// What is left of fields that were evicted, then the fields, oldest first, each a name and at once its value.
    bytes: Vec<u8>,
    /// How many octets were dropped in front of `bytes` since the beginning; entries count from there.
    dropped: u64,
    /// The newest first: the order of the indices.
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u64,
    name: u32,
    value: u32,
    mark: u8,
}

impl Entry {
    fn size(&self) -> usize {
        self.name as usize + self.value as usize + FIELD_OVERHEAD
    }
}

/// The name of a field that enters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name<'a> {
    /// These octets.
    Octets(&'a [u8]),
    /// That of the entry here, which this very insertion may evict (RFC 7541 §4.4).
    Entry(usize),
}

impl Table {
    pub(crate) fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), dropped: 0, entries: VecDeque::new(), size: 0, max }
    }

    /// The size it may have (RFC 7541 §4.2).
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The octets held from the allocator.
    pub(crate) fn allocated(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// The field at `position`; 0 is the newest.
    #[inline]
    pub(crate) fn field(&self, position: usize) -> Option<(&[u8], &[u8])> {
        self.marked(position).map(|(name, value, _)| (name, value))
    }

    /// The same with the mark that it entered with.
    #[inline]
    pub(crate) fn marked(&self, position: usize) -> Option<(&[u8], &[u8], u8)> {
        let entry = self.entries.get(position)?;
        let field = self.bytes.get(self.at(entry)..)?.get(..entry.name as usize + entry.value as usize)?;
        let (name, value) = field.split_at_checked(entry.name as usize)?;
        Some((name, value, entry.mark))
    }

    /// Puts a field in front and evicts what then has no room. A field that is larger than the table empties it and does not
    /// enter; that is no error (RFC 7541 §4.4).
    pub(crate) fn insert(&mut self, name: Name<'_>, value: &[u8], mark: u8) {
        let name_len = match name {
            Name::Octets(octets) => octets.len(),
            Name::Entry(position) => self.entries.get(position).map_or(0, |entry| entry.name as usize),
        };
        let size = name_len + value.len() + FIELD_OVERHEAD;
        let (Ok(name_u32), Ok(value_u32)) = (u32::try_from(name_len), u32::try_from(value.len())) else { return };
        if size > self.max {
            self.evict_to(0);
            return;
        }
        self.compact(size);
        let start = self.dropped + self.bytes.len() as u64;
        match name {
            Name::Octets(octets) => self.bytes.extend_from_slice(octets),
            Name::Entry(position) => {
                let from = self.entries.get(position).map_or(0, |entry| self.at(entry));
                self.bytes.extend_from_within(from..from + name_len);
            }
        }
        self.bytes.extend_from_slice(value);
        // Only now, since the name may have been that of a field that goes.
        self.evict_to(self.max - size);
        self.entries.push_front(Entry { start, name: name_u32, value: value_u32, mark });
        self.size += size;
    }

    /// Another size; evicts what then has no room (RFC 7541 §4.3).
    pub(crate) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.evict_to(max);
    }

    fn at(&self, entry: &Entry) -> usize {
        (entry.start - self.dropped) as usize
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size {
            let Some(entry) = self.entries.pop_back() else { return };
            self.size -= entry.size();
        }
    }

    /// Makes room for `need` octets: drops what evicted fields left once the buffer would exceed two tables. At least one table was
    /// written since the last time, so moving one costs nothing that was not paid for.
    fn compact(&mut self, need: usize) {
        let dead = self.entries.back().map_or(self.bytes.len(), |entry| self.at(entry));
        if dead == self.bytes.len() || self.bytes.len() + need > 2 * self.max {
            self.bytes.drain(..dead);
            self.dropped += dead as u64;
        }
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("fields", &self.len())
            .field("size", &self.size)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, Table};

    fn names(table: &Table) -> Vec<String> {
        (0..table.len()).map(|at| String::from_utf8(table.field(at).unwrap().0.to_vec()).unwrap()).collect()
    }

    #[test]
    fn the_newest_comes_first_and_the_oldest_goes() {
        let mut table = Table::new(3 * 34);
        for name in [b"a", b"b", b"c", b"d"] {
            table.insert(Name::Octets(name), b"1", 0);
        }
        assert_eq!(names(&table), ["d", "c", "b"]);
        table.insert(Name::Octets(b"ee"), b"2", 0);
        assert_eq!(names(&table), ["ee", "d"], "one octet more costs two fields");
        table.set_max(35);
        assert_eq!(names(&table), ["ee"]);
        table.insert(Name::Octets(b"too"), b"large", 0);
        assert_eq!(table.len(), 0);
        table.set_max(0);
        table.insert(Name::Octets(b""), b"", 0);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_name_outlives_the_entry_it_came_from() {
        let mut table = Table::new(44);
        table.insert(Name::Octets(b"name"), b"1", 0);
        for value in [&b"22"[..], b"333", b"12345678"] {
            table.insert(Name::Entry(0), value, 0);
            assert_eq!(table.field(0), Some((&b"name"[..], value)));
            assert_eq!(table.len(), 1);
        }
    }

    #[test]
    fn the_buffer_stays_bounded_and_right_over_many_turns() {
        let mut table = Table::new(4096);
        for turn in 0..20_000_u32 {
            let value = vec![turn as u8; (turn as usize * 37) % 700];
            table.insert(Name::Octets(&turn.to_be_bytes()), &value, 0);
            assert_eq!(table.field(0), Some((&turn.to_be_bytes()[..], &value[..])));
            let oldest = turn + 1 - table.len() as u32;
            assert_eq!(table.field(table.len() - 1).unwrap().0, oldest.to_be_bytes());
            assert!(table.allocated() <= 4 * 4096, "{}", table.allocated());
        }
    }
}
