//! A peer's end of a connection: what it says and has not got rid of yet, and what it hears.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::follower::{Allowed, Follower};
use super::frames::{self, END, PING, SETTINGS, WINDOW_UPDATE};

/// What a peer may have in front of a pipe that takes no more; further frames are not said.
const MOST: usize = 128 * 1024;

/// How peers behave by themselves, until the script says otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Manners {
    /// Says its preface and SETTINGS.
    pub(crate) greets: bool,
    /// Reads whatever comes.
    pub(crate) reads: bool,
    /// Acknowledges SETTINGS and PING, and gives credit for DATA.
    pub(crate) answers: bool,
    /// An instance: answers each request that is complete, with a message and status 0.
    pub(crate) serves: bool,
}

pub(crate) struct Peer {
    io: Option<DuplexStream>,
    caller: bool,
    pub(crate) manners: Manners,
    out: Vec<u8>,
    allowed: Allowed,
    pub(crate) follower: Follower,
    /// The number of the caller's next stream.
    next: u32,
}

impl Peer {
    pub(crate) fn new(io: DuplexStream, caller: bool, manners: Manners) -> Self {
        let mut peer = Self {
            io: Some(io),
            caller,
            manners,
            out: Vec::new(),
            allowed: Allowed::default(),
            follower: Follower::default(),
            next: 1,
        };
        if manners.greets {
            peer.greet();
        }
        peer
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.io.is_none()
    }

    pub(crate) fn is_caller(&self) -> bool {
        self.caller
    }

    pub(crate) fn greet(&mut self) {
        let settings = frames::frame(SETTINGS, 0, 0, &[]);
        self.say(&if self.caller { [frames::PREFACE, &settings].concat() } else { settings });
    }

    pub(crate) fn say(&mut self, octets: &[u8]) {
        if self.io.is_some() && self.out.len() + octets.len() <= MOST {
            self.allowed.said(octets, self.caller);
            self.out.extend_from_slice(octets);
        }
    }

    /// The stream that an octet means: one of the first 64, and of a caller's those that it has opened.
    pub(crate) fn stream(&self, octet: u8) -> u32 {
        let place = u32::from(octet & 0x3f);
        if self.caller { place % (self.next / 2).max(1) * 2 + 1 } else { place * 2 + 1 }
    }

    /// The caller's next stream.
    pub(crate) fn open(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    pub(crate) fn close(&mut self) {
        self.io = None;
    }

    /// Ends its half of the connection.
    pub(crate) fn shut(&mut self) {
        if let Some(io) = &mut self.io {
            let _: Poll<_> = Pin::new(io).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Moves what can be moved without waiting. Answers how many octets the pipe took.
    pub(crate) fn pump(&mut self) -> usize {
        let mut took = 0;
        for _ in 0..8 {
            took += self.write();
            if !self.manners.reads || self.read(usize::MAX) == 0 {
                break;
            }
        }
        took
    }

    fn write(&mut self) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let mut took = 0;
        while let Some(io) = self.io.as_mut().filter(|_| took < self.out.len()) {
            match Pin::new(io).poll_write(&mut cx, &self.out[took..]) {
                Poll::Ready(Ok(some)) => took += some,
                Poll::Ready(Err(_)) => self.io = None,
                Poll::Pending => break,
            }
        }
        self.out.drain(..took);
        took
    }

    /// Reads at most so much; answers how much that was.
    pub(crate) fn read(&mut self, most: usize) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut space, mut have) = (vec![0; most.min(4_096)], 0);
        while let Some(io) = self.io.as_mut().filter(|_| have < most) {
            let room = space.len().min(most - have);
            let mut buffer = ReadBuf::new(&mut space[..room]);
            match Pin::new(io).poll_read(&mut cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let octets = buffer.filled().to_vec();
                    have += octets.len();
                    self.hear(&octets);
                }
                Poll::Ready(_) => self.io = None,
                Poll::Pending => break,
            }
        }
        have
    }

    fn hear(&mut self, octets: &[u8]) {
        for frame in self.follower.heard(octets, self.caller, &self.allowed) {
            if !self.manners.answers {
                continue;
            }
            match frame.kind {
                SETTINGS if frame.flags & END == 0 => self.say(&frames::frame(SETTINGS, END, 0, &[])),
                PING if frame.flags & END == 0 => self.say(&frames::frame(PING, END, 0, &frame.payload)),
                frames::DATA if !frame.payload.is_empty() => {
                    let by = u32::try_from(frame.payload.len()).unwrap_or_default().to_be_bytes();
                    self.say(&frames::frame(WINDOW_UPDATE, 0, 0, &by));
                    if frame.flags & END == 0 {
                        self.say(&frames::frame(WINDOW_UPDATE, 0, frame.stream, &by));
                    }
                }
                _ => {}
            }
        }
        if self.manners.serves {
            self.serve(|stream| stream.ended && !stream.reset);
        }
    }

    /// Answers requests whole.
    pub(crate) fn serve(&mut self, which: impl Fn(&super::follower::Stream) -> bool) {
        let due = self.follower.streams.iter_mut().filter(|(_, stream)| !stream.answered && which(stream));
        let due: Vec<u32> = due
            .map(|(number, stream)| {
                stream.answered = true;
                *number
            })
            .collect();
        for stream in due {
            self.say(&frames::head(stream, false, &frames::answer(0), usize::MAX));
            self.say(&frames::frame(frames::DATA, 0, stream, &frames::message(30, 0)));
            self.say(&frames::head(stream, true, &frames::trailers(0), usize::MAX));
        }
    }
}
