//! A request's head: what it is, where it goes. Decided at once where no filter takes its time, and beside the turn where one does.

use std::sync::Arc;

use fields::{Method, RequestHead, ResponseHead};
use filter_api::{CallInfo, Code, Reason, Refusal};

use super::away::Away;
use super::context::{Call, Origin};
use super::head;
use super::link::Side;
use super::passage::{Idle, Leg, Passage, Stage};
use super::plan::{self, Plan};
use super::registrar::Registering;
use super::stop::Stop;
use super::turn::Turn;
use super::upload::Upload;
use super::worker::{CallKey, LinkKey};
use crate::config::snapshot::{Listener, Snapshot};
use crate::h2::StreamId;
use crate::wire::{self, Rejected, Scanner, refusal_trailers, trailers_only};

impl Turn<'_> {
    /// A request begins.
    pub(super) fn begin(&mut self, link: LinkKey, stream: StreamId, head: RequestHead, end: bool) {
        let Some(found) = self.hub.links.get_mut(link.0) else { return };
        found.requests += 1;
        let Side::Caller(origin) = &found.side else { return };
        let origin = Arc::clone(origin);
        let down = Leg { link, stream };
        // Loaded once: a call sees one version of the configuration, whatever happens meanwhile.
        let worker = self.worker;
        let snapshot = worker.shared.snapshot.load();
        let Some(listener) = snapshot.listeners.get(&origin.listener) else {
            return self.refuse_unserved(&origin, down);
        };
        let method = head.method;
        let call = match self.read_head(&origin, head, &snapshot) {
            Ok(call) => call,
            Err(rejected) => return self.reject(&origin, down, method, &rejected),
        };
        let room = self.hub.room();
        let passage = Passage {
            upload: Upload::new(&origin.buffered, room, end),
            origin: Arc::clone(&origin),
            down,
            up: None,
            deadline: call.deadline,
            call: None,
            stage: Stage::Sent,
            answer: Scanner::default(),
            limits: (listener.limits.message, listener.limits.response_message),
            idle: None,
            alarm: None,
        };
        let key = CallKey(self.hub.calls.insert(passage));
        if let Some(found) = self.hub.links.get_mut(link.0) {
            found.engine.set_tag(stream, key.tag());
        }
        self.decide(key, call, origin, Arc::clone(listener));
    }

    /// Reads the head and takes off what only the proxy may write.
    fn read_head(&self, origin: &Origin, head: RequestHead, snapshot: &Snapshot) -> Result<Box<Call>, Rejected> {
        let asked = wire::classify(&head)?;
        let shared = &self.worker.shared;
        let metrics = shared.metrics.method(asked.service, asked.method);
        let (service, method) = metrics.names(asked.service, asked.method);
        let info = CallInfo {
            service,
            method,
            protocol: asked.protocol,
            listener: Arc::clone(&origin.listener),
            peer: origin.peer,
        };
        let timeout = asked.timeout;
        let mut call = Box::new(Call::begin(shared, info, metrics, head, self.now));
        call.deadline = timeout.and_then(|timeout| self.now.checked_add(timeout));
        wire::strip_identity(&mut call.head.fields, &snapshot.identity);
        head::identify(&mut call);
        Ok(call)
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
            link.engine.data(down.stream, body.as_bytes(), true, self.millis).ok();
        }
        link.wake();
    }

    /// The listener went with the last configuration, and its connections are on their way out.
    fn refuse_unserved(&mut self, origin: &Origin, down: Leg) {
        origin.metrics.refused(Reason::Draining);
        let refusal = Refusal::new(Code::Unavailable, Reason::Draining, "this listener is closing: connect again");
        self.refuse(down, &refusal);
    }

    fn decide(&mut self, key: CallKey, call: Box<Call>, origin: Arc<Origin>, listener: Arc<Listener>) {
        let mut away = Away::new(self.worker, key, call);
        let decided = async move {
            let decided = match away.parts() {
                (shared, Some(call)) => plan::decide(shared, &origin, &listener, call).await,
                (_, None) => Err(plan::gone()),
            };
            (away.back(), decided)
        };
        match self.at_once(decided, move |turn, (call, decided)| turn.decided(key, call, decided)) {
            Ok((call, decided)) => self.decided(key, call, decided),
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
        if let Some(passage) = self.hub.calls.get_mut(key.0)
            && let Some(call) = &passage.call
        {
            passage.stage = Stage::Sent;
            passage.deadline = call.deadline;
            passage.idle = call.bounds.idle.map(|limit| Idle { limit, moved: self.now });
        }
        match decided {
            Ok(Plan::Forward(forward)) => {
                if let Some(passage) = self.hub.calls.get_mut(key.0)
                    && let Some(call) = &mut passage.call
                {
                    call.forward = Some(forward);
                    head::prepare(call);
                }
                self.arm(key);
                if self.read_unread(key) {
                    self.advance(key);
                }
            }
            Ok(Plan::Register { cluster, open }) => {
                let registering = Registering::new(cluster, open, self.now);
                self.set_stage(key, Stage::Registering(registering));
                self.arm(key);
                self.register_what_came(key);
            }
            Err(refusal) => self.stop(key, Stop(refusal)),
        }
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
        let unread = passage.upload.take_unread();
        let ended = passage.upload.ended;
        match passage.read_request(&unread, ended) {
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
