//! Filters in their order, and those that follow a call.
//!
//! A chain is laid out when a configuration is built: nothing is sorted or looked up for a call.

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
    filters: Vec<Arc<dyn Filter>>,
    reads: Reads,
}

impl Chain {
    /// The filters of these phases: by phase, then in the order given (the listener's before the route's).
    pub fn of<'a>(filters: impl IntoIterator<Item = &'a (Phase, Arc<dyn Filter>)>, phases: &[Phase]) -> Self {
        let mut chosen: Vec<_> = filters.into_iter().filter(|(phase, _)| phases.contains(phase)).collect();
        chosen.sort_by_key(|(phase, _)| *phase);
        let filters: Vec<_> = chosen.into_iter().map(|(_, filter)| Arc::clone(filter)).collect();
        let reads = filters.iter().fold(Reads::default(), |reads, filter| reads.or(filter.reads()));
        Self { filters, reads }
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Shows the head to each filter; those that follow the call are added to `followers`.
    pub async fn run(
        &self,
        info: &CallInfo,
        head: &mut RequestHead,
        bounds: &mut Bounds,
        followers: &mut Followers,
    ) -> Result<(), Box<Refusal>> {
        if self.filters.is_empty() {
            return Ok(());
        }
        for filter in &self.filters {
            let mut start = filter.request_head(&mut RequestView { call: info, head, bounds });
            loop {
                match start {
                    Start::Pass => break,
                    Start::Follow(one) => {
                        followers.filters.push(one);
                        break;
                    }
                    Start::Refuse(refusal) => return Err(refusal),
                    Start::Wait(later) => start = later.await,
                }
            }
        }
        followers.reads = followers.reads.or(self.reads);
        Ok(())
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain of {} filters", self.filters.len())
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
