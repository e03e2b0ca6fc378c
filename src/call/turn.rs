//! One moment of a worker: octets of one connection, and what they do to calls and to other connections.

use std::sync::Arc;

use tokio::time::Instant;

use super::link::Side;
use super::worker::{CallKey, Hub, LinkKey, Worker};
use crate::h2::{Event, Fatal, Limit, Millis, StreamError, Tag};
use crate::upstream::clock_ms;

/// A worker at one moment.
pub(super) struct Turn<'a> {
    pub(super) worker: &'a Arc<Worker>,
    pub(super) hub: &'a mut Hub,
    pub(super) now: Instant,
    pub(super) millis: Millis,
}

impl<'a> Turn<'a> {
    pub(super) fn new(worker: &'a Arc<Worker>, hub: &'a mut Hub) -> Self {
        let now = Instant::now();
        Self { worker, hub, now, millis: clock_ms(now) }
    }

    /// Hands octets that came over a connection to its engine, and what they mean to the calls. Answers how many frames those were;
    /// `None` once it is over.
    pub(super) fn take_in(&mut self, key: LinkKey, mut octets: &[u8]) -> Option<usize> {
        let before = self.hub.links.get(key.0)?.engine.frames();
        loop {
            let Hub { links, spare, .. } = &mut *self.hub;
            let link = links.get_mut(key.0)?;
            match link.engine.receive(&mut octets, self.millis, spare) {
                Ok(Some(event)) => match &link.side {
                    Side::Caller(_) => self.caller_sent(key, event),
                    Side::Instance { .. } => self.instance_sent(event),
                },
                Ok(None) => break,
                Err(fatal) => {
                    self.broken(key, fatal);
                    return None;
                }
            }
        }
        // New SETTINGS may have brought room.
        if self.hub.waiting > 0
            && let Some(Side::Instance { id: instance, .. }) = self.hub.links.get(key.0).map(|link| &link.side)
        {
            let instance = *instance;
            self.serve_waiting(instance);
        }
        let link = self.hub.links.get_mut(key.0)?;
        let (frames, cut) = (link.engine.frames().wrapping_sub(before), link.engine.take_cut());
        if let Side::Instance { id: instance, .. } = &link.side
            && cut > 0
            && let Some(lane) = self.hub.pool.get(*instance)
        {
            lane.metrics.heads_cut(cut);
        }
        Some(frames)
    }

    fn caller_sent(&mut self, key: LinkKey, event: Event<'_>) {
        match event {
            Event::Request { stream, head, end } => self.begin(key, stream, head, end),
            Event::Data { tag, bytes, end } => self.request_data(CallKey::of(tag), bytes, end),
            Event::Trailers { tag, fields } => {
                // Requests of gRPC have none: dropped, and their end is the request's.
                self.hub.spare.put(fields);
                self.request_data(CallKey::of(tag), &[], true);
            }
            Event::Reset { tag, .. } => self.caller_left(CallKey::of(tag)),
            Event::Went { tag, bytes, end } => self.answer_went(CallKey::of(tag), bytes, end),
            Event::Settled | Event::Response { .. } => {}
        }
    }

    fn instance_sent(&mut self, event: Event<'_>) {
        match event {
            Event::Response { tag, head, end } => self.answer_head(CallKey::of(tag), head, end),
            Event::Data { tag, bytes, end } => self.answer_data(CallKey::of(tag), bytes, end),
            Event::Trailers { tag, fields } => self.answer_trailers(CallKey::of(tag), fields),
            Event::Reset { tag, error } => self.instance_broke(CallKey::of(tag), error),
            Event::Went { tag, bytes, .. } => self.request_went(CallKey::of(tag), bytes),
            Event::Settled | Event::Request { .. } => {}
        }
    }

    /// A connection has to end: its peer broke HTTP/2, or a limit. GOAWAY is on its way.
    fn broken(&mut self, key: LinkKey, fatal: Fatal) {
        let Some(link) = self.hub.links.get(key.0) else { return };
        match &link.side {
            Side::Caller(origin) => {
                if let Some(limit) = fatal.limit {
                    origin.metrics.limited(limit.as_str());
                }
                tracing::debug!(listener = %origin.listener, peer = %origin.peer, why = %fatal, "a caller's connection is ended");
            }
            Side::Instance { id: instance, .. } => {
                if let (Some(limit), Some(lane)) = (fatal.limit, self.hub.pool.get(*instance)) {
                    lane.metrics.limited(limit.as_str());
                }
                tracing::warn!(why = %fatal, "an instance's connection is ended");
            }
        }
        // Its engine is dead, and takes no call that waits.
        let (tags, caller) = (link.engine.tags(), matches!(link.side, Side::Caller(_)));
        self.end_calls(&tags, caller);
        if let Some(link) = self.hub.links.get_mut(key.0) {
            link.dropped = fatal.limit == Some(Limit::SlowReader);
            link.wake();
        }
    }

    /// A connection is gone, with its socket.
    pub(super) fn lost(&mut self, key: LinkKey) {
        // First out of the tables: a place that one of its calls leaves must not be given to one that waits.
        let Some(link) = self.hub.links.remove(key.0) else { return };
        if let Side::Instance { id: instance, .. } = link.side
            && let Some(lane) = self.hub.pool.get(instance)
        {
            lane.closed(key);
        }
        self.end_calls(&link.engine.tags(), matches!(link.side, Side::Caller(_)));
        if let Side::Instance { id: instance, .. } = link.side {
            self.serve_waiting(instance);
        }
    }

    /// Tells the calls of a connection that it is gone.
    fn end_calls(&mut self, tags: &[Tag], by_caller: bool) {
        for tag in tags {
            if by_caller {
                self.caller_left(CallKey::of(*tag));
            } else {
                self.instance_broke(CallKey::of(*tag), StreamError::Lost);
            }
        }
    }

    /// Looks after connections: those that stall, and those to instances that are gone. Called every second. Answers whether there are calls
    /// to be judged again.
    pub(super) fn tidy(&mut self) -> bool {
        // An idle worker too lets go of what is no longer in force.
        self.hub.config.look();
        self.give_up_unheard();
        self.retire_former();
        let millis = self.millis;
        let mut stalled = Vec::new();
        for (key, link) in &mut self.hub.links {
            // One that was dead at the last look has had its time to take the reason.
            let dead = link.engine.is_dead();
            link.dropped |= std::mem::replace(&mut link.dead, dead) && dead;
            if let Err(fatal) = link.engine.tick(millis) {
                stalled.push((LinkKey(key), fatal));
            }
            if link.dropped || !link.engine.output().is_empty() {
                link.wake();
            }
        }
        for (key, fatal) in stalled {
            self.broken(key, fatal);
        }
        if self.hub.waiting > 0 {
            // Streams whose resets waited have gone, and others have their places.
            for instance in self.hub.pool.with_waiting() {
                self.serve_waiting(instance);
            }
        }
        for (links, calls) in self.hub.pool.tidy() {
            for key in links {
                if let Some(link) = self.hub.links.get_mut(key.0) {
                    link.retired = true;
                    link.wake();
                }
            }
            for call in calls {
                self.displaced(call);
            }
        }
        self.judge_postponed()
    }
}
