//! Filters in their order, and those that follow a call.
//!
//! A chain is laid out when a configuration is built: nothing is sorted or looked up for a call.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fields::RequestHead;
use filter_api::{
    Admitted, Bounds, CallFilter, CallInfo, Code, Depth, Filter, Message, Outcome, Phase, Reads, Reason, Refusal,
    RequestView, ResponseView, Start, Verdict,
};
use smallvec::SmallVec;

/// Phases that run before the agent is chosen.
pub const EARLY: &[Phase] = &[Phase::Observe, Phase::Admit, Phase::Authenticate];
/// Phases that run once the agent is known.
pub const LATE: &[Phase] = &[Phase::Authorize, Phase::Limit];
/// Phases that say who may call what.
pub const JUDGING: &[Phase] = &[Phase::Authenticate, Phase::Authorize];
/// Phases that run whoever calls.
pub const BEFORE_ANYBODY: &[Phase] = &[Phase::Observe, Phase::Admit];
/// Phases that run at each try.
pub const EACH_TRY: &[Phase] = &[Phase::Transform];

/// Filters that run one after the other.
#[derive(Clone, Default)]
pub struct Chain {
    /// None for none, which is what most chains have.
    filters: Option<Arc<[Placed]>>,
    reads: Reads,
}

/// A filter, what it reads of a call that it follows, and its phase.
type Placed = (Arc<dyn Filter>, Reads, Phase);

/// What the filters of a chain look at, and may change.
pub struct Seen<'a> {
    /// What is known of the call; claims are added where a filter verifies some.
    pub info: &'a mut CallInfo,
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
        let filters: Vec<_> =
            chosen.into_iter().map(|(phase, filter)| (Arc::clone(filter), filter.reads(), *phase)).collect();
        let reads = filters.iter().fold(Reads::default(), |sum, (_, reads, _)| sum.or(*reads));
        Self { filters: (!filters.is_empty()).then(|| filters.into()), reads }
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.filters.is_none()
    }

    /// The most that its filters read of a call.
    pub fn reads(&self) -> Reads {
        self.reads
    }

    /// Shows the head to each filter, from the first on or, once one that took its time has answered, from there; those that follow
    /// the call are added to the followers. Stops at a filter that takes its time.
    ///
    /// # Errors
    /// A filter refuses the call.
    pub fn run(&self, answered: Option<Answered>, seen: &mut Seen<'_>) -> Result<Option<Waiting>, Box<Refusal>> {
        let Some(filters) = &self.filters else { return Ok(None) };
        let (mut at, mut answer) = answered.map_or((0, None), |Answered { start, at }| (at, Some(start)));
        while let Some((filter, reads, phase)) = filters.get(at) {
            let Seen { info, head, bounds, .. } = seen;
            let mut verified = None;
            let view = &mut RequestView { call: info, head, bounds, verified: &mut verified };
            let start = match answer.take() {
                Some(Start::Again) | None => filter.request_head(view),
                Some(answer) => answer,
            };
            if let Some(token) = verified {
                info.claims = Some(Arc::clone(&token.claims));
                info.tokens.retain(|other| other.from != token.from);
                info.tokens.push(token);
            }
            match start {
                Start::Pass => {}
                Start::Follow(one) => seen.followers.add(one, *reads, *phase),
                Start::Refuse(refusal) => return Err(refusal),
                Start::Wait(later) => return Ok(Some(Waiting { later, at })),
                Start::Again => return Err(endless()),
            }
            at += 1;
        }
        Ok(None)
    }
}

