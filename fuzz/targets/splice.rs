//! Calls between hostile callers and hostile instances, through a whole worker: pipes for sockets, a clock that the input moves.
//!
//! An input is an octet for the shape of things, then steps: an octet, and what it takes.
//!
//! The shape: bits 1 and 2 what a pipe takes (64 octets to 256 KiB); 4 small limits; 8 callers say no preface and SETTINGS by
//! themselves, 10 instances none; 20 peers read nothing by themselves, 40 acknowledge nothing and give no credit; 80 instances
//! answer whole requests by themselves.
//!
//! A step: the high three bits are whose it is, 0 to 2 a caller's (who connects if need be), 3 to 7 an instance's connection. The low
//! five are what, below 10 a frame that is well-formed or nearly:
//!
//! | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |
//! | --- | --- | --- | --- | --- | --- | --- | --- |
//! | preface, SETTINGS | a head | a head in pieces | a message | DATA as it stands | a message, padded | trailers | RST_STREAM |
//!
//! | 8 | 9 | a | b | c | d | e | f |
//! | --- | --- | --- | --- | --- | --- | --- | --- |
//! | WINDOW_UPDATE | PING | GOAWAY | a setting | any frame | requests | whole answers | octets as they stand |
//!
//! | 10 | 11 | 12 | 13 | 14 | 15 | 16 | 17 |
//! | --- | --- | --- | --- | --- | --- | --- | --- |
//! | read some | manners | hang up | end its half | time | seconds | how dials end | other instances |
//!
//! `18` another configuration, `19` the listener closes, `1a` steps that follow at once, others let tasks run. What a head, a
//! message, a stream, a size and a number are is in `support/splice`.
//!
//! What must hold: no panic; no memory but a multiple of what came; no turns for ever; counts of what there is; frames of the proxy's that keep to HTTP/2 and
//! to the peer's windows. Once all have left nothing is open, held or counted, and a call of peers that behave is served.
#![no_main]

#[path = "support/splice/follower.rs"]
mod follower;
#[path = "support/splice/frames.rs"]
mod frames;
#[path = "support/splice/peer.rs"]
mod peer;
#[path = "support/splice/reader.rs"]
mod reader;
#[path = "support/splice/world.rs"]
mod world;

use std::time::Duration;

use frames::{END, Input};
use libfuzzer_sys::fuzz_target;
use peer::{Manners, Peer};
use tokio::task::yield_now;
use tokio::time::sleep;
use world::World;

/// Octets that a worker may hold whatever happens, for each connection, and for each octet that came.
const BASE: usize = 64 * 1024;
const EACH: usize = 32 * 1024;
const FACTOR: usize = 16;
/// How often sockets may be read: at all, for each step, for each octet that came, and for each second.
const POLLS: usize = 10_000;
const POLLS_A_STEP: usize = 100;
const POLLS_A_SECOND: usize = 200;
/// Connections of callers, and seconds, in one script.
const MOST_CALLERS: usize = 40;
const MOST_SECONDS: u64 = 600;

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(Script::run(Input(data)));
});

struct Script {
    world: World,
    callers: [Option<Peer>; 3],
    /// Connections that instances accepted.
    instances: Vec<Peer>,
    manners: (Manners, Manners),
    connected: usize,
    moved: usize,
    steps: usize,
    seconds: u64,
}

impl Script {
    async fn run(mut input: Input<'_>) {
        let shape = input.octet();
        let size = [64, 1 << 10, 16 << 10, 256 << 10][usize::from(shape & 3)];
        let is = |bit: u8| shape & bit != 0;
        let manners = |greets, serves| Manners { greets, reads: !is(0x20), answers: !is(0x40), serves };
        let mut script = Self {
            world: World::new(is(4), size),
            callers: [None, None, None],
            instances: Vec::new(),
            manners: (manners(!is(8), false), manners(!is(0x10), is(0x80))),
            connected: 0,
            moved: 0,
            steps: 0,
            seconds: 0,
        };
        let mut at_once = 0;
        while !input.0.is_empty() {
            let octet = input.octet();
            if octet & 0x1f == 0x1a {
                at_once = input.octet();
                continue;
            }
            script.step(octet >> 5, octet & 0x1f, &mut input).await;
            script.steps += 1;
            if at_once == 0 {
                script.settle(4).await;
            }
            at_once = u8::saturating_sub(at_once, 1);
        }
        script.finish().await;
    }

