//! Header blocks to fields (RFC 7541 §3, §6). The engine calls this with each whole block, in the order of the wire.

use crate::error::Error;
use crate::static_table::{self, DYNAMIC};
use crate::table::{Name, Table};
use crate::{Field, INITIAL_TABLE_SIZE, huffman, integer};

/// Room for decoded strings that a decoder keeps between blocks, in bytes: heads have less, and a connection that once carried a
/// huge one should not hold its size for ever.
const SCRATCH_KEPT: usize = 4096;

/// How large a list of fields may be: names, values and 32 bytes a field (RFC 9113 §10.5.1).
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// What we said in SETTINGS_MAX_HEADER_LIST_SIZE, in bytes. Fields beyond are not handed out; the block is read on so that the
    /// table stays right, and the connection with it.
    pub list: usize,
    /// Where even that ends: the block is an attack (one octet can stand for a field of 4 KiB), and reading it would cost what the
    /// attacker likes. At least `list`.
    pub abort: usize,
}

/// What a block came to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every field was handed out.
    Complete {
        /// The size of the list in bytes.
        size: usize,
    },
    /// The list exceeds [`Bounds::list`]: the sink has only its first fields, and the stream must be refused (431, or a reset).
    /// The connection may go on.
    TooLarge {
        /// The size of the whole list in bytes, those that were not handed out included.
        size: usize,
    },
}

/// What the owner of a decoder makes of a field, by its name and value alone. It is asked once when a field comes as a literal, and
/// not again each time that the field comes by its index, which is what nearly all fields of a busy connection do.
pub type Judge = fn(name: &[u8], value: &[u8]) -> u8;

/// The receiving side of one direction of one connection.
pub struct Decoder {
    judge: Judge,
    table: Table,
    generation: u64,
    /// Our SETTINGS_HEADER_TABLE_SIZE, as far as the peer acknowledged it.
    limit: usize,
    /// The peer has to come down to this size at the start of its next block.
    owed: Option<usize>,
    /// Strings of one field that came Huffman-coded.
    scratch: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder as a connection begins: with a table of 4,096 bytes, whatever our first SETTINGS say, since they count from their
    /// acknowledgement.
    pub fn new() -> Self {
        Self::judging(|_, _| 0)
    }

    /// The same, with a mark on each field that it hands out.
    pub fn judging(judge: Judge) -> Self {
        let table = Table::new(INITIAL_TABLE_SIZE);
        Self { judge, table, generation: 0, limit: INITIAL_TABLE_SIZE, owed: None, scratch: Vec::new() }
    }

    /// The peer acknowledged SETTINGS with this SETTINGS_HEADER_TABLE_SIZE, in bytes.
    ///
    /// If that is less than the peer's table, its next block must begin with an update (RFC 7541 §4.2).
    pub fn set_table_size(&mut self, size: usize) {
        self.generation += 1;
        self.limit = size;
        if size < self.table.max() {
            self.owed = Some(self.owed.map_or(size, |owed| owed.min(size)));
        }
    }

    /// How often what a block reads as may have changed: while this stays the same, the same octets read as the same fields.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The octets held from the allocator: for the account of what a connection costs.
    pub fn allocated(&self) -> usize {
        self.table.allocated() + self.scratch.capacity()
    }

