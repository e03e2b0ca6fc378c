//! A call on its way to an instance: tries, each with an instance, a connection and a stream, until one has begun to answer.
//!
//! By itself a call is tried again only where the last try provably did not start (DESIGN.md §4, "Retries").

use std::sync::Arc;

use fields::RequestHead;
use filter_api::{Outcome, Refusal, Unread};
use tokio::time::Instant;

use super::away::Away;
use super::context::Call;
use super::head;
use super::link::{Link, Side};
use super::passage::{Leg, Passage, Placing, Ready, Stage, Try};
use super::seek::overloaded;
use super::stop::{Stop, refusal_of, refusal_of_connect};
use super::turn::Turn;
use super::worker::{CallKey, Hub, LinkKey};
use crate::filters::{Answered, Chain, Seen, Waiting};
use crate::h2::StreamError;
use crate::observe::metrics::ConnectionState;
use crate::registry::{InFlight, Instance};
use crate::upstream::{ConnectError, PATIENCE, Room};

/// A call that never started anywhere is tried on so many instances. More would only hide that a cluster is gone.
pub(super) const TRIES: u32 = 5;

/// A try that provably did not start: another may follow. The word is for the metrics.
pub(super) struct Unstarted(pub(super) &'static str, pub(super) Box<Refusal>);

/// How far a try has come for now.
enum Progress {
    /// It is sent, or waits for something.
    Begun,
    Unstarted(Unstarted),
    Stopped(Stop),
}

impl Turn<'_> {
    /// Begins tries until one is on its way.
    pub(super) fn advance(&mut self, key: CallKey) {
        loop {
            match self.attempt(key) {
                Progress::Begun => return,
                Progress::Stopped(stop) => return self.stop(key, stop),
                Progress::Unstarted(unstarted) => {
                    if !self.may_follow(key, unstarted) {
                        return;
                    }
                }
            }
        }
    }

    fn attempt(&mut self, key: CallKey) -> Progress {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return Progress::Begun };
        let Some(call) = &mut passage.call else { return Progress::Begun };
        // The timer fires up to a millisecond late, in which a quick instance would do what nobody waits for.
        if call.deadline.is_some_and(|deadline| deadline <= self.now) {
            return Progress::Stopped(Stop::deadline());
        }
        call.followers.begin_try();
        if let (0, Some(forward)) = (call.path.attempts, &call.forward) {
            forward.count_key();
        }
        let in_flight = match call.pick(self.millis) {
            Ok(in_flight) => in_flight,
            Err(refusal) => return Progress::Stopped(Stop(refusal)),
        };
        call.path.attempts += 1;
        if self.worker.shared.access_log.is_some() {
            call.path.instance = Some(Arc::clone(&in_flight.instance().authority));
        }
        self.place(key, in_flight)
    }

    /// Finds a place on a connection to the instance, or has the call wait for one.
    fn place(&mut self, key: CallKey, in_flight: InFlight) -> Progress {
        let started = self.now;
        let Some(link) = self.find_link(key, in_flight.instance()) else {
            return self.wait_for_place(key, in_flight, started);
        };
        self.transform(key, Ready { link, in_flight, started })
    }

    /// A connection that has room. Opens another where that is wise.
    fn find_link(&mut self, key: CallKey, instance: &Arc<Instance>) -> Option<LinkKey> {
        let Hub { calls, links, pool, .. } = &mut *self.hub;
        let cluster = &calls.get(key.0)?.call.as_ref()?.forward.as_ref()?.cluster;
        let lane = pool.lane(instance, &cluster.metrics);
        let found = lane.find(cluster.limits, |link| links.get_mut(link.0).and_then(room));
        if let Some(opening) = found.open {
            let cluster = Arc::clone(cluster);
            self.dial(instance, cluster, opening);
        }
        found.link
    }

    fn wait_for_place(&mut self, key: CallKey, in_flight: InFlight, started: Instant) -> Progress {
        let instance = Arc::clone(in_flight.instance());
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return Progress::Begun };
        let Some(forward) = passage.call.as_ref().and_then(|call| call.forward.as_ref()) else {
            return Progress::Begun;
        };
        let Some(counted) = instance.try_wait(forward.cluster.limits.pending) else {
            return self.full(key, instance.id);
        };
        let until = self.now + PATIENCE;
        passage.stage = Stage::Placing(Placing { in_flight, started, until, _counted: counted });
        self.hub.waiting += 1;
        if let Some(lane) = self.hub.pool.get(instance.id) {
            lane.wait(key);
        }
        self.arm(key);
        Progress::Begun
    }

    /// The instance has no room for the call: another may have; the same one again would only wait again.
    fn full(&mut self, key: CallKey, instance: u64) -> Progress {
        let Some(call) = self.hub.calls.get_mut(key.0).and_then(|passage| passage.call.as_mut()) else {
            return Progress::Begun;
        };
        call.tried.push(instance);
        let other = call.seek(&[], self.millis);
        match other.filter(|other| !call.tried.contains(&other.id)) {
            Some(_) => Progress::Unstarted(Unstarted("full", overloaded())),
            None => Progress::Stopped(Stop(overloaded())),
        }
    }

    /// Makes the head of this try, as its filters want it, and sends it.
    fn transform(&mut self, key: CallKey, ready: Ready) -> Progress {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return Progress::Begun };
        let Some(mut call) = passage.call.take() else { return Progress::Begun };
        let chain = match &call.forward {
            Some(forward) if !forward.each_try.is_empty() => forward.each_try.clone(),
            _ => {
                passage.call = Some(call);
                return self.send(key, ready, None);
            }
        };
        let mut head = RequestHead::over(self.hub.spare.take());
        head.copy_from(&call.head);
        let waiting = match run(&chain, None, &mut call, &mut head) {
            Ok(None) => {
                passage.call = Some(call);
                return self.send(key, ready, Some(head));
            }
            Err(refusal) => {
                passage.call = Some(call);
                return Progress::Stopped(Stop(refusal));
            }
            Ok(Some(waiting)) => waiting,
        };
        let mut away = Away::new(self.worker, key, call);
        let transformed = async move {
            let result = transform_on(&mut away, &chain, waiting, &mut head).await;
            (away.back(), result.map(|()| head))
        };
        match self.at_once(transformed, move |turn, (call, result)| turn.transformed(key, call, result)) {
            Ok((call, result)) => {
                if !self.take_back(key, call) {
                    return Progress::Begun;
                }
                match result {
                    Ok(head) => self.send(key, ready, Some(head)),
                    Err(refusal) => Progress::Stopped(Stop(refusal)),
                }
            }
            Err(task) => {
                self.set_stage(key, Stage::Transforming(task, ready));
                self.arm(key);
                Progress::Begun
            }
        }
    }

    fn transformed(&mut self, key: CallKey, call: Option<Box<Call>>, result: Result<RequestHead, Box<Refusal>>) {
        if !self.take_back(key, call) || !self.is_let_in(key) {
            return;
        }
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        let Stage::Transforming(_, ready) = std::mem::replace(&mut passage.stage, Stage::Sent) else { return };
        let progress = match result {
            Ok(head) if self.read_unread(key) => self.send(key, ready, Some(head)),
            Ok(_) => return,
            Err(refusal) => Progress::Stopped(Stop(refusal)),
        };
        self.settle(key, progress);
    }

    fn settle(&mut self, key: CallKey, progress: Progress) {
        match progress {
            Progress::Begun => {}
            Progress::Stopped(stop) => self.stop(key, stop),
            Progress::Unstarted(unstarted) => self.again(key, unstarted),
        }
    }

    /// Sends the head of a try, and what has come of the request. `transformed` is the head where filters made one of this try.
    fn send(&mut self, key: CallKey, ready: Ready, mut transformed: Option<RequestHead>) -> Progress {
        let Ready { link, in_flight, started } = ready;
        let Hub { calls, links, spare, .. } = &mut *self.hub;
        let Some(passage) = calls.get_mut(key.0) else { return Progress::Begun };
        if let Some(call) = &mut passage.call {
            let instance = in_flight.instance().id;
            // It can have become known as another than it was when it was picked, while the call waited for a place.
            if call.is_kept_from(instance) {
                call.tried.push(instance);
                return Progress::Unstarted(Unstarted("schema", Box::new(Unread::NoSchema.refusal(true))));
            }
            call.learn_types(instance);
        }
        // A message that does not pass leaves no trace at the instance.
        let outgoing = match passage.rewrite_requests() {
            Ok(outgoing) => outgoing,
            Err((_, stop)) => return Progress::Stopped(stop),
        };
        let Some(call) = &mut passage.call else { return Progress::Begun };
        // An agent's instance is called by the name that it has to prove, or by its address.
        let registered = call.forward.as_ref().filter(|forward| forward.agent.is_some());
        let named = registered.map(|forward| forward.cluster.security.server_name());
        let authority = named.as_ref().map(|name| name.as_ref().unwrap_or(&in_flight.instance().authority));
        let head = transformed.as_mut().unwrap_or(&mut call.head);
        let mark = head.mark();
        head::complete(head, call.deadline, authority.map(|authority| &**authority), self.now);
        let empty = passage.upload.is_empty();
        let opened = links.get_mut(link.0).map(|found| {
            found.wake();
            found.engine.open(head, empty, key.tag(), self.millis)
        });
        // The next try, if there is one, begins with what this one began with.
        head.back_to(mark);
        if let Some(head) = transformed {
            spare.put(head.fields);
        }
        let Some(Ok(stream)) = opened else {
            call.tried.push(in_flight.instance().id);
            return Progress::Unstarted(Unstarted("goaway", refusal_of(StreamError::NotStarted, None, self.now)));
        };
        passage.up = Some(Try { leg: Leg { link, stream }, in_flight, started });
        passage.stage = Stage::Sent;
        let mut sent = Ok(());
        if passage.upload.holds() && !empty {
            sent = self.send_passed(key, &outgoing);
            self.credit_request(key);
        } else if !empty {
            self.send_kept(key);
        }
        sent.map_or_else(Progress::Stopped, |()| Progress::Begun)
    }

    /// What came of the request before there was a stream for it.
    fn send_kept(&mut self, key: CallKey) {
        let Hub { calls, links, .. } = &mut *self.hub;
        let Some(passage) = calls.get_mut(key.0) else { return };
        let Some(Try { leg, .. }) = passage.up else { return };
        let (kept, ended) = (passage.upload.to_send(), passage.upload.ended);
        if kept.is_empty() && !ended {
            return;
        }
        let Some(link) = links.get_mut(leg.link.0) else { return };
        let given = link.engine.data(leg.stream, kept, ended, self.millis);
        passage.upload.sent_kept(&passage.origin.buffered);
        if let Ok(given) = given {
            self.request_went(key, given.bytes);
        }
    }

    /// A try did not start. Tries again, where that may be.
    pub(super) fn again(&mut self, key: CallKey, unstarted: Unstarted) {
        if self.may_follow(key, unstarted) {
            self.advance(key);
        }
    }

    /// Whether another try may follow one that did not start; if not, the call ends.
    fn may_follow(&mut self, key: CallKey, Unstarted(why, refusal): Unstarted) -> bool {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return false };
        let Some(call) = &mut passage.call else { return false };
        if call.path.attempts >= TRIES || !passage.upload.rewind() {
            self.stop(key, Stop(refusal));
            return false;
        }
        if let Some(forward) = &call.forward {
            forward.cluster.metrics.retried(why);
        }
        let duration = self.now.saturating_duration_since(call.started);
        let outcome = Outcome {
            call: Some(&call.info),
            code: refusal.code,
            reason: Some(refusal.reason),
            duration,
            request_messages: call.tally.request_messages,
            response_messages: 0,
        };
        call.followers.end_try(&outcome);
        passage.stage = Stage::Sent;
        true
    }

    /// Gives calls that wait for this instance the places that have become free.
    pub(super) fn serve_waiting(&mut self, instance: u64) {
        while self.hub.waiting > 0 {
            let Some(lane) = self.hub.pool.get(instance) else { return };
            let Some(key) = lane.first() else { return };
            let instance = Arc::clone(&lane.instance);
            let waits = |passage: &Passage| matches!(passage.stage, Stage::Placing(_));
            if !self.hub.calls.get(key.0).is_some_and(waits) {
                lane.leave(key);
                continue;
            }
            let Some(link) = self.find_link(key, &instance) else { return };
            let Some(Placing { in_flight, started, .. }) = self.leave_lane(key) else { return };
            let progress = self.transform(key, Ready { link, in_flight, started });
            self.settle(key, progress);
        }
    }

    /// A call waits no longer, whatever becomes of it.
    pub(super) fn leave_lane(&mut self, key: CallKey) -> Option<Placing> {
        let passage = self.hub.calls.get_mut(key.0)?;
        if !matches!(passage.stage, Stage::Placing(_)) {
            return None;
        }
        let Stage::Placing(placing) = std::mem::replace(&mut passage.stage, Stage::Sent) else { return None };
        self.hub.waiting = self.hub.waiting.saturating_sub(1);
        if let Some(lane) = self.hub.pool.get(placing.in_flight.instance().id) {
            lane.leave(key);
        }
        Some(placing)
    }

    /// A call has waited for a place as long as it may.
    pub(super) fn waited_too_long(&mut self, key: CallKey) {
        let Some(placing) = self.leave_lane(key) else { return };
        let progress = self.full(key, placing.in_flight.instance().id);
        drop(placing);
        self.settle(key, progress);
    }

    /// The instance that a call waits for cannot be reached.
    pub(super) fn unreachable(&mut self, key: CallKey, error: &ConnectError) {
        let Some(placing) = self.leave_lane(key) else { return };
        let instance = placing.in_flight.instance();
        if let Some(call) = self.hub.calls.get_mut(key.0).and_then(|passage| passage.call.as_mut()) {
            call.tried.push(instance.id);
            if let Some(forward) = &call.forward {
                forward.cluster.connect_failed(instance, error);
            }
        }
        drop(placing);
        self.again(key, Unstarted("connect_failed", refusal_of_connect(error)));
    }

    /// The instance that a call waits for was removed.
    pub(super) fn displaced(&mut self, key: CallKey) {
        self.unreachable(key, &ConnectError::Refused);
    }
}

