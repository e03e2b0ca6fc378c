//! A thread that carries calls: its connections, the calls between them, and its clock. Both ends of a call live on one worker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use parking_lot::Mutex;
use slotmap::{DefaultKey, Key as _, KeyData, SlotMap};
use tokio::time::Instant;
use tokio_util::time::DelayQueue;

use super::again::Unjudged;
use super::context::Shared;
use super::link::Link;
use super::passage::{Leg, Passage};
use super::turn::Turn;
use super::upload::ROOM;
use crate::h2::{Growth, Spare, Tag};
use crate::in_force::InForce;
use crate::upstream::{Network, Pool};

/// What is read from a socket at once, at most and to begin with. The buffer is the worker's: a connection that says nothing holds none.
pub(super) const READ: usize = 256 * 1024;
pub(super) const FIRST_READ: usize = 16 * 1024;
/// Buffers for uploads that are kept for the next calls.
const ROOMS: usize = 256;
/// How often connections are looked after.
const TIDY: Duration = Duration::from_secs(1);

/// A thread that carries calls.
pub struct Worker {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    pub(super) network: Arc<dyn Network>,
    /// Locked for a turn of one connection at a time, and never across an await. Nobody else is on this thread, so it is never
    /// contended; the lock is what lets tasks of the runtime share it without unsafe code.
    hub: Mutex<Hub>,
}

/// Names a connection of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LinkKey(pub(super) DefaultKey);

/// Names a call of a worker. Both streams of a call carry it as their tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallKey(pub(super) DefaultKey);

impl CallKey {
    pub(super) fn tag(self) -> Tag {
        self.0.data().as_ffi()
    }

    pub(super) fn of(tag: Tag) -> Self {
        Self(KeyData::from_ffi(tag).into())
    }
}

/// Everything of a worker that calls touch.
pub(super) struct Hub {
    pub(super) links: SlotMap<DefaultKey, Link>,
    pub(super) calls: SlotMap<DefaultKey, Passage>,
    pub(super) pool: Pool<LinkKey, CallKey>,
    /// Answers in words that wait for a window, and until when.
    pub(super) unheard: VecDeque<(Instant, Leg)>,
    /// Octets of complete answers that their callers had not taken when they were complete.
    pub(super) unread: usize,
    /// Calls that wait for a place on a connection.
    pub(super) waiting: usize,
    pub(super) timers: DelayQueue<CallKey>,
    pub(super) config: Sight,
    /// The time for calls is up: none begins any more.
    pub(super) is_ending: bool,
    /// Calls that are to be judged again by it.
    pub(super) unjudged: Unjudged,
    pub(super) spare: Spare,
    pub(super) growth: Growth,
    pub(super) read: Vec<u8>,
    rooms: Vec<Vec<u8>>,
}

/// What a worker saw last of what is in force: looking again costs no write that others feel, unless it has changed.
pub(super) struct Sight {
    now: Cache<Arc<ArcSwap<InForce>>, Arc<InForce>>,
    /// What that was.
    last: Arc<InForce>,
    /// Counts those that it has seen.
    era: u64,
}

impl Sight {
    fn of(in_force: &Arc<ArcSwap<InForce>>) -> Self {
        Self { now: Cache::new(Arc::clone(in_force)), last: in_force.load_full(), era: 0 }
    }

    /// What is in force, and its number among those that this worker has seen.
    pub(super) fn look(&mut self) -> (&Arc<InForce>, u64) {
        let now = self.now.load();
        if !Arc::ptr_eq(now, &self.last) {
            self.last = Arc::clone(now);
            self.era += 1;
        }
        (&self.last, self.era)
    }
}

