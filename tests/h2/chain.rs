//! Three connections of fifty calls each through a proxy onto two connections more: no octet is lost, no window exceeded, nothing
//! stops and nothing is left, whatever the credit does.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::calls::{App, Plan};
use crate::engine::{Growth, Role};
use crate::link::End;
use crate::model::{config, most};
use crate::proxy::Proxy;
use crate::rounds;

const FRONTS: usize = 3;
const BACKS: usize = 2;
const CALLS: u64 = 50;
const STEPS: u64 = 2_000_000;

struct Chain {
    clients: Vec<End>,
    fronts: Vec<End>,
    backs: Vec<End>,
    servers: Vec<End>,
    callers: Vec<App>,
    answerers: Vec<App>,
    proxy: Proxy,
    growth: Growth,
}

impl Chain {
    fn new(rng: &mut SmallRng, windows: [u32; 4], streams: u32) -> Self {
        let growth = Growth::default();
        let smallest = windows.into_iter().min().unwrap();
        let plans: Vec<Vec<Plan>> = (0..FRONTS as u64)
            .map(|front| (1..=CALLS).map(|id| Plan::random(rng, front * CALLS + id, most(smallest))).collect())
            .collect();
        let mut ends = |count: usize, role, window, streams| -> Vec<End> {
            (0..count)
                .map(|_| {
                    let mut config = config(role, window, rng);
                    config.streams = if role == Role::Server { streams } else { 0 };
                    End::new(role, config, growth.clone(), 0)
                })
                .collect()
        };
        let clients = ends(FRONTS, Role::Client, windows[0], 0);
        let fronts = ends(FRONTS, Role::Server, windows[1], 100);
        let backs = ends(BACKS, Role::Client, windows[2], 0);
        let servers = ends(BACKS, Role::Server, windows[3], streams);
        let callers = plans.iter().map(|plans| App::caller(plans)).collect();
        let all = plans.concat();
        let answerers = (0..BACKS).map(|_| App::answerer(&all)).collect();
        Self { clients, fronts, backs, servers, callers, answerers, proxy: Proxy::default(), growth }
    }

    /// One step of one of them; how many octets it moved.
    fn step(&mut self, what: u32, rng: &mut SmallRng, now: u64) -> usize {
        let (at, to) = (rng.random_range(0..FRONTS), rng.random_range(0..BACKS));
        let Self { clients, fronts, backs, servers, callers, answerers, proxy, .. } = self;
        match what {
            0 => callers[at].act(&mut clients[at].connection, rng, now),
            1 => answerers[to].act(&mut servers[to].connection, rng, now),
            2 => return clients[at].write(&mut fronts[at], rng, now),
            3 => return fronts[at].write(&mut clients[at], rng, now),
            4 => return backs[to].write(&mut servers[to], rng, now),
            5 => return servers[to].write(&mut backs[to], rng, now),
            6 => return clients[at].read(rng, now, |connection, event| callers[at].take(connection, event)),
            7 => return servers[to].read(rng, now, |connection, event| answerers[to].take(connection, event)),
            8 => return fronts[at].read(rng, now, |front, event| proxy.front(at, front, backs, event, now)),
            _ => return backs[to].read(rng, now, |back, event| proxy.back(back, fronts, event, now)),
        }
        0
    }

    fn is_done(&self) -> bool {
        self.callers.iter().all(App::is_done) && self.answerers.iter().all(App::is_done) && self.proxy.is_idle()
    }

    fn assert_quiet(&self) {
        self.callers.iter().chain(&self.answerers).for_each(App::assert_whole);
        [&self.clients, &self.fronts, &self.backs, &self.servers].into_iter().flatten().for_each(End::assert_quiet);
        assert_eq!(self.growth.used(), 0, "grown windows were not given back");
    }

    fn unfinished(&self) -> String {
        self.callers.iter().chain(&self.answerers).map(App::unfinished).collect()
    }
}

fn run(seed: u64, windows: [u32; 4], streams: u32) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut chain = Chain::new(&mut rng, windows, streams);
    let step = if windows.iter().any(|window| *window < 200) { 200 } else { 10 };
    let mut quiet = 0;
    for at in 0..STEPS {
        // Calls begin once there is somewhere to go.
        let from = if at < 200 { 2 } else { 0 };
        let what = rng.random_range(from..10);
        let moved = chain.step(what, &mut rng, at * step);
        quiet = if moved == 0 && at > 200 { quiet + 1 } else { 0 };
        if quiet > 400 && chain.is_done() {
            return chain.assert_quiet();
        }
    }
    panic!("seed {seed}, windows {windows:?}: stopped; {}", chain.unfinished());
}

#[test]
fn what_one_gives_another_takes_in_windows_of_one_size() {
    for seed in 0..rounds(2) {
        for window in [1, 100, 1 << 10, 1 << 12, 1 << 16] {
            run(seed, [window; 4], 100);
        }
    }
}

#[test]
fn what_one_gives_another_takes_in_windows_of_any_sizes() {
    for seed in 0..rounds(8) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let windows = std::array::from_fn(|_| [1, 100, 1 << 10, 1 << 12, 1 << 16][rng.random_range(0..5)]);
        run(seed, windows, if seed % 2 == 0 { 100 } else { 20 });
    }
}
