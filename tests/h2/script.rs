//! One connection, the octets that its peer sends, and an owner that does the same each time: what came of it.

use fields::{Fields, Method, RequestHead, ResponseHead};

use crate::engine::{Config, Connection, ErrorCode, Event, Fatal, Growth, Millis, Role, Spare, StreamError, StreamId};
use crate::wire::{Frame, PREFACE, Reader, WINDOW, settings};

/// What the owner of a server does with each request. The tag of a stream is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Listens.
    Listens,
    /// Answers at once, and completely.
    Answers,
    /// Resets at once.
    Resets,
}

/// An event, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Settled,
    Request { stream: u32, head: Vec<(Vec<u8>, Vec<u8>)>, end: bool },
    Response { tag: u64, status: u16, fields: Vec<(Vec<u8>, Vec<u8>)>, end: bool },
    Data { tag: u64, bytes: Vec<u8>, end: bool },
    Trailers { tag: u64, fields: Vec<(Vec<u8>, Vec<u8>)> },
    Reset { tag: u64, error: StreamError },
    Went { tag: u64, bytes: usize, end: bool },
}

/// What a script came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) seen: Vec<Seen>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) fatal: Option<Fatal>,
}

pub(crate) struct Script {
    pub(crate) connection: Connection,
    pub(crate) seen: Vec<Seen>,
    pub(crate) fatal: Option<Fatal>,
    /// Of each request that came.
    pub(crate) streams: Vec<StreamId>,
    owner: Owner,
    role: Role,
    spare: Spare,
}

/// Small enough to be met: 4 streams, heads of 4 KiB, windows of 64 KiB that do not grow.
pub(crate) fn config(role: Role) -> Config {
    let mut config = if role == Role::Server { Config::server(4, 4 << 10) } else { Config::client() };
    config.headers = 4 << 10;
    config.frame = 1 << 14;
    config.stream_window = 65_535;
    config.largest_stream_window = 65_535;
    config.connection_window = 100_000;
    config
}

impl Script {
    pub(crate) fn new(role: Role, owner: Owner) -> Self {
        Self::with(role, owner, config(role))
    }

    pub(crate) fn with(role: Role, owner: Owner, config: Config) -> Self {
        let connection = Connection::new(role, config, Growth::default(), 0);
        Self { connection, seen: Vec::new(), fatal: None, streams: Vec::new(), owner, role, spare: Spare::default() }
    }

    /// A client's preface and SETTINGS, or a server's SETTINGS.
    pub(crate) fn greeting(role: Role) -> Vec<u8> {
        let before = if role == Role::Server { PREFACE } else { &[] };
        [before, &settings(&[])].concat()
    }

    /// The peer sends these octets.
    pub(crate) fn send(&mut self, octets: &[u8], now: Millis) {
        let mut input = octets;
        while self.fatal.is_none() {
            match self.connection.receive(&mut input, now, &mut self.spare) {
                Ok(Some(event)) => {
                    let seen = keep(&event);
                    self.act(event, now);
                    self.note(seen);
                }
                Ok(None) => return assert!(input.is_empty(), "it stopped in the middle"),
                Err(fatal) => self.fatal = Some(fatal),
            }
        }
    }

    fn act(&mut self, event: Event<'_>, now: Millis) {
        match event {
            // A client has three calls: one that goes on sending, and two that do not.
            Event::Settled if self.role == Role::Client => {
                for tag in [1, 3, 5] {
                    let head = RequestHead::new(Method::Post, "/a.B/C", "a", (0, 0));
                    assert_eq!(u64::from(self.connection.open(&head, tag > 1, tag, now).unwrap().number()), tag);
                }
            }
            Event::Request { stream, end, .. } => {
                self.streams.push(stream);
                self.connection.set_tag(stream, u64::from(stream.number()));
                let head = ResponseHead { status: 200, fields: Fields::default() };
                match self.owner {
                    Owner::Listens => {}
                    Owner::Answers if end => self.connection.respond(stream, &head, true).unwrap(),
                    Owner::Answers => self.connection.respond(stream, &head, false).unwrap(),
                    Owner::Resets => drop(self.connection.reset(stream, ErrorCode::CANCEL)),
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, seen: Seen) {
        // However DATA was cut.
        if let (Some(Seen::Data { tag, bytes, end: end @ false }), Seen::Data { tag: of, bytes: more, end: ended }) =
            (self.seen.last_mut(), &seen)
            && tag == of
        {
            bytes.extend(more);
            *end = *ended;
            return;
        }
        self.seen.push(seen);
    }

    /// The frames that it answered with; all of its output is written.
    pub(crate) fn take_frames(&mut self, now: Millis) -> Vec<Frame> {
        let mut output = self.connection.output().to_vec();
        self.connection.wrote(output.len(), false, now);
        if output.starts_with(PREFACE) {
            output.drain(..PREFACE.len());
        }
        Reader::all(&output)
    }

    pub(crate) fn outcome(mut self) -> Outcome {
        let frames = self.take_frames(0);
        Outcome { seen: self.seen, frames, fatal: self.fatal }
    }
}

impl Outcome {
    /// Every event in a word.
    pub(crate) fn words(&self) -> String {
        let end = |end: &bool| if *end { "." } else { "" };
        let word = |seen: &Seen| match seen {
            Seen::Settled => "settled".to_owned(),
            Seen::Request { stream, end: last, .. } => format!("request{stream}{}", end(last)),
            Seen::Response { tag, status, end: last, .. } => format!("{status}for{tag}{}", end(last)),
            Seen::Data { tag, bytes, end: last } => format!("{}of{tag}{}", bytes.len(), end(last)),
            Seen::Trailers { tag, .. } => format!("trailers{tag}"),
            Seen::Reset { tag, error } => match error {
                StreamError::Reset(code) => format!("reset{tag}:{}", code.0),
                StreamError::Violation(code) => format!("violated{tag}:{}", code.0),
                other => format!("reset{tag}:{other:?}"),
            },
            Seen::Went { tag, bytes, end: last } => format!("went{tag}:{bytes}{}", end(last)),
        };
        self.seen.iter().skip_while(|seen| **seen == Seen::Settled).map(word).collect::<Vec<_>>().join(" ")
    }

    /// The frames that do not depend on how octets were cut.
    pub(crate) fn answers(&self) -> Vec<&Frame> {
        self.frames.iter().filter(|frame| frame.kind != WINDOW).collect()
    }
}

fn keep(event: &Event<'_>) -> Seen {
    let list =
        |fields: &Fields| fields.raw().map(|(name, value, _)| (name.to_vec(), value.to_vec())).collect::<Vec<_>>();
    match event {
        Event::Settled => Seen::Settled,
        Event::Request { stream, head, end } => {
            let mut fields = list(&head.fields);
            fields.push((format!("{:?}", head.method).into_bytes(), head.path_bytes().to_vec()));
            fields.push((b":authority".to_vec(), head.authority_bytes().to_vec()));
            Seen::Request { stream: stream.number(), head: fields, end: *end }
        }
        Event::Response { tag, head, end } => {
            Seen::Response { tag: *tag, status: head.status, fields: list(&head.fields), end: *end }
        }
        Event::Data { tag, bytes, end } => Seen::Data { tag: *tag, bytes: bytes.to_vec(), end: *end },
        Event::Trailers { tag, fields } => Seen::Trailers { tag: *tag, fields: list(fields) },
        Event::Reset { tag, error } => Seen::Reset { tag: *tag, error: *error },
        Event::Went { tag, bytes, end } => Seen::Went { tag: *tag, bytes: *bytes, end: *end },
    }
}
