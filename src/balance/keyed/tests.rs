use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::hash_of;
use crate::balance::{Fit, Policy, Seeker, pick};
use crate::observe::Metrics;
use crate::registry::{EndpointSet, InFlight, Instance, State, Target};

const BOTH: [Policy; 2] = [Policy::RingHash, Policy::Maglev];
const KEYS: u32 = 10_000;

/// Instances at these addresses, each with its weight, new as after a restart.
fn set(of: &[(&str, u32)]) -> EndpointSet {
    let metrics = Metrics::new().cluster("c");
    let one = |(address, weight): &(&str, u32)| {
        let (target, counters) = (Target::parse(address).unwrap(), metrics.instance(address));
        Instance::new("c".into(), target, *weight, State::Healthy, counters, tokio::time::Instant::now())
    };
    EndpointSet::new(of.iter().map(one).collect())
}

fn addresses(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("10.0.{}.{}:50051", n / 200, n % 200)).collect()
}

fn alike(addresses: &[String]) -> EndpointSet {
    set(&addresses.iter().map(|address| (address.as_str(), 1)).collect::<Vec<_>>())
}

fn key(number: u32) -> u64 {
    hash_of(format!("session-{number}").as_bytes())
}

fn to(policy: Policy, set: &EndpointSet, key: u64, tried: &[u64]) -> Option<Arc<Instance>> {
    pick(policy, set, &AtomicUsize::new(0), Seeker { key: Some(key), tried, excluded: &[], fit: Fit::All, now_ms: 1 })
}

/// Where every key goes.
fn owners(policy: Policy, set: &EndpointSet) -> Vec<Arc<str>> {
    (0..KEYS).map(|number| Arc::clone(&to(policy, set, key(number), &[]).unwrap().authority)).collect()
}

/// How many keys go elsewhere, and of them those for which there was no need: neither there before nor there after is `changed`.
fn moved(before: &[Arc<str>], after: &[Arc<str>], changed: &str) -> (usize, usize) {
    let moves: Vec<_> = before.iter().zip(after).filter(|(from, to)| from != to).collect();
    let needless = moves.iter().filter(|(from, to)| &***from != changed && &***to != changed).count();
    (moves.len(), needless)
}

fn load(instance: &Arc<Instance>, calls: usize) -> Vec<InFlight> {
    (0..calls).map(|_| instance.try_enter(u32::MAX).unwrap()).collect()
}

#[test]
fn hashes_are_those_of_xxh64() {
    // `xxhsum -H1` of each: a version that answers others would send every key elsewhere.
    assert_eq!(hash_of(b""), 0xef46_db37_51d8_e999);
    assert_eq!(hash_of(b"a"), 0xd24e_c4f1_a98c_6e5b);
    assert_eq!(hash_of(b"abc"), 0x44bc_2cf5_ad77_0999);
}

#[test]
fn keys_lead_where_every_version_leads_them() {
    let set = alike(&addresses(10));
    let first: Vec<String> = BOTH
        .iter()
        .flat_map(|policy| owners(*policy, &set).into_iter().take(6).map(|owner| owner.replace(":50051", "")))
        .collect();
    // Worked out by another program too (Python, xxhash), from what ring_hash.rs and maglev.rs say.
    let ring = ["10.0.0.3", "10.0.0.8", "10.0.0.7", "10.0.0.3", "10.0.0.6", "10.0.0.1"];
    let maglev = ["10.0.0.6", "10.0.0.7", "10.0.0.8", "10.0.0.3", "10.0.0.6", "10.0.0.4"];
    assert_eq!(first, [ring, maglev].concat());
}

