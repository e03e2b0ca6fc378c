//! Throw-away certificates and tokens, for trying things and for the demo. The proxy itself never uses this: what it is told to trust
//! comes from elsewhere.

mod authority;
mod signer;

pub use authority::{Authority, Issued};
pub use signer::Signer;

/// Why something was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate.
    #[error("no certificate was made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A name that is none.
    #[error("{0}")]
    Name(&'static str),
    /// A key that cannot be used.
    #[error("{0}")]
    Key(&'static str),
    /// Claims that are none.
    #[error("{0}")]
    Claims(&'static str),
}
