//! A worker's connections to instances: opened as calls need them, shared by calls, given up when they end.
//!
//! HTTP/2 carries many calls a connection, but no more than the peer says. Another connection is opened before that
//! (FIELD.md T5: streams that queue in silence), up to the cluster's limit; past it calls wait, and few may.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::connect::connect;
use super::{ClusterLimits, ConnectError, Network, clock_ms};
use crate::h2::ClientConnection;
use crate::observe::metrics::{ClusterMetrics, ConnectionState, UpstreamConnection};
use crate::registry::Instance;

/// The most calls on one connection, whatever the peer takes: past this one connection's task is the bottleneck.
const MOST_STREAMS: usize = 4_096;
/// What a connection is expected to take, before one has said so.
const EXPECTED_STREAMS: usize = 100;

/// How long a call waits for a place: one without a deadline would wait for ever on an instance that takes no streams.
const PATIENCE: Duration = Duration::from_secs(10);

/// The connections of one worker.
#[derive(Debug)]
pub struct Pool {
    network: Arc<dyn Network>,
    lanes: Mutex<HashMap<u64, Arc<Lane>>>,
}

/// The right to open one call on a connection; dropping it gives the place free.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub connection: ClientConnection,
    calls: Arc<AtomicUsize>,
    lane: Arc<Lane>,
}

/// Why no call can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseError {
    /// No connection could be made.
    Connect(ConnectError),
    /// As many calls wait as may.
    Full,
}

/// All connections to one instance.
#[derive(Debug)]
struct Lane {
    network: Arc<dyn Network>,
    instance: Arc<Instance>,
    state: Mutex<LaneState>,
    /// Rung when a connection opens, fails or has room again.
    changed: Notify,
}

#[derive(Debug, Default)]
struct LaneState {
    open: Vec<Slot>,
    connecting: usize,
    waiting: usize,
    /// Connects that failed so far, and why the last did: a waiting call compares, to see one that failed while it waited.
    failures: u64,
    last_error: Option<ConnectError>,
}

#[derive(Debug)]
struct Slot {
    /// None once the peer has said goodbye (GOAWAY) or stream ids have run out: the calls that it has go on, and with
    /// the last of them it closes, since nobody holds a handle any more.
    connection: Option<ClientConnection>,
    calls: Arc<AtomicUsize>,
    /// Counts it for the metrics, in its state.
    counted: UpstreamConnection,
}

/// No connection has room now; connects had failed so often by then.
struct NoRoom {
    failures: u64,
}

impl Pool {
    /// No connections yet.
    pub fn new(network: Arc<dyn Network>) -> Self {
        Self { network, lanes: Mutex::default() }
    }

    /// A place on a connection to `instance`, opening one where needed. Waits for as long as the caller is willing to, and
    /// 10 s at the most.
    pub async fn lease(
        &self,
        instance: &Arc<Instance>,
        limits: ClusterLimits,
        metrics: &Arc<ClusterMetrics>,
    ) -> Result<Lease, LeaseError> {
        let lane = self.lane(instance);
        let failures = match lane.find(limits, metrics) {
            Ok(lease) => return Ok(lease),
            Err(NoRoom { failures }) => failures,
        };
        let Some(_counted) = instance.try_wait(limits.pending) else { return Err(LeaseError::Full) };
        let _waiting = Waiting::enter(&lane);
        let until = Instant::now() + PATIENCE;
        loop {
            // Registered before looking, so that a ring between the two is not lost.
            let changed = lane.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Ok(lease) = lane.find(limits, metrics) {
                return Ok(lease);
            }
            if let Some(error) = lane.failed_since(failures) {
                return Err(LeaseError::Connect(error));
            }
            if timeout_at(until, changed).await.is_err() {
                return Err(LeaseError::Full);
            }
        }
    }

    /// Forgets connections to instances that were removed; they close when their calls are done. Called every second or so.
    pub fn tidy(&self) {
        self.lanes.lock().retain(|_, lane| {
            let gone = lane.instance.is_gone();
            if gone {
                lane.state.lock().open.clear();
                lane.changed.notify_waiters();
            }
            !gone
        });
    }

    fn lane(&self, instance: &Arc<Instance>) -> Arc<Lane> {
        let mut lanes = self.lanes.lock();
        let lane = lanes.entry(instance.id).or_insert_with(|| {
            let (network, instance) = (Arc::clone(&self.network), Arc::clone(instance));
            Arc::new(Lane { network, instance, state: Mutex::default(), changed: Notify::new() })
        });
        Arc::clone(lane)
    }
}