#[test]
fn one_of_ten_leaves_or_joins_and_few_keys_move() {
    for policy in BOTH {
        let mut all = addresses(11);
        let eleven = owners(policy, &alike(&all));
        let joined = all.pop().unwrap();
        let ten = owners(policy, &alike(&all));
        let (moves, needless) = moved(&ten, &eleven, &joined);
        println!("{policy:?}: {moves} of {KEYS} keys move when an 11th joins, {needless} of them between others");
        assert!(moves <= 1_500 && (policy == Policy::Maglev || needless == 0), "{policy:?}: {moves}, {needless}");
        for leaves in 0..10 {
            let mut nine = all.clone();
            let left = nine.remove(leaves);
            let (moves, needless) = moved(&ten, &owners(policy, &alike(&nine)), &left);
            println!("{policy:?}: {moves} of {KEYS} keys move when {left} leaves, {needless} of them between others");
            assert!((500..=1_500).contains(&moves), "{policy:?}: {moves}");
            let most = if policy == Policy::RingHash { 0 } else { 300 };
            assert!(needless <= most, "{policy:?}: {needless} keys of others");
        }
    }
}

#[test]
fn with_weights_too_little_more_moves_than_must() {
    let names = addresses(10);
    let all: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(1..).collect();
    for policy in BOTH {
        let before = owners(policy, &set(&all));
        for leaves in 0..10 {
            let mut others = all.clone();
            let (left, weight) = others.remove(leaves);
            let (moves, needless) = moved(&before, &owners(policy, &set(&others)), left);
            println!(
                "{policy:?}: {moves} of {KEYS} keys move when {weight} of 55 leaves, {needless} of them between others"
            );
            let most = if policy == Policy::RingHash { 0 } else { 500 };
            assert!(needless <= most, "{policy:?}: {needless} keys of others, for a weight of {weight}");
        }
    }
}

#[test]
fn two_proxies_agree_whatever_the_order_and_after_a_restart() {
    let mut rng = SmallRng::seed_from_u64(1);
    let names = addresses(10);
    let mut of: Vec<(&str, u32)> = names.iter().map(String::as_str).zip([1, 1, 2, 3, 1, 1, 7, 1, 1, 1]).collect();
    let here = set(&of);
    for policy in BOTH {
        let owned = owners(policy, &here);
        for _ in 0..5 {
            of.shuffle(&mut rng);
            assert_eq!(owners(policy, &set(&of)), owned, "{policy:?}: {of:?}");
        }
    }
}

#[test]
fn weights_are_shares_of_the_keys() {
    for policy in BOTH {
        let (one, two, five) = ("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1");
        let mut counts: HashMap<Arc<str>, f64> = HashMap::new();
        for owner in owners(policy, &set(&[(one, 100), (two, 200), (five, 500)])) {
            *counts.entry(owner).or_default() += 1.0;
        }
        for (address, weight) in [(one, 1.0), (two, 2.0), (five, 5.0)] {
            let ratio = counts[address] / (f64::from(KEYS) * weight / 8.0);
            assert!((0.85..1.15).contains(&ratio), "{policy:?}: {address} has {ratio} of its share");
        }
    }
}

#[test]
fn ten_alike_have_about_the_same_number_of_keys() {
    for (policy, least, most) in [(Policy::RingHash, 800, 1_200), (Policy::Maglev, 900, 1_100)] {
        let mut counts: HashMap<Arc<str>, u32> = HashMap::new();
        for owner in owners(policy, &alike(&addresses(10))) {
            *counts.entry(owner).or_default() += 1;
        }
        assert!(
            counts.len() == 10 && counts.values().all(|count| (least..=most).contains(count)),
            "{policy:?}: {counts:?}"
        );
    }
}

/// A thousand times the weight of another: tables stay small, and the light one is in them.
#[test]
fn tables_are_bounded_and_leave_nobody_out() {
    let names = addresses(2_000);
    let of: Vec<(&str, u32)> =
        names.iter().map(String::as_str).zip((0..).map(|n| if n == 0 { 1 } else { 1_000 })).collect();
    let set = set(&of);
    for policy in BOTH {
        policy.balance().prepare(&set);
    }
    let (ring, table) = (set.tables.ring.get().unwrap(), set.tables.maglev.get().unwrap());
    assert!(ring.len() > 1 << 17 && ring.len() <= (1 << 18) + 2_000, "{}", ring.len());
    assert_eq!(table.len(), 16_381);
    for index in 0..2_000u32 {
        assert!(ring.iter().any(|point| *point as u32 == index), "{index} has no point");
        assert!(table.contains(&index), "{index} has no slot");
    }
    assert!(table.iter().all(|index| *index < 2_000), "no slot is free");
}

