//! Filters in their order, and those that follow a call.
//!
//! A chain is laid out when a configuration is built: nothing is sorted or looked up for a call.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fields::RequestHead;
use filter_api::{
    Bounds, CallFilter, CallInfo, Code, Depth, Filter, Message, Outcome, Phase, Reads, Reason, Refusal, RequestView,
    ResponseView, Start, Verdict,
};
use smallvec::SmallVec;

/// Phases that run before the agent is chosen.
pub const EARLY: &[Phase] = &[Phase::Observe, Phase::Admit, Phase::Authenticate];
/// Phases that run once the agent is known.
pub const LATE: &[Phase] = &[Phase::Authorize, Phase::Limit];
/// Phases that run at each try.
pub const EACH_TRY: &[Phase] = &[Phase::Transform];

/// Filters that run one after the other.
#[derive(Clone, Default)]
pub struct Chain {
    /// None for none, which is what most chains have.
    filters: Option<Arc<[Arc<dyn Filter>]>>,
    reads: Reads,
}

/// What the filters of a chain look at, and may change.
pub struct Seen<'a> {
    /// What is known of the call.
    pub info: &'a CallInfo,
    /// The head.
    pub head: &'a mut RequestHead,
    /// Bounds on the call.
    pub bounds: &'a mut Bounds,
    /// Those that follow the call from here on.
    pub followers: &'a mut Followers,
}

/// A filter of a chain that takes its time.
pub struct Waiting {
    later: Pin<Box<dyn Future<Output = Start> + Send>>,
    at: usize,
}

/// What a filter that took its time answers in the end.
pub struct Answered {
    start: Start,
    at: usize,
}

impl Waiting {
    /// Waits for its answer, with which the chain [goes on](Chain::run).
    pub async fn answered(self) -> Answered {
        Answered { start: self.later.await, at: self.at }
    }
}

impl Chain {
    /// The filters of these phases: by phase, then in the order given (the listener's before the route's).
    pub fn of<'a>(filters: impl IntoIterator<Item = &'a (Phase, Arc<dyn Filter>)>, phases: &[Phase]) -> Self {
        let mut chosen: Vec<_> = filters.into_iter().filter(|(phase, _)| phases.contains(phase)).collect();
        chosen.sort_by_key(|(phase, _)| *phase);
        let filters: Vec<_> = chosen.into_iter().map(|(_, filter)| Arc::clone(filter)).collect();
        let reads = filters.iter().fold(Reads::default(), |reads, filter| reads.or(filter.reads()));
        Self { filters: (!filters.is_empty()).then(|| filters.into()), reads }
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.filters.is_none()
    }

    /// Shows the head to each filter, from the first on or, once one that took its time has answered, from there; those that follow
    /// the call are added to the followers. Stops at a filter that takes its time.
    ///
    /// # Errors
    /// A filter refuses the call.
    pub fn run(&self, answered: Option<Answered>, seen: &mut Seen<'_>) -> Result<Option<Waiting>, Box<Refusal>> {
        let Some(filters) = &self.filters else { return Ok(None) };
        let (mut at, mut answer) = answered.map_or((0, None), |Answered { start, at }| (at, Some(start)));
        while let Some(filter) = filters.get(at) {
            let Seen { info, head, bounds, .. } = seen;
            let ask = || filter.request_head(&mut RequestView { call: info, head, bounds });
            match answer.take().unwrap_or_else(ask) {
                Start::Pass => {}
                Start::Follow(one) => seen.followers.filters.push(one),
                Start::Refuse(refusal) => return Err(refusal),
                Start::Wait(later) => return Ok(Some(Waiting { later, at })),
            }
            at += 1;
        }
        seen.followers.reads = seen.followers.reads.or(self.reads);
        Ok(None)
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain of {} filters", self.filters.as_ref().map_or(0, |filters| filters.len()))
    }
}

/// The filters that follow a call.
#[derive(Default)]
pub struct Followers {
    filters: SmallVec<[Box<dyn CallFilter>; 2]>,
    reads: Reads,
}

impl Followers {
    /// How many there are: what a try adds can be taken off again.
    pub fn count(&self) -> usize {
        self.filters.len()
    }

    /// Ends those that were added after there were `len`: their try is over and another begins.
    pub fn cut(&mut self, len: usize, outcome: &Outcome) {
        for mut filter in self.filters.drain(len..) {
            filter.end(outcome);
        }
    }

    /// Shows a message of the request.
    pub fn request_message(&mut self, message: &Message) -> Result<(), Box<Refusal>> {
        if self.reads.request == Depth::Nothing {
            return Ok(());
        }
        self.filters.iter_mut().try_for_each(|filter| passed(filter.request_message(message)))
    }

    /// Shows a message of the response. The filter nearest to the instance sees it first.
    pub fn response_message(&mut self, message: &Message) -> Result<(), Box<Refusal>> {
        if self.reads.response == Depth::Nothing {
            return Ok(());
        }
        self.filters.iter_mut().rev().try_for_each(|filter| passed(filter.response_message(message)))
    }

    /// Shows the head of the response.
    pub fn response_head(&mut self, view: &mut ResponseView<'_>) -> Result<(), Box<Refusal>> {
        self.filters.iter_mut().rev().try_for_each(|filter| passed(filter.response_head(view)))
    }

    /// Tells all that the call is over.
    pub fn end(&mut self, outcome: &Outcome) {
        self.cut(0, outcome);
    }
}

impl Drop for Followers {
    /// Every follower hears of the end exactly once: here only where the proxy stopped before the call did.
    fn drop(&mut self) {
        if !self.filters.is_empty() {
            self.end(&Outcome {
                code: Code::Unavailable,
                reason: Some(Reason::Draining),
                duration: Duration::ZERO,
                request_messages: 0,
                response_messages: 0,
            });
        }
    }
}

fn passed(verdict: Verdict) -> Result<(), Box<Refusal>> {
    match verdict {
        Verdict::Pass => Ok(()),
        Verdict::Refuse(refusal) => Err(refusal),
    }
}
