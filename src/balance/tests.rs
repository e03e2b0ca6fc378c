use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::{Fit, Policy, Seeker, pick};
use crate::observe::{ClusterMetrics, Metrics};
use crate::registry::{EndpointSet, Instance, State, Target};

const ALL: [Policy; 5] = [Policy::RoundRobin, Policy::LeastRequest, Policy::Random, Policy::RingHash, Policy::Maglev];

fn instances(weights: &[u32]) -> Vec<Arc<Instance>> {
    let metrics: Arc<ClusterMetrics> = Metrics::new().cluster("c");
    let one = |(port, weight): (u16, &u32)| {
        let target = Target::Loopback(port);
        let counters = metrics.instance(&target.to_string());
        Instance::new("c".into(), target, *weight, State::Healthy, counters, tokio::time::Instant::now())
    };
    (1..).zip(weights).map(one).collect()
}

/// How often each instance was picked, by its place.
fn picks(policy: Policy, set: &EndpointSet, calls: usize, tried: &[u64]) -> Vec<usize> {
    picks_of(policy, set, calls, Seeker { key: None, tried, excluded: &[], fit: Fit::All, now_ms: 1 })
}

fn picks_of(policy: Policy, set: &EndpointSet, calls: usize, seeker: Seeker<'_>) -> Vec<usize> {
    let cursor = AtomicUsize::new(0);
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for _ in 0..calls {
        if let Some(instance) = pick(policy, set, &cursor, seeker) {
            *counts.entry(instance.id).or_default() += 1;
        }
    }
    set.instances.iter().map(|instance| counts.get(&instance.id).copied().unwrap_or_default()).collect()
}

#[test]
fn round_robin_is_exact() {
    let set = EndpointSet::new(instances(&[1, 1, 1]));
    assert_eq!(picks(Policy::RoundRobin, &set, 999, &[]), [333, 333, 333]);
    let set = EndpointSet::new(instances(&[1, 2, 5]));
    assert_eq!(picks(Policy::RoundRobin, &set, 800, &[]), [100, 200, 500]);
}

#[test]
fn round_robin_spreads_a_heavy_instance() {
    let set = EndpointSet::new(instances(&[1, 3]));
    let turns: Vec<u32> = set.schedule.iter().copied().cycle().take(8).collect();
    assert!(!turns.windows(4).any(|four| four == [1, 1, 1, 1]), "{turns:?}");
}

#[test]
fn random_follows_weights() {
    let set = EndpointSet::new(instances(&[1, 3]));
    let counts = picks(Policy::Random, &set, 8_000, &[]);
    assert!((1_700..2_300).contains(&counts[0]), "{counts:?}");
}

#[test]
fn least_request_prefers_the_less_loaded_for_its_weight() {
    let all = instances(&[1, 1]);
    let busy: Vec<_> = (0..10).map(|_| all[0].try_enter(100).unwrap()).collect();
    let set = EndpointSet::new(all.clone());
    assert_eq!(picks(Policy::LeastRequest, &set, 100, &[]), [0, 100]);
    drop(busy);
    let heavy = EndpointSet::new(instances(&[1, 4]));
    let _load: Vec<_> = (0..2).map(|_| heavy.instances[1].try_enter(100).unwrap()).collect();
    // One call more on each: 1/1 against 3/4.
    assert_eq!(picks(Policy::LeastRequest, &heavy, 100, &[]), [0, 100]);
}

#[test]
fn least_request_sees_a_lone_idle_one_among_many() {
    let all = instances(&[1; 50]);
    let _busy: Vec<_> = all.iter().skip(1).map(|instance| instance.try_enter(9).unwrap()).collect();
    let counts = picks(Policy::LeastRequest, &EndpointSet::new(all), 5_000, &[]);
    // Two draws of fifty find it in 4% of picks, and it wins each.
    assert!((100..350).contains(&counts[0]), "{counts:?}");
}