    async fn step(&mut self, side: u8, what: u8, input: &mut Input<'_>) {
        match what {
            0x14 => {
                let octet = input.octet();
                let most = if octet < 0x80 { 128 } else { 20_480 };
                self.pass(Duration::from_millis(u64::from(octet & 0x7f) * most / 128 + 1)).await;
            }
            0x15 => self.pass(Duration::from_secs(1 + u64::from(side) * 3)).await,
            0x16 => self.world.set_mode(side, input.octet() % 3),
            0x17 => self.world.replace_instances(),
            0x18 => self.world.reload(side),
            0x19 => drop(self.world.closing.send_replace(side & 1 == 0)),
            0x1a.. => self.settle(usize::from(side) * 8).await,
            _ => {
                if let Some(peer) = self.peer(side) {
                    act(peer, what, input);
                }
            }
        }
    }

    /// Whose step it is.
    fn peer(&mut self, side: u8) -> Option<&mut Peer> {
        let Some(caller) = self.callers.get_mut(usize::from(side)) else {
            let count = self.instances.len().max(1);
            return self.instances.get_mut((usize::from(side) - 3) % count);
        };
        if caller.as_ref().is_none_or(Peer::is_gone) && self.connected < MOST_CALLERS {
            self.connected += 1;
            *caller = Some(self.world.call(self.manners.0));
        }
        caller.as_mut()
    }

    /// Lets peers say and read what they can, and tasks run.
    async fn settle(&mut self, times: usize) {
        for _ in 0..times {
            let accepted = self.world.accept(self.manners.1);
            self.instances.extend(accepted);
            let peers = self.callers.iter_mut().flatten().chain(&mut self.instances);
            self.moved += peers.map(Peer::pump).sum::<usize>();
            yield_now().await;
        }
        self.instances.retain(|peer| !peer.is_gone());
        self.check();
    }

    /// Time passes, in steps at whose ends peers have their turn.
    async fn pass(&mut self, time: Duration) {
        if self.seconds + time.as_secs() > MOST_SECONDS {
            return;
        }
        for _ in 0..4 {
            sleep(time / 4).await;
            self.settle(2).await;
        }
        self.seconds += time.as_secs() + 1;
    }

    fn check(&self) {
        let holds = self.world.check();
        let most = BASE + EACH * holds.links + FACTOR * self.moved;
        assert!(holds.allocated <= most, "{} octets for {}", holds.allocated, self.moved);
        let most = POLLS + POLLS_A_STEP * self.steps + self.moved + POLLS_A_SECOND * self.seconds as usize;
        assert!(self.world.polls() <= most, "{} reads for {} octets", self.world.polls(), self.moved);
    }

    /// Everybody leaves; then all must be as at the beginning.
    async fn finish(mut self) {
        self.leave().await;
        self.world.closing.send_replace(false);
        for instance in 0..=u8::MAX {
            self.world.set_mode(instance, 0);
        }
        self.world.reload(1);
        self.serve_one().await;
        self.leave().await;
    }

    async fn leave(&mut self) {
        self.callers = [None, None, None];
        self.instances.clear();
        self.settle(8).await;
        for _ in 0..12 {
            sleep(Duration::from_secs(10)).await;
            // Instances that were dialled meanwhile.
            self.instances.clear();
            self.world.accept(self.manners.1).for_each(drop);
        }
        self.seconds += 120;
        self.check();
        self.world.assert_idle();
    }

    /// A caller and instances that behave.
    async fn serve_one(&mut self) {
        let behaves = Manners { greets: true, reads: true, answers: true, serves: false };
        self.manners = (behaves, Manners { serves: true, ..behaves });
        let before = self.world.served();
        let mut caller = self.world.call(behaves);
        let stream = caller.open();
        caller.say(&frames::head(stream, false, &frames::request(0), usize::MAX));
        caller.say(&frames::frame(frames::DATA, END, stream, &frames::message(100, 0)));
        self.callers = [Some(caller), None, None];
        for _ in 0..100 {
            self.settle(4).await;
            sleep(Duration::from_millis(10)).await;
            let answer = self.callers[0].as_ref().and_then(|caller| caller.follower.streams.get(&stream));
            if answer.is_some_and(|answer| answer.ended) {
                break;
            }
        }
        assert_eq!(self.world.served(), before + 1, "a call is not served");
    }
}

