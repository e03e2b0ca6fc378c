//! How a proxy ends: it is told to, says so to balancers, takes no new connections, waits for the calls that are open, and ends those
//! that are left in words.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::handover::{self, DISMISSAL, Succession};
use super::{Proxy, audit};
use crate::config::Drain;

/// How often a drain looks whether it is done.
const LOOK: Duration = Duration::from_millis(10);
/// How long calls that a drain ends have for that to be read, beside a round trip.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How far the end has come.
#[derive(Debug, Default)]
pub(super) struct Ending {
    asked: watch::Sender<bool>,
    /// Nobody new is to come, and everything goes on.
    pub(super) leaving: watch::Sender<bool>,
    /// Nobody new can come.
    pub(super) closing: watch::Sender<bool>,
    /// Another process has taken our place: the admin port is its.
    pub(super) handed: watch::Sender<bool>,
    /// Another process is to take it.
    pub(super) succession: Succession,
}

impl Ending {
    /// Asks for the end; false if it has been asked for before, or has begun. Balancers are told at once, whatever whoever ends it does
    /// first.
    pub(super) fn ask(&self) -> bool {
        let begun = self.leaving.send_replace(true);
        !self.asked.send_replace(true) && !begun
    }

    /// Until somebody asks for it.
    pub(super) async fn asked(&self) {
        // It is not dropped while it is looked at.
        drop(self.asked.subscribe().wait_for(|asked| *asked).await);
    }

    /// Until another process has taken our place.
    pub(super) async fn handed_over(self: Arc<Self>) {
        drop(self.handed.subscribe().wait_for(|handed| *handed).await);
    }

    pub(super) fn is_leaving(&self) -> bool {
        *self.leaving.borrow()
    }
}

impl Proxy {
    /// Until somebody asks on the admin port that it ends.
    pub async fn asked_to_drain(&self) {
        self.ending.asked().await;
    }

    /// Tells balancers that it will end, and goes on as before: `/ready` is 503, and the health that listeners serve NOT_SERVING. A process
    /// that was to take its place ends, unless it does so already.
    pub fn leave(&self) {
        self.ending.leaving.send_replace(true);
        self.ending.succession.call_off();
    }

    /// How it is to end, as the configuration in force has it.
    pub async fn drain_settings(&self) -> Drain {
        self.running.lock().await.config.drain.clone()
    }

    /// Ends well: takes no new connections, says goodbye on those there are (GOAWAY), waits for open calls at most `patience`, then ends
    /// what is left with UNAVAILABLE. True if everything is told and written.
    pub async fn drain(self, patience: Duration) -> bool {
        let Self { shared, ending, workers, listening, running, desks, _background, .. } = self;
        let mut running = running.lock().await;
        ending.leaving.send_replace(true);
        ending.closing.send_replace(true);
        let listeners = listening.into_inner().close().await;
        if *ending.handed.borrow() {
            // The new process listens there.
            drop(desks);
        }
        let open = || listeners.iter().map(|listener| listener.open_connections()).sum::<usize>();
        let until = Instant::now().checked_add(patience);
        // A standby may have the state as soon as those who register have heard that they are to go: it does not wait for our calls.
        are_gone(open, Instant::now().checked_add(DISMISSAL.min(patience))).await;
        handover::release(&mut running).await;
        if !are_gone(open, until).await {
            let calls = shared.metrics.open_calls();
            tracing::warn!(
                calls,
                connections = open(),
                "the time for calls is up: those that are open end with UNAVAILABLE"
            );
            workers.end_calls();
            are_gone(open, Instant::now().checked_add(LAST_WORDS)).await;
        }
        let told = shared.metrics.open_calls() == 0;
        workers.stop().await;
        let standings = std::mem::take(&mut running.standings);
        // Waits for the writer's thread, so not on the runtime's own.
        let flushed = tokio::task::spawn_blocking(move || {
            drop(standings);
            let audited = audit::close(&shared.in_force.load().snapshot);
            audited & shared.access_log.as_ref().is_none_or(|log| log.flush(Duration::from_secs(2)))
        });
        told && flushed.await.unwrap_or(false)
    }
}

/// Whether no connection is left by then.
async fn are_gone(open: impl Fn() -> usize, until: Option<Instant>) -> bool {
    while open() > 0 {
        if until.is_some_and(|until| Instant::now() >= until) {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}
