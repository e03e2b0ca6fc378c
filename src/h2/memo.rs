//! Heads that repeat. A caller that makes the same call again, and an instance that gives the same kind of answer, send the very
//! same octets once their fields stand in the compression table; what those read as is kept, and not decoded and checked anew.
//!
//! Only blocks that neither change the table nor depend on a change of it since: then the same octets cannot read otherwise.

use fields::{Fields, RequestHead, ResponseHead};
use hpack::{Decoder, Error};

use super::heads::{Form, Read};

/// Longer blocks and larger lists are not kept: those that repeat are short, and a connection holds one of each kind.
const LONGEST: usize = 256;
const LARGEST: usize = 1_024;

/// A list of fields, with whatever belongs to it.
pub(super) trait List {
    /// An empty one in this room.
    fn over(room: Fields) -> Self;
    fn fields(&self) -> &Fields;
    /// Octets beside its fields.
    fn beside(&self) -> usize {
        0
    }
    /// Becomes equal to another, in its own room.
    fn copy_from(&mut self, other: &Self);
}

/// The last block of its kind that may come again.
#[derive(Debug)]
pub(super) struct Memo<T> {
    block: Vec<u8>,
    /// Of the table that the block was read with.
    generation: u64,
    list: T,
    content: Option<u64>,
}

/// One of each kind of block.
#[derive(Debug)]
pub(super) struct Memos {
    pub(super) request: Memo<RequestHead>,
    pub(super) response: Memo<ResponseHead>,
    pub(super) trailers: Memo<Fields>,
}

impl Default for Memos {
    fn default() -> Self {
        Self { request: Memo::empty(), response: Memo::empty(), trailers: Memo::empty() }
    }
}

impl Memos {
    /// Octets held from the allocator.
    pub(super) fn allocated(&self) -> usize {
        self.request.allocated() + self.response.allocated() + self.trailers.allocated()
    }
}

impl<T: List> Memo<T> {
    fn empty() -> Self {
        Self { block: Vec::new(), generation: 0, list: T::over(Fields::default()), content: None }
    }

    /// What a block reads as, in this room: `read` is asked where it is not the last one again. `limit` is the one for heads.
    pub(super) fn recall(
        &mut self,
        decoder: &mut Decoder,
        block: &[u8],
        limit: u32,
        room: Fields,
        read: impl FnOnce(&mut Decoder, &[u8], u32, Fields) -> Result<Read<T>, Error>,
    ) -> Result<Read<T>, Error> {
        let generation = decoder.generation();
        if generation == self.generation && block == self.block && !block.is_empty() {
            let mut list = T::over(room);
            list.copy_from(&self.list);
            return Ok(Read { list, form: Form::Good, content: self.content });
        }
        let read = read(decoder, block, limit, room)?;
        if decoder.generation() == generation && block.len() <= LONGEST && read.form == Form::Good {
            self.keep(block, generation, &read);
        }
        Ok(read)
    }

    fn keep(&mut self, block: &[u8], generation: u64, read: &Read<T>) {
        let fields = read.list.fields();
        // What no hop may put into a table is not kept either.
        if fields.size() + read.list.beside() > LARGEST || fields.raw().any(|(_, _, never_indexed)| never_indexed) {
            return;
        }
        self.block.clear();
        self.block.extend_from_slice(block);
        self.generation = generation;
        self.list.copy_from(&read.list);
        self.content = read.content;
    }

    fn allocated(&self) -> usize {
        self.block.capacity() + self.list.fields().allocated()
    }
}

impl List for RequestHead {
    fn over(room: Fields) -> Self {
        Self::over(room)
    }

    fn beside(&self) -> usize {
        self.path_bytes().len() + self.authority_bytes().len()
    }

    fn fields(&self) -> &Fields {
        &self.fields
    }

    fn copy_from(&mut self, other: &Self) {
        self.copy_from(other);
    }
}

impl List for ResponseHead {
    fn over(mut room: Fields) -> Self {
        room.clear();
        Self { status: 0, fields: room }
    }

    fn fields(&self) -> &Fields {
        &self.fields
    }

    fn copy_from(&mut self, other: &Self) {
        self.status = other.status;
        self.fields.copy_from(&other.fields);
    }
}

impl List for Fields {
    fn over(mut room: Fields) -> Self {
        room.clear();
        room
    }

    fn fields(&self) -> &Fields {
        self
    }

    fn copy_from(&mut self, other: &Self) {
        Fields::copy_from(self, other);
    }
}

#[cfg(test)]
mod tests {
    use fields::{Fields, RequestHead};
    use hpack::{Decoder, Encoder, Field};

    use super::super::heads::read_request;
    use super::super::kind::judge;
    use super::Memo;

    struct Reader {
        decoder: Decoder,
        memo: Memo<RequestHead>,
        /// Blocks that were decoded.
        decoded: usize,
    }

    impl Reader {
        fn new() -> Self {
            Self { decoder: Decoder::judging(judge), memo: Memo::empty(), decoded: 0 }
        }

        fn read(&mut self, block: &[u8]) -> RequestHead {
            let decoded = &mut self.decoded;
            let counting = |decoder: &mut Decoder, block: &[u8], limit, room| {
                *decoded += 1;
                read_request(decoder, block, limit, room)
            };
            self.memo.recall(&mut self.decoder, block, 16_384, Fields::default(), counting).unwrap().list
        }
    }

    fn block(encoder: &mut Encoder, path: &[u8], extra: Field<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut block = encoder.block(&mut out);
        block.push(Field::new(b":method", b"POST"));
        block.push(Field::new(b":scheme", b"http"));
        block.push(Field::new(b":path", path));
        block.push(extra);
        out
    }

    #[test]
    fn what_repeats_is_decoded_once_the_table_rests() {
        let (mut encoder, mut reader) = (Encoder::default(), Reader::new());
        for _ in 0..10 {
            let head = reader.read(&block(&mut encoder, b"/a.B/C", Field::new(b"x-a", b"1")));
            assert_eq!((head.path(), head.fields.get("x-a")), ("/a.B/C", Some(&b"1"[..])));
        }
        assert_eq!(reader.decoded, 3, "literals, literals that enter the table, indices");
    }

    #[test]
    fn the_same_octets_read_otherwise_once_the_table_has_changed() {
        let (mut encoder, mut reader) = (Encoder::default(), Reader::new());
        for _ in 0..4 {
            reader.read(&block(&mut encoder, b"/a.B/C", Field::new(b"x-a", b"1")));
        }
        // Another field enters; the same indices now name other fields.
        let stale = block(&mut encoder, b"/a.B/C", Field::new(b"x-a", b"1"));
        for _ in 0..2 {
            reader.read(&block(&mut encoder, b"/a.B/D", Field::new(b"x-a", b"1")));
        }
        let head = reader.read(&stale);
        assert_ne!((head.path(), head.fields.get("x-a")), ("/a.B/C", Some(&b"1"[..])));
    }

    #[test]
    fn secrets_are_not_kept() {
        let (mut encoder, mut reader) = (Encoder::default(), Reader::new());
        for _ in 0..5 {
            reader.read(&block(&mut encoder, b"/a.B/C", Field::new(b"authorization", b"Bearer x")));
        }
        assert_eq!(reader.decoded, 5);
    }
}