#[test]
fn keys_of_an_unhealthy_one_are_shared_out_and_come_back() {
    for policy in BOTH {
        let set = alike(&addresses(10));
        let before = owners(policy, &set);
        let away = &set.instances[3];
        away.set_state(State::Unhealthy);
        let during = owners(policy, &set);
        let (moves, needless) = moved(&before, &during, &away.authority);
        let mut heirs: HashMap<&str, usize> = HashMap::new();
        for (_, to) in before.iter().zip(&during).filter(|(from, _)| **from == away.authority) {
            *heirs.entry(to).or_default() += 1;
        }
        assert_eq!(needless, 0, "{policy:?}");
        assert!(heirs.len() == 9 && heirs.values().all(|share| *share < moves / 3), "{policy:?}: {heirs:?}");
        away.set_state(State::Healthy);
        assert_eq!(owners(policy, &set), before, "{policy:?}");
    }
}

/// Whoever is passed over on a ring might as well not be on it: proxies of which one has already learnt that an instance is gone
/// agree on where its keys go.
#[test]
fn on_a_ring_one_that_is_away_and_one_that_has_left_are_the_same() {
    let all = addresses(10);
    let set = alike(&all);
    set.instances[9].set_state(State::Unhealthy);
    assert_eq!(owners(Policy::RingHash, &set), owners(Policy::RingHash, &alike(&all[..9])));
}

#[test]
fn a_try_goes_to_another_and_always_the_same() {
    for policy in BOTH {
        let set = alike(&addresses(5));
        for number in 0..500 {
            let key = key(number);
            let mut tried = Vec::new();
            while tried.len() < 5 {
                let next = to(policy, &set, key, &tried).unwrap().id;
                assert!(!tried.contains(&next) && to(policy, &set, key, &tried).unwrap().id == next, "{policy:?}");
                tried.push(next);
            }
            assert!(to(policy, &set, key, &tried).is_some(), "somebody is better than nobody");
        }
    }
}

#[test]
fn a_hot_key_spreads_and_cold_ones_stay() {
    for policy in BOTH {
        let set = alike(&addresses(10));
        let cold = owners(policy, &set);
        let hot = key(1);
        let mut open = Vec::new();
        for calls in 0..200u32 {
            let taken = to(policy, &set, hot, &[]).unwrap();
            // Five quarters of its share, and eight.
            assert!(taken.in_flight() <= 8 + (calls + 1) * 5 / 4 / 10, "{policy:?}: {} of {calls}", taken.in_flight());
            open.push(taken.try_enter(u32::MAX).unwrap());
        }
        let busy = set.instances.iter().filter(|instance| instance.in_flight() > 0).count();
        assert!((6..10).contains(&busy), "{policy:?}: as few as the bound allows: {busy}");
        let after = owners(policy, &set);
        for (from, to) in cold.iter().zip(&after).filter(|(from, to)| from != to) {
            let load = set.instances.iter().find(|instance| instance.authority == *from).unwrap().in_flight();
            assert!(load > 30, "{policy:?}: a key went from {from}, which has room, to {to}");
        }
        drop(open);
        assert_eq!(owners(policy, &set), cold, "{policy:?}: back when it is over");
    }
}

#[test]
fn a_few_calls_of_one_key_stay_together() {
    for policy in BOTH {
        let set = alike(&addresses(10));
        let owner = to(policy, &set, key(1), &[]).unwrap();
        let _open = load(&owner, 7);
        assert_eq!(to(policy, &set, key(1), &[]).unwrap().id, owner.id, "{policy:?}");
    }
}

