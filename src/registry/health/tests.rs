//! Each rule of the state machine by itself.

use std::time::Duration;

use tokio::time::Instant;

use super::{Facts, Finding, Health};
use crate::registry::instance::State;
use crate::registry::settings::HealthSettings;

const FINE: Facts = Facts { lease_out: false, connected: true };
const OUT: Facts = Facts { lease_out: true, connected: true };
const CLOSED: Facts = Facts { lease_out: false, connected: false };

struct Patient {
    health: Health,
    settings: HealthSettings,
    now: Instant,
}

impl Patient {
    fn new() -> Self {
        let now = Instant::now();
        let settings = HealthSettings { unhealthy_after: 3, healthy_after: 2, ..HealthSettings::default() };
        Self { health: Health::new(now), settings, now }
    }

    fn healthy() -> Self {
        let mut patient = Self::new();
        patient.find(Finding::Alive(None), FINE);
        patient
    }

    fn find(&mut self, finding: Finding, facts: Facts) -> State {
        self.health.probed(&finding, facts, &self.settings, self.now);
        self.health.state()
    }

    fn pause(&self) -> Duration {
        self.health.pause(&self.settings, 0.5)
    }
}

fn silent() -> Finding {
    Finding::Silent("timeout".into())
}

fn refused() -> Finding {
    Finding::Refused("refused".into())
}

#[test]
fn a_new_one_is_asked_every_200_ms_until_its_first_success() {
    let mut patient = Patient::new();
    for _ in 0..10 {
        assert_eq!(patient.find(silent(), FINE), State::New);
        assert_eq!(patient.pause(), Duration::from_millis(200));
    }
    assert_eq!(patient.find(refused(), FINE), State::New);
    assert_eq!(patient.find(Finding::Alive(None), FINE), State::Healthy);
    assert_eq!(patient.pause(), patient.settings.interval);
}

#[test]
fn thresholds_hold_in_both_directions() {
    let mut patient = Patient::healthy();
    for expected in [State::Healthy, State::Healthy, State::Unhealthy] {
        assert_eq!(patient.find(Finding::Ill("no".into()), FINE), expected);
    }
    assert_eq!(patient.find(Finding::Alive(None), FINE), State::Unhealthy);
    assert_eq!(patient.find(silent(), FINE), State::Unhealthy);
    assert_eq!(patient.find(Finding::Alive(None), FINE), State::Unhealthy);
    assert_eq!(patient.find(Finding::Alive(None), FINE), State::Healthy);
}

#[test]
fn silence_of_the_sdk_alone_loses_nobody() {
    let mut patient = Patient::healthy();
    for _ in 0..100 {
        assert_eq!(patient.find(Finding::Alive(None), OUT), State::Healthy);
    }
}

#[test]
fn a_hiccup_of_one_that_never_heartbeats_is_no_loss() {
    let mut patient = Patient::healthy();
    assert_eq!(patient.find(silent(), OUT), State::Healthy);
    assert_eq!(patient.find(Finding::Alive(None), OUT), State::Healthy);
}

#[test]
fn a_failing_check_alone_loses_nobody() {
    let mut patient = Patient::healthy();
    for _ in 0..100 {
        patient.find(silent(), FINE);
    }
    assert_eq!(patient.health.state(), State::Unhealthy);
}

#[test]
fn both_together_do_and_a_passing_probe_brings_it_back() {
    let mut patient = Patient::healthy();
    for _ in 0..3 {
        patient.find(silent(), FINE);
    }
    assert_eq!(patient.find(silent(), OUT), State::Lost);
    let mut pauses = vec![];
    for _ in 0..4 {
        pauses.push(patient.pause().as_secs());
        patient.find(silent(), OUT);
    }
    assert_eq!(pauses, [10, 20, 30, 30]);
    assert_eq!(patient.find(Finding::Alive(None), OUT), State::Healthy);
}

#[test]
fn one_that_never_answered_is_lost_with_its_lease() {
    let mut patient = Patient::new();
    assert_eq!(patient.find(silent(), OUT), State::Lost);
}

