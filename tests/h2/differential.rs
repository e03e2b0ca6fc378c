//! The same frames into our engine and into the `h2` crate, in lockstep: both see the same of every stream, and end the same stream or
//! the connection with the same code. Where they differ, [`DIFFERENCES`] has the section of RFC 9113 that lets them.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::engine::{Config, Role};
use crate::generate::{GOODBYE, Peer, Sent, State};
use crate::oracle::{List, Oracle, Story};
use crate::rounds;
use crate::script::{Owner, Script, Seen};
use crate::wire::{ACK, DATA, Frame, GOAWAY, HEADERS, PUSH, RST, SETTINGS, WHOLE, frame};

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Pass,
    Reset(u32),
    Goaway(u32),
}

use Class::{Goaway, Pass, Reset};

struct Difference {
    wrong: &'static str,
    ours: Class,
    theirs: Class,
    /// What lets them differ.
    why: &'static str,
}

const fn differ(wrong: &'static str, ours: Class, theirs: Class, why: &'static str) -> Difference {
    Difference { wrong, ours, theirs, why }
}

/// All differences that there may be.
const DIFFERENCES: &[Difference] = &[
    // Frames of a wrong length.
    differ("GOAWAY, length", Goaway(SIZE), Goaway(PROTOCOL), "§4.2: too small for its kind is FRAME_SIZE_ERROR"),
    differ("PING, length", Goaway(SIZE), Goaway(PROTOCOL), "§6.7: FRAME_SIZE_ERROR"),
    differ("RST_STREAM, length", Goaway(SIZE), Goaway(PROTOCOL), "§6.4: FRAME_SIZE_ERROR"),
    differ("SETTINGS, length", Goaway(SIZE), Goaway(PROTOCOL), "§6.5: FRAME_SIZE_ERROR"),
    differ("SETTINGS, acknowledged with payload", Goaway(SIZE), Goaway(PROTOCOL), "§6.5: FRAME_SIZE_ERROR"),
    differ("WINDOW_UPDATE, length", Goaway(SIZE), Goaway(PROTOCOL), "§6.9: FRAME_SIZE_ERROR"),
    differ("PRIORITY, length", Reset(SIZE), Goaway(PROTOCOL), "§6.3: FRAME_SIZE_ERROR of the stream"),
    differ("SETTINGS, window", Goaway(FLOW), Goaway(PROTOCOL), "§6.5.2: FLOW_CONTROL_ERROR"),
    differ("no HPACK", Goaway(COMPRESSION), Goaway(PROTOCOL), "§4.3: COMPRESSION_ERROR"),
    // Errors of a stream, which may be taken for the connection's.
    differ("WINDOW_UPDATE by 0, stream", Reset(PROTOCOL), Goaway(PROTOCOL), "§6.9: of the stream; §5.4.1 lets them"),
    differ("DATA, half-closed", Reset(CLOSED), Goaway(PROTOCOL), "§5.1: of the stream, STREAM_CLOSED"),
    differ("HEADERS, half-closed", Reset(CLOSED), Goaway(PROTOCOL), "§5.1: of the stream, STREAM_CLOSED"),
    differ(
        "a name with a blank",
        Reset(PROTOCOL),
        Goaway(PROTOCOL),
        "§8.1.1: malformed is the stream's; §5.4.1 lets them",
    ),
    differ("a value with CR", Reset(PROTOCOL), Goaway(PROTOCOL), "§8.1.1, the same"),
    differ("an upper-case name", Reset(PROTOCOL), Goaway(PROTOCOL), "§8.1.1, the same"),
    differ("an unknown pseudo-field", Reset(PROTOCOL), Goaway(PROTOCOL), "§8.1.1, the same"),
    differ("DATA, no head", Reset(PROTOCOL), Goaway(PROTOCOL), "§8.1.1, the same"),
    // Streams that are over, where §5.1 lets everybody choose.
    differ("DATA, reset", Goaway(CLOSED), Reset(CLOSED), "§5.1: may be the connection's"),
    differ("DATA, over", Goaway(CLOSED), Reset(CLOSED), "§5.1: may be the connection's"),
    differ("HEADERS, reset", Goaway(CLOSED), Reset(CLOSED), "§5.1: may be the connection's"),
    differ("HEADERS, reset", Goaway(CLOSED), Goaway(PROTOCOL), "§5.1: STREAM_CLOSED"),
    // What they let pass.
    differ(
        "PUSH_PROMISE",
        Goaway(PROTOCOL),
        Pass,
        "§6.6, §8.4: nobody may push to a server, nor to a client that said so",
    ),
    differ("trailers with a pseudo-field", Reset(PROTOCOL), Pass, "§8.1: malformed"),
    differ("a value that begins with a blank", Reset(PROTOCOL), Pass, "§8.2.1: malformed"),
    differ(
        "WINDOW_UPDATE too large, stream",
        Reset(FLOW),
        Pass,
        "§6.9.1: must end the stream, on which nothing more is to go",
    ),
];

