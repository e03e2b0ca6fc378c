//! Two ends of ours and the wire between them: octets go over in pieces of any size, and late.

use rand::Rng as _;
use rand::rngs::SmallRng;

use crate::audit::Audit;
use crate::engine::{Config, Connection, Event, Growth, Millis, Role, Spare};

/// One end, what it owes its auditor, and what is on its way to it.
pub(crate) struct End {
    pub(crate) connection: Connection,
    pub(crate) audit: Audit,
    pub(crate) spare: Spare,
    coming: Vec<u8>,
    config: Config,
}

impl End {
    pub(crate) fn new(role: Role, config: Config, growth: Growth, now: Millis) -> Self {
        let mut config = config;
        // So that the auditor needs no SETTINGS_MAX_FRAME_SIZE.
        config.frame = 1 << 14;
        Self {
            connection: Connection::new(role, config, growth, now),
            audit: Audit::new(role == Role::Client),
            spare: Spare::default(),
            coming: Vec::new(),
            config,
        }
    }

    /// Some of what is on its way arrives; `take` gets each event.
    pub(crate) fn read(
        &mut self,
        rng: &mut SmallRng,
        now: Millis,
        mut take: impl FnMut(&mut Connection, Event<'_>),
    ) -> usize {
        // No input at all asks for the events that output caused.
        let now_read = piece(rng, self.coming.len());
        let bytes: Vec<u8> = self.coming.drain(..now_read).collect();
        self.audit.came(&bytes);
        let mut input = &bytes[..];
        loop {
            match self.connection.receive(&mut input, now, &mut self.spare) {
                Ok(Some(event)) => take(&mut self.connection, event),
                Ok(None) => break,
                Err(fatal) => panic!("the end of a legal connection: {fatal}"),
            }
        }
        assert!(input.is_empty());
        if rng.random_ratio(1, 100) {
            // Ends requests whose answers are complete. At no time at all, since nothing here stalls that is slow.
            self.connection.tick(0).unwrap();
        }
        self.check(rng);
        now_read
    }

    /// Some of what is to be written goes on its way to `other`.
    pub(crate) fn write(&mut self, other: &mut Self, rng: &mut SmallRng, now: Millis) -> usize {
        let pending = self.connection.output().len();
        let count = piece(rng, pending);
        let bytes = self.connection.output()[..count].to_vec();
        self.audit.sent(&bytes);
        other.coming.extend(bytes);
        self.connection.wrote(count, count < pending || rng.random_bool(0.1), now);
        self.check(rng);
        count
    }

    fn check(&mut self, rng: &mut SmallRng) {
        let window = self.config.connection_window.max(65_535) as usize;
        assert!(self.connection.held() <= self.config.held + window, "{} held", self.connection.held());
        if rng.random_ratio(1, 16) {
            self.audit.check_pending(self.connection.output());
        }
    }

    /// Nothing is left of any call.
    pub(crate) fn assert_quiet(&self) {
        assert_eq!(self.connection.open_streams(), 0, "open streams");
        assert_eq!(self.connection.held(), 0, "held octets");
        assert_eq!(self.connection.output(), b"", "output");
        assert!(self.coming.is_empty(), "on the wire");
        assert!(self.connection.tags().is_empty());
    }
}

/// How many of `all`: often none, few, or all.
pub(crate) fn piece(rng: &mut SmallRng, all: usize) -> usize {
    match rng.random_range(0..8) {
        0 => 0,
        1 => rng.random_range(0..12).min(all),
        2..5 => all,
        _ => rng.random_range(0..=all),
    }
}