#[test]
fn a_heartbeat_makes_a_lost_one_new() {
    let mut patient = Patient::new();
    patient.find(silent(), OUT);
    let change = patient.health.heard(patient.now).unwrap();
    assert_eq!((change.from, change.to), (State::Lost, State::New));
    assert_eq!(patient.pause(), Duration::from_millis(200));
    assert!(Patient::healthy().health.heard(patient.now).is_none());
}

#[test]
fn a_refused_connection_counts_at_once_and_one_pass_undoes_it() {
    let mut patient = Patient::healthy();
    let change = patient.health.refused(FINE, patient.now).unwrap();
    assert_eq!((change.from, change.to), (State::Healthy, State::Unhealthy));
    assert!(!patient.health.is_answering());
    assert_eq!(patient.find(Finding::Alive(None), FINE), State::Healthy);
    assert_eq!(patient.find(refused(), FINE), State::Unhealthy);
    assert_eq!(patient.find(Finding::Alive(None), FINE), State::Healthy);
}

#[test]
fn an_unhealthy_one_is_asked_soon_then_more_rarely() {
    let mut patient = Patient::healthy();
    patient.health.refused(FINE, patient.now);
    let mut pauses = vec![];
    for _ in 0..8 {
        patient.find(refused(), FINE);
        pauses.push(patient.pause().as_millis());
    }
    assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
}

#[test]
fn refused_with_a_closed_connection_waits_for_the_sdk() {
    for how in 0..3 {
        let mut patient = Patient::healthy();
        match how {
            0 => drop(patient.health.refused(CLOSED, patient.now)),
            1 => drop(patient.find(refused(), CLOSED)),
            // The connection's end is noticed after the refusal: the next probe sees both.
            _ => {
                patient.health.refused(FINE, patient.now);
                patient.find(refused(), CLOSED);
            }
        }
        assert!(patient.health.is_awaited(), "{how}");
        for _ in 0..5 {
            assert_eq!(patient.find(Finding::Alive(None), CLOSED), State::Unhealthy, "{how}");
        }
        let change = if how == 0 { patient.health.heard(patient.now) } else { patient.health.registered(patient.now) };
        assert_eq!(change.unwrap().to, State::New);
        assert_eq!(patient.find(Finding::Alive(None), CLOSED), State::Healthy);
    }
}

#[test]
fn an_awaited_one_that_is_lost_stays_awaited() {
    let mut patient = Patient::healthy();
    patient.health.refused(CLOSED, patient.now);
    assert_eq!(patient.find(silent(), OUT), State::Lost);
    assert_eq!(patient.find(Finding::Alive(None), OUT), State::Lost);
    assert_eq!(patient.health.heard(patient.now).unwrap().to, State::New);
}

#[test]
fn a_registration_leaves_a_healthy_one_alone() {
    let mut patient = Patient::healthy();
    assert!(patient.health.registered(patient.now).is_none());
    patient.find(silent(), FINE);
    assert_eq!(patient.health.registered(patient.now).unwrap().to, State::New);
}

#[test]
fn one_that_is_withdrawn_comes_back_by_a_registration_and_by_nothing_else() {
    let mut patient = Patient::healthy();
    let change = patient.health.withdraw("the rule is gone", patient.now).unwrap();
    assert_eq!((change.to, patient.health.is_withdrawn()), (State::Unhealthy, true));
    for _ in 0..5 {
        assert_eq!(patient.find(Finding::Alive(None), FINE), State::Unhealthy);
    }
    assert_eq!(
        patient.health.last().unwrap().text.as_deref(),
        Some("withdrawn: the rule is gone"),
        "that it is well is no reason"
    );
    assert_eq!(patient.health.heard(patient.now), None);
    assert_eq!(patient.find(silent(), OUT), State::Lost, "it can be forgotten");
    assert_eq!((patient.health.heard(patient.now), patient.find(Finding::Alive(None), OUT)), (None, State::Lost));
    assert_eq!(patient.health.registered(patient.now).unwrap().to, State::New);
    assert_eq!(patient.find(Finding::Alive(None), FINE), State::Healthy);
    assert!(!patient.health.is_withdrawn());
}
