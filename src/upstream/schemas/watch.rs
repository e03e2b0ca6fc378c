//! What the keeper knows of one instance: when it is looked at next, and what came of the last look.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::Rng as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::doubts::Unconfirmed;
use super::pace::{AWAITED, LEAST, RARELY, RETRY, Rates, SLOW};
use super::places::Rank;
use super::published::{InstanceReport, Kind};
use super::queue::Due;
use crate::registry::{Instance, State};
use crate::schema::{Fingerprint, SchemaError};

/// An error that is shown is at most so long: a stranger may have written it.
const ERROR: usize = 500;

/// An instance that is looked at.
pub(super) struct Watch {
    pub(super) instance: Arc<Instance>,
    pub(super) agent: Arc<str>,
    /// As it was last seen.
    pub(super) state: State,
    pub(super) renewals: u32,
    /// Its next look, as it is in the queue.
    pub(super) due: Due,
    pub(super) busy: bool,
    /// Tells the look that is under way that somebody waits.
    pub(super) hurry: Arc<Notify>,
    /// Something happened while it was being looked at.
    pub(super) again: bool,
    /// It is not well, as far as its schema tells; but it answers.
    pub(super) answers: bool,
    /// When the last look began.
    pub(super) looked: Option<Instant>,
    /// A look has ended.
    pub(super) asked: bool,
    pub(super) print: Option<Fingerprint>,
    pub(super) kind: Option<Arc<Kind>>,
    pub(super) known_since: Option<SystemTime>,
    pub(super) error: Option<Arc<str>>,
    pub(super) unoffered: bool,
    /// What it serves cannot be used, which will be so the next time too.
    pub(super) rarely: bool,
    pub(super) failures: u32,
    /// How long the last look waited for answers.
    pub(super) took: Duration,
    /// It is in doubt what it means, and policies read messages.
    pub(super) doubtful: bool,
    /// Those who wait to hear that what is known of it is so.
    pub(super) unconfirmed: Vec<Unconfirmed>,
}

impl Watch {
    pub(super) fn new(agent: Arc<str>, instance: Arc<Instance>, now: Instant) -> Self {
        let due = Due { at: now, id: instance.id, rank: Rank { awaited: false, slow: false } };
        Self {
            agent,
            state: instance.state(),
            renewals: instance.renewals(),
            instance,
            due,
            busy: false,
            hurry: Arc::default(),
            again: false,
            answers: false,
            looked: None,
            asked: false,
            rarely: false,
            print: None,
            kind: None,
            known_since: None,
            error: None,
            unoffered: false,
            failures: 0,
            took: Duration::ZERO,
            doubtful: false,
            unconfirmed: Vec::new(),
        }
    }

    pub(super) fn know(&mut self) {
        (self.known_since, self.failures) = (Some(SystemTime::now()), 0);
        (self.unoffered, self.rarely) = (false, false);
    }

    pub(super) fn fail(&mut self, print: Option<Fingerprint>, kind: Option<Arc<Kind>>, why: String) {
        (self.print, self.kind) = (print, kind);
        self.failures += 1;
        self.error = Some(why.chars().take(ERROR).collect::<String>().into());
    }

    /// One that does not answer has what it had: most likely it is the network. One that answers with something else has it no more.
    pub(super) fn failed(&mut self, print: Option<Fingerprint>, error: SchemaError, bundled: Option<Arc<Kind>>) {
        let why = error.to_string();
        let passes = match &error {
            SchemaError::Unavailable(_) | SchemaError::Refused { .. } | SchemaError::Unreachable(_) => true,
            SchemaError::Bound { of, .. } => *of == "seconds",
            SchemaError::Unoffered(_) | SchemaError::Malformed(_) | SchemaError::File(_) => false,
        };
        self.rarely = !passes;
        self.unoffered = matches!(error, SchemaError::Unoffered(_));
        match error {
            _ if passes => {
                let (print, kind) = (self.print, self.kind.take());
                self.fail(print, kind, why);
            }
            SchemaError::Unoffered(_) => {
                let stands_in = bundled.is_some();
                self.fail(None, bundled, why);
                if stands_in {
                    (self.error, self.known_since) = (None, Some(SystemTime::now()));
                }
            }
            _ => self.fail(print, None, why),
        }
    }

    /// It has said what it serves, or that it does not say.
    pub(super) fn has_told(&self) -> bool {
        self.kind.is_some() || self.unoffered
    }

    /// Calls wait for what it says, or fail because it does not.
    fn is_awaited(&self) -> bool {
        !self.unconfirmed.is_empty() || self.doubtful
    }

    /// What a look at it is like.
    pub(super) fn rank(&self) -> Rank {
        Rank { awaited: self.is_awaited(), slow: self.took >= SLOW }
    }

    /// Between two looks at it.
    pub(super) fn least(&self) -> Duration {
        if self.unconfirmed.is_empty() { LEAST } else { AWAITED }
    }

    /// A look that began at this time has ended: takes those out who waited for it.
    pub(super) fn heard(&mut self, looked: Instant) -> Vec<Unconfirmed> {
        self.unconfirmed.extract_if(.., |unconfirmed| unconfirmed.since <= looked).collect()
    }

    /// It does not say, and what comes with Portunus is taken.
    pub(super) fn has_stand_in(&self) -> bool {
        self.kind.is_some() && self.unoffered
    }

    /// Until the next look.
    pub(super) fn wait(&self, refresh: Duration, many: usize, rates: &Rates) -> Duration {
        let paced = refresh.max(rates.unprompted * u32::try_from(many).unwrap_or(u32::MAX));
        // Many proxies that start together must not ask together for ever.
        let jittered = paced.mul_f64(rand::rng().random_range(0.9..1.1));
        if self.rarely {
            return jittered * RARELY;
        }
        match (&self.error, &self.kind) {
            (None, _) => jittered,
            (Some(_), Some(_)) if !self.doubtful => jittered,
            (Some(_), _) => {
                jittered.min(RETRY * (1 << self.failures.saturating_sub(1).min(10))).max(LEAST.min(refresh))
            }
        }
    }

    pub(super) fn report(&self) -> InstanceReport {
        InstanceReport {
            instance: self.instance.id,
            address: Arc::clone(&self.instance.authority),
            agent: Arc::clone(&self.agent),
            kind: self.kind.clone(),
            known_since: self.known_since,
            asked: self.asked,
            error: self.error.clone(),
            unoffered: self.unoffered,
        }
    }
}
