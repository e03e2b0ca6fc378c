//! A request's head: what it is, where it goes. Decided at once where no filter takes its time, and beside the turn where one does.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fields::{Method, RequestHead, ResponseHead};
use filter_api::{CallInfo, Depth, MethodKind, Reason, Refusal};
use tokio::time::Instant;

use super::away::Away;
use super::context::{Call, Origin, Shared};
use super::head;
use super::link::Side;
use super::passage::{Idle, Leg, Passage, Stage};
use super::plan::{self, Decision, Plan, Progress};
use super::registrar::Registering;
use super::stop::Stop;
use super::turn::Turn;
use super::upload::Upload;
use super::worker::{CallKey, LinkKey};
use crate::config::snapshot::{Listener, Snapshot};
use crate::filters::Waiting;
use crate::h2::{ErrorCode, StreamId};
use crate::in_force::InForce;
use crate::upstream::{STRANGER, VISITOR};
use crate::wire::{self, Rejected, Scanner, refusal_trailers, trailers_only};

/// How long an answer in words waits for a window.
const UNHEARD_PATIENCE: Duration = Duration::from_secs(5);

/// A decision that is not made: where the call came from, what it is decided by, and how far that has come.
pub(super) struct Undecided {
    origin: Arc<Origin>,
    in_force: Arc<InForce>,
    progress: Progress,
}

impl Undecided {
    /// Where nobody knows yet who calls, and the first message is to tell whether that matters: until when it is waited for.
    pub(super) fn patience(&self) -> Option<Duration> {
        let listener = self.progress.is_at_the_door().then(|| self.listener())?;
        listener.map(|listener| listener.limits.handshake)
    }

    /// Decides, or goes on to, by what was in force when the call began.
    fn decide(&mut self, call: &mut Call) -> Result<Decision, Box<Refusal>> {
        let Self { origin, in_force, progress } = self;
        let InForce { snapshot, clusters } = &**in_force;
        // It was there when the call began.
        let listener = snapshot.listeners.get(&origin.listener).ok_or_else(plan::gone)?;
        plan::decide(clusters, origin, listener, call, progress)
    }

    fn listener(&self) -> Option<&Arc<Listener>> {
        self.in_force.snapshot.listeners.get(&self.origin.listener)
    }
}

