//! Bytes between two streams: taken from one, not yet taken by the other.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A piece of this size goes on as it is; smaller ones that wait together become one frame. Half of the smallest frame
/// size there is (RFC 9113 §4.2), so that merging never makes more frames than it saves.
const LARGE: usize = 8 * 1024;

/// A queue of bytes. One piece alone is never copied, nor is a large one.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The first piece, outside the queue: nearly always the only one, and a queue costs an allocation.
    first: Bytes,
    queue: VecDeque<Bytes>,
    /// Small pieces after the queue, merged.
    merged: BytesMut,
    len: usize,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a piece at the end.
    pub(super) fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        if self.is_empty() {
            self.len = piece.len();
            self.first = piece;
            return;
        }
        self.len += piece.len();
        if piece.len() >= LARGE {
            if !self.merged.is_empty() {
                self.queue.push_back(self.merged.split().freeze());
            }
            self.queue.push_back(piece);
            return;
        }
        if self.merged.is_empty() && self.queue.is_empty() && self.first.len() < LARGE {
            // The second small piece: the first joins it.
            self.merged.reserve(self.first.len() + piece.len().max(2_048));
            self.merged.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.merged.extend_from_slice(&piece);
        if self.merged.len() >= LARGE {
            self.queue.push_back(self.merged.split().freeze());
        }
    }

    /// Takes at most `most` bytes off the front.
    pub(super) fn take(&mut self, most: usize) -> Bytes {
        if self.first.is_empty() {
            self.first = match self.queue.pop_front() {
                Some(piece) => piece,
                None => self.merged.split().freeze(),
            };
        }
        let taken = if self.first.len() <= most { std::mem::take(&mut self.first) } else { self.first.split_to(most) };
        self.len -= taken.len();
        taken
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rand::{Rng as _, SeedableRng as _};

    use super::Waiting;

    #[test]
    fn one_piece_is_not_copied() {
        let piece = Bytes::from(vec![7; 100]);
        let mut waiting = Waiting::default();
        waiting.push(piece.clone());
        assert_eq!(waiting.take(usize::MAX).as_ptr(), piece.as_ptr());
    }

    #[test]
    fn small_pieces_become_one() {
        let mut waiting = Waiting::default();
        for _ in 0..100 {
            waiting.push(Bytes::from_static(b"0123456789"));
        }
        assert_eq!(waiting.take(usize::MAX).len(), 1_000);
    }

    #[test]
    fn no_byte_is_lost_or_moved() {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(1);
        for _ in 0..200 {
            let (mut waiting, mut sent, mut got) = (Waiting::default(), Vec::new(), Vec::new());
            for _ in 0..50 {
                if rng.random_bool(0.6) {
                    let size = 1 << rng.random_range(0..15);
                    let piece: Vec<u8> = (0..size).map(|_| rng.random()).collect();
                    sent.extend_from_slice(&piece);
                    waiting.push(piece.into());
                } else if !waiting.is_empty() {
                    got.extend_from_slice(&waiting.take(rng.random_range(1..20_000)));
                }
                assert_eq!(waiting.len(), sent.len() - got.len());
            }
            while !waiting.is_empty() {
                got.extend_from_slice(&waiting.take(5_000));
            }
            assert!(sent == got);
        }
    }
}
