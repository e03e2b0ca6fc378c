//! The registry with its health checks, its core and its calls in a simulated network: partitions, lost heartbeats, restarts and
//! flapping instances over minutes that take a second. The sockets and the clock are turmoil's, everything else is production's.
//!
//! However it goes: no call reaches another agent's instance, no instance is lost while it answers, the core is never told that an
//! agent left while an instance of it lives, and calls are answered again by themselves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod hosts;
mod network;
mod proxy;
mod stage;
mod world;

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::stage::{AGENTS, SETTLED, Stage};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn after_three_minutes_of_partition_traffic_comes_back_by_itself() {
    let mut stage = Stage::new(1);
    for host in stage.hosts_of("a") {
        stage.cut(&host);
    }
    stage.run(seconds(180));
    stage.nobody_answers("a", "their leases are out, and nobody reaches them");
    stage.answers("b", "the others go on");
    for host in stage.hosts_of("a") {
        stage.mend(&host);
    }
    stage.run(seconds(5));
    stage.all_answer("five seconds later, with no SDK touched");
    stage.run(seconds(120));
    stage.end();
}

#[test]
fn lost_heartbeats_cost_nobody_who_answers() {
    let mut stage = Stage::new(2);
    stage.silence_sdks();
    // Three leases.
    stage.run(seconds(270));
    stage.all_answer("health checks vouch for them");
    stage.none_failed(SETTLED, "not one call");
    stage.end();
}

#[test]
fn a_core_that_restarts_is_told_every_agent_again() {
    let mut stage = Stage::new(3);
    let before = stage.world.core_registrations();
    assert_eq!(before, AGENTS.len(), "once an agent");
    for round in 1..=3 {
        stage.sim.crash("core");
        stage.run(seconds(round * 20));
        stage.sim.bounce("core");
        // Noticed within two seconds and told within five; three agents take the core a second each.
        stage.run(seconds(8));
        assert_eq!(stage.world.core_registrations(), before * (round as usize + 1));
    }
    stage.none_failed(SETTLED, "the core is no part of a call");
    stage.end();
}

#[test]
fn the_proxy_dies_and_nobody_has_to_do_anything() {
    let mut stage = Stage::new(4);
    for _ in 0..3 {
        stage.sim.crash("proxy");
        stage.run(seconds(10));
        stage.sim.bounce("proxy");
        stage.run(seconds(3));
        stage.all_answer("after a restart");
        stage.run(seconds(40));
    }
    assert_eq!(stage.world.beats_refused(), 0);
    stage.end();
}

#[test]
fn a_flapping_instance_disturbs_its_agent_little_and_others_not() {
    let mut stage = Stage::new(5);
    for _ in 0..20 {
        stage.kill("a-1");
        stage.run(seconds(4));
        stage.start("a-1");
        stage.run(seconds(6));
    }
    stage.all_answer("at last");
    let all = stage.calls("a", SETTLED);
    let failed = all.iter().filter(|(_, outcome)| outcome.is_err()).count();
    let some: Vec<_> = all.iter().filter(|(_, outcome)| outcome.is_err()).take(60).collect();
    assert!(
        failed * 100 <= all.len(),
        "{failed} of {} calls failed while another instance was well: {some:?}",
        all.len()
    );
    stage.none_failed_of("b", SETTLED, "others");
    stage.none_failed_of("c", SETTLED, "others");
    stage.end();
}

#[test]
fn an_address_that_another_agent_takes_over_gets_no_call_for_the_one_before() {
    let mut stage = Stage::new(6);
    for round in 0..6 {
        stage.kill("a-3");
        // Calls go on all the time: one of them finds the port closed.
        stage.run(seconds(3));
        assert!(stage.is_free("a-3"));
        stage.start_as("a-3", AGENTS[round % 3]);
        stage.run(seconds(20));
        stage.all_answer("with an instance more or less");
    }
    stage.end();
}

