//! Message boundaries in a stream of bytes: five bytes of prefix (a flag, a length), then the message.
//!
//! The scanner looks at prefixes only and holds nothing: bytes pass beside it. See "Length-Prefixed-Message" in
//! gRPC over HTTP/2.

use filter_api::Message;

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
    prefix: [u8; 5],
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
        mut on_message: impl FnMut(Message) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let body = self.left.min(bytes.len());
            self.left -= body;
            bytes = &bytes[body..];
            if bytes.is_empty() {
                return Ok(());
            }
            let Some([flag, length @ ..]) = self.take_prefix(&mut bytes) else { return Ok(()) };
            if flag > 1 {
                return Err(FramingError { flag }.into());
            }
            let size = u32::from_be_bytes(length);
            self.left = size as usize;
            self.messages += 1;
            on_message(Message { number: self.messages, size, compressed: flag == 1 })?;
        }
    }

    /// The prefix at the front, once all of it has come.
    #[inline]
    fn take_prefix(&mut self, bytes: &mut &[u8]) -> Option<[u8; 5]> {
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
    use filter_api::Message;

    use super::{FramingError, Scanner};

    fn sizes(chunks: &[&[u8]]) -> Result<(Vec<u32>, bool), FramingError> {
        let mut scanner = Scanner::default();
        let mut sizes = Vec::new();
        for chunk in chunks {
            scanner.scan(chunk, |message: Message| {
                sizes.push(message.size);
                assert_eq!(message.number, sizes.len() as u64);
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
    fn a_flag_that_is_none_is_an_error() {
        assert_eq!(sizes(&[b"GET / HTTP/1.1"]), Err(FramingError { flag: b'G' }));
    }
}
