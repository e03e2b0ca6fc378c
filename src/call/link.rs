//! A connection of a worker, and the turn in which its octets move: read once, hand on, write once.
//!
//! Whoever owns the socket polls [`Attached`]; what other connections put into this one's output wakes it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use filter_api::Refusal;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::context::Origin;
use super::stop::Stop;
use super::turn::Turn;
use super::worker::{CallKey, FIRST_READ, LinkKey, READ, Worker};
use crate::h2::{Config, Connection, Role};
use crate::observe::metrics::UpstreamConnection;

/// Reads in one turn, but for a large one, which is a turn's worth: more would fill the outputs of others beyond what they hold.
const READS: usize = 2;
/// Octets of a frame on average, from which on a connection is one of large frames.
const LARGE_FRAME: usize = 1_024;
/// Output that is worth a write of its own. Less waits for this many more looks at the sockets, and goes with what others add until then.
const ENOUGH: usize = 16 * 1024;
const LOOKS: u8 = 3;
/// What is still read of a connection that is over, so that its last words are not lost with a TCP reset, and how long.
const LAST_READS: usize = 64;
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) engine: Connection,
    pub(super) side: Side,
    waker: Option<Waker>,
    /// Its turn is coming or under way: it need not be woken.
    awake: bool,
    /// Looks at the sockets that its output has waited for.
    looks: u8,
    /// What is read of it at once: much only of those that send large pieces, or many small ones would hold up the others.
    at_once: usize,
    /// Requests that came over it.
    pub(super) requests: u64,
    /// Calls to the registrar came over it.
    pub(super) registers: bool,
    /// Its owner is to say goodbye.
    pub(super) dismissed: bool,
    /// It closes with its last call.
    pub(super) retired: bool,
    /// Its engine was dead when connections were last looked after.
    pub(super) dead: bool,
    /// It closes now, whatever has not been written: its peer does not read.
    pub(super) dropped: bool,
}

/// Who is at the other end.
#[derive(Debug)]
pub(super) enum Side {
    /// A caller.
    Caller(Arc<Origin>),
    /// An instance.
    Instance {
        /// Its number.
        id: u64,
        /// Counts the connection in its state.
        counted: UpstreamConnection,
        /// Of which era of its cluster's TLS it is.
        era: u64,
    },
}

impl Link {
    /// Has its owner take a turn.
    pub(super) fn wake(&mut self) {
        if !self.awake {
            self.awake = true;
            if let Some(waker) = &self.waker {
                waker.wake_by_ref();
            }
        }
    }
}

/// What goes on on a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse {
    /// A call is open, or the end of one is still to be written.
    pub busy: bool,
    /// Requests that came so far.
    pub requests: u64,
    /// It is time to say goodbye.
    pub dismissed: bool,
}

/// A connection among those of a worker, for whoever has its socket. Dropping it ends what is open on it.
#[derive(Debug)]
pub struct Attached {
    worker: Arc<Worker>,
    pub(super) key: LinkKey,
}

impl Attached {
    /// A caller's connection.
    pub fn caller(worker: &Arc<Worker>, origin: Arc<Origin>, config: Config) -> Self {
        Self::new(worker, Role::Server, config, Side::Caller(origin))
    }

    pub(super) fn new(worker: &Arc<Worker>, role: Role, config: Config, side: Side) -> Self {
        let key = worker.turn(|turn| {
            let engine = Connection::new(role, config, turn.hub.growth.clone(), turn.millis);
            let link = Link {
                engine,
                side,
                waker: None,
                awake: true,
                looks: 0,
                at_once: FIRST_READ,
                requests: 0,
                registers: false,
                dismissed: false,
                retired: false,
                dead: false,
                dropped: false,
            };
            LinkKey(turn.hub.links.insert(link))
        });
        Self { worker: Arc::clone(worker), key }
    }

    /// Takes octets that were read before.
    pub fn feed(&self, octets: &[u8]) {
        self.worker.turn(|turn| turn.take_in(self.key, octets));
    }

