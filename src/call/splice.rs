//! The moving of a call's bytes, once it is decided where they go: two halves joined on one worker, and what is watched
//! meanwhile (the caller's reset, the deadline, silence).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fields::{Fields, ResponseHead};
use tokio::time::{Instant, Sleep};

use super::half::{Given, Half, Taken};
use super::replay::{Budget, Replay};
use super::stop::Stop;
use crate::filters::Followers;
use crate::h2::{Receiver, Reply, Response, Sender};

/// What went through, in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Messages from the caller.
    pub request_messages: u64,
    /// Messages to the caller.
    pub response_messages: u64,
    /// Their bytes, as their prefixes announce them.
    pub request_bytes: u64,
    /// Their bytes, as their prefixes announce them.
    pub response_bytes: u64,
}

/// What the bytes of a call meet on their way: bounds, counters, filters.
pub(super) struct Gauge<'a> {
    pub(super) followers: &'a mut Followers,
    pub(super) tally: &'a mut Tally,
    /// Bytes that a message may have.
    pub(super) request_limit: u64,
    /// The same for the other direction.
    pub(super) response_limit: u64,
    pub(super) watch: &'a mut Watch,
}

/// The direction from the caller to the instance.
#[derive(Debug)]
pub(super) struct Upload {
    half: Half,
    replay: Replay,
    /// Everything has been sent, or the upstream takes no more.
    done: bool,
}

impl Upload {
    pub(super) fn new(from: Receiver, budget: Arc<Budget>) -> Self {
        Self { half: Half::new(from), replay: Replay::new(budget), done: false }
    }

    /// Whether the request has no message at all.
    pub(super) fn is_empty(&self) -> bool {
        self.half.is_empty()
    }

    /// The head went out with the end of the request on it.
    pub(super) fn sent_with_head(&mut self) {
        self.done = true;
    }

    /// The answer has begun: no other try will come.
    pub(super) fn commit(&mut self) {
        self.replay.forget();
    }

    /// Begins anew for another try; false if too much has gone to repeat it.
    pub(super) fn rewind(&mut self) -> bool {
        let Some(pieces) = self.replay.take() else { return false };
        self.half.put_back(pieces);
        self.done = false;
        true
    }

    /// Takes what has come.
    fn take(&mut self, cx: &mut Context<'_>, gauge: &mut Gauge<'_>) -> Result<(), Stop> {
        let (followers, tally, limit) = (&mut *gauge.followers, &mut *gauge.tally, gauge.request_limit);
        let taken = self.half.poll_take(cx, |message| {
            if u64::from(message.size) > limit {
                return Err(Stop::too_large("request", message.size, limit));
            }
            followers.request_message(&message).map_err(Stop::Refused)?;
            tally.request_messages += 1;
            tally.request_bytes += u64::from(message.size);
            Ok(())
        });
        match taken {
            Poll::Ready(Err(Taken::Stop(stop))) => Err(stop),
            // Never an orderly end: half a request must not look like a whole one (FIELD.md T13).
            Poll::Ready(Err(Taken::Source(_))) => Err(Stop::Caller),
            Poll::Ready(Ok(())) if !self.half.is_between_messages() => Err(Stop::torn()),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, to: &mut Sender, gauge: &mut Gauge<'_>) -> Poll<Result<(), Stop>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        self.take(cx, gauge)?;
        let (replay, watch) = (&mut self.replay, &mut *gauge.watch);
        let waits = !self.half.waits_for_nothing();
        let given = self.half.poll_give(cx, to, true, |piece| {
            replay.keep(piece);
            watch.moved();
        });
        match given {
            Poll::Ready(Given::All) if self.half.has_ended() => {
                // The end came alone: it has not gone with bytes.
                if !waits && to.send(Bytes::new(), true).is_err() {
                    // The upstream needs no more; its answer tells.
                }
                self.done = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Given::Closed) => {
                // The upstream needs no more of the request; its answer tells what it makes of it.
                self.done = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Given::All) | Poll::Pending => Poll::Pending,
        }
    }
}

/// The direction from the instance to the caller, once its head has come.
#[derive(Debug)]
pub(super) struct Download {
    half: Half,
}

impl Download {
    pub(super) fn new(from: Receiver) -> Self {
        Self { half: Half::new(from) }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Sender,
        gauge: &mut Gauge<'_>,
    ) -> Poll<Result<Option<Fields>, Stop>> {
        let (followers, tally, limit) = (&mut *gauge.followers, &mut *gauge.tally, gauge.response_limit);
        let taken = self.half.poll_take(cx, |message| {
            if u64::from(message.size) > limit {
                return Err(Stop::too_large("response", message.size, limit));
            }
            followers.response_message(&message).map_err(Stop::Refused)?;
            tally.response_messages += 1;
            tally.response_bytes += u64::from(message.size);
            Ok(())
        });
        let broken = match taken {
            Poll::Ready(Err(Taken::Stop(stop))) => return Poll::Ready(Err(stop.by_the_instance())),
            Poll::Ready(Err(Taken::Source(error))) => Some(error),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        let watch = &mut *gauge.watch;
        match self.half.poll_give(cx, to, false, |_| watch.moved()) {
            Poll::Ready(Given::Closed) => Poll::Ready(Err(Stop::Caller)),
            // What came before a break goes on first, however slow the caller is; the source tells of its break again.
            Poll::Pending => Poll::Pending,
            Poll::Ready(Given::All) => match broken {
                Some(error) => Poll::Ready(Err(Stop::Upstream(error))),
                None if self.half.has_ended() => Poll::Ready(Ok(self.half.take_trailers())),
                None => Poll::Pending,
            },
        }
    }
}

/// Sends the request and waits for the head of the answer.
pub(super) async fn await_head(
    upload: &mut Upload,
    (response, sender): (&mut Response, &mut Sender),
    reply: &mut Reply,
    mut gauge: Gauge<'_>,
) -> Result<(ResponseHead, Receiver), Stop> {
    poll_fn(|cx| {
        if let Poll::Ready(head) = response.poll_head(cx) {
            return Poll::Ready(head.map_err(Stop::Upstream));
        }
        if let Poll::Ready(Err(stop)) = upload.poll(cx, sender, &mut gauge) {
            return Poll::Ready(Err(stop));
        }
        if reply.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Stop::Caller));
        }
        gauge.watch.poll(cx).map(Err)
    })
    .await
}