const PROTOCOL: u32 = 1;
const FLOW: u32 = 3;
const CLOSED: u32 = 5;
const SIZE: u32 = 6;
const COMPRESSION: u32 = 9;

fn config(role: Role) -> Config {
    let mut config = crate::script::config(role);
    config.connection_window = 1 << 20;
    config
}

/// Ours: its script, and what of its answers was looked at.
struct Ours(Script);

impl Ours {
    fn feed(&mut self, octets: &[u8]) -> Vec<Frame> {
        self.0.send(octets, 0);
        for stream in self.0.streams.clone() {
            self.0.connection.release(stream, usize::MAX);
        }
        self.0.take_frames(0)
    }

    fn stories(&self) -> BTreeMap<u32, Story> {
        let mut stories: BTreeMap<u32, Story> = BTreeMap::new();
        let mut of =
            |tag: u64, change: &dyn Fn(&mut Story)| change(stories.entry(u32::try_from(tag).unwrap()).or_default());
        for seen in &self.0.seen {
            match seen {
                Seen::Settled | Seen::Went { .. } => {}
                Seen::Request { stream, head, end } => of(u64::from(*stream), &|story| {
                    // The last two are the method with the path, and the authority.
                    let (fields, pseudo) = head.split_at(head.len() - 2);
                    let mut list = sorted(fields);
                    list.push((":method".to_owned(), b"POST".to_vec()));
                    list.push((":path".to_owned(), pseudo[0].1.clone()));
                    list.push((":authority".to_owned(), pseudo[1].1.clone()));
                    story.head = Some(list);
                    story.ended = *end;
                }),
                Seen::Response { tag, status, fields, end } => of(*tag, &|story| {
                    let mut list = sorted(fields);
                    list.push((":status".to_owned(), status.to_string().into_bytes()));
                    story.head = Some(list);
                    story.ended = *end;
                }),
                Seen::Data { tag, bytes, end } => of(*tag, &|story| {
                    story.body.extend_from_slice(bytes);
                    story.ended = *end;
                }),
                Seen::Trailers { tag, fields } => of(*tag, &|story| {
                    story.trailers = Some(sorted(fields));
                    story.ended = true;
                }),
                // An end that has come is told before a reset behind it.
                Seen::Reset { tag, .. } => of(*tag, &|story| story.error = !story.ended),
            }
        }
        stories
    }
}

fn sorted(fields: &[(Vec<u8>, Vec<u8>)]) -> List {
    let mut list: List =
        fields.iter().map(|(name, value)| (String::from_utf8(name.clone()).unwrap(), value.clone())).collect();
    list.sort();
    list
}

/// The worst that is in these answers, and on which stream.
fn class(frames: &[Frame]) -> (Class, u32) {
    let of = |frame: &Frame| match frame.kind {
        RST => Some((Reset(frame.number(0)), frame.stream)),
        GOAWAY if frame.number(4) != 0 => Some((Goaway(frame.number(4)), 0)),
        _ => None,
    };
    frames.iter().filter_map(of).max().unwrap_or((Pass, 0))
}

/// A conversation until the connection ends; what differed and must not.
fn converse(role: Role, seed: u64, illegal: f64) -> BTreeSet<String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut ours, mut theirs) = (Ours(Script::with(role, Owner::Listens, config(role))), Oracle::new(role));
    let mut peer = Peer::new(role);
    let greeting = [Script::greeting(role), frame(SETTINGS, ACK, 0, &[])].concat();
    ours.feed(&greeting);
    theirs.feed(&greeting);
    let (mut differences, mut died) = (BTreeSet::new(), false);
    for _ in 0..60 {
        let sent = if rng.random_bool(illegal) { peer.illegal(&mut rng) } else { None };
        let Sent { octets, wrong } = sent.unwrap_or_else(|| peer.legal(&mut rng));
        let (mine, other) = (class(&ours.feed(&octets)), class(&theirs.feed(&octets)));
        let what = wrong.unwrap_or("legal");
        let known = DIFFERENCES.iter().any(|known| (known.wrong, known.ours, known.theirs) == (what, mine.0, other.0));
        if mine != other && !known {
            differences.insert(format!("{role:?}: {what}: ours {:?}, theirs {:?}", mine, other));
        }
        for (_, id) in [mine, other] {
            // What follows on it depends on who reset it.
            peer.streams.remove(&id);
        }
        // Theirs says goodbye too, and leaves (§6.8 lets both do as they like).
        died = what == GOODBYE || matches!(mine.0, Goaway(_)) || matches!(other.0, Goaway(_));
        if died || mine != other {
            break;
        }
    }
    let (mine, mut other) = (ours.stories(), theirs.stories());
    for (id, story) in mine.iter().filter(|(id, _)| !known_story(&peer, **id)) {
        let theirs = other.entry(*id).or_default();
        // The end of the connection is told to ours as a whole, and to each stream there.
        theirs.error &= !died;
        if theirs != story {
            let short = |story: &Story| format!("{:.400}", format!("{:?} {story:?}", story.body.len()));
            differences.insert(format!("{role:?}, seed {seed}: stream {id}: {} and {}", short(story), short(theirs)));
        }
    }
    differences
}