#[test]
fn that_an_address_was_found_free_outlives_the_proxy() {
    let mut stage = Stage::new(7);
    stage.kill("a-3");
    stage.run(seconds(3));
    stage.start_as("a-3", "b");
    stage.sim.crash("proxy");
    stage.run(seconds(1));
    stage.sim.bounce("proxy");
    stage.run(seconds(20));
    stage.all_answer("with the other's instance");
    stage.end();
}

/// One that hyper's client puts into the queue of a connection which has just been said goodbye to never leaves it, and tonic does not try
/// it again.
const UNSENT: &str = "Cancelled operation was canceled after 0ns";

/// The goodbye is three ways long, and calls of several threads are on the wire all the time.
#[test]
fn drains_fail_no_call_of_callers_that_are_slow() {
    for (seed, latency) in [(30, 1), (31, 40), (32, 200), (33, 1_200)] {
        let mut stage = Stage::new(seed);
        stage.sim.set_link_latency("caller", "proxy", Duration::from_millis(latency));
        stage.world.wait_for_answers(Duration::from_secs(2) + 6 * Duration::from_millis(latency));
        for _ in 0..40 {
            stage.world.drains.send_modify(|drains| *drains += 1);
            stage.run(Duration::from_millis(1_930));
        }
        stage.world.hush_caller();
        stage.run(seconds(15));
        let (mut made, mut unsent) = (0, 0);
        for agent in AGENTS {
            let calls = stage.calls(agent, Duration::ZERO);
            assert!(calls.len() > 200, "hardly anybody called: {}", calls.len());
            made += calls.len();
            unsent += calls.iter().filter(|(_, outcome)| outcome.as_ref().is_err_and(|why| why == UNSENT)).count();
            let failed: Vec<_> = calls
                .iter()
                .filter(|(at, outcome)| *at >= SETTLED && outcome.as_ref().is_err_and(|why| why != UNSENT))
                .collect();
            assert!(failed.is_empty(), "{agent} at {latency} ms: {failed:?}");
        }
        // All others came to the proxy, each once, and those never did: they are not its to lose.
        assert_eq!(
            stage.world.arrived(),
            (made - unsent) as u64,
            "at {latency} ms, of {made}, {unsent} of them unsent"
        );
        stage.end();
    }
}

#[test]
fn reloads_under_calls_cost_none_whatever_the_network_does() {
    let mut stage = Stage::new(8);
    for round in 0..300 {
        stage.reload();
        // Calls are decided, on their way, and answered while it changes; some instances cannot be reached.
        stage.run(Duration::from_millis(100));
        match round % 100 {
            20 => stage.cut("a-1"),
            60 => stage.mend("a-1"),
            _ => {}
        }
    }
    // Calls are made every 250 ms, so they meet every other version or fewer.
    assert!(stage.world.versions_seen() > 100, "{} versions", stage.world.versions_seen());
    stage.none_failed_of("b", SETTLED, "reloads");
    stage.none_failed_of("c", SETTLED, "reloads");
    stage.run(seconds(5));
    stage.all_answer("in the end");
    stage.end();
}

#[test]
fn whatever_happens() {
    for seed in 10..16 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut stage = Stage::new(seed);
        for _ in 0..25 {
            let hosts = stage.hosts();
            let host = hosts[rng.random_range(0..hosts.len())].clone();
            match rng.random_range(0..10) {
                0 | 1 => stage.cut(&host),
                2 | 3 => stage.mend(&host),
                4 => stage.kill(&host),
                5 => stage.unplug(&host),
                // Each agent keeps two of its own.
                6 if host.ends_with("-3") && stage.is_free(&host) => {
                    stage.start_as(&host, AGENTS[rng.random_range(0..3)])
                }
                6 | 7 => stage.start(&host),
                8 => stage.sim.bounce("core"),
                _ => stage.sim.bounce("proxy"),
            }
            stage.run(seconds(rng.random_range(1..40)));
        }
        for host in stage.hosts() {
            stage.start(&host);
            stage.mend(&host);
        }
        stage.run(seconds(40));
        stage.all_answer(&format!("seed {seed}: in the end"));
        stage.end();
    }
}