impl Turn<'_> {
    /// A request begins.
    pub(super) fn begin(&mut self, link: LinkKey, stream: StreamId, head: RequestHead, end: bool) {
        let Some(found) = self.hub.links.get_mut(link.0) else { return };
        found.requests += 1;
        let Side::Caller(origin) = &found.side else { return };
        let origin = Arc::clone(origin);
        let down = Leg { link, stream };
        if self.hub.is_ending {
            return self.refuse_unserved(&origin, down);
        }
        // Loaded once: a call sees one version of the configuration, whatever happens meanwhile.
        let (in_force, era) = self.hub.config.look();
        let in_force = Arc::clone(in_force);
        let Some(listener) = in_force.snapshot.listeners.get(&origin.listener) else {
            return self.refuse_unserved(&origin, down);
        };
        let method = head.method;
        let mut call = match read_head(&self.worker.shared, (&origin, listener), head, &in_force.snapshot, self.now) {
            Ok(call) => call,
            Err(rejected) => return self.reject(&origin, down, method, &rejected),
        };
        call.era = era;
        let room = self.hub.room();
        let passage = Passage {
            upload: Upload::new(room, end),
            origin: Arc::clone(&origin),
            down,
            up: None,
            deadline: call.deadline,
            expires: None,
            call: None,
            stage: Stage::Sent,
            answer: Scanner::default(),
            download: None,
            limits: (listener.limits.message, listener.limits.response_message),
            unread: 0,
            idle: None,
            alarm: None,
        };
        let key = CallKey(self.hub.calls.insert(passage));
        if let Some(found) = self.hub.links.get_mut(link.0) {
            found.engine.set_tag(stream, key.tag());
        }
        self.decide(key, call, Undecided { origin, in_force, progress: Progress::default() });
    }

    /// Answers what is no call.
    fn reject(&mut self, origin: &Origin, down: Leg, method: Method, rejected: &Rejected) {
        match rejected {
            Rejected::Bare(http) => {
                origin.metrics.refused(Reason::Protocol);
                self.respond_whole(down, &ResponseHead { status: *http, fields: fields::Fields::default() });
            }
            Rejected::Status(200, refusal) => {
                origin.metrics.refused(refusal.reason);
                self.refuse(down, refusal);
            }
            Rejected::Status(http, refusal) => {
                origin.metrics.refused(refusal.reason);
                let mut head = trailers_only(*http, &refusal_trailers(refusal));
                head.fields.set("content-type", b"text/plain; charset=utf-8");
                match method {
                    Method::Head => self.respond_whole(down, &head),
                    _ => self.respond_in_words(down, &head, refusal),
                }
            }
        }
    }

    /// For callers that are no gRPC clients: the same as text, which people and their tools read.
    fn respond_in_words(&mut self, down: Leg, head: &ResponseHead, refusal: &Refusal) {
        let Some(link) = self.hub.links.get_mut(down.link.0) else { return };
        if link.engine.respond(down.stream, head, false).is_ok() {
            let body = format!("{}\n", refusal.message);
            let given = link.engine.data(down.stream, body.as_bytes(), true, self.millis);
            if !given.is_ok_and(|given| given.end) {
                // It is no call, so that nothing else ends it for a caller who never opens the window.
                self.hub.unheard.push_back((self.now + UNHEARD_PATIENCE, down));
            }
        }
        link.wake();
    }

    /// Gives up answers in words that nobody took. Called every second.
    pub(super) fn give_up_unheard(&mut self) {
        while let Some((until, down)) = self.hub.unheard.front().copied()
            && until <= self.now
        {
            self.hub.unheard.pop_front();
            if let Some(link) = self.hub.links.get_mut(down.link.0)
                && link.engine.reset(down.stream, ErrorCode::CANCEL)
            {
                link.wake();
            }
        }
    }

    /// The listener went with the last configuration, or the proxy ends: its connections are on their way out.
    fn refuse_unserved(&mut self, origin: &Origin, down: Leg) {
        origin.metrics.refused(Reason::Draining);
        let Stop(refusal) = Stop::draining("this listener is closing: connect again");
        self.refuse(down, &refusal);
    }

    /// Decides about a call, or goes on to.
    pub(super) fn decide(&mut self, key: CallKey, mut call: Box<Call>, mut undecided: Undecided) {
        let waiting = match undecided.decide(&mut call) {
            Ok(Decision::Made(plan)) => return self.decided(key, Some(call), Ok(plan)),
            Err(refusal) => return self.decided(key, Some(call), Err(refusal)),
            Ok(Decision::NeedsMessage) => return self.await_message(key, Some(call), undecided),
            Ok(Decision::Waits(waiting)) => waiting,
        };
        let mut away = Away::new(self.worker, key, call);
        let decided = async move {
            let decided = decide_on(&mut away, waiting, &mut undecided).await;
            (away.back(), undecided, decided)
        };
        let take = move |turn: &mut Turn<'_>, (call, undecided, decided)| match decided {
            Ok(Some(plan)) => turn.decided(key, call, Ok(plan)),
            Ok(None) => turn.await_message(key, call, undecided),
            Err(refusal) => turn.decided(key, call, Err(refusal)),
        };
        match self.at_once(decided, take) {
            Ok(decided) => take(self, decided),
            Err(task) => {
                self.set_stage(key, Stage::Deciding(task));
                self.arm(key);
            }
        }
    }

    fn decided(&mut self, key: CallKey, call: Option<Box<Call>>, decided: Result<Plan, Box<Refusal>>) {
        if !self.take_back(key, call) {
            return;
        }
        // It took its time, and was decided by what was in force when it began.
        if decided.is_ok() && !self.is_let_in(key) {
            return;
        }
        if let Some(passage) = self.hub.calls.get_mut(key.0)
            && let Some(call) = &passage.call
        {
            passage.stage = Stage::Sent;
            passage.deadline = call.deadline;
            passage.expires = call.bounds.expires.map(|ends| instant_of(ends, self.now));
            passage.idle = call.bounds.idle.map(|limit| Idle { limit, moved: self.now });
        }
        match decided {
            Ok(Plan::Forward) => {
                let gathers = self.prepare(key);
                self.arm(key);
                if !self.read_unread(key) {
                    return;
                }
                if gathers && !self.hub.calls.get(key.0).is_some_and(Passage::has_gathered) {
                    self.set_stage(key, Stage::Gathering);
                    self.arm(key);
                } else {
                    self.advance(key);
                }
                // What came while it was decided may be the beginning of a message that is larger than the window.
                self.credit_request(key);
            }
            Ok(Plan::Register { open, who }) => {
                let call = self.hub.calls.get(key.0).and_then(|passage| passage.call.as_ref());
                let registry = call.and_then(|call| call.forward.as_ref()?.cluster.registry());
                let config = registry.map(|registry| registry.settings().limits.config_bytes).unwrap_or_default();
                self.set_stage(key, Stage::Registering(Registering::new((open, who), config, self.now)));
                self.arm(key);
                self.register_what_came(key);
            }
            Err(refusal) => self.stop(key, Stop(refusal)),
        }
    }

    /// Makes a call ready for its tries. Answers whether its head waits for its first message: it does where that is read and the only
    /// one, so that a refusal leaves no trace at the instance, and where a rule decides by it whether the call may go at all. Otherwise,
    /// where there may be more, or nobody knows, the head goes at once: a caller may wait for the answer's head before its first message.
    /// No message goes before it has passed, in any case.
    fn prepare(&mut self, key: CallKey) -> bool {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return false };
        let Some(call) = &mut passage.call else { return false };
        if asks_what_it_may_call(call) {
            self.worker.shared.visitors.enter(call, &passage.origin);
        } else if call.stranger {
            call.head.fields.set(VISITOR, STRANGER.as_bytes());
        }
        head::prepare(call, &self.worker.shared.hop);
        call.first_message = None;
        passage.upload.copy_beside(0, &passage.origin.buffered);
        call.followers.begin_try();
        let reads = call.followers.reads();
        let each_try = call.forward.as_ref().map(|forward| forward.each_try.reads()).unwrap_or_default();
        if reads.or(each_try).response == Depth::Bodies {
            wire::narrow_accepted(&mut call.head.fields);
        }
        // Filters of a try see messages from the first on: those must be told apart by then.
        let held = reads.request == Depth::Bodies || each_try.request != Depth::Nothing || call.whole_by.is_some();
        if held {
            passage.upload.begin_holding();
        } else {
            passage.upload.end_holding();
        }
        held && (call.kind.is_some_and(MethodKind::has_one_request) || call.followers.decide_by_message())
    }

    /// A call comes back from what took its time with it; false if it has ended meanwhile, and is finished with this.
    pub(super) fn take_back(&mut self, key: CallKey, call: Option<Box<Call>>) -> bool {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return false };
        passage.call = call;
        if let Stage::Over(end) = passage.stage {
            self.finish(key, end);
            return false;
        }
        true
    }

    /// Looks for messages in what came while the call was away; false if one of them ended it.
    pub(super) fn read_unread(&mut self, key: CallKey) -> bool {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return false };
        let read = if passage.upload.holds() {
            // It is counted from here on.
            let fits = passage.upload.settle(&passage.origin.buffered);
            if fits { passage.judge_requests() } else { Err(Stop::overloaded()) }
        } else {
            let unread = passage.upload.take_unread();
            let ended = passage.upload.ended;
            passage.read_request(&unread, ended)
        };
        match read {
            Ok(()) => true,
            Err(stop) => {
                self.stop(key, stop);
                false
            }
        }
    }

    pub(super) fn set_stage(&mut self, key: CallKey, stage: Stage) {
        if let Some(passage) = self.hub.calls.get_mut(key.0) {
            passage.stage = stage;
        }
    }
}

