//! Whole calls as an application makes and answers them: every octet is known, so that one that is lost, doubled or moved shows.

use std::collections::BTreeMap;

use fields::{Fields, Method, RequestHead, ResponseHead};
use rand::Rng as _;
use rand::rngs::SmallRng;

use crate::engine::{Connection, ErrorCode, Event, Millis, StreamError, StreamId};

/// How a half of a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With its head; it has no DATA.
    Head,
    LastData,
    EmptyData,
    Trailers,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) id: u64,
    request: (usize, Ending),
    response: (usize, Ending),
    /// Each of them ends the call early at some step, where it does.
    caller_cancels: bool,
    answerer_cancels: bool,
    /// The answer waits for the whole request.
    after_request: bool,
}

impl Plan {
    pub(crate) fn random(rng: &mut SmallRng, id: u64, most: usize) -> Self {
        let half = |rng: &mut SmallRng| match rng.random_range(0..8) {
            0 => (0, Ending::Head),
            1 => (0, Ending::EmptyData),
            2 => (0, Ending::Trailers),
            n => (rng.random_range(1..=most), [Ending::LastData, Ending::EmptyData, Ending::Trailers][n % 3]),
        };
        Self {
            id,
            request: half(rng),
            response: half(rng),
            caller_cancels: rng.random_ratio(1, 12),
            answerer_cancels: rng.random_ratio(1, 12),
            after_request: rng.random_bool(0.7),
        }
    }

    fn undisturbed(&self) -> bool {
        !self.caller_cancels && !self.answerer_cancels
    }
}

/// The octet at a place of a half.
fn octet(seed: u64, at: usize) -> u8 {
    (seed.wrapping_mul(131).wrapping_add(at as u64 * 7).wrapping_add((at as u64 >> 8) * 13)) as u8
}

fn trailers(seed: u64) -> Fields {
    let text = seed.to_string();
    [("grpc-status", "0".as_bytes()), ("x-seed", text.as_bytes())].into_iter().collect()
}

/// A half that is sent.
#[derive(Debug)]
struct Sending {
    seed: u64,
    len: usize,
    ending: Ending,
    handed: usize,
    went: usize,
    /// Everything is handed to the connection, and has gone.
    last: bool,
    done: bool,
}

impl Sending {
    fn new(seed: u64, (len, ending): (usize, Ending)) -> Self {
        let head = ending == Ending::Head;
        Self { seed, len, ending, handed: 0, went: 0, last: head, done: head }
    }

    fn act(&mut self, connection: &mut Connection, stream: StreamId, rng: &mut SmallRng, now: Millis) {
        // At times more is handed over than the peer has taken, at times only then.
        if self.last || self.handed - self.went > rng.random_range(0..64 * 1024) {
            return;
        }
        if self.handed == self.len && self.ending == Ending::Trailers {
            self.last = true;
            self.done = connection.trailers(stream, &trailers(self.seed)).unwrap_or(false);
            return;
        }
        let most = self.len - self.handed;
        let now_sent = if rng.random_bool(0.3) { most } else { rng.random_range(0..=most) };
        let end =
            now_sent == most && (self.ending == Ending::LastData || (self.ending == Ending::EmptyData && most == 0));
        if now_sent == 0 && !end {
            return;
        }
        let bytes: Vec<u8> = (self.handed..self.handed + now_sent).map(|at| octet(self.seed, at)).collect();
        if let Ok(given) = connection.data(stream, &bytes, end, now) {
            self.handed += now_sent;
            self.went += given.bytes;
            self.last = end;
            self.done = given.end;
        }
    }

    fn went(&mut self, bytes: usize, end: bool) {
        self.went += bytes;
        assert!(self.went <= self.handed, "more has gone than there was");
        self.done |= end;
    }
}

/// A half that is received.
#[derive(Debug)]
struct Receiving {
    seed: u64,
    len: usize,
    ending: Ending,
    got: usize,
    unreleased: usize,
    ended: bool,
}

impl Receiving {
    fn new(seed: u64, (len, ending): (usize, Ending)) -> Self {
        Self { seed, len, ending, got: 0, unreleased: 0, ended: false }
    }

    fn head(&mut self, end: bool) {
        assert!(!self.ended);
        assert!(!end || self.ending == Ending::Head || self.len == 0);
        self.ended = end;
    }

    fn data(&mut self, bytes: &[u8], end: bool) {
        assert!(!self.ended, "DATA behind the end");
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(*byte, octet(self.seed, self.got + at), "octet {} of {}", self.got + at, self.seed);
        }
        self.got += bytes.len();
        self.unreleased += bytes.len();
        if end {
            self.end();
        }
    }

    fn trailers(&mut self, fields: &Fields) {
        let expected = trailers(self.seed);
        assert!(fields.iter().eq(expected.iter()));
        self.end();
    }

    fn end(&mut self) {
        assert_eq!(self.got, self.len, "it ended early");
        assert!(!std::mem::replace(&mut self.ended, true));
    }

    fn act(&mut self, connection: &mut Connection, stream: StreamId, rng: &mut SmallRng) {
        if self.unreleased > 0 && rng.random_bool(0.3) {
            let now = if rng.random_bool(0.5) { self.unreleased } else { rng.random_range(1..=self.unreleased) };
            self.unreleased -= now;
            connection.release(stream, now);
        }
    }
}

#[derive(Debug)]
struct Call {
    plan: Plan,
    stream: Option<StreamId>,
    sending: Sending,
    receiving: Receiving,
    responded: bool,
    over: bool,
}

