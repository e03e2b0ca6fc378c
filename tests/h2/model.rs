//! Our client against our server: whole calls over a wire that cuts and delays, with windows from one octet up.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::calls::{App, Plan};
use crate::engine::{Config, Growth, Role};
use crate::link::End;
use crate::rounds;

/// Windows on both sides.
const WINDOWS: [u32; 5] = [1, 100, 1 << 10, 1 << 12, 1 << 16];

/// More steps than any run needs: one that takes them all has stopped.
const STEPS: u64 = 400_000;

pub(crate) fn config(role: Role, window: u32, rng: &mut SmallRng) -> Config {
    let mut config = if role == Role::Server { Config::server(100, 16 << 10) } else { Config::client() };
    config.stream_window = window;
    config.largest_stream_window = if rng.random_bool(0.5) { window } else { window * 8 };
    config.connection_window = if rng.random_bool(0.5) { window.max(1 << 10) } else { 1 << 20 };
    config.held = if rng.random_bool(0.3) { window as usize } else { 1 << 20 };
    config
}

/// What a call moves, so that small windows take no ages.
pub(crate) fn most(window: u32) -> usize {
    (window as usize * 40).min(200 * 1024)
}

fn run(seed: u64, windows: (u32, u32), calls: usize) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let growth = (Growth::default(), Growth::default());
    let mut client = End::new(Role::Client, config(Role::Client, windows.0, &mut rng), growth.0.clone(), 0);
    let mut server = End::new(Role::Server, config(Role::Server, windows.1, &mut rng), growth.1.clone(), 0);
    let most = most(windows.0.min(windows.1));
    let plans: Vec<Plan> = (1..=calls as u64).map(|id| Plan::random(&mut rng, id, most)).collect();
    let (mut caller, mut answerer) = (App::caller(&plans), App::answerer(&plans));
    // Small windows make small frames, which are limited by time.
    let step = if windows.0.min(windows.1) < 200 { 500 } else { 10 };
    for at in 0..STEPS {
        let now = at * step;
        match rng.random_range(0..6) {
            0 => caller.act(&mut client.connection, &mut rng, now),
            1 => answerer.act(&mut server.connection, &mut rng, now),
            2 => drop(client.read(&mut rng, now, |connection, event| caller.take(connection, event))),
            3 => drop(server.read(&mut rng, now, |connection, event| answerer.take(connection, event))),
            4 => drop(client.write(&mut server, &mut rng, now)),
            _ => drop(server.write(&mut client, &mut rng, now)),
        }
        if caller.is_done()
            && answerer.is_done()
            && at % 64 == 0
            && settle(&mut client, &mut server, &mut caller, &mut answerer, now)
        {
            client.assert_quiet();
            server.assert_quiet();
            assert_eq!((growth.0.used(), growth.1.used()), (0, 0), "grown windows were not given back");
            caller.assert_whole();
            answerer.assert_whole();
            assert!(caller.completed > 0 && server.audit.data_frames > 0);
            return;
        }
    }
    panic!("seed {seed}, windows {windows:?}: stopped; {} / {}", caller.unfinished(), answerer.unfinished());
}

/// Everything that is on its way arrives; false if that began something again.
fn settle(client: &mut End, server: &mut End, caller: &mut App, answerer: &mut App, now: u64) -> bool {
    let mut rng = SmallRng::seed_from_u64(now);
    let mut quiet = 0;
    while quiet < 20 {
        let moved = client.write(server, &mut rng, now)
            + server.write(client, &mut rng, now)
            + client.read(&mut rng, now, |connection, event| caller.take(connection, event))
            + server.read(&mut rng, now, |connection, event| answerer.take(connection, event));
        quiet = if moved == 0 { quiet + 1 } else { 0 };
    }
    caller.is_done() && answerer.is_done()
}

#[test]
fn calls_are_byte_exact_through_windows_of_every_size() {
    for seed in 0..rounds(4) {
        for client in WINDOWS {
            for server in WINDOWS {
                run(seed * 1_000 + u64::from(client ^ server.rotate_left(7)), (client, server), 12);
            }
        }
    }
}

#[test]
fn more_calls_than_streams_all_end() {
    for seed in 0..rounds(3) {
        run(seed, (1 << 12, 1 << 12), 250);
    }
}
