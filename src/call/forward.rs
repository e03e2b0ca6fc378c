//! A call on its way to an instance: tries, each with an instance, a connection and a stream, until one has begun to
//! answer. From then on its bytes are spliced.
//!
//! By itself a call is tried again only where the last try provably did not start (DESIGN.md §4, "Retries").

use std::sync::Arc;

use fields::{Fields, RequestHead, ResponseHead};
use filter_api::{Code, Outcome, Reason, Refusal, ResponseView};
use tokio::time::Instant;

use super::context::{Call, End, Worker};
use super::plan::Forward;
use super::splice::{Download, Gauge, Upload, Watch, attended, await_head, await_place, forward};
use super::stop::{Stop, late, refusal_of, refusal_of_connect};
use super::{answer, head};
use crate::config::snapshot::Listener;
use crate::h2::{ErrorCode, Receiver, Reply, Response, Sender, StreamError};
use crate::registry::{InFlight, Instance};
use crate::upstream::{Lease, LeaseError};
use crate::wire::refusal_trailers;

/// A call that never started anywhere is tried on so many instances. More would only hide that a cluster is gone.
const TRIES: u32 = 5;

/// A call and everything that its tries need.
pub(super) struct Journey<'a> {
    pub(super) worker: &'a Worker,
    pub(super) listener: &'a Listener,
    pub(super) call: &'a mut Call,
    pub(super) plan: Forward,
    pub(super) head: RequestHead,
    pub(super) reply: Reply,
    pub(super) upload: Upload,
    pub(super) watch: Watch,
    /// Instances that failed this call.
    pub(super) tried: Vec<u64>,
}

/// A try that has been sent.
struct Try {
    response: Response,
    sender: Sender,
    in_flight: InFlight,
    /// Held while the call is open: it counts on its connection.
    _lease: Lease,
    started: Instant,
}

/// Why a try ended without an answer.
enum Failed {
    /// It did not start anywhere: another may follow. The word is for the metrics.
    Unstarted(&'static str, Box<Refusal>),
    /// No other try may follow.
    Stopped(Stop),
}

impl Journey<'_> {
    /// Takes the call to an instance and its answer back.
    pub(super) async fn run(mut self) -> End {
        loop {
            let followers = self.call.followers.count();
            let refusal = match self.attempt().await {
                Ok((attempt, head, body)) => return self.answer(attempt, head, body).await,
                Err(Failed::Stopped(stop)) => return self.stop(stop),
                Err(Failed::Unstarted(why, refusal)) => {
                    if self.call.path.attempts >= TRIES || !self.upload.rewind() {
                        return self.stop(Stop::Refused(refusal));
                    }
                    self.plan.cluster.metrics.retried(why);
                    refusal
                }
            };
            let duration = self.call.started.elapsed();
            let outcome = Outcome {
                code: refusal.code,
                reason: Some(refusal.reason),
                duration,
                request_messages: self.call.tally.request_messages,
                response_messages: 0,
            };
            self.call.followers.cut(followers, &outcome);
        }
    }