    /// One turn. Ready once the connection is over and its last output is written.
    pub fn poll<T: AsyncRead + AsyncWrite + Unpin>(&self, cx: &mut Context<'_>, io: &mut T) -> Poll<()> {
        self.worker.turn(|turn| {
            let Some(link) = turn.hub.links.get_mut(self.key.0) else { return Poll::Ready(()) };
            if !link.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                link.waker = Some(cx.waker().clone());
            }
            link.awake = true;
            let mut over = turn.read(self.key, io, cx).is_err();
            let mut unread = false;
            if let Some(link) = turn.hub.links.get_mut(self.key.0).filter(|_| !over) {
                unread = link.engine.is_backed_up();
                let waits = link.engine.output().len();
                if link.looks < LOOKS && waits > 0 && waits < ENOUGH {
                    link.looks += 1;
                    // Wakes its owner once the sockets have been looked at.
                    let _: Poll<()> = std::pin::pin!(tokio::task::yield_now()).poll(cx);
                    return Poll::Pending;
                }
                link.looks = 0;
            }
            over |= turn.write(self.key, io, cx).is_err();
            match turn.hub.links.get_mut(self.key.0) {
                Some(link) if !over => {
                    link.awake = false;
                    if unread && !link.engine.is_backed_up() {
                        // Its socket has told already that there is something to read, and does not tell again.
                        cx.waker().wake_by_ref();
                    }
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
    }

    /// Announces that goodbye: the peer is to begin its next calls elsewhere, and may take a moment to.
    pub fn announce_goodbye(&self) {
        self.with(|link| {
            link.engine.announce_goodbye();
            link.wake();
        });
    }

    /// Says goodbye: what is open is served, then the connection is over.
    pub fn goodbye(&self) {
        self.with(|link| {
            link.engine.goodbye();
            link.wake();
        });
    }

    /// The caller may not stay: calls that are open end with this refusal, and none begins any more.
    pub fn oust(&self, refusal: &Refusal) {
        self.worker.turn(|turn| {
            let Some(link) = turn.hub.links.get_mut(self.key.0) else { return };
            link.engine.farewell();
            link.wake();
            for tag in link.engine.tags() {
                turn.stop(CallKey::of(tag), Stop(Box::new(refusal.clone())));
            }
        });
    }

    /// What is going on, looked at once a turn.
    pub fn pulse(&self) -> Pulse {
        self.with(|link| Pulse {
            busy: link.engine.open_streams() > 0 || !link.engine.output().is_empty(),
            requests: link.requests,
            dismissed: link.dismissed,
        })
        .unwrap_or_default()
    }

    /// Whether the peer has said its SETTINGS.
    pub(super) fn is_open(&self) -> bool {
        self.with(|link| link.engine.is_open()).unwrap_or_default()
    }

    fn with<T>(&self, what: impl FnOnce(&mut Link) -> T) -> Option<T> {
        self.worker.link(self.key, what)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.worker.turn(|turn| turn.lost(self.key));
    }
}

/// The connection is over: nothing more is to be read or written.
struct Over;

impl Turn<'_> {
    /// Reads what is there, and hands it on.
    fn read<T: AsyncRead + Unpin>(&mut self, key: LinkKey, io: &mut T, cx: &mut Context<'_>) -> Result<(), Over> {
        let mut buffer = self.hub.take_read();
        let result = self.read_into(&mut buffer, key, io, cx);
        self.hub.read = buffer;
        result
    }

    fn read_into<T: AsyncRead + Unpin>(
        &mut self,
        buffer: &mut [u8],
        key: LinkKey,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Result<(), Over> {
        for _ in 0..READS {
            // Its writability wakes the task, and then it may be read again.
            let link = self.hub.links.get(key.0).filter(|link| !link.engine.is_backed_up());
            let Some(at_once) = link.map(|link| link.at_once) else { return Ok(()) };
            let mut octets = ReadBuf::new(buffer.get_mut(..at_once).unwrap_or_default());
            match Pin::new(&mut *io).poll_read(cx, &mut octets) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) if octets.filled().is_empty() => return Err(Over),
                Poll::Ready(Err(_)) => return Err(Over),
                Poll::Ready(Ok(())) => {
                    let came = octets.filled().len();
                    let Some(frames) = self.take_in(key, octets.filled()) else { return Ok(()) };
                    self.pace_reading(key, came, frames);
                    if came >= READ / 2 {
                        break;
                    }
                }
            }
        }
        // There may be more: the others first.
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Reads more at once of a connection that fills what it is given with few frames, and little of others.
    fn pace_reading(&mut self, key: LinkKey, octets: usize, frames: usize) {
        let Some(link) = self.hub.links.get_mut(key.0) else { return };
        if octets >= FIRST_READ && frames * LARGE_FRAME > octets {
            link.at_once = FIRST_READ;
        } else if octets == link.at_once {
            link.at_once = (link.at_once * 2).min(READ);
        }
    }

    /// Writes what waits, as far as the socket takes it.
    fn write<T: AsyncWrite + Unpin>(&mut self, key: LinkKey, io: &mut T, cx: &mut Context<'_>) -> Result<(), Over> {
        loop {
            let millis = self.millis;
            let Some(link) = self.hub.links.get_mut(key.0).filter(|link| !link.dropped) else { return Err(Over) };
            if link.engine.output().is_empty() {
                let done = link.engine.is_over() || (link.retired && link.engine.open_streams() == 0);
                // What is encrypted and not yet written goes when the socket takes it. Closing sees to it too.
                let flushed = Pin::new(&mut *io).poll_flush(cx);
                return if done || matches!(flushed, Poll::Ready(Err(_))) { Err(Over) } else { Ok(()) };
            }
            match Pin::new(&mut *io).poll_write(cx, link.engine.output()) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(Over),
                Poll::Ready(Ok(written)) => link.engine.wrote(written, false, millis),
                Poll::Pending => {
                    link.engine.wrote(0, true, millis);
                    return Ok(());
                }
            }
            // What waited for room in the output has gone, and whoever sent it has its credit back.
            self.take_in(key, &[]);
        }
    }
}

/// Closes a socket whose connection is over, so that what was written last is read.
pub async fn close<T: AsyncRead + AsyncWrite + Unpin>(mut io: T) {
    let last_words = async {
        io.shutdown().await?;
        let mut unread = [0; 4_096];
        for _ in 0..LAST_READS {
            if io.read(&mut unread).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // A peer that neither reads nor closes loses its connection all the same.
    drop(tokio::time::timeout(LAST_WORDS, last_words).await);
}
