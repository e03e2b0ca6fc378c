//! The options that Open Astra, SEAL and Shannon share.

use std::net::SocketAddr;

use crate::clock::Clock;
use crate::handle::Behaviour;

/// How a backend is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// All ids and figures follow from it.
    pub seed: u64,
    /// All times come from it.
    pub clock: Clock,
    /// Longest message taken and sent, in bytes.
    pub max_message: usize,
    /// How it misbehaves at first; `Server::handle` changes it later.
    pub behaviour: Behaviour,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 0,
            clock: Clock::real(),
            max_message: 4 * 1024 * 1024,
            behaviour: Behaviour::default(),
        }
    }
}
