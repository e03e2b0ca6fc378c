//! A worker's connections to instances, as a plan: which of them a call takes, when another is opened, who waits. It holds no
//! connection itself; `call` has them and says how full each is.
//!
//! HTTP/2 carries many calls a connection, but no more than the peer says. Another connection is opened before that
//! (FIELD.md T5: streams that queue in silence), up to the cluster's limit; past it calls wait, and few may.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::ClusterLimits;
use crate::observe::ClusterMetrics;
use crate::registry::Instance;

/// The most calls on one connection, whatever the peer takes: past this one connection's task is the bottleneck.
const MOST_STREAMS: usize = 4_096;
/// What a connection is expected to take, before one has said so.
const EXPECTED_STREAMS: usize = 100;

/// How long a call waits for a place: one without a deadline would wait for ever on an instance that takes no streams.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// All lanes of a worker, by instance. `L` is how a connection is named, `C` how a call is.
#[derive(Debug)]
pub struct Pool<L, C> {
    lanes: FxHashMap<u64, Lane<L, C>>,
}

/// All connections to one instance.
#[derive(Debug)]
pub struct Lane<L, C> {
    /// The instance.
    pub instance: Arc<Instance>,
    /// Its cluster's counters.
    pub metrics: Arc<ClusterMetrics>,
    open: Vec<L>,
    connecting: usize,
    waiting: VecDeque<C>,
}

/// How full a connection is.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Calls that it has.
    pub calls: usize,
    /// Calls that its peer takes.
    pub most: usize,
}

/// Where a call can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<L> {
    /// The least busy connection that has room.
    pub link: Option<L>,
    /// Another connection is to be opened: the lane counts it already.
    pub open: Option<Opening>,
}

/// What a connection is beside the others of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// One more.
    Further,
    /// None takes calls, or none any more: whoever listens there may have been started anew since it was last asked what it serves.
    Alone,
}

impl<L, C> Default for Pool<L, C> {
    fn default() -> Self {
        Self { lanes: FxHashMap::default() }
    }
}

impl<L: Copy + PartialEq, C: Copy + PartialEq> Pool<L, C> {
    /// The lane to an instance, made at its first call.
    pub fn lane(&mut self, instance: &Arc<Instance>, metrics: &Arc<ClusterMetrics>) -> &mut Lane<L, C> {
        self.lanes.entry(instance.id).or_insert_with(|| Lane {
            instance: Arc::clone(instance),
            metrics: Arc::clone(metrics),
            open: Vec::new(),
            connecting: 0,
            waiting: VecDeque::new(),
        })
    }

    /// A lane that there is.
    pub fn get(&mut self, instance: u64) -> Option<&mut Lane<L, C>> {
        self.lanes.get_mut(&instance)
    }

    /// Instances for which calls wait.
    pub fn with_waiting(&self) -> Vec<u64> {
        self.lanes.iter().filter(|(_, lane)| !lane.waiting.is_empty()).map(|(instance, _)| *instance).collect()
    }

    /// Forgets lanes to instances that were removed, and gives what they had: connections, which close when their calls are
    /// done, and calls, which have to go elsewhere. Called every second or so.
    pub fn tidy(&mut self) -> Vec<(Vec<L>, Vec<C>)> {
        let gone = self.lanes.extract_if(|_, lane| lane.instance.is_gone());
        gone.map(|(_, lane)| (lane.open, lane.waiting.into())).collect()
    }
}

impl<L: Copy + PartialEq, C: Copy + PartialEq> Lane<L, C> {
    /// The least busy connection that has room, and whether it is wise to open another. `look` tells how full a connection is, or
    /// that it takes no new calls.
    pub fn find(&mut self, limits: ClusterLimits, mut look: impl FnMut(L) -> Option<Room>) -> Found<L> {
        let mut best: Option<(L, Room)> = None;
        let mut open = 0;
        for link in &self.open {
            let Some(Room { calls, most }) = look(*link) else { continue };
            let room = Room { calls, most: most.min(MOST_STREAMS) };
            open += 1;
            if room.calls < room.most && best.is_none_or(|(_, best)| room.calls < best.calls) {
                best = Some((*link, room));
            }
        }
        let more = match best {
            // At four fifths the next connection is opened, so that it is there when this one is full.
            Some((_, room)) => (room.calls + 1) * 5 > room.most * 4 && self.connecting == 0,
            None => self.connecting * EXPECTED_STREAMS <= self.waiting.len(),
        };
        let open_another = more && open + self.connecting < limits.connections;
        if open_another {
            self.connecting += 1;
        }
        let opening = if open == 0 { Opening::Alone } else { Opening::Further };
        Found { link: best.map(|(link, _)| link), open: open_another.then_some(opening) }
    }

    /// A call waits here from now on.
    pub fn wait(&mut self, call: C) {
        self.waiting.push_back(call);
    }

    /// A call waits no longer.
    pub fn leave(&mut self, call: C) {
        self.waiting.retain(|waiting| *waiting != call);
    }

    /// The call that has waited longest.
    pub fn first(&self) -> Option<C> {
        self.waiting.front().copied()
    }

    /// A connection is open.
    pub fn opened(&mut self, link: L) {
        self.connecting = self.connecting.saturating_sub(1);
        self.instance.connected();
        self.open.push(link);
    }

    /// A connection could not be made. Answers the calls that have to hear of it: all, where none of the others takes new calls.
    pub fn failed(&mut self, now_ms: u64, mut takes_calls: impl FnMut(L) -> bool) -> Vec<C> {
        self.connecting = self.connecting.saturating_sub(1);
        // Once a connect, however many calls wait for it.
        self.instance.connect_failed(now_ms);
        let another = self.open.iter().any(|link| takes_calls(*link));
        if another { Vec::new() } else { self.waiting.drain(..).collect() }
    }

    /// A connection is gone.
    pub fn closed(&mut self, link: L) {
        self.open.retain(|open| *open != link);
    }
}

#[cfg(test)]
mod tests;