impl Lane {
    /// The least busy connection that has room; starts another where that is wise.
    fn find(self: &Arc<Self>, limits: ClusterLimits, metrics: &Arc<ClusterMetrics>) -> Result<Lease, NoRoom> {
        let mut state = self.state.lock();
        let mut best: Option<Room<'_>> = None;
        let mut open = 0;
        for slot in &mut state.open {
            let Some(room) = slot.room() else { continue };
            open += 1;
            if room.calls < room.most && best.as_ref().is_none_or(|best| room.calls < best.calls) {
                best = Some(room);
            }
        }
        let found = best.map(|Room { connection, counter, calls, most }| {
            counter.fetch_add(1, Ordering::Relaxed);
            let lease = Lease { connection: connection.clone(), calls: Arc::clone(counter), lane: Arc::clone(self) };
            // At four fifths the next connection is opened, so that it is there when this one is full.
            (lease, (calls + 1) * 5 > most * 4)
        });
        let more = match &found {
            Some((_, nearly_full)) => *nearly_full && state.connecting == 0,
            None => state.connecting * EXPECTED_STREAMS <= state.waiting,
        };
        if more && open + state.connecting < limits.connections {
            state.connecting += 1;
            tokio::spawn(Arc::clone(self).open(metrics.connection()));
        }
        found.map(|(lease, _)| lease).ok_or(NoRoom { failures: state.failures })
    }

    /// Opens a connection, tells the waiting calls, and moves it until it ends.
    async fn open(self: Arc<Self>, mut counted: UpstreamConnection) {
        let result = connect(&*self.network, &self.instance.target).await;
        let calls: Arc<AtomicUsize> = Arc::default();
        let driver = {
            let mut state = self.state.lock();
            state.connecting -= 1;
            match result {
                // Removed meanwhile: its lane is no longer looked at, and would keep the connection for ever.
                Ok(_) if self.instance.is_gone() => None,
                Ok((connection, driver)) => {
                    self.instance.connected();
                    counted.turn(ConnectionState::Ready);
                    state.last_error = None;
                    state.open.push(Slot { connection: Some(connection), calls: Arc::clone(&calls), counted });
                    Some(driver)
                }
                Err(error) => {
                    // Once a connect, however many calls wait for it.
                    self.instance.connect_failed(clock_ms());
                    state.failures += 1;
                    state.last_error = Some(error);
                    None
                }
            }
        };
        self.changed.notify_waiters();
        if let Some(driver) = driver {
            driver.await;
            self.state.lock().open.retain(|slot| !Arc::ptr_eq(&slot.calls, &calls));
            self.changed.notify_waiters();
        }
    }

    /// Why a connect failed since there were `failures`; `None` while a connection is open or on its way.
    fn failed_since(&self, failures: u64) -> Option<ConnectError> {
        let state = self.state.lock();
        if self.instance.is_gone() {
            return Some(ConnectError::Refused);
        }
        let none_open = state.open.iter().all(|slot| slot.connection.is_none());
        (state.failures != failures && none_open).then_some(state.last_error).flatten()
    }
}

/// A connection that takes calls, and how many it has of those that it takes.
struct Room<'a> {
    connection: &'a ClientConnection,
    counter: &'a Arc<AtomicUsize>,
    calls: usize,
    most: usize,
}

impl Slot {
    /// How much room there is; `None` if it takes no new calls, which is noted the first time.
    fn room(&mut self) -> Option<Room<'_>> {
        if !self.connection.as_mut()?.is_open() {
            self.connection = None;
            self.counted.turn(ConnectionState::Draining);
        }
        let connection = self.connection.as_ref()?;
        let most = connection.max_streams().min(MOST_STREAMS);
        Some(Room { connection, counter: &self.calls, calls: self.calls.load(Ordering::Relaxed), most })
    }
}

/// Counts a waiting call, however it stops waiting.
struct Waiting<'a>(&'a Lane);

impl<'a> Waiting<'a> {
    fn enter(lane: &'a Lane) -> Self {
        lane.state.lock().waiting += 1;
        Self(lane)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        // Somebody may wait for this place. A ring without listeners costs an atomic load.
        self.lane.changed.notify_one();
    }
}