/// Runs the filters of a try on its head.
fn run(
    chain: &Chain,
    answered: Option<Answered>,
    call: &mut Call,
    head: &mut RequestHead,
) -> Result<Option<Waiting>, Box<Refusal>> {
    let Call { info, bounds, followers, .. } = call;
    chain.run(answered, &mut Seen { info, head, bounds, followers })
}

/// Runs them beside the turn, for as long as they take.
async fn transform_on(
    away: &mut Away,
    chain: &Chain,
    mut waiting: Waiting,
    head: &mut RequestHead,
) -> Result<(), Box<Refusal>> {
    loop {
        let answered = waiting.answered().await;
        let call = away.call().ok_or_else(super::plan::gone)?;
        match run(chain, Some(answered), call, head)? {
            None => return Ok(()),
            Some(next) => waiting = next,
        }
    }
}

/// How full a connection is; `None` if it takes no new calls, which is noted the first time.
fn room(link: &mut Link) -> Option<Room> {
    if link.engine.is_open() && !link.retired {
        let most = link.engine.max_streams();
        // One that does not take what it was sent has no room for more.
        let calls = if link.engine.is_backed_up() { most } else { link.engine.open_streams() };
        return Some(Room { calls, most });
    }
    if let Side::Instance { counted, .. } = &mut link.side {
        counted.turn(ConnectionState::Draining);
    }
    None
}
