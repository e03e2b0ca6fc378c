//! Bytes on their way to a peer: frames are appended here, and the connection's owner writes them once a turn.

use super::frame::{self, FrameHead, HEAD, flag, kind};

/// Past this much the peer is not read any more: it sends and does not take the answers.
const BACKLOG: usize = 1 << 20;
/// Room that is kept where nothing waits when it is looked at. An idle connection keeps none beyond it.
const KEPT: usize = 4 * 1024;

/// The output of one connection.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// Bytes in front that are written.
    written: usize,
    /// The last frame, where it is DATA: the next piece of its stream joins it.
    last_data: Option<LastData>,
    /// The socket took less than it was given.
    blocked: bool,
    /// What of it the worker's sum has.
    pub(super) counted: usize,
}

#[derive(Clone, Copy, Debug)]
struct LastData {
    at: usize,
    stream: u32,
}

impl Output {
    /// Octets held from the allocator.
    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    /// What is to be written now.
    pub(super) fn pending(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// The first `count` pending bytes are written; `blocked` says that the socket took no more.
    pub(super) fn wrote(&mut self, count: usize, blocked: bool) {
        self.written += count.min(self.bytes.len() - self.written);
        self.blocked = blocked;
        if self.written == self.bytes.len() {
            // Nobody will say that the socket takes more again, where nothing waits for it.
            self.blocked = false;
            self.written = 0;
            self.last_data = None;
            self.bytes.clear();
        } else if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.last_data = None;
            self.written = 0;
        }
    }

    /// Gives back the room of a busier moment.
    pub(super) fn tidy(&mut self) {
        let needed = self.pending().len().max(KEPT);
        if self.bytes.capacity() / 2 > needed {
            self.bytes.drain(..self.written);
            self.written = 0;
            self.last_data = None;
            self.bytes.shrink_to(needed);
        }
    }

    /// How many octets of DATA fit now, where so many may wait.
    pub(super) fn room(&self, most: usize) -> usize {
        if self.blocked { 0 } else { most.saturating_sub(self.pending().len()) }
    }

    /// Whether the peer lets so much wait that it must not be read.
    pub(super) fn is_backed_up(&self) -> bool {
        self.pending().len() > BACKLOG
    }

    /// For frames other than DATA.
    pub(super) fn frames(&mut self) -> &mut Vec<u8> {
        self.last_data = None;
        &mut self.bytes
    }

    /// Appends DATA, to the last frame where that is of the same stream. `most` is the peer's largest frame.
    pub(super) fn put_data(&mut self, stream: u32, mut bytes: &[u8], end: bool, most: usize) {
        let before = self.last_data.filter(|last| last.stream == stream && last.at >= self.written);
        if let Some(LastData { at, .. }) = before {
            let have = self.bytes.len() - at - HEAD;
            let now = bytes.len().min(most.saturating_sub(have));
            let (joined, rest) = bytes.split_at(now);
            self.bytes.extend_from_slice(joined);
            bytes = rest;
            self.write_head(at, stream, have + now, end && rest.is_empty());
            if rest.is_empty() {
                return;
            }
        }
        loop {
            let (now, rest) = bytes.split_at(bytes.len().min(most));
            let at = self.bytes.len();
            self.bytes.extend_from_slice(&[0; HEAD]);
            self.bytes.extend_from_slice(now);
            self.last_data = Some(LastData { at, stream });
            self.write_head(at, stream, now.len(), end && rest.is_empty());
            bytes = rest;
            if rest.is_empty() {
                return;
            }
        }
    }

    /// Appends HEADERS, and CONTINUATION where the block that `write` appends is larger than a frame of the peer's.
    pub(super) fn put_head(&mut self, stream: u32, end: bool, most: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let out = self.frames();
        let at = out.len();
        out.extend_from_slice(&[0; HEAD]);
        write(out);
        let length = out.len() - at - HEAD;
        let end = if end { flag::END_STREAM } else { 0 };
        if length <= most {
            return patch(
                out,
                at,
                FrameHead { length: narrow(length), kind: kind::HEADERS, flags: end | flag::END_HEADERS, stream },
            );
        }
        let rest = out.split_off(at + HEAD + most);
        patch(out, at, FrameHead { length: narrow(most), kind: kind::HEADERS, flags: end, stream });
        let mut pieces = rest.chunks(most).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
            frame::put(out, kind::CONTINUATION, flags, stream, piece);
        }
    }

    fn write_head(&mut self, at: usize, stream: u32, length: usize, end: bool) {
        let flags = if end { flag::END_STREAM } else { 0 };
        patch(&mut self.bytes, at, FrameHead { length: narrow(length), kind: kind::DATA, flags, stream });
        if end {
            self.last_data = None;
        }
    }
}

fn patch(out: &mut [u8], at: usize, head: FrameHead) {
    if let Some(place) = out.get_mut(at..at + HEAD) {
        place.copy_from_slice(&head.write());
    }
}

/// Frames have at most 2^24 - 1 octets; callers cut before.
fn narrow(length: usize) -> u32 {
    u32::try_from(length).unwrap_or_default()
}
