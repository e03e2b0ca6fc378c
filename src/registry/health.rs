//! The health of one registered instance: `new → healthy ⇄ unhealthy → lost`. A pure state machine that is told what was
//! found and when; the registry keeps one an instance and does what it answers. Knows no address, no agent, no lock.

use std::time::Duration;

use tokio::time::Instant;

use super::address::clip;
use super::instance::State;
use super::settings::HealthSettings;

/// Between two probes of an instance that has yet to pass its first.
const EAGER: Duration = Duration::from_millis(200);
/// The longest wait between two probes of a lost instance.
const RARE: Duration = Duration::from_secs(30);

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It answers that it is healthy; or, with a remark, it answers and has no health check to ask.
    Alive(Option<String>),
    /// It answers that it is not healthy.
    Ill(String),
    /// No answer: a timeout, a reset, an error of the transport.
    Silent(String),
    /// Nobody listens at its address.
    Refused(String),
}

impl Finding {
    /// With as much of a text as is kept: whose it is may be anybody.
    #[must_use]
    pub fn clipped(self) -> Self {
        match self {
            Self::Alive(remark) => Self::Alive(remark.map(|text| clip(&text))),
            Self::Ill(text) => Self::Ill(clip(&text)),
            Self::Silent(text) => Self::Silent(clip(&text)),
            Self::Refused(text) => Self::Refused(clip(&text)),
        }
    }

    /// A word for the metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Alive(_) => "passed",
            Self::Ill(_) => "unhealthy",
            Self::Silent(_) => "silent",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether somebody was there.
    pub(super) fn answered(&self) -> bool {
        matches!(self, Self::Alive(_) | Self::Ill(_))
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Alive(remark) => remark.as_deref(),
            Self::Ill(text) | Self::Silent(text) | Self::Refused(text) => Some(text),
        }
    }
}

/// What else counts when a finding is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Neither registration nor heartbeat for a lease's time.
    pub lease_out: bool,
    /// The connection that registered it is still there.
    pub connected: bool,
}

/// A change of state, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub from: State,
    pub to: State,
    pub reason: String,
}

/// The last probe's outcome, for the admin port.
#[derive(Clone, Debug)]
pub(super) struct LastProbe {
    pub at: Instant,
    pub ok: bool,
    pub text: Option<String>,
}

