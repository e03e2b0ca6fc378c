//! How a test or the demo sees into a running backend and turns its knobs: slow, failing, unhealthy, hanging; calls seen,
//! open, cancelled. The front (front.rs) reads it at every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Code;

use crate::seed::Seed;

/// More cancellations than any test makes; what comes after is counted and not remembered.
const REMEMBERED: usize = 100_000;

/// How a backend misbehaves. All of it can be changed while it runs.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Pause before each answer.
    pub delay: Duration,
    /// Share of calls that fail, 0.0 to 1.0; which ones follows from the seed.
    pub fail_share: f64,
    /// The status of those.
    pub fail_status: Code,
    /// What HealthCheck says.
    pub healthy: bool,
    /// Answer nothing at all, HealthCheck included, until this is turned off.
    pub hanging: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { delay: Duration::ZERO, fail_share: 0.0, fail_status: Code::Unavailable, healthy: true, hanging: false }
    }
}

/// Calls of a backend, without HealthCheck, `grpc.health` and reflection, which `probes` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls that arrived.
    pub seen: u64,
    /// Calls that have not ended yet.
    pub in_flight: u64,
    /// Calls that were dropped before their answer was complete.
    pub cancelled: u64,
    /// HealthCheck, `grpc.health` and reflection calls that arrived.
    pub probes: u64,
}

/// One call that was dropped before its answer was complete.
#[derive(Clone, Debug)]
pub struct Cancellation {
    /// When the backend noticed.
    pub at: Instant,
    /// `/package.Service/Method`.
    pub path: String,
    /// The caller's `x-call-id`, to tell which call it was.
    pub call_id: Option<String>,
}

/// Knobs and counters of one backend; clones share them.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    delay_us: AtomicU64,
    fail_share: AtomicU64,
    fail_status: AtomicI32,
    healthy: AtomicBool,
    hanging: watch::Sender<bool>,
    seen: AtomicU64,
    in_flight: AtomicU64,
    cancelled: AtomicU64,
    probes: AtomicU64,
    cancellations: Mutex<Vec<Cancellation>>,
    seed: Seed,
}

impl Handle {
    pub(crate) fn new(behaviour: &Behaviour, seed: u64) -> Self {
        let handle = Self(Arc::new(Inner {
            delay_us: AtomicU64::new(0),
            fail_share: AtomicU64::new(0),
            fail_status: AtomicI32::new(0),
            healthy: AtomicBool::new(true),
            hanging: watch::Sender::new(false),
            seen: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            cancellations: Mutex::default(),
            seed: Seed::new(seed),
        }));
        handle.behave(behaviour);
        handle
    }

    /// Sets everything at once.
    pub fn behave(&self, behaviour: &Behaviour) {
        self.set_delay(behaviour.delay);
        self.set_failing(behaviour.fail_share, behaviour.fail_status);
        self.set_healthy(behaviour.healthy);
        self.set_hanging(behaviour.hanging);
    }

    /// Pause before each answer, HealthCheck's excepted.
    pub fn set_delay(&self, delay: Duration) {
        self.0.delay_us.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Share of calls that fail (0.0 to 1.0) and their status; HealthCheck never does.
    pub fn set_failing(&self, share: f64, status: Code) {
        self.0.fail_share.store(share.to_bits(), Ordering::Relaxed);
        self.0.fail_status.store(status as i32, Ordering::Relaxed);
    }

    /// What HealthCheck says.
    pub fn set_healthy(&self, healthy: bool) {
        self.0.healthy.store(healthy, Ordering::Relaxed);
    }

    /// Whether calls are held, HealthCheck included. Turning it off lets the held ones go on.
    pub fn set_hanging(&self, hanging: bool) {
        self.0.hanging.send_replace(hanging);
    }

    /// What has been counted so far.
    pub fn calls(&self) -> Calls {
        Calls {
            seen: self.0.seen.load(Ordering::Acquire),
            in_flight: self.0.in_flight.load(Ordering::Acquire),
            cancelled: self.0.cancelled.load(Ordering::Acquire),
            probes: self.0.probes.load(Ordering::Acquire),
        }
    }

    /// The cancellations so far, oldest first (at most 100,000 are remembered).
    pub fn cancellations(&self) -> Vec<Cancellation> {
        self.0.cancellations.lock().clone()
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.0.healthy.load(Ordering::Relaxed)
    }

    /// Returns once calls are not held.
    pub(crate) async fn unheld(&self) {
        // The sender lives in self: the channel cannot close under us.
        let _ = self.0.hanging.subscribe().wait_for(|hanging| !hanging).await;
    }

    pub(crate) fn delay(&self) -> Duration {
        Duration::from_micros(self.0.delay_us.load(Ordering::Relaxed))
    }

    /// The status with which call number `number` is to fail, if it is.
    pub(crate) fn failure(&self, number: u64) -> Option<Code> {
        let share = f64::from_bits(self.0.fail_share.load(Ordering::Relaxed));
        (share > 0.0 && self.0.seed.falls(number, share))
            .then(|| Code::from_i32(self.0.fail_status.load(Ordering::Relaxed)))
    }

    pub(crate) fn count_probe(&self) {
        self.0.probes.fetch_add(1, Ordering::Release);
    }

    /// Counts a call in; its guard counts it out. Also the call's number, from 0.
    pub(crate) fn count(&self, path: &str, call_id: Option<&str>) -> (OpenCall, u64) {
        let number = self.0.seen.fetch_add(1, Ordering::Release);
        self.0.in_flight.fetch_add(1, Ordering::Release);
        let open = OpenCall {
            handle: self.clone(),
            path: path.to_owned(),
            call_id: call_id.map(str::to_owned),
            completed: false,
        };
        (open, number)
    }
}

/// One call between its arrival and its end; dropped before `complete`, it was cancelled.
#[derive(Debug)]
pub(crate) struct OpenCall {
    handle: Handle,
    path: String,
    call_id: Option<String>,
    completed: bool,
}

impl OpenCall {
    pub(crate) fn complete(&mut self) {
        self.completed = true;
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let inner = &self.handle.0;
        if !self.completed {
            let mut seen = inner.cancellations.lock();
            if seen.len() < REMEMBERED {
                seen.push(Cancellation {
                    at: Instant::now(),
                    path: std::mem::take(&mut self.path),
                    call_id: self.call_id.take(),
                });
            }
            inner.cancelled.fetch_add(1, Ordering::Release);
        }
        // Last: who sees in_flight at 0 finds every cancellation counted.
        inner.in_flight.fetch_sub(1, Ordering::Release);
    }
}