    /// Decodes one whole block and hands out each field in order.
    ///
    /// The cost is bounded by the length of the block and `bounds.abort`. What `sink` gets is not checked beyond RFC 7541: names may
    /// have any octet, pseudo-fields any place.
    ///
    /// # Errors
    /// The connection must end with any of them, and the decoder must not be used again; see [`Error`].
    pub fn decode(&mut self, block: &[u8], bounds: Bounds, mut sink: impl FnMut(Field<'_>)) -> Result<Outcome, Error> {
        let mut rest = block;
        self.read_updates(&mut rest)?;
        let mut list = List { size: 0, bounds, sink: &mut sink };
        while let Some(first) = rest.first() {
            match first {
                0x80.. => self.read_indexed(&mut rest, &mut list)?,
                0x40..0x80 => self.read_literal(&mut rest, Literal::Indexed, &mut list)?,
                0x20..0x40 => return Err(Error::UpdateNotFirst),
                0x10..0x20 => self.read_literal(&mut rest, Literal::NeverIndexed, &mut list)?,
                0x00..0x10 => self.read_literal(&mut rest, Literal::NotIndexed, &mut list)?,
            }
        }
        let size = list.size;
        if self.scratch.capacity() > SCRATCH_KEPT {
            self.scratch = Vec::new();
        }
        Ok(if size > bounds.list { Outcome::TooLarge { size } } else { Outcome::Complete { size } })
    }

    /// Dynamic table size updates (§6.3), which may only stand here. A peer may send several; the first must pay what is owed.
    fn read_updates(&mut self, rest: &mut &[u8]) -> Result<(), Error> {
        while let Some(0x20..0x40) = rest.first() {
            let size = integer::read(rest, 5)?;
            if size > self.limit {
                return Err(Error::UpdateTooLarge);
            }
            if self.owed.take().is_some_and(|owed| size > owed) {
                return Err(Error::UpdateMissing);
            }
            self.generation += 1;
            self.table.set_max(size);
        }
        // A block without any octet says nothing, so it owes nothing either: trailers may be such.
        if self.owed.is_some() && !rest.is_empty() { Err(Error::UpdateMissing) } else { Ok(()) }
    }

    /// An indexed field (§6.1); the index counts through both tables (§2.3.3).
    fn read_indexed<F: FnMut(Field<'_>)>(&self, rest: &mut &[u8], list: &mut List<'_, F>) -> Result<(), Error> {
        let index = integer::read(rest, 7)?;
        let (name, value, mark) = match index.checked_sub(DYNAMIC) {
            Some(position) => self.table.marked(position),
            None if index == 0 => return Err(Error::IndexZero),
            None => static_table::entry(index).map(|(name, value)| (name, value, (self.judge)(name, value))),
        }
        .ok_or(Error::IndexOutOfRange)?;
        list.push(Field { name, value, never_indexed: false, mark })
    }

    /// A literal field (§6.2).
    fn read_literal<F: FnMut(Field<'_>)>(
        &mut self,
        rest: &mut &[u8],
        kind: Literal,
        list: &mut List<'_, F>,
    ) -> Result<(), Error> {
        let index = integer::read(rest, if kind == Literal::Indexed { 6 } else { 4 })?;
        self.scratch.clear();
        let name = if index == 0 { Some(read_string(rest, &mut self.scratch)?) } else { None };
        let name_end = self.scratch.len();
        let value = read_string(rest, &mut self.scratch)?;
        let (scratched_name, scratched_value) = self.scratch.split_at(name_end);
        let value = value.unwrap_or(scratched_value);
        let from = match name {
            Some(literal) => Name::Octets(literal.unwrap_or(scratched_name)),
            None => match index.checked_sub(DYNAMIC) {
                Some(position) => Name::Entry(position),
                None => Name::Octets(static_table::entry(index).ok_or(Error::IndexOutOfRange)?.0),
            },
        };
        let name = match from {
            Name::Octets(octets) => octets,
            Name::Entry(position) => self.table.field(position).ok_or(Error::IndexOutOfRange)?.0,
        };
        let mark = (self.judge)(name, value);
        list.push(Field { name, value, never_indexed: kind == Literal::NeverIndexed, mark })?;
        if kind == Literal::Indexed {
            self.generation += 1;
            self.table.insert(from, value, mark);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Decoder {
    /// Shows sizes only: table and scratch hold values, and values hold tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("table", &self.table)
            .field("limit", &self.limit)
            .field("owed", &self.owed)
            .finish_non_exhaustive()
    }
}

/// What a literal field asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Literal {
    Indexed,
    NotIndexed,
    NeverIndexed,
}

/// A string (§5.2): as it stands in the block, or, where it was coded, `None`, and appended to `scratch`.
#[inline]
fn read_string<'a>(rest: &mut &'a [u8], scratch: &mut Vec<u8>) -> Result<Option<&'a [u8]>, Error> {
    let coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let len = integer::read(rest, 7)?;
    // Before anything is made for it: a length is worth what stands in the block.
    let (string, tail) = rest.split_at_checked(len).ok_or(Error::Truncated)?;
    *rest = tail;
    if !coded {
        return Ok(Some(string));
    }
    huffman::decode(string, scratch)?;
    Ok(None)
}

/// The fields of one block as they come out, counted.
struct List<'a, F> {
    size: usize,
    bounds: Bounds,
    sink: &'a mut F,
}

impl<F: FnMut(Field<'_>)> List<'_, F> {
    #[inline]
    fn push(&mut self, field: Field<'_>) -> Result<(), Error> {
        self.size = self.size.saturating_add(field.size());
        if self.size <= self.bounds.list {
            (self.sink)(field);
        } else if self.size > self.bounds.abort {
            return Err(Error::ListTooLarge);
        }
        Ok(())
    }
}