    /// One try, up to the head of the answer.
    async fn attempt(&mut self) -> Result<(Try, ResponseHead, Receiver), Failed> {
        // The timer fires up to a millisecond late, in which a quick instance would do what nobody waits for.
        if self.call.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Failed::Stopped(Stop::deadline()));
        }
        let in_flight = self.pick()?;
        let instance = Arc::clone(in_flight.instance());
        self.call.path.attempts += 1;
        self.call.path.instance = Some(Arc::clone(&instance.authority));
        let started = Instant::now();
        let lease = self.lease(&instance).await?;
        let mut attempt = self.open(in_flight, lease, started).await?;
        let gauge = gauge(self.call, self.listener, &mut self.watch);
        let streams = (&mut attempt.response, &mut attempt.sender);
        match await_head(&mut self.upload, streams, &mut self.reply, gauge).await {
            Ok((head, body)) => Ok((attempt, head, body)),
            Err(Stop::Upstream(StreamError::NotStarted)) => {
                self.tried.push(instance.id);
                self.count(&attempt, Code::Unavailable);
                Err(Failed::Unstarted("refused_stream", refusal_of(StreamError::NotStarted, None)))
            }
            Err(stop) => {
                let end = match &stop {
                    Stop::Caller => Code::Cancelled,
                    Stop::Refused(refusal) => refusal.code,
                    Stop::Upstream(error) => refusal_of(*error, self.call.deadline).code,
                };
                attempt.sender.reset(ErrorCode::CANCEL);
                self.count(&attempt, end);
                Err(Failed::Stopped(stop))
            }
        }
    }

    /// An instance that may take one more call.
    fn pick(&mut self) -> Result<InFlight, Failed> {
        let cluster = &self.plan.cluster;
        let mut full = self.tried.clone();
        for _ in 0..TRIES {
            let Some(instance) = cluster.pick(self.plan.agent.as_deref(), &full) else { break };
            if let Some(in_flight) = instance.try_enter(cluster.limits.requests) {
                return Ok(in_flight);
            }
            if full.contains(&instance.id) {
                return Err(Failed::Stopped(Stop::Refused(overloaded())));
            }
            full.push(instance.id);
        }
        let refusal = if full.len() > self.tried.len() { overloaded() } else { no_instance() };
        Err(Failed::Stopped(Stop::Refused(refusal)))
    }

    /// A place on a connection to the instance.
    async fn lease(&mut self, instance: &Arc<Instance>) -> Result<Lease, Failed> {
        let cluster = &self.plan.cluster;
        let work = self.worker.pool.lease(instance, cluster.limits, &cluster.metrics);
        let gauge = gauge(self.call, self.listener, &mut self.watch);
        let place = await_place(work, &mut self.upload, &mut self.reply, gauge).await;
        match place.map_err(Failed::Stopped)? {
            Ok(lease) => Ok(lease),
            Err(LeaseError::Full) => {
                self.tried.push(instance.id);
                // Another instance may have room; the same one again would only wait again.
                let other = self.plan.cluster.pick(self.plan.agent.as_deref(), &self.tried);
                Err(match other.filter(|other| !self.tried.contains(&other.id)) {
                    Some(_) => Failed::Unstarted("full", overloaded()),
                    None => Failed::Stopped(Stop::Refused(overloaded())),
                })
            }
            Err(LeaseError::Connect(error)) => {
                cluster.connect_failed(instance, error);
                self.tried.push(instance.id);
                Err(Failed::Unstarted("connect_failed", refusal_of_connect(error)))
            }
        }
    }

    /// Sends the head, as the filters of this try make it.
    async fn open(&mut self, in_flight: InFlight, mut lease: Lease, started: Instant) -> Result<Try, Failed> {
        let mut head = self.head.clone();
        let Call { info, bounds, followers, .. } = &mut *self.call;
        let transformed = self.plan.each_try.run(info, &mut head, bounds, followers);
        let transformed = attended(transformed, &mut self.reply, &mut self.watch).await.map_err(Failed::Stopped)?;
        transformed.map_err(|refusal| Failed::Stopped(Stop::Refused(refusal)))?;
        head::complete(&mut head, self.call, self.plan.agent.is_some().then(|| &**in_flight.instance()));
        let empty = self.upload.is_empty();
        let Ok((response, sender)) = lease.connection.open(head, empty) else {
            self.tried.push(in_flight.instance().id);
            return Err(Failed::Unstarted("goaway", refusal_of(StreamError::NotStarted, None)));
        };
        if empty {
            self.upload.sent_with_head();
        }
        Ok(Try { response, sender, in_flight, _lease: lease, started })
    }

    /// Takes the answer back to the caller.
    async fn answer(mut self, mut attempt: Try, mut head: ResponseHead, body: Receiver) -> End {
        self.upload.commit();
        // An answer that the proxy has to end itself would contradict it, and HTTP/2 calls that malformed.
        head.fields.remove("content-length");
        if let Some(refusal) = head::not_grpc(&head).or_else(|| late(&head.fields, self.call.deadline)) {
            return self.give_up(attempt, refusal.code, Stop::Refused(refusal));
        }
        let mut view = ResponseView { call: &self.call.info, metadata: &mut head.fields };
        if let Err(refusal) = self.call.followers.response_head(&mut view) {
            return self.give_up(attempt, refusal.code, Stop::Refused(refusal));
        }
        if head.fields.contains("grpc-status") {
            return self.answer_without_messages(&attempt, head);
        }
        let Ok(mut down) = self.reply.send_head(head, false) else {
            return self.give_up(attempt, Code::Cancelled, Stop::Caller);
        };
        let mut download = Download::new(body);
        let gauge = gauge(self.call, self.listener, &mut self.watch);
        let streams = (&mut attempt.sender, &mut down);
        let (end, trailers) = match forward(&mut self.upload, &mut download, streams, gauge).await {
            Ok(Some(trailers)) if trailers.contains("grpc-status") => match late(&trailers, self.call.deadline) {
                Some(refusal) => refused(&refusal),
                None => (End::upstream(&trailers), trailers),
            },
            Ok(_) => refused(&head::no_status()),
            Err(Stop::Refused(refusal)) => {
                attempt.sender.reset(ErrorCode::CANCEL);
                refused(&refusal)
            }
            Err(Stop::Upstream(error)) => refused(&refusal_of(error, self.call.deadline)),
            Err(Stop::Caller) => {
                attempt.sender.reset(ErrorCode::CANCEL);
                down.reset(ErrorCode::CANCEL);
                self.count(&attempt, Code::Cancelled);
                return End::cancelled();
            }
        };
        answer::end_with(&mut down, trailers);
        self.count(&attempt, end.code);
        end
    }

    /// An answer that is all head: sent as such, whether or not the instance ended its stream there (FIELD.md T12).
    fn answer_without_messages(mut self, attempt: &Try, head: ResponseHead) -> End {
        let end = End::upstream(&head.fields);
        self.count(attempt, end.code);
        drop(self.reply.send_head(head, true));
        end
    }

    /// Ends a try whose answer does not go to the caller, and the call with it.
    fn give_up(mut self, mut attempt: Try, code: Code, stop: Stop) -> End {
        attempt.sender.reset(ErrorCode::CANCEL);
        self.count(&attempt, code);
        self.stop(stop)
    }

    /// Ends the call before its answer has begun.
    fn stop(mut self, stop: Stop) -> End {
        let refusal = match stop {
            Stop::Caller => return End::cancelled(),
            Stop::Refused(refusal) => refusal,
            Stop::Upstream(error) => refusal_of(error, self.call.deadline),
        };
        answer::refuse(&mut self.reply, &refusal);
        End::refused(&refusal)
    }

    fn count(&mut self, attempt: &Try, code: Code) {
        let took = attempt.started.elapsed();
        self.call.path.upstream = Some(took);
        attempt.in_flight.instance().metrics.handled(code, took);
    }
}

/// What the bytes of this call meet.
fn gauge<'a>(call: &'a mut Call, listener: &Listener, watch: &'a mut Watch) -> Gauge<'a> {
    Gauge {
        followers: &mut call.followers,
        tally: &mut call.tally,
        request_limit: listener.limits.message,
        response_limit: listener.limits.response_message,
        watch,
    }
}

fn refused(refusal: &Refusal) -> (End, Fields) {
    (End::refused(refusal), refusal_trailers(refusal))
}

fn overloaded() -> Box<Refusal> {
    let message =
        "every instance has as many calls as it may (limits.requests, limits.pending): come back a little later";
    let refusal = Refusal::new(Code::ResourceExhausted, Reason::Overloaded, message);
    Box::new(refusal.with(filter_api::Detail::RetryAfter(std::time::Duration::from_millis(250))))
}

fn no_instance() -> Box<Refusal> {
    let message = "no instance can take the call: none is registered or healthy; see /instances on the admin port";
    Box::new(Refusal::new(Code::Unavailable, Reason::NoInstance, message))
}