/// Moves bytes in both directions until the answer is complete, and gives its trailers.
pub(super) async fn forward(
    upload: &mut Upload,
    download: &mut Download,
    (up, down): (&mut Sender, &mut Sender),
    mut gauge: Gauge<'_>,
) -> Result<Option<Fields>, Stop> {
    poll_fn(|cx| {
        if let Poll::Ready(result) = download.poll(cx, down, &mut gauge) {
            return Poll::Ready(result);
        }
        if let Poll::Ready(Err(stop)) = upload.poll(cx, up, &mut gauge) {
            return Poll::Ready(Err(stop));
        }
        if down.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Stop::Caller));
        }
        gauge.watch.poll(cx).map(Err)
    })
    .await
}

/// Waits for something that is not the call's own bytes (a connection, a filter), for as long as the caller does.
pub(super) async fn attended<T>(
    work: impl Future<Output = T>,
    reply: &mut Reply,
    watch: &mut Watch,
) -> Result<T, Stop> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        // First: nothing is begun for a caller that has left already.
        if reply.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Stop::Caller));
        }
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        watch.poll(cx).map(Err)
    })
    .await
}

/// The same for a place on a connection, and takes what the caller sends meanwhile: small frames that sit unread in h2 end
/// its whole connection (FIELD.md T1), and a connect may take seconds.
pub(super) async fn await_place<T>(
    work: impl Future<Output = T>,
    upload: &mut Upload,
    reply: &mut Reply,
    mut gauge: Gauge<'_>,
) -> Result<T, Stop> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        if reply.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Stop::Caller));
        }
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        upload.take(cx, &mut gauge)?;
        gauge.watch.poll(cx).map(Err)
    })
    .await
}

/// The deadline of a call and the bound on its silence. Costs nothing where there is neither.
#[derive(Debug, Default)]
pub(super) struct Watch {
    deadline: Option<Pin<Box<Sleep>>>,
    idle: Option<Idle>,
}

#[derive(Debug)]
struct Idle {
    limit: Duration,
    moved: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Watch {
    pub(super) fn new(deadline: Option<Instant>, idle: Option<Duration>) -> Self {
        let sleep = |until| Box::pin(tokio::time::sleep_until(until));
        let now = Instant::now();
        let idle = idle.and_then(|limit| Some(Idle { limit, moved: now, timer: sleep(now.checked_add(limit)?) }));
        Self { deadline: deadline.map(sleep), idle }
    }

    /// Bytes went on, in either direction.
    fn moved(&mut self) {
        if let Some(idle) = &mut self.idle {
            idle.moved = Instant::now();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        if self.deadline.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Stop::deadline());
        }
        let Some(idle) = &mut self.idle else { return Poll::Pending };
        while idle.timer.as_mut().poll(cx).is_ready() {
            let until = idle.moved + idle.limit;
            if until <= Instant::now() {
                return Poll::Ready(Stop::idle(idle.limit));
            }
            // Bytes moved since the timer was set; setting it for each would cost more than this.
            idle.timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}
