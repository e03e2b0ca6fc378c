//! Message boundaries in a stream of bytes: five bytes of prefix (a flag, a length), then the message.
//!
//! The scanner looks at prefixes only and holds nothing: bytes pass beside it. See "Length-Prefixed-Message" in
//! gRPC over HTTP/2.

/// What the five octets before a message say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Octets of the message.
    pub size: u32,
    /// Whether it is compressed with the call's `grpc-encoding`.
    pub compressed: bool,
}

impl Prefix {
    /// Octets of one.
    pub const SIZE: usize = 5;

    fn read([flag, length @ ..]: [u8; Self::SIZE]) -> Result<Self, FramingError> {
        if flag > 1 {
            return Err(FramingError { flag });
        }
        Ok(Self { size: u32::from_be_bytes(length), compressed: flag == 1 })
    }

    /// Octets of prefix and message.
    pub fn framed(self) -> usize {
        Self::SIZE + self.size as usize
    }
}

/// The prefix at the front of octets, once all of it is there.
///
/// # Errors
/// It is none.
pub fn prefix_of(octets: &[u8]) -> Result<Option<Prefix>, FramingError> {
    octets.first_chunk().map(|prefix| Prefix::read(*prefix)).transpose()
}

/// A message behind its prefix, uncompressed.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(5 + message.len());
    framed.push(0);
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

/// Finds messages in one direction of a call.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// Bytes of a prefix that has not wholly come.
    prefix: [u8; Prefix::SIZE],
    have: usize,
    /// Bytes of the current message that are still to come.
    left: usize,
    messages: u64,
}

/// A prefix that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramingError {
    /// The first byte of the prefix, which is 0 or 1 in every message.
    pub flag: u8,
}

impl Scanner {
    /// Looks through the next bytes, and tells of every message whose prefix ends in them.
    ///
    /// It stops at the first message for which `on_message` fails, with that error.
    pub fn scan<E: From<FramingError>>(
        &mut self,
        mut bytes: &[u8],
        mut on_message: impl FnMut(u64, Prefix) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let body = self.left.min(bytes.len());
            self.left -= body;
            bytes = &bytes[body..];
            if bytes.is_empty() {
                return Ok(());
            }
            let Some(prefix) = self.take_prefix(&mut bytes) else { return Ok(()) };
            let prefix = Prefix::read(prefix)?;
            self.left = prefix.size as usize;
            self.messages += 1;
            on_message(self.messages, prefix)?;
        }
    }

    /// The prefix at the front, once all of it has come.
    #[inline]
    fn take_prefix(&mut self, bytes: &mut &[u8]) -> Option<[u8; Prefix::SIZE]> {
        if self.have == 0
            && let Some((prefix, rest)) = bytes.split_first_chunk()
        {
            *bytes = rest;
            return Some(*prefix);
        }
        let (part, rest) = bytes.split_at((self.prefix.len() - self.have).min(bytes.len()));
        self.prefix[self.have..self.have + part.len()].copy_from_slice(part);
        self.have += part.len();
        *bytes = rest;
        if self.have < self.prefix.len() {
            return None;
        }
        self.have = 0;
        Some(self.prefix)
    }

    /// Messages whose prefix has come.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether the bytes so far end where a message ends.
    pub fn is_between_messages(&self) -> bool {
        self.have == 0 && self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{FramingError, Prefix, Scanner, prefix_of};

    fn sizes(chunks: &[&[u8]]) -> Result<(Vec<u32>, bool), FramingError> {
        let mut scanner = Scanner::default();
        let mut sizes = Vec::new();
        for chunk in chunks {
            scanner.scan(chunk, |number, prefix: Prefix| {
                sizes.push(prefix.size);
                assert_eq!(number, sizes.len() as u64);
                Ok::<_, FramingError>(())
            })?;
        }
        Ok((sizes, scanner.is_between_messages()))
    }

    #[test]
    fn any_split_finds_the_same_messages() {
        let bytes = [&[0, 0, 0, 0, 3][..], b"abc", &[1, 0, 0, 0, 0], &[0, 0, 0, 1, 0], &[7; 256]].concat();
        assert_eq!(sizes(&[&bytes]), Ok((vec![3, 0, 256], true)));
        for at in 0..bytes.len() {
            let (one, two) = bytes.split_at(at);
            assert_eq!(sizes(&[one, two]), Ok((vec![3, 0, 256], true)), "split at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(sizes(&single), Ok((vec![3, 0, 256], true)));
    }

    #[test]
    fn an_end_inside_a_message_shows() {
        assert_eq!(sizes(&[&[0, 0, 0, 0, 3], b"ab"]), Ok((vec![3], false)));
        assert_eq!(sizes(&[&[0, 0]]), Ok((vec![], false)));
    }

    #[test]
    fn a_prefix_is_read_once_it_is_whole() {
        assert_eq!(prefix_of(&[1, 0, 0, 1]), Ok(None));
        let prefix = prefix_of(&[1, 0, 0, 1, 2, 9]).unwrap().unwrap();
        assert_eq!((prefix, prefix.framed()), (Prefix { size: 258, compressed: true }, 263));
        assert_eq!(prefix_of(&[2, 0, 0, 0, 0]), Err(FramingError { flag: 2 }));
    }

    #[test]
    fn a_flag_that_is_none_is_an_error() {
        assert_eq!(sizes(&[b"GET / HTTP/1.1"]), Err(FramingError { flag: b'G' }));
    }
}