/// A step of one peer's.
fn act(peer: &mut Peer, what: u8, input: &mut Input<'_>) {
    match what {
        0 => peer.greet(),
        1 | 2 => {
            let kind = input.octet();
            let piece = if what == 1 { usize::MAX } else { input.size() };
            let (stream, block) = if peer.is_caller() {
                (peer.open(), frames::request(kind))
            } else {
                (peer.stream(input.octet()), frames::answer(kind))
            };
            peer.say(&frames::head(stream, kind & 1 != 0, &block, piece));
        }
        3..=6 => {
            let octets = of_a_message(peer, what, input);
            peer.say(&octets);
        }
        7..=0xc => {
            let octets = control(peer, what, input);
            peer.say(&octets);
        }
        0xd if peer.is_caller() => {
            let (count, kind) = (input.octet() & 0x3f, input.octet());
            for _ in 0..count {
                let stream = peer.open();
                peer.say(&frames::head(stream, kind & 1 != 0, &frames::request(kind), usize::MAX));
            }
        }
        0xd | 0xe => {
            let all = what == 0xd;
            peer.serve(|stream| all || stream.ended);
        }
        0xf => {
            let count = usize::from(input.octet());
            peer.say(input.octets(count));
        }
        0x10 => drop(peer.read(input.size())),
        0x11 => {
            let octet = input.octet();
            let is = |bit: u8| octet & bit != 0;
            peer.manners = Manners { reads: is(1), answers: is(2), serves: is(4) && !peer.is_caller(), greets: true };
        }
        0x12 => peer.close(),
        _ => peer.shut(),
    }
}

/// DATA, or trailers. The first octet is the stream, 40 of it the end, 80 something that is not as it should be.
fn of_a_message(peer: &Peer, what: u8, input: &mut Input<'_>) -> Vec<u8> {
    let octet = input.octet();
    let (stream, end) = (peer.stream(octet), octet >> 6 & 1);
    match what {
        3 => frames::frame(frames::DATA, end, stream, &frames::message(input.size(), octet >> 7)),
        4 => {
            let count = usize::from(input.octet());
            frames::frame(frames::DATA, end, stream, input.octets(count))
        }
        5 => {
            let (padding, size) = (input.octet(), input.size());
            let payload = [&[padding][..], &frames::message(size, 0), &vec![0; padding.into()]].concat();
            frames::frame(frames::DATA, end | frames::PADDED, stream, &payload)
        }
        _ => frames::head(stream, octet & 0x80 == 0, &frames::trailers(input.octet()), usize::MAX),
    }
}

/// A frame that steers.
fn control(peer: &Peer, what: u8, input: &mut Input<'_>) -> Vec<u8> {
    let octet = input.octet();
    match what {
        7 => {
            let code = u32::from(input.octet() & 15);
            frames::frame(frames::RST_STREAM, 0, peer.stream(octet), &code.to_be_bytes())
        }
        8 => {
            let stream = if octet & 0x80 != 0 { 0 } else { peer.stream(octet) };
            frames::frame(frames::WINDOW_UPDATE, 0, stream, &input.number().to_be_bytes())
        }
        9 => {
            // Also the answer to the PING of a goodbye.
            let octets = if octet & 2 == 0 { b"goodbye!" } else { b"somebody" };
            frames::frame(frames::PING, octet & END, 0, octets)
        }
        0xa => {
            let last = if octet & 0x80 == 0 { peer.stream(octet) } else { input.number() >> 1 };
            let payload = [last, u32::from(input.octet() & 15)].map(u32::to_be_bytes);
            frames::frame(frames::GOAWAY, 0, 0, payload.as_flattened())
        }
        0xb => {
            let [a, b, c, d] = input.number().to_be_bytes();
            frames::frame(frames::SETTINGS, 0, 0, &[0, octet % 8, a, b, c, d])
        }
        _ => {
            let (flags, stream, count) = (input.octet(), input.octet(), input.octet());
            frames::frame(octet & 0xf, flags, stream.into(), input.octets(count.into()))
        }
    }
}
