//! Fields to header blocks (RFC 7541 §6), with an indexing policy made for gRPC through a proxy. The engine opens one block a
//! head, in the order in which they go to the wire.

use crate::index::{Hashes, Index, Seen};
use crate::known::{self, LONGEST_INDEXED, Policy};
use crate::static_table::{self, DYNAMIC};
use crate::table::{Name, Table};
use crate::{FIELD_OVERHEAD, Field, INITIAL_TABLE_SIZE, hash::hash, huffman, integer};

/// The size of the dynamic table in bytes that we do not go beyond, even where the peer allows more: what repeats in gRPC heads fits,
/// and a connection's memory is ours to bound.
pub const DEFAULT_CAP: usize = 4096;

/// The sending side of one direction of one connection.
pub struct Encoder {
    table: Table,
    index: Index,
    seen: Seen,
    cap: usize,
    /// The table's size changed since the last block; the smallest that it had since.
    announce: Option<usize>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new(DEFAULT_CAP)
    }
}

impl Encoder {
    /// An encoder as a connection begins, with a table of 4,096 bytes, or `cap` if that is less. `cap` also bounds what
    /// [`set_peer_table_size`](Self::set_peer_table_size) may raise it to.
    pub fn new(cap: usize) -> Self {
        let mut encoder =
            Self { table: Table::new(INITIAL_TABLE_SIZE), index: Index::new(), seen: Seen::new(), cap, announce: None };
        encoder.set_peer_table_size(INITIAL_TABLE_SIZE);
        encoder
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE, in bytes, before we acknowledge it. The next block announces what changes
    /// (RFC 7541 §4.2).
    pub fn set_peer_table_size(&mut self, size: usize) {
        let size = size.min(self.cap);
        if size == self.table.max() {
            return;
        }
        self.announce = Some(self.announce.map_or(size, |lowest| lowest.min(size)));
        self.table.set_max(size);
        self.index.truncate(self.table.len());
    }

    /// The octets held from the allocator: for the account of what a connection costs.
    pub fn allocated(&self) -> usize {
        self.table.allocated() + self.index.allocated()
    }

    /// Opens a block that is appended to `out`.
    ///
    /// The block must go to the wire, whole, and before any that is opened later: the peer's table follows each.
    pub fn block<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Block<'a> {
        if let Some(lowest) = self.announce.take() {
            // Both, if it went down and up again: what was evicted on the way is gone for the peer too (§4.2).
            if lowest < self.table.max() {
                integer::write(out, 0x20, 5, lowest);
            }
            integer::write(out, 0x20, 5, self.table.max());
        }
        Block { encoder: self, out }
    }
}

impl std::fmt::Debug for Encoder {
    /// Shows sizes only, as the decoder does.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("table", &self.table)
            .field("cap", &self.cap)
            .field("announce", &self.announce)
            .finish_non_exhaustive()
    }
}

/// A header block that is being written.
pub struct Block<'a> {
    encoder: &'a mut Encoder,
    out: &'a mut Vec<u8>,
}

/// The first octet of a literal, and the bits of its index (§6.2).
#[derive(Clone, Copy)]
enum Form {
    Indexed,
    NotIndexed,
    NeverIndexed,
}