impl Chain {
    /// Asks each filter whether it would still let in a call that is open. The claims of the call are those that filters on the way vouch
    /// for again.
    ///
    /// # Errors
    /// One of them would not.
    pub fn still(
        &self,
        info: &mut CallInfo,
        head: &mut RequestHead,
        admitted: &Admitted<'_>,
    ) -> Result<(), Box<Refusal>> {
        let mut bounds = Bounds::default();
        for (filter, ..) in self.filters.iter().flat_map(|filters| filters.iter()) {
            let mut verified = None;
            let view = &mut RequestView { call: info, head, bounds: &mut bounds, verified: &mut verified };
            filter.still(view, admitted)?;
            if let Some(token) = verified {
                info.claims = Some(token.claims);
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain of {} filters", self.filters.as_ref().map_or(0, |filters| filters.len()))
    }
}

/// The filters that follow a call: first those that last as long as it does, then those of the try that is under way.
#[derive(Default)]
pub struct Followers {
    filters: SmallVec<[Follower; 2]>,
    reads: Reads,
    /// One of them decides by a message whether the call may reach an instance at all.
    decide_by_message: bool,
    /// How many there were before the try.
    lasting: usize,
}

struct Follower {
    filter: Box<dyn CallFilter>,
    reads: Reads,
    phase: Phase,
}

impl Followers {
    fn add(&mut self, filter: Box<dyn CallFilter>, reads: Reads, phase: Phase) {
        self.decide_by_message |= filter.decides_by_message();
        self.filters.push(Follower { filter, reads, phase });
        self.reads = self.reads.or(reads);
    }

    /// The most that one of them reads.
    pub fn reads(&self) -> Reads {
        self.reads
    }

    /// Whether nothing of the call may reach an instance before its first message has passed.
    pub fn decide_by_message(&self) -> bool {
        self.decide_by_message
    }

    /// What has to hold of the call's messages, in the words of its configuration.
    pub fn go_by(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().filter_map(|follower| follower.filter.goes_by())
    }

    /// How many read what is in messages of the request.
    pub fn readers(&self) -> usize {
        self.filters.iter().filter(|follower| follower.reads.request == Depth::Bodies).count()
    }

    /// Whether one of those that last reads what is in messages of the request.
    pub fn judge_requests(&self) -> bool {
        self.lasting().any(|follower| follower.reads.request == Depth::Bodies)
    }

    /// Whether one of them decides about the call by what is in messages of the request: those that observe do not.
    pub fn go_by_requests(&self) -> bool {
        self.lasting().any(|follower| follower.reads.request == Depth::Bodies && follower.phase != Phase::Observe)
    }

    /// Whether one of this try reads what is in messages of the request.
    pub fn rewrite_requests(&self) -> bool {
        self.filters.iter().skip(self.lasting).any(|follower| follower.reads.request == Depth::Bodies)
    }

    /// Those that there are last; those that are added from now on are of a try.
    pub fn begin_try(&mut self) {
        self.lasting = self.filters.len();
    }

    /// Ends those of a try: it is over, and another begins.
    pub fn end_try(&mut self, outcome: &Outcome<'_>) {
        self.cut(self.lasting, outcome);
        self.reads = self.filters.iter().fold(Reads::default(), |sum, follower| sum.or(follower.reads));
    }

    /// Announces a message of the request to those that last and read sizes.
    pub fn request_message(&mut self, message: &Message<'_>) -> Result<(), Box<Refusal>> {
        if self.reads.request == Depth::Nothing {
            return Ok(());
        }
        let lasting = self.filters.iter_mut().take(self.lasting);
        let mut sizes = lasting.filter(|follower| follower.reads.request == Depth::Sizes);
        sizes.try_for_each(|follower| passed(follower.filter.request_message(message)))
    }

    /// Shows what is in a message of the request to those that last and read bodies.
    pub fn request_body(&mut self, message: &Message<'_>) -> Result<(), Box<Refusal>> {
        let lasting = self.filters.iter_mut().take(self.lasting);
        let mut bodies = lasting.filter(|follower| follower.reads.request == Depth::Bodies);
        bodies.try_for_each(|follower| passed(follower.filter.request_message(message)))
    }

    /// Shows a message of the request to those of this try, to each as much as it reads. Answers what goes on in its place, if another
    /// does.
    pub fn request_of_try(&mut self, message: &Message<'_>) -> Result<Option<Vec<u8>>, Box<Refusal>> {
        let mut other = None;
        for Follower { filter, reads, .. } in self.filters.iter_mut().skip(self.lasting) {
            let body = other.as_deref().or(message.body);
            let verdict = match reads.request {
                Depth::Nothing => continue,
                Depth::Sizes => {
                    passed(filter.request_message(&Message { body: None, types: None, ..*message }))?;
                    continue;
                }
                Depth::Bodies => filter.request_message(&Message { body, ..*message }),
            };
            other = replaced(verdict, true)?.or(other);
        }
        Ok(other)
    }

    /// Announces a message of the response to those that read sizes. The filter nearest to the instance sees it first.
    pub fn response_message(&mut self, message: &Message<'_>) -> Result<(), Box<Refusal>> {
        if self.reads.response == Depth::Nothing {
            return Ok(());
        }
        let mut sizes = self.filters.iter_mut().rev().filter(|follower| follower.reads.response == Depth::Sizes);
        sizes.try_for_each(|follower| passed(follower.filter.response_message(message)))
    }

    /// Shows what is in a message of the response to those that read bodies, in the same order. Answers what goes on in its place, if
    /// another does.
    pub fn response_body(&mut self, message: &Message<'_>) -> Result<Option<Vec<u8>>, Box<Refusal>> {
        let mut other = None;
        let bodies = |follower: &&mut Follower| follower.reads.response == Depth::Bodies;
        let at = self.lasting.min(self.filters.len());
        let (lasting, of_try) = self.filters.split_at_mut(at);
        let of_try = of_try.iter_mut().rev().filter(bodies).map(|follower| (follower, true));
        let lasting = lasting.iter_mut().rev().filter(bodies).map(|follower| (follower, false));
        for (follower, may_replace) in of_try.chain(lasting) {
            let body = other.as_deref().or(message.body);
            let verdict = follower.filter.response_message(&Message { body, ..*message });
            other = replaced(verdict, may_replace)?.or(other);
        }
        Ok(other)
    }

    /// Shows the head of the response.
    pub fn response_head(&mut self, view: &mut ResponseView<'_>) -> Result<(), Box<Refusal>> {
        self.filters.iter_mut().rev().try_for_each(|follower| passed(follower.filter.response_head(view)))
    }

    /// Tells all that the call is over.
    pub fn end(&mut self, outcome: &Outcome<'_>) {
        self.cut(0, outcome);
    }

    fn lasting(&self) -> impl Iterator<Item = &Follower> {
        self.filters.iter().take(self.lasting)
    }

    fn cut(&mut self, len: usize, outcome: &Outcome<'_>) {
        for mut follower in self.filters.drain(len..) {
            follower.filter.end(outcome);
        }
    }
}

impl Drop for Followers {
    /// Every follower hears of the end exactly once: here only where the proxy stopped before the call did.
    fn drop(&mut self) {
        if !self.filters.is_empty() {
            self.end(&Outcome {
                call: None,
                code: Code::Unavailable,
                reason: Some(Reason::Draining),
                duration: Duration::ZERO,
                request_messages: 0,
                response_messages: 0,
            });
        }
    }
}

/// A filter that asks to be asked, and has waited for nothing.
fn endless() -> Box<Refusal> {
    let message = "a filter gives no answer: look at the route's filters on the admin port";
    Box::new(Refusal::new(Code::Internal, Reason::Filter, message))
}

fn passed(verdict: Verdict) -> Result<(), Box<Refusal>> {
    replaced(verdict, false).map(drop)
}

/// What a filter puts in the place of a message. One that may not must not be passed by: it hides something.
fn replaced(verdict: Verdict, may: bool) -> Result<Option<Vec<u8>>, Box<Refusal>> {
    match verdict {
        Verdict::Pass => Ok(None),
        Verdict::Refuse(refusal) => Err(refusal),
        Verdict::Replace(body) if may => Ok(Some(body)),
        Verdict::Replace(_) => {
            let message = "a filter replaces what it may only look at: look at the route's filters on the admin port";
            Err(Box::new(Refusal::new(Code::Internal, Reason::Filter, message)))
        }
    }
}

#[cfg(test)]
mod tests {
    use filter_api::{CallFilter, Depth, Message, Phase, Reads, Reason, Verdict};

    use super::Followers;

    /// Writes its letter behind what it reads.
    struct Adds(&'static str);

    impl Adds {
        fn add(&self, message: &Message<'_>) -> Verdict {
            match message.body {
                Some(body) => Verdict::Replace([body, self.0.as_bytes()].concat()),
                None => Verdict::Pass,
            }
        }
    }

    impl CallFilter for Adds {
        fn request_message(&mut self, message: &Message<'_>) -> Verdict {
            self.add(message)
        }

        fn response_message(&mut self, message: &Message<'_>) -> Verdict {
            self.add(message)
        }
    }

    fn followers(lasting: &[Depth], of_try: &[(&'static str, Depth)]) -> Followers {
        let mut followers = Followers::default();
        let reads = |depth| Reads { request: depth, response: depth };
        lasting.iter().for_each(|depth| followers.add(Box::new(Adds("l")), reads(*depth), Phase::Limit));
        followers.begin_try();
        of_try.iter().for_each(|(name, depth)| followers.add(Box::new(Adds(name)), reads(*depth), Phase::Transform));
        followers
    }

    const MESSAGE: Message<'_> =
        Message { number: 1, size: 2, compressed: false, body: Some(b"m:"), types: None, request: None };

    #[test]
    fn each_sees_what_the_one_before_it_left() {
        let of_try = [("a", Depth::Bodies), ("s", Depth::Sizes), ("n", Depth::Nothing), ("b", Depth::Bodies)];
        let mut followers = followers(&[Depth::Sizes], &of_try);
        assert!(followers.rewrite_requests() && !followers.judge_requests());
        assert_eq!(followers.request_of_try(&MESSAGE).unwrap(), Some(b"m:ab".to_vec()));
        assert_eq!(
            followers.response_body(&MESSAGE).unwrap(),
            Some(b"m:ba".to_vec()),
            "the nearest to the instance first"
        );
    }

    #[test]
    fn one_that_lasts_replaces_nothing() {
        let mut followers = followers(&[Depth::Bodies], &[]);
        assert!(followers.judge_requests() && followers.go_by_requests() && !followers.rewrite_requests());
        assert_eq!(followers.request_body(&MESSAGE).unwrap_err().reason, Reason::Filter);
        assert_eq!(followers.response_body(&MESSAGE).unwrap_err().reason, Reason::Filter);
        assert_eq!(followers.request_of_try(&MESSAGE).unwrap(), None);
    }

    #[test]
    fn who_observes_decides_nothing() {
        let mut followers = Followers::default();
        let bodies = Reads { request: Depth::Bodies, response: Depth::Nothing };
        followers.add(Box::new(Adds("o")), bodies, Phase::Observe);
        followers.begin_try();
        assert!(followers.judge_requests() && !followers.go_by_requests());
    }

    #[test]
    fn what_a_try_read_goes_with_it() {
        let mut followers = followers(&[Depth::Sizes], &[("a", Depth::Bodies)]);
        assert_eq!(followers.reads().request, Depth::Bodies);
        let outcome = filter_api::Outcome {
            call: None,
            code: filter_api::Code::Unavailable,
            reason: None,
            duration: std::time::Duration::ZERO,
            request_messages: 0,
            response_messages: 0,
        };
        followers.end_try(&outcome);
        assert_eq!((followers.reads().request, followers.filters.len()), (Depth::Sizes, 1));
    }
}
