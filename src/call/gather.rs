//! Octets of one direction that are held until they are whole messages, and what is in those.

use std::borrow::Cow;

use filter_api::{Message, Types};

use super::stop::Stop;
use crate::wire::{Encoding, FramingError, Prefix, framed, prefix_of};

/// How far one direction has been looked at. The octets are their owner's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gather {
    /// Octets of messages that have passed.
    passed: usize,
    /// Messages whose prefix has come.
    messages: u64,
    /// The first message that has not passed is one of them.
    announced: bool,
}

/// What there is to look at next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A message begins: its prefix is here.
    Begins(u64, Prefix),
    /// It is whole.
    Whole(u64, Prefix),
}

impl Gather {
    /// The next thing about the first message that has not passed; `None` if that has to come yet.
    pub(super) fn next(&mut self, octets: &[u8]) -> Result<Option<Next>, FramingError> {
        let left = octets.get(self.passed..).unwrap_or_default();
        let Some(prefix) = prefix_of(left)? else { return Ok(None) };
        if !self.announced {
            self.announced = true;
            self.messages += 1;
            return Ok(Some(Next::Begins(self.messages, prefix)));
        }
        Ok((left.len() >= prefix.framed()).then_some(Next::Whole(self.messages, prefix)))
    }

    /// The message that is whole, without its prefix.
    pub(super) fn message<'a>(&self, octets: &'a [u8], prefix: Prefix) -> &'a [u8] {
        octets.get(self.passed + Prefix::SIZE..self.passed + prefix.framed()).unwrap_or_default()
    }

    /// It has passed.
    pub(super) fn pass(&mut self, prefix: Prefix) {
        self.passed += prefix.framed();
        self.announced = false;
    }

    /// So many octets at the front have been dropped.
    pub(super) fn dropped(&mut self, octets: usize) {
        self.passed -= octets;
    }

    /// Octets of messages that have passed.
    pub(super) fn passed(&self) -> usize {
        self.passed
    }

    /// Messages that have begun.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }
}

/// What is in a message: itself, or what it was compressed from, of at most `most` octets.
pub(super) fn body<'a>(
    what: &'static str,
    (prefix, message): (Prefix, &'a [u8]),
    encoding: impl FnOnce() -> Encoding,
    most: u64,
) -> Result<Cow<'a, [u8]>, Stop> {
    if !prefix.compressed {
        return Ok(Cow::Borrowed(message));
    }
    encoding().read(message, most).map(Cow::Owned).map_err(|why| Stop::unreadable(what, why, most))
}

/// A message as filters see it.
pub(super) fn shown<'a>(number: u64, prefix: Prefix, body: Option<&'a [u8]>, types: Option<&'a Types>) -> Message<'a> {
    Message { number, size: prefix.size, compressed: prefix.compressed, body, types, request: None }
}

/// Messages that have passed, as they go on: a copy only where one of them has another body.
#[derive(Debug, Default)]
pub(super) struct Outgoing(Option<Vec<u8>>);

impl Outgoing {
    /// The next message, which stands at `at` in `octets`, goes on with this body in the place of its own, if with any.
    pub(super) fn push(&mut self, octets: &[u8], at: usize, prefix: Prefix, other: Option<&[u8]>) {
        match (&mut self.0, other) {
            (None, None) => {}
            (Some(copy), None) => copy.extend_from_slice(octets.get(at..at + prefix.framed()).unwrap_or_default()),
            (copy, Some(body)) => {
                copy.get_or_insert_with(|| octets.get(..at).unwrap_or_default().to_vec())
                    .extend_from_slice(&framed(body));
            }
        }
    }

    /// All of them; `octets` are the same, up to the last.
    pub(super) fn octets<'a>(&'a self, octets: &'a [u8]) -> &'a [u8] {
        self.0.as_deref().unwrap_or(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::{Gather, Next, Outgoing};
    use crate::wire::{Prefix, framed};

    #[test]
    fn messages_are_announced_once_and_whole_once() {
        let octets = [framed(b"abc"), framed(b""), framed(b"de")].concat();
        let (mut gather, mut seen) = (Gather::default(), Vec::new());
        for came in 0..=octets.len() {
            while let Some(next) = gather.next(&octets[..came]).unwrap() {
                match next {
                    Next::Begins(number, prefix) => seen.push((came, number, prefix.size, None)),
                    Next::Whole(number, prefix) => {
                        seen.push((came, number, prefix.size, Some(gather.message(&octets, prefix))));
                        gather.pass(prefix);
                    }
                }
            }
        }
        let wanted: [(usize, u64, u32, Option<&[u8]>); 6] = [
            (5, 1, 3, None),
            (8, 1, 3, Some(b"abc")),
            (13, 2, 0, None),
            (13, 2, 0, Some(b"")),
            (18, 3, 2, None),
            (20, 3, 2, Some(b"de")),
        ];
        assert_eq!(seen, wanted);
        assert_eq!((gather.passed(), gather.messages()), (20, 3));
    }

    #[test]
    fn only_what_changes_is_copied() {
        let (one, two, three) = (framed(b"abc"), framed(b""), framed(b"de"));
        let octets = [&one[..], &two, &three].concat();
        let prefix = |size| Prefix { size, compressed: false };
        let of = |others: [Option<&[u8]>; 3]| {
            let mut outgoing = Outgoing::default();
            for ((at, size), other) in [(0, 3), (8, 0), (13, 2)].into_iter().zip(others) {
                outgoing.push(&octets, at, prefix(size), other);
            }
            (outgoing.0.is_some(), outgoing.octets(&octets).to_vec())
        };
        assert_eq!(of([None; 3]), (false, octets.clone()));
        assert_eq!(of([None, Some(b"x"), None]), (true, [one.clone(), framed(b"x"), three].concat()));
        assert_eq!(of([Some(b""), None, Some(b"longer")]), (true, [framed(b""), two, framed(b"longer")].concat()));
    }
}
