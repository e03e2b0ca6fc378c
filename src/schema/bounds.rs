//! How much of a schema is taken, and why one is not.

use std::time::Duration;

/// The most that is taken. Whoever answers to reflection may be anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Octets of all descriptors together.
    pub bytes: usize,
    /// Files.
    pub files: usize,
    /// Services.
    pub services: usize,
    /// Messages within messages.
    pub depth: usize,
    /// Messages, fields, values and all else that has a name or a number: in memory each is far larger than on the wire.
    pub elements: usize,
    /// Octets that one file may take in memory while it is read.
    pub memory: usize,
    /// From the first question to the last answer.
    pub time: Duration,
}

impl Bounds {
    /// For what a server says of itself.
    pub const REMOTE: Self = Self {
        bytes: 16 << 20,
        files: 2_000,
        services: 1_000,
        depth: 32,
        elements: 200_000,
        memory: 128 << 20,
        time: Duration::from_secs(10),
    };
    /// For a file that somebody put on this machine: googleapis fits.
    pub const LOCAL: Self = Self {
        bytes: 256 << 20,
        files: 50_000,
        services: 20_000,
        depth: 32,
        elements: 10_000_000,
        memory: usize::MAX,
        time: Duration::from_secs(60),
    };
}

/// Why there is no schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// More than is taken.
    #[error("the schema is over the bound of {most} {of}")]
    Bound {
        /// Which of [`Bounds`].
        of: &'static str,
        /// What it is.
        most: u64,
    },
    /// What came is no descriptor.
    #[error("{0}")]
    Malformed(String),
    /// The server has none to give now.
    #[error("{0}")]
    Unavailable(String),
    /// Whoever answers has no reflection.
    #[error("{0}")]
    Unoffered(String),
    /// Whoever answers does not tell this caller.
    #[error("{why}")]
    Refused {
        /// He is known there, and may not ask; or he is not known.
        known: bool,
        /// What was said.
        why: String,
    },
    /// Nobody answers, or the connection broke.
    #[error("{0}")]
    Unreachable(String),
    /// A file of this machine cannot be used.
    #[error("{0}")]
    File(String),
}

impl SchemaError {
    pub(super) fn over(of: &'static str, most: usize) -> Self {
        Self::Bound { of, most: most as u64 }
    }
}