#[test]
fn the_bound_knows_weights_and_who_is_there_to_share() {
    for policy in BOTH {
        let set = set(&[("10.0.0.1:1", 1), ("10.0.0.2:1", 9), ("10.0.0.3:1", 90)]);
        set.instances[2].set_state(State::Unhealthy);
        let [light, heavy] = [&set.instances[0], &set.instances[1]];
        // Of 100 the light one's share is 10, and its bound 8 + 12.5; the heavy one's 90, and 8 + 112.5.
        let mut open = load(light, 20);
        open.extend(load(heavy, 79));
        let goes_to = |one: &Instance| (0..200).any(|number| to(policy, &set, key(number), &[]).unwrap().id == one.id);
        assert!(goes_to(light) && goes_to(heavy), "{policy:?}");
        open.extend(load(light, 1));
        assert!(!goes_to(light), "{policy:?}: one more than its bound");
        open.extend(load(light, 400));
        assert!(goes_to(heavy), "{policy:?}");
    }
}

#[test]
fn without_a_key_any_instance_will_do() {
    for policy in BOTH {
        let set = set(&[("10.0.0.1:1", 1), ("10.0.0.2:1", 3)]);
        let seeker = Seeker { key: None, tried: &[], excluded: &[], fit: Fit::All, now_ms: 1 };
        let picked = (0..4_000).filter_map(|_| pick(policy, &set, &AtomicUsize::new(0), seeker));
        let light = picked.filter(|instance| instance.id == set.instances[0].id).count();
        assert!((800..1_200).contains(&light), "{policy:?}: {light}");
    }
}

/// Whatever the sets, states, loads and tries: somebody is found exactly if somebody may be, and of the best kind there is.
#[test]
fn whoever_is_picked_may_be_and_somebody_is_if_anybody_may() {
    let mut rng = SmallRng::seed_from_u64(6);
    let (mut some, mut none) = (0, 0);
    for _ in 0..400 {
        let names = addresses(rng.random_range(0..40));
        // An address that is there twice, too, and weights that leave next to no place for some.
        let mut of: Vec<(&str, u32)> = Vec::new();
        for name in &names {
            for _ in 0..rng.random_range(1..20) / 19 + 1 {
                of.push((name, if rng.random_bool(0.5) { 1 } else { 1_000 }));
            }
        }
        let set = set(&of);
        let healthy = [0.0, 0.02, 0.5][rng.random_range(0..3)];
        let mut open = Vec::new();
        for instance in &set.instances {
            if !rng.random_bool(healthy) {
                instance.set_state([State::Unhealthy, State::Lost, State::New][rng.random_range(0..3)]);
            }
            if rng.random_bool(0.1) {
                instance.retire();
            }
            if rng.random_bool(0.3) {
                open.extend(load(instance, rng.random_range(0..60)));
            }
        }
        let tried: Vec<u64> = set.instances.iter().map(|one| one.id).filter(|_| rng.random_bool(0.2)).collect();
        let may = |state, fresh: bool| {
            let fits = |one: &Instance| one.state() == state && !one.is_gone() && (!fresh || !tried.contains(&one.id));
            set.instances.iter().filter(|one| fits(one)).map(|one| one.id).collect::<Vec<_>>()
        };
        let kinds = [(State::Healthy, true), (State::Healthy, false), (State::New, true), (State::New, false)];
        let best = kinds.map(|(state, fresh)| may(state, fresh)).into_iter().find(|ids| !ids.is_empty());
        for policy in BOTH {
            for number in 0..20 {
                let picked = to(policy, &set, key(number), &tried).map(|one| one.id);
                assert_eq!(picked.is_some(), best.is_some(), "{policy:?}");
                assert!(picked.is_none_or(|id| best.as_ref().unwrap().contains(&id)), "{policy:?}");
            }
        }
        *if best.is_some() { &mut some } else { &mut none } += 1;
    }
    assert!(some > 100 && none > 20, "{some} {none}");
}