#[test]
fn only_usable_instances_get_calls() {
    for policy in ALL {
        let all = instances(&[1, 1, 1, 1]);
        all[0].set_state(State::Unhealthy);
        all[1].set_state(State::Lost);
        all[2].retire();
        let set = EndpointSet::new(all.clone());
        assert_eq!(picks(policy, &set, 50, &[]), [0, 0, 0, 50], "{policy:?}");
        all[3].set_state(State::New);
        assert_eq!(picks(policy, &set, 50, &[]), [0, 0, 0, 50], "a new one stands in: {policy:?}");
        all[0].set_state(State::Healthy);
        assert_eq!(picks(policy, &set, 50, &[]), [50, 0, 0, 0], "a new one waits: {policy:?}");
        all[0].set_state(State::Lost);
        all[3].retire();
        assert_eq!(picks(policy, &set, 50, &[]), [0, 0, 0, 0], "{policy:?}");
    }
}

#[test]
fn preferences_are_given_up_one_by_one() {
    for policy in ALL {
        let all = instances(&[1, 1, 1]);
        let set = EndpointSet::new(all.clone());
        let tried = [all[0].id];
        assert_eq!(picks(policy, &set, 60, &tried)[0], 0, "{policy:?}");
        all[1].connect_failed(1);
        assert_eq!(picks(policy, &set, 60, &tried), [0, 0, 60], "{policy:?}");
        all[2].set_state(State::Unhealthy);
        assert_eq!(
            picks(policy, &set, 60, &tried),
            [0, 60, 0],
            "an untried one, though it was just refused: {policy:?}"
        );
        let both = [all[0].id, all[1].id];
        assert!(
            picks(policy, &set, 60, &both).iter().sum::<usize>() == 60,
            "somebody is better than nobody: {policy:?}"
        );
    }
}

#[test]
fn an_empty_set_has_nobody() {
    for policy in ALL {
        for key in [None, Some(7)] {
            let seeker = Seeker { key, tried: &[], excluded: &[], fit: Fit::All, now_ms: 1 };
            assert!(pick(policy, &EndpointSet::default(), &AtomicUsize::new(0), seeker).is_none(), "{policy:?}");
        }
    }
}

#[test]
fn a_refused_instance_is_avoided_for_a_while_that_grows() {
    let one = instances(&[1]).remove(0);
    one.connect_failed(1_000);
    assert!(one.is_avoided(1_249) && !one.is_avoided(1_250));
    one.connect_failed(2_000);
    assert!(one.is_avoided(2_499) && !one.is_avoided(2_500));
    for _ in 0..20 {
        one.connect_failed(3_000);
    }
    assert!(!one.is_avoided(13_000));
    one.connected();
    assert!(!one.is_avoided(3_001));
}

#[test]
fn excluded_instances_get_no_calls_even_where_nobody_else_is_left() {
    for policy in ALL {
        let all = instances(&[1, 1, 1]);
        let set = EndpointSet::new(all.clone());
        let mut excluded = vec![all[2].id, all[0].id];
        excluded.sort_unstable();
        let seeker = Seeker { key: None, tried: &[all[1].id], excluded: &excluded, fit: Fit::All, now_ms: 1 };
        assert_eq!(picks_of(policy, &set, 50, seeker), [0, 50, 0], "{policy:?}");
        all[1].set_state(State::Unhealthy);
        assert_eq!(picks_of(policy, &set, 50, seeker), [0, 0, 0], "{policy:?}");
    }
}

#[test]
fn a_call_goes_rather_or_only_where_it_fits() {
    for policy in ALL {
        let all = instances(&[1, 1, 1]);
        let set = EndpointSet::new(all.clone());
        let fits = |instance: &Instance| instance.id == all[1].id;
        let seeker = |tried, fit| Seeker { key: Some(7), tried, excluded: &[], fit, now_ms: 1 };
        for fit in [Fit::Rather(&fits), Fit::Only(&fits)] {
            assert_eq!(picks_of(policy, &set, 50, seeker(&[], fit)), [0, 50, 0], "{policy:?}");
        }
        // It failed the call; but where another would end it, that is no reason.
        let tried = [all[1].id];
        for fit in [Fit::Rather(&fits), Fit::Only(&fits)] {
            assert_eq!(picks_of(policy, &set, 50, seeker(&tried, fit)), [0, 50, 0], "{policy:?}");
        }
        all[1].set_state(State::Unhealthy);
        let others = picks_of(policy, &set, 50, seeker(&[], Fit::Rather(&fits)));
        assert_eq!((others[0] + others[2], others[1]), (50, 0), "{policy:?}");
        assert_eq!(picks_of(policy, &set, 50, seeker(&[], Fit::Only(&fits))), [0, 0, 0], "{policy:?}");
    }
}
