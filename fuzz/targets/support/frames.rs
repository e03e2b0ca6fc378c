//! What the targets for HTTP/2 share: a connection, a hostile peer and an owner, all driven by the input.
//!
//! An input is steps, an octet each and what it takes. Below `80`: so many octets as they stand, from the peer. `80` to `8f`: a frame
//! of the peer's, well-formed or nearly. `90` to `9f`: the owner acts on a stream. Others: time, writing, and how the peer's octets
//! are cut.
//!
//! What must hold: no panic; no more memory than a multiple of what came and was given; events only for streams that were announced,
//! and none behind an end; nothing held that was released; and once the peer gives credit, everything that waits goes out.

use std::collections::BTreeMap;

use fields::{Fields, Method, RequestHead, ResponseHead};
use portunus::h2::{Config, Connection, ErrorCode, Event, Growth, Role, Spare, StreamId};

/// Memory that a connection may hold whatever happens, in octets; and how many more for each that came or was to go.
const BASE: usize = 64 * 1024;
const FACTOR: usize = 8;

/// A whole head that needs no table: POST, http, `/`.
const REQUEST: &[u8] = &[0x83, 0x86, 0x84];
const RESPONSE: &[u8] = &[0x88];

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn octet(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn octets(&mut self, count: usize) -> &'a [u8] {
        let (now, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        now
    }

    /// A few, or many.
    fn size(&mut self) -> usize {
        match self.octet() {
            large @ 0xc0.. => usize::from(large - 0xbf) * 1_200,
            small => usize::from(small),
        }
    }
}

/// What is known of a stream.
#[derive(Default)]
struct Known {
    id: Option<StreamId>,
    head: bool,
    /// The peer has ended its half.
    ended: bool,
    /// The stream is gone, as far as the owner was told or saw to it.
    gone: bool,
    held: usize,
    handed: usize,
    went: usize,
}

struct Run {
    connection: Connection,
    spare: Spare,
    role: Role,
    now: u64,
    /// Octets that came or were to go.
    moved: usize,
    cut: usize,
    streams: BTreeMap<u64, Known>,
    /// Octets of the peer's that are missing in its last frame.
    frame: Vec<u8>,
    over: bool,
}

pub fn run(role: Role, data: &[u8]) {
    let mut input = Input(data);
    let growth = Growth::default();
    let mut run = Run::new(role, input.octet(), growth.clone());
    while !input.0.is_empty() && !run.over {
        run.step(&mut input);
        run.check();
    }
    run.finish();
    drop(run);
    assert_eq!(growth.used(), 0, "windows that grew were not given back");
}