impl Block<'_> {
    /// Appends a field. The name must be lower case; pseudo-fields go first, which is the caller's to see to.
    ///
    /// - What either table has goes by its index.
    /// - Credentials, and what came never-indexed, go as never-indexed literals.
    /// - What is long, binary or made to be unique goes as a literal.
    /// - The rest goes as a literal at first, enters the table when it comes again, and from then on goes by its index.
    pub fn push(&mut self, field: Field<'_>) {
        let Field { name, value, never_indexed, .. } = field;
        let name_hash = hash(0, name);
        let hashes = Hashes { name: name_hash, field: hash(name_hash, value) };
        // What repeats is nearly all there is, and only what any head may index ever entered.
        let Encoder { table, index, .. } = &*self.encoder;
        if !never_indexed && let Some(position) = index.field(hashes.field, |at| table.field(at) == Some((name, value)))
        {
            return integer::write(self.out, 0x80, 7, DYNAMIC + position);
        }
        self.push_new(field, hashes);
    }

    /// A field that is not in the dynamic table.
    fn push_new(&mut self, field: Field<'_>, hashes: Hashes) {
        let Field { name, value, never_indexed, .. } = field;
        let name_hash = hashes.name;
        let known = known::find(name_hash, name);
        let first = known.map_or(0, |known| usize::from(known.index));
        let policy = known.map_or(Policy::Watch, |known| known.policy);
        if never_indexed || policy == Policy::Secret {
            return self.literal(Form::NeverIndexed, first, name_hash, field);
        }
        if let Some(index) = static_index(first, name, value) {
            return integer::write(self.out, 0x80, 7, index);
        }
        let size = name.len() + value.len() + FIELD_OVERHEAD;
        if policy == Policy::Once
            || value.len() > LONGEST_INDEXED
            || size > self.encoder.table.max()
            || (known.is_none() && known::is_binary(name))
        {
            return self.literal(Form::NotIndexed, first, name_hash, field);
        }
        if !self.encoder.seen.again(hashes.field) {
            return self.literal(Form::NotIndexed, first, name_hash, field);
        }
        self.literal(Form::Indexed, first, name_hash, field);
        let Encoder { table, index, .. } = &mut *self.encoder;
        table.insert(Name::Octets(name), value, 0);
        index.insert(hashes);
        index.truncate(table.len());
    }

    /// Appends an entry of the static table (RFC 7541 Appendix A), for whoever knows its index at compile time.
    pub fn push_static(&mut self, index: u8) {
        debug_assert!(static_table::entry(index.into()).is_some(), "{index} is in the static table");
        self.out.push(0x80 | index);
    }

    /// A literal field, its name by an index where either table has it.
    fn literal(&mut self, form: Form, first: usize, name_hash: u64, field: Field<'_>) {
        let (flags, prefix) = match form {
            Form::Indexed => (0x40, 6),
            Form::NotIndexed => (0x00, 4),
            Form::NeverIndexed => (0x10, 4),
        };
        let index = if first != 0 { first } else { self.dynamic_name(name_hash, field.name) };
        integer::write(self.out, flags, prefix, index);
        let write = match form {
            Form::Indexed => write_string,
            // It comes again as another: coding it would cost both ends each time, for a fifth of its octets.
            Form::NotIndexed | Form::NeverIndexed => write_plain,
        };
        if index == 0 {
            write(self.out, field.name);
        }
        write(self.out, field.value);
    }

    /// The index of a name in the dynamic table; 0 if it is not there.
    fn dynamic_name(&self, name_hash: u64, name: &[u8]) -> usize {
        let Encoder { table, index, .. } = &*self.encoder;
        let is = |at| table.field(at).is_some_and(|(have, _)| have == name);
        index.name(name_hash, is).map_or(0, |position| DYNAMIC + position)
    }
}

/// The index of a whole field in the static table, where its name begins at `first`.
#[inline]
fn static_index(first: usize, name: &[u8], value: &[u8]) -> Option<usize> {
    let mut index = first;
    while let Some((have, known)) = static_table::entry(index) {
        if have != name {
            return None;
        }
        if known == value {
            return Some(index);
        }
        index += 1;
    }
    None
}

/// A string (§5.2), Huffman-coded where that is shorter.
fn write_string(out: &mut Vec<u8>, string: &[u8]) {
    let coded = huffman::encoded_len(string);
    if coded < string.len() {
        integer::write(out, 0x80, 7, coded);
        huffman::encode(string, out);
    } else {
        write_plain(out, string);
    }
}

fn write_plain(out: &mut Vec<u8>, string: &[u8]) {
    integer::write(out, 0x00, 7, string.len());
    out.extend_from_slice(string);
}