impl Call {
    fn new(plan: Plan, caller: bool) -> Self {
        let (request, response) = ((plan.id * 2, plan.request), (plan.id * 2 + 1, plan.response));
        let (out, back) = if caller { (request, response) } else { (response, request) };
        Self {
            plan,
            stream: None,
            sending: Sending::new(out.0, out.1),
            receiving: Receiving::new(back.0, back.1),
            responded: caller,
            over: false,
        }
    }
}

/// The application at one end. The tag of a call is its id.
#[derive(Default)]
pub(crate) struct App {
    caller: bool,
    calls: BTreeMap<u64, Call>,
    /// Calls that are to come, by id: for who answers.
    plans: BTreeMap<u64, Plan>,
    pub(crate) completed: usize,
}

impl App {
    pub(crate) fn caller(plans: &[Plan]) -> Self {
        let calls = plans.iter().map(|plan| (plan.id, Call::new(plan.clone(), true))).collect();
        Self { caller: true, calls, ..Self::default() }
    }

    pub(crate) fn answerer(plans: &[Plan]) -> Self {
        Self { plans: plans.iter().map(|plan| (plan.id, plan.clone())).collect(), ..Self::default() }
    }

    /// Every call has ended, one way or another.
    pub(crate) fn is_done(&self) -> bool {
        self.calls.values().all(|call| call.over)
    }

    /// Of every call that nobody ended early everything has gone and come.
    pub(crate) fn assert_whole(&self) {
        for call in self.calls.values().filter(|call| call.plan.undisturbed()) {
            let Call { sending, receiving, .. } = call;
            // The rest of a request may be cut off by its answer.
            assert!((self.caller && !call.plan.after_request) || sending.went == sending.len, "{call:?}");
            assert!((!self.caller && !call.plan.after_request) || receiving.got == receiving.len, "{call:?}");
        }
    }

    pub(crate) fn unfinished(&self) -> String {
        format!("{:?}", self.calls.values().filter(|call| !call.over).take(3).collect::<Vec<_>>())
    }

    pub(crate) fn take(&mut self, connection: &mut Connection, event: Event<'_>) {
        if let Event::Request { stream, head, end } = event {
            let id = head.fields.get_str("x-call").unwrap().parse().unwrap();
            assert_eq!(head.path(), format!("/test.Test/{id}"));
            let mut call = Call::new(self.plans[&id].clone(), false);
            call.receiving.head(end);
            call.stream = Some(stream);
            connection.set_tag(stream, id);
            // A call that was refused comes again.
            self.calls.insert(id, call);
            return;
        }
        let Some(id) = tag_of(&event) else { return };
        let call = self.calls.get_mut(&id).expect("a known tag");
        if let (true, Event::Went { bytes, .. }) = (call.over, &event) {
            // What went before the end, or before a reset of ours, may be told behind it.
            call.sending.went += bytes;
            return;
        }
        assert!(!call.over, "an event behind the last: {:.60} {call:?}", format!("{event:?}"));
        match event {
            Event::Response { head, end, .. } => {
                assert_eq!(head.status, 200);
                call.receiving.head(end);
            }
            Event::Data { bytes, end, .. } => call.receiving.data(bytes, end),
            Event::Trailers { fields, .. } => call.receiving.trailers(&fields),
            Event::Went { bytes, end, .. } => call.sending.went(bytes, end),
            Event::Reset { error, .. } => {
                if error == StreamError::NotStarted {
                    // Once more, from the start.
                    *call = Call::new(call.plan.clone(), true);
                    return;
                }
                let early = self.caller && call.receiving.ended && error == StreamError::Reset(ErrorCode::NO_ERROR);
                assert!(early || error == StreamError::Reset(ErrorCode::CANCEL), "{error:?}");
                assert!(early || !call.plan.undisturbed(), "{error:?} {call:?}");
                self.completed += usize::from(early);
                call.over = true;
            }
            Event::Settled | Event::Request { .. } => {}
        }
    }

    /// Some calls go a step on.
    pub(crate) fn act(&mut self, connection: &mut Connection, rng: &mut SmallRng, now: Millis) {
        for (id, call) in &mut self.calls {
            if call.over || rng.random_bool(0.4) {
                continue;
            }
            let Some(stream) = call.stream else {
                call.stream = connection.open(&request(*id), call.plan.request.1 == Ending::Head, *id, now).ok();
                continue;
            };
            let cancels = if self.caller { call.plan.caller_cancels } else { call.plan.answerer_cancels };
            if cancels && rng.random_ratio(1, 20) {
                connection.reset(stream, ErrorCode::CANCEL);
                call.over = true;
                continue;
            }
            call.receiving.act(connection, stream, rng);
            if !call.responded {
                if !call.receiving.ended && call.plan.after_request {
                    continue;
                }
                let head = ResponseHead { status: 200, fields: Fields::default() };
                connection.respond(stream, &head, call.plan.response.1 == Ending::Head).unwrap();
                call.responded = true;
            }
            call.sending.act(connection, stream, rng, now);
            // An answer that is complete ends the call; the rest of the request is of no use.
            if call.sending.done && (call.receiving.ended || !self.caller) {
                call.over = true;
                self.completed += 1;
            }
        }
    }
}

fn request(id: u64) -> RequestHead {
    let mut head = RequestHead::new(Method::Post, &format!("/test.Test/{id}"), "test", (2, 64));
    head.fields.push("x-call", id.to_string().as_bytes());
    head.fields.push("content-type", b"application/grpc");
    head
}

pub(crate) fn tag_of(event: &Event<'_>) -> Option<u64> {
    match event {
        Event::Settled | Event::Request { .. } => None,
        Event::Response { tag, .. }
        | Event::Data { tag, .. }
        | Event::Trailers { tag, .. }
        | Event::Reset { tag, .. }
        | Event::Went { tag, .. } => Some(*tag),
    }
}
