//! Bytes of a stream that its peer's windows do not take yet, in order.

use std::collections::VecDeque;

/// Bytes of one chunk. What waits is moved twice (into a chunk and out of it), never more.
const CHUNK: usize = 16 * 1024;

/// A queue of bytes. Empty, it holds no memory.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that are gone.
    gone: usize,
    len: usize,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Octets held from the allocator.
    pub(super) fn allocated(&self) -> usize {
        self.chunks.iter().map(Vec::capacity).sum::<usize>() + self.chunks.capacity() * size_of::<Vec<u8>>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts bytes at the end.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        while !bytes.is_empty() {
            let room = self.chunks.back().map_or(0, |chunk| CHUNK - chunk.len());
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            if let Some(chunk) = self.chunks.back_mut() {
                chunk.extend_from_slice(now);
            }
            bytes = rest;
            if !bytes.is_empty() {
                // As large as it needs to be: a thousand callers that wait for a few bytes each must not hold 16 MiB.
                self.chunks.push_back(Vec::with_capacity(bytes.len().min(CHUNK)));
            }
        }
    }

    /// The bytes at the front that lie together; empty only where there are none.
    pub(super) fn front(&self) -> &[u8] {
        self.chunks.front().and_then(|chunk| chunk.get(self.gone..)).unwrap_or_default()
    }

    /// Takes bytes off the front, at most as many as [`front`](Self::front) has.
    pub(super) fn advance(&mut self, by: usize) {
        let by = by.min(self.front().len());
        self.gone += by;
        self.len -= by;
        if self.front().is_empty() {
            self.chunks.pop_front();
            self.gone = 0;
            if self.chunks.is_empty() {
                self.chunks = VecDeque::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};

    use super::Waiting;

    #[test]
    fn no_byte_is_lost_or_moved_and_nothing_is_held_when_empty() {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(1);
        for _ in 0..200 {
            let (mut waiting, mut sent, mut got) = (Waiting::default(), Vec::new(), Vec::new());
            for _ in 0..50 {
                if rng.random_bool(0.6) {
                    let size = (1 << rng.random_range(0..16)) - 1;
                    let piece: Vec<u8> = (0..size).map(|_| rng.random()).collect();
                    sent.extend_from_slice(&piece);
                    waiting.push(&piece);
                } else if !waiting.is_empty() {
                    let now = rng.random_range(1..20_000).min(waiting.front().len());
                    got.extend_from_slice(&waiting.front()[..now]);
                    waiting.advance(now);
                }
                assert_eq!(waiting.len(), sent.len() - got.len());
                assert_eq!(waiting.front().is_empty(), waiting.is_empty());
            }
            while !waiting.is_empty() {
                got.extend_from_slice(waiting.front());
                waiting.advance(usize::MAX);
            }
            assert!(sent == got);
            assert_eq!(waiting.chunks.capacity(), 0);
        }
    }
}