#[derive(Debug)]
pub(super) struct Health {
    state: State,
    /// A list has it. Nobody registers it, so nothing but its health check speaks for it.
    listed: bool,
    since: Instant,
    last: Option<LastProbe>,
    passes: u32,
    failures: u32,
    /// Has passed a probe since it was registered.
    proven: bool,
    /// Its address refused a connection while its registering connection was closed: whoever answers there now may be
    /// somebody else, so that only a heartbeat or a registration brings it back.
    awaited: bool,
    /// Why it would not be registered any more: only a registration brings it back.
    withdrawn: Option<String>,
    /// Taken out by a refused connection, not by a threshold: the first passing probe brings it back.
    struck: bool,
    answering: bool,
    /// Counts what makes findings of probes that are under way stale.
    epoch: u32,
    /// Probes since it was lost.
    rounds: u32,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::New,
            listed: false,
            since: now,
            last: None,
            passes: 0,
            failures: 0,
            proven: false,
            awaited: false,
            withdrawn: None,
            struck: false,
            answering: true,
            epoch: 0,
            rounds: 0,
        }
    }

    /// Of an instance that was registered with the process before this one: it gets calls at once, unless its address was found free.
    pub(super) fn restored(awaited: bool, now: Instant) -> Self {
        let state = if awaited { State::Unhealthy } else { State::Healthy };
        Self { state, awaited, proven: true, ..Self::new(now) }
    }

    /// Of an instance that a list has.
    pub(super) fn listed(now: Instant) -> Self {
        Self { listed: true, ..Self::new(now) }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn last(&self) -> Option<&LastProbe> {
        self.last.as_ref()
    }

    /// Whether only a heartbeat or a registration brings it back.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether whoever looked last, if anybody did, found somebody there.
    pub(super) fn is_answering(&self) -> bool {
        self.answering
    }

    /// Judges what a probe found that began in the present epoch.
    pub(super) fn probed(
        &mut self,
        finding: &Finding,
        facts: Facts,
        settings: &HealthSettings,
        now: Instant,
    ) -> Option<Change> {
        let ok = matches!(finding, Finding::Alive(_));
        self.last = Some(match &self.withdrawn {
            // That it is well is not what keeps it out.
            Some(why) => LastProbe { at: now, ok: false, text: Some(why.clone()) },
            None => LastProbe { at: now, ok, text: finding.text().map(str::to_owned) },
        });
        self.answering = finding.answered();
        if self.state == State::Lost {
            self.rounds = self.rounds.saturating_add(1);
        }
        if ok { self.passed(settings, now) } else { self.failed(finding, facts, settings, now) }
    }

    /// A call's connection was refused: no threshold, the next call must not try it.
    pub(super) fn refused(&mut self, facts: Facts, now: Instant) -> Option<Change> {
        self.epoch = self.epoch.wrapping_add(1);
        self.answering = false;
        self.strike(facts, now, "its address refused a connection")
    }

    /// A heartbeat came for it.
    pub(super) fn heard(&mut self, now: Instant) -> Option<Change> {
        let waits = self.awaited || self.state == State::Lost;
        if waits && self.withdrawn.is_none() { self.renew(now, "a heartbeat came") } else { None }
    }

    /// It would not be registered any more. A restart forgets why, and not that it waits.
    pub(super) fn withdraw(&mut self, why: &str, now: Instant) -> Option<Change> {
        let why = clip(&format!("withdrawn: {why}"));
        self.epoch = self.epoch.wrapping_add(1);
        self.awaited = true;
        self.last = Some(LastProbe { at: now, ok: false, text: Some(why.clone()) });
        let reason = why.clone();
        self.withdrawn = Some(why);
        // Lost is less than that.
        if self.state == State::Lost { None } else { self.turn(State::Unhealthy, now, &reason) }
    }

    /// Whether only a registration brings it back.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.withdrawn.is_some()
    }

    /// It was registered again.
    pub(super) fn registered(&mut self, now: Instant) -> Option<Change> {
        let well = self.state == State::Healthy && self.failures == 0;
        if well { None } else { self.renew(now, "it was registered again") }
    }

    /// How long to wait after a finding before the next probe. `spread` from 0 to 1 keeps probes from marching in step.
    pub(super) fn pause(&self, settings: &HealthSettings, spread: f64) -> Duration {
        let pause = match self.state {
            State::Lost => settings.interval.saturating_mul(1 << self.rounds.min(8)).min(RARE),
            // A lease bounds how long one is asked in vain that registered; a list has no end.
            _ if !self.proven && (self.state == State::New || !self.listed) => return EAGER,
            // It is often back within a second or two; then ever more rarely, up to the interval.
            State::Unhealthy => {
                EAGER.saturating_mul(1 << self.failures.saturating_sub(1).min(8)).min(settings.interval)
            }
            State::New | State::Healthy => settings.interval,
        };
        pause.mul_f64(0.9 + 0.2 * spread)
    }

    fn passed(&mut self, settings: &HealthSettings, now: Instant) -> Option<Change> {
        self.failures = 0;
        self.passes = self.passes.saturating_add(1);
        if self.awaited {
            return None;
        }
        let enough = match self.state {
            State::Healthy => false,
            State::New | State::Lost => true,
            State::Unhealthy => self.struck || !self.proven || self.passes >= settings.healthy_after,
        };
        self.proven = true;
        if enough { self.turn(State::Healthy, now, "its health check passed") } else { None }
    }

    fn failed(&mut self, finding: &Finding, facts: Facts, settings: &HealthSettings, now: Instant) -> Option<Change> {
        self.passes = 0;
        self.failures = self.failures.saturating_add(1);
        let refused = matches!(finding, Finding::Refused(_));
        let why = finding.text().unwrap_or("no reason given");
        // One that registers may take its time to start.
        let counts = self.state == State::Healthy || (self.state == State::New && self.listed);
        match self.state {
            State::New | State::Unhealthy if facts.lease_out => {
                self.awaited |= refused && !facts.connected;
                self.rounds = 0;
                self.turn(State::Lost, now, &format!("its lease ran out and its health check fails: {why}"))
            }
            // One that still starts up refuses too: it goes on being asked, unless its registrant has gone.
            State::New if refused && !facts.connected => self.strike(facts, now, why),
            State::Healthy if refused => self.strike(facts, now, why),
            State::New | State::Healthy if counts && self.failures >= settings.unhealthy_after.max(1) => self.turn(
                State::Unhealthy,
                now,
                &format!("{} health checks in a row failed, the last: {why}", self.failures),
            ),
            State::Unhealthy | State::Lost => {
                self.awaited |= refused && !facts.connected;
                None
            }
            State::New | State::Healthy => None,
        }
    }

    fn strike(&mut self, facts: Facts, now: Instant, why: &str) -> Option<Change> {
        self.passes = 0;
        self.awaited |= !facts.connected;
        self.struck = true;
        if matches!(self.state, State::Unhealthy | State::Lost) {
            return None;
        }
        let until = if self.awaited {
            "; its registering connection is closed: waiting for a heartbeat or a registration"
        } else {
            ""
        };
        self.turn(State::Unhealthy, now, &format!("{why}{until}"))
    }

    fn renew(&mut self, now: Instant, reason: &str) -> Option<Change> {
        self.epoch = self.epoch.wrapping_add(1);
        self.awaited = false;
        self.withdrawn = None;
        self.proven = false;
        self.answering = true;
        self.failures = 0;
        self.passes = 0;
        self.turn(State::New, now, reason)
    }

    fn turn(&mut self, to: State, now: Instant, reason: &str) -> Option<Change> {
        let from = std::mem::replace(&mut self.state, to);
        if from == to {
            return None;
        }
        if to != State::Unhealthy && to != State::Lost {
            self.struck = false;
        }
        self.since = now;
        Some(Change { from, to, reason: reason.to_owned() })
    }
}

#[cfg(test)]
mod tests;