/// What a worker holds at one moment: nothing, once every connection is gone. For tests, which bound it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Connections.
    pub links: usize,
    /// Calls.
    pub calls: usize,
    /// Calls that wait for a place on a connection.
    pub waiting: usize,
    /// Alarms that are set for calls.
    pub alarms: usize,
    /// Octets in sums: by which windows grew, that wait for sockets, and of complete answers that their callers did not take.
    pub counted: usize,
    /// Octets that connections, and messages of calls, have from the allocator.
    pub allocated: usize,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker without connections. It lives on the thread whose runtime polls it.
    pub fn new(shared: Arc<Shared>, network: Arc<dyn Network>) -> Arc<Self> {
        let hub = Hub {
            links: SlotMap::new(),
            calls: SlotMap::new(),
            pool: Pool::default(),
            unheard: VecDeque::new(),
            unread: 0,
            waiting: 0,
            timers: DelayQueue::new(),
            config: Sight::of(&shared.in_force),
            is_ending: false,
            unjudged: Unjudged::default(),
            spare: Spare::default(),
            growth: Growth::default(),
            read: Vec::new(),
            rooms: Vec::new(),
        };
        Arc::new(Self { shared, network, hub: Mutex::new(hub) })
    }

    /// What it holds now.
    pub fn holds(&self) -> Holds {
        let hub = self.hub.lock();
        let engines = hub.links.values().map(|link| link.engine.allocated());
        let uploads = hub.calls.values().map(Passage::allocated);
        Holds {
            links: hub.links.len(),
            calls: hub.calls.len(),
            waiting: hub.waiting,
            alarms: hub.timers.len(),
            counted: hub.growth.used() + hub.growth.waiting() + hub.unread,
            allocated: engines.chain(uploads).sum(),
        }
    }

    /// Ends every call that is open, and those that come from now on, in words: the time that a drain gives them is up.
    pub fn end_calls(self: &Arc<Self>) {
        self.turn(|turn| turn.end_all());
    }

    /// Says goodbye on connections by which somebody has registered: they are to register, and to say that they live, elsewhere.
    pub fn dismiss_registrars(self: &Arc<Self>) {
        self.turn(|turn| {
            for link in turn.hub.links.values_mut().filter(|link| link.registers) {
                link.dismissed = true;
                link.wake();
            }
        });
    }

    /// Does something with the worker's connections and calls, at one moment.
    pub(super) fn turn<T>(self: &Arc<Self>, what: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        let mut hub = self.hub.lock();
        what(&mut Turn::new(self, &mut hub))
    }

    /// Looks at a connection, which takes no turn and asks no clock.
    pub(super) fn link<T>(&self, key: LinkKey, what: impl FnOnce(&mut Link) -> T) -> Option<T> {
        self.hub.lock().links.get_mut(key.0).map(what)
    }

    /// As [`turn`](Self::turn), for what may be dropped within a turn.
    pub(super) fn turn_unless_within_one<T>(self: &Arc<Self>, what: impl FnOnce(&mut Turn<'_>) -> T) -> Option<T> {
        self.hub.try_lock().map(|mut hub| what(&mut Turn::new(self, &mut hub)))
    }

    /// Rings calls whose time has come, looks after connections, and judges calls again when another snapshot is in force. Runs on the worker for as long as it does.
    pub async fn keep(self: Arc<Self>) {
        let mut tidy = tokio::time::interval(TIDY);
        let mut replaced = self.shared.replaced.subscribe();
        // What was replaced before counts too.
        replaced.mark_changed();
        let mut more = false;
        loop {
            let time = std::future::poll_fn(|cx| {
                loop {
                    // A turn for each, at the moment that it is.
                    let next = self.turn(|turn| match turn.hub.timers.poll_expired(cx) {
                        Poll::Ready(Some(expired)) => {
                            turn.ring(expired.into_inner());
                            Poll::Ready(())
                        }
                        Poll::Ready(None) | Poll::Pending => Poll::Pending,
                    });
                    std::task::ready!(next);
                }
            });
            tokio::select! {
                () = time => {}
                _ = tidy.tick() => more |= self.turn(|turn| turn.tidy()),
                Ok(()) = replaced.changed() => {
                    self.turn(|turn| turn.judge_all());
                    more = true;
                }
                () = tokio::task::yield_now(), if more => more = self.turn(|turn| turn.judge_some()),
            }
        }
    }
}

impl Hub {
    /// A buffer for an upload.
    pub(super) fn room(&mut self) -> Vec<u8> {
        self.rooms.pop().unwrap_or_default()
    }

    /// Keeps a buffer for the next call.
    pub(super) fn put_room(&mut self, mut room: Vec<u8>) {
        if room.capacity() > 0 && room.capacity() <= ROOM && self.rooms.len() < ROOMS {
            room.clear();
            self.rooms.push(room);
        }
    }

    /// The buffer to read into; it is put back after the turn.
    pub(super) fn take_read(&mut self) -> Vec<u8> {
        let mut read = std::mem::take(&mut self.read);
        // Empty at first, and after a turn that panicked.
        read.resize(READ, 0);
        read
    }
}