/// When a second since 1970 comes, if nobody sets the clock meanwhile.
fn instant_of(second: u64, now: Instant) -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_secs(second).saturating_sub(since);
    // What is too far to be told is a hundred years away.
    now.checked_add(left).unwrap_or(now + Duration::from_secs(100 * 365 * 24 * 3600))
}

/// Whether a call goes to the reflection that the listener serves itself.
fn asks_what_it_may_call(call: &Call) -> bool {
    let within = call.forward.as_ref().is_some_and(|forward| forward.cluster.is_within());
    within && call.info.service.starts_with("grpc.reflection.")
}

/// Reads a head and takes off what only the proxy may write.
fn read_head(
    shared: &Shared,
    (origin, listener): (&Origin, &Listener),
    head: RequestHead,
    snapshot: &Snapshot,
    now: Instant,
) -> Result<Box<Call>, Rejected> {
    let asked = wire::classify(&head)?;
    let (metrics, (service, method)) = match shared.metrics.method_at(head.path_bytes()) {
        Some(known) => {
            let names = known.own_names();
            (known, names)
        }
        None => {
            let (service, method) = wire::method_of(&head)?;
            (shared.metrics.method(service, method), (service.into(), method.into()))
        }
    };
    // What it says of where a call comes from counts, as it speaks for others. Whoever a balancer cannot name has not its trust.
    let relayed = listener.forwarded.as_ref().filter(|trusted| !origin.nameless && trusted.hold(origin.peer.ip()));
    let peer = match relayed {
        Some(trusted) => wire::caller_of(&head.fields, origin.peer, |ip| trusted.hold(ip))?,
        None => origin.peer,
    };
    let info = CallInfo {
        service,
        method,
        protocol: asked.protocol,
        listener: Arc::clone(&origin.listener),
        peer,
        identity: origin.identity.clone(),
        agent: None,
        claims: None,
        tokens: Vec::new(),
    };
    let timeout = asked.timeout;
    let mut call = Box::new(Call::begin(info, metrics, head, now));
    call.deadline = timeout.and_then(|timeout| now.checked_add(timeout));
    call.relayed = relayed.is_some();
    let has_hops = wire::strip_identity(&mut call.head.fields, &snapshot.identity, call.relayed);
    if call.relayed {
        wire::pass_on(&mut call.head.fields, origin.peer.ip());
    }
    if let Some(told) = origin.client_cert(listener) {
        call.head.fields.push(wire::CLIENT_CERT, told);
    }
    call.loops = has_hops && shared.hop.has_seen(&call.head.fields);
    head::identify(&mut call);
    Ok(call)
}

/// Decides about a call beside the turn, for as long as its filters take; `None` where it goes on with the first message.
async fn decide_on(
    away: &mut Away,
    mut waiting: Waiting,
    undecided: &mut Undecided,
) -> Result<Option<Plan>, Box<Refusal>> {
    loop {
        undecided.progress.answer(waiting.answered().await);
        let call = away.call();
        let call = call.ok_or_else(plan::gone)?;
        match undecided.decide(call)? {
            Decision::Made(plan) => return Ok(Some(plan)),
            Decision::NeedsMessage => return Ok(None),
            Decision::Waits(next) => waiting = next,
        }
    }
}