/// A stream that ended early: how much of it each passed on before is its own affair.
fn known_story(peer: &Peer, id: u32) -> bool {
    !matches!(peer.streams.get(&id), Some(State::Open | State::Half | State::Over))
}

fn assert_same(role: Role, illegal: f64) {
    let all: BTreeSet<String> = (0..rounds(300)).flat_map(|seed| converse(role, seed, illegal)).collect();
    assert!(all.is_empty(), "{}", all.iter().take(30).map(String::as_str).collect::<Vec<_>>().join("\n"));
}

#[test]
fn legal_frames_of_a_client_come_to_the_same() {
    assert_same(Role::Server, 0.0);
}

#[test]
fn legal_frames_of_a_server_come_to_the_same() {
    assert_same(Role::Client, 0.0);
}

#[test]
fn illegal_frames_of_a_client_come_to_the_same() {
    assert_same(Role::Server, 0.2);
}

#[test]
fn illegal_frames_of_a_server_come_to_the_same() {
    assert_same(Role::Client, 0.2);
}

/// Why the answers to a frame that nobody has a word for may differ; `None` where nothing lets them.
fn excuse(octets: &[u8], ours: Class, theirs: Class) -> Option<&'static str> {
    let (kind, flags) = (octets[3], octets[4]);
    match (ours, theirs) {
        (Goaway(SIZE), Goaway(PROTOCOL)) => Some("§4.2: of a wrong length is FRAME_SIZE_ERROR"),
        (Goaway(COMPRESSION), Goaway(PROTOCOL)) => Some("§4.3: COMPRESSION_ERROR"),
        (Goaway(CLOSED), Goaway(PROTOCOL) | Reset(CLOSED)) => {
            Some("§5.1: on a stream that is over, which may be the connection's")
        }
        (Reset(_), Goaway(PROTOCOL)) => Some("§5.4.1: a stream's error may be taken for the connection's"),
        (Goaway(PROTOCOL), Pass | Reset(PROTOCOL)) if kind == PUSH => Some("§6.6, §8.4: nobody may push"),
        (Reset(PROTOCOL), Pass) if kind == HEADERS => {
            Some("§8.1: trailers with pseudo-fields, an answer without :status")
        }
        (Pass, Goaway(PROTOCOL)) if kind == HEADERS && flags & WHOLE == 0 => {
            Some("§4.3: a block is decoded once it is whole")
        }
        (Pass, Goaway(PROTOCOL)) if kind == SETTINGS && flags & ACK != 0 => {
            Some("§6.5.3 has no rule for an acknowledgement of nothing")
        }
        (Pass, Reset(CLOSED)) if kind == DATA => Some("§5.1: what comes on a number that was left out is passed by"),
        _ => None,
    }
}

#[test]
fn garbage_comes_to_the_same() {
    let mut differences = BTreeSet::new();
    for seed in 0..rounds(600) {
        let role = if seed % 2 == 0 { Role::Server } else { Role::Client };
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut ours, mut theirs) = (Ours(Script::with(role, Owner::Listens, config(role))), Oracle::new(role));
        let mut peer = Peer::new(role);
        let greeting = [Script::greeting(role), frame(SETTINGS, ACK, 0, &[])].concat();
        assert_eq!(class(&ours.feed(&greeting)), class(&theirs.feed(&greeting)));
        let mut octets = Vec::new();
        (0..rng.random_range(0..12)).for_each(|_| octets.extend(peer.legal(&mut rng).octets));
        assert_eq!(class(&ours.feed(&octets)), class(&theirs.feed(&octets)), "{role:?}, seed {seed}");
        let garbage = peer.garbage(&mut rng);
        let (mine, other) = (class(&ours.feed(&garbage)), class(&theirs.feed(&garbage)));
        if mine != other && excuse(&garbage, mine.0, other.0).is_none() {
            differences.insert(format!("{role:?}, seed {seed}: ours {mine:?}, theirs {other:?}: {garbage:?}"));
        }
    }
    assert!(
        differences.is_empty(),
        "{}",
        differences.iter().take(30).map(String::as_str).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn every_difference_has_its_section() {
    assert!(DIFFERENCES.iter().all(|difference| difference.why.starts_with('§')));
}
