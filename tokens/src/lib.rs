//! Signed tokens: JWTs in the compact form, read strictly, checked against the keys of their issuer, and remembered once they have passed.
//!
//! The way of a token ([`Verifier::verify`]): `cache` → `jws` (three parts, header, claims) → the issuer that `iss` names, which is all that
//! is believed before the signature → `set` and `key` → `claims`. Knows no call and no configuration, and dials nobody: keys come by a
//! [`Fetch`] that is handed in, the time by a [`Clock`].

mod algorithm;
mod cache;
mod claims;
mod clock;
mod issuer;
mod json;
mod jws;
mod key;
mod location;
mod rejection;
mod ring;
mod set;
mod verifier;

pub use algorithm::Algorithm;
pub use clock::{Clock, System};
pub use issuer::{Issuer, Settings};
pub use key::least_secret;
pub use location::Location;
pub use rejection::Rejection;
pub use ring::{Fetch, Fetching, GAP, Ring, Waiting};
pub use set::{KeySet, MOST_OCTETS as MOST_OCTETS_OF_SET};
pub use verifier::{Answer, Signed, Verified, Verifier};

/// The longest token that is looked at, in octets.
pub const MOST_OCTETS: usize = 8 * 1024;