impl Run {
    fn new(role: Role, shape: u8, growth: Growth) -> Self {
        let mut config = if role == Role::Server { Config::server(8, 4_096) } else { Config::client() };
        config.frame = 1 << 14;
        config.headers = 4_096;
        config.stream_window = [100, 1_000, 4_096, 65_535][usize::from(shape & 3)];
        config.largest_stream_window = config.stream_window << (shape >> 2 & 3);
        config.connection_window = [1_000, 10_000, 65_535, 1 << 20][usize::from(shape >> 4 & 3)];
        config.held = if shape & 0x40 == 0 { 0 } else { 1 << 20 };
        let connection = Connection::new(role, config, growth, 0);
        let mut run = Self {
            connection,
            spare: Spare::default(),
            role,
            now: 0,
            moved: 0,
            cut: usize::MAX,
            streams: BTreeMap::new(),
            frame: Vec::new(),
            over: false,
        };
        if shape & 0x80 == 0 {
            // Most inputs are to come further than the greeting.
            if role == Role::Server {
                run.connection_gets(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            }
            run.peer(4, 0, 0, &[]);
        }
        run
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.octet() {
            count @ ..0x80 => {
                let octets = input.octets(usize::from(count));
                self.follow(octets);
                self.connection_gets(octets);
            }
            kind @ 0x80..0x90 => self.frame(kind - 0x80, input),
            what @ 0x90..0xa0 => self.act(what - 0x90, input),
            0xa0 => self.cut = usize::from(input.octet()).max(1),
            0xa1 => self.now += u64::from(input.octet()) * 50,
            0xa2 => {
                if self.connection.tick(self.now).is_err() {
                    self.end();
                }
            }
            0xa3 => self.write(input.size(), true),
            0xa4 => self.write(usize::MAX, false),
            0xa5 => self.connection.goodbye(),
            // The answer to the PING of a goodbye.
            0xa6 => self.peer(6, 1, 0, b"goodbye!"),
            // Everything that the owner holds goes on.
            _ => {
                let ids: Vec<_> =
                    self.streams.values_mut().map(|known| (known.id, std::mem::take(&mut known.held))).collect();
                for (id, held) in ids {
                    if let Some(id) = id {
                        self.connection.release(id, held);
                    }
                }
            }
        }
    }

    /// A frame that is made well, whatever is in it.
    fn frame(&mut self, kind: u8, input: &mut Input<'_>) {
        let place = input.octet();
        let stream = u32::from(place & 0x3f);
        let end = place >> 6 & 1;
        match kind {
            0 => self.peer(0, end, stream, &vec![0; input.size().min(1 << 14)]),
            1 if place & 0x80 == 0 => {
                self.peer(1, 4 | end, stream, if self.role == Role::Server { REQUEST } else { RESPONSE });
            }
            8 => {
                let by = u32::try_from(input.size()).unwrap_or_default();
                self.peer(8, 0, stream, &by.to_be_bytes());
            }
            4 => {
                let setting = [0, 1 + place % 6, 0, input.octet(), input.octet(), input.octet()];
                self.peer(4, 0, 0, &setting);
            }
            10 => self.peer(1, 4 | end, stream, &[]),
            11.. => self.peer(0, end | 8, stream, &[&[input.octet()][..], &vec![0; input.size().min(9_000)]].concat()),
            _ => {
                let flags = input.octet();
                let count = input.octet();
                self.peer(kind, flags, stream, input.octets(usize::from(count)));
            }
        }
    }

    fn peer(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
        let mut octets = vec![length[1], length[2], length[3], kind, flags];
        octets.extend(stream.to_be_bytes());
        octets.extend(payload);
        self.follow(&octets);
        self.connection_gets(&octets);
    }

    /// Where the peer is in its frames.
    fn follow(&mut self, octets: &[u8]) {
        self.frame.extend_from_slice(octets);
        while let Some(length) = self.frame.first_chunk::<3>() {
            let whole = 9 + u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
            if self.frame.len() < whole {
                return;
            }
            self.frame.drain(..whole);
        }
    }

    fn connection_gets(&mut self, octets: &[u8]) {
        self.moved += octets.len();
        // Nothing at all asks for the events that output caused.
        let pieces = octets.chunks(self.cut).chain(octets.is_empty().then_some(octets));
        for mut input in pieces {
            loop {
                if self.over {
                    return;
                }
                match self.connection.receive(&mut input, self.now, &mut self.spare) {
                    Ok(Some(event)) => take(&mut self.streams, &mut self.connection, self.role, event),
                    Ok(None) => break,
                    Err(_) => self.end(),
                }
            }
            assert!(input.is_empty(), "octets are left");
        }
    }

    fn end(&mut self) {
        self.over = true;
        assert!(self.connection.is_over());
        let output = self.connection.output();
        assert_eq!(output.get(output.len() - 17..output.len() - 13), Some(&[0, 0, 8, 7][..]), "GOAWAY is the last");
    }

    fn act(&mut self, what: u8, input: &mut Input<'_>) {
        let at = usize::from(input.octet());
        if what == 15 && self.role == Role::Client {
            return self.open(at & 1 == 1);
        }
        let Some(tag) = self.streams.keys().nth(at % self.streams.len().max(1)).copied() else { return };
        let Some(known) = self.streams.get_mut(&tag) else { return };
        let Some(id) = known.id else { return };
        match what {
            0 | 1 => {
                let head = ResponseHead { status: 200, fields: Fields::default() };
                let fine = self.connection.respond(id, &head, what == 1).is_ok();
                known.gone |= fine && what == 1;
            }
            2..6 => {
                let size = input.size();
                let end = what & 1 == 1;
                if let Ok(given) = self.connection.data(id, &vec![b'd'; size], end, self.now) {
                    self.moved += size;
                    known.handed += size;
                    known.went += given.bytes;
                    assert!(given.bytes <= size && known.went <= known.handed);
                    known.gone |= given.end && (known.ended || self.role == Role::Server);
                }
            }
            6 | 7 => {
                let trailers: Fields = [("grpc-status", &b"0"[..])].into_iter().collect();
                if let Ok(true) = self.connection.trailers(id, &trailers) {
                    known.gone |= known.ended || self.role == Role::Server;
                }
            }
            8 => {
                self.connection.reset(id, ErrorCode::CANCEL);
                known.gone = true;
            }
            9 => {
                self.connection.discard(id);
                known.handed = known.went;
            }
            _ => {
                let size = input.size().min(known.held);
                known.held -= size;
                self.connection.release(id, size);
            }
        }
        self.connection_gets(&[]);
    }

    fn open(&mut self, end: bool) {
        let tag = self.streams.len() as u64 + 1;
        let head = RequestHead::new(Method::Post, "/a.B/C", "a", (0, 0));
        self.moved += 64;
        if let Ok(id) = self.connection.open(&head, end, tag, self.now) {
            assert!(self.streams.len() < 1 << 16);
            self.streams.insert(tag, Known { id: Some(id), ..Known::default() });
        }
    }

    fn write(&mut self, most: usize, blocked: bool) {
        let count = most.min(self.connection.output().len());
        self.connection.wrote(count, blocked, self.now);
        self.connection_gets(&[]);
    }

    fn check(&self) {
        let most = BASE + FACTOR * self.moved;
        assert!(self.connection.allocated() <= most, "{} octets for {}", self.connection.allocated(), self.moved);
        // The rest of a request whose answer is complete is held too, untold, for a while and up to a frame or two.
        let untold = |known: &Known| if known.gone && !known.ended && self.role == Role::Server { 32 << 10 } else { 0 };
        let held: usize = self.streams.values().map(|known| known.held + untold(known)).sum();
        assert!(self.connection.held() <= held, "{} held, not {held}", self.connection.held());
        assert!(self.connection.open_streams() <= self.streams.len());
    }

    /// The peer gives all the credit that there is: what waits must go.
    fn finish(&mut self) {
        let missing = match self.frame.first_chunk::<3>() {
            Some(length) => 9 + u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize - self.frame.len(),
            None if self.frame.is_empty() => 0,
            None => return,
        };
        self.cut = usize::MAX;
        self.connection_gets(&vec![0; missing]);
        for _ in 0..8 {
            let ids: Vec<u32> = self.streams.values().filter_map(|known| known.id).map(StreamId::number).collect();
            for stream in std::iter::once(0).chain(ids) {
                if !self.over {
                    self.peer(8, 0, stream, &(1_u32 << 24).to_be_bytes());
                }
            }
            for _ in 0..64 {
                if !self.over {
                    self.write(usize::MAX, false);
                }
            }
        }
        if self.over {
            return;
        }
        let tags = self.connection.tags();
        for known in
            self.streams.iter().filter(|(tag, known)| tags.contains(tag) && !known.gone).map(|(_, known)| known)
        {
            assert_eq!(known.went, known.handed, "octets that nothing stops and that do not go");
        }
    }
}

fn take(streams: &mut BTreeMap<u64, Known>, connection: &mut Connection, role: Role, event: Event<'_>) {
    match event {
        Event::Settled => {}
        Event::Request { stream, end, .. } => {
            let tag = streams.len() as u64 + 1;
            connection.set_tag(stream, tag);
            streams.insert(tag, Known { id: Some(stream), head: true, ended: end, ..Known::default() });
        }
        Event::Response { tag, end, .. } => {
            let known = live(streams, tag);
            assert!(!std::mem::replace(&mut known.head, true) && !known.ended, "a second head");
            known.ended = end;
        }
        Event::Data { tag, bytes, end } => {
            let known = live(streams, tag);
            assert!(known.head && !known.ended, "DATA before a head or behind the end");
            known.ended = end;
            known.held += bytes.len();
        }
        Event::Trailers { tag, .. } => {
            let known = live(streams, tag);
            assert!(
                known.head && !std::mem::replace(&mut known.ended, true),
                "trailers before a head or behind the end"
            );
        }
        Event::Reset { tag, .. } => live(streams, tag).gone = true,
        Event::Went { tag, bytes, end } => {
            // May be told behind an end or a reset.
            let known = streams.get_mut(&tag).expect("a known tag");
            known.went += bytes;
            // A caller whose answer is complete is not told of any more.
            known.gone |= end && (known.ended || role == Role::Server);
            assert!(known.went <= known.handed, "more went than was handed over");
        }
    }
}

fn live(streams: &mut BTreeMap<u64, Known>, tag: u64) -> &mut Known {
    let known = streams.get_mut(&tag).expect("a known tag");
    assert!(!known.gone, "an event for a stream that is gone");
    known
}
