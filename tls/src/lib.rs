//! TLS for both ends of a connection: certificates and keys from files, whom a peer is trusted to be, and streams.
//!
//! Knows no proxy, no configuration and no call: whoever builds a [`Server`] or a [`Client`] says which files, and gets what is wrong with
//! them in words. rustls, on aws-lc-rs, does the protocol; nobody else names it. What this crate adds is what must not go wrong:
//!
//! - **What is half is refused**: a key that is not the certificate's, a chain out of order, a date that has passed, a CA file without a CA.
//! - **Trust ends when it ends.** rustls verifies nobody whose session is resumed. So where certificates of clients are asked for, no
//!   session is ever resumed ([`Server`]); and a connection that is open can be judged again at any time, by whatever is in force then
//!   ([`Server::judge`]).
//! - **A peer has one identity** ([`Identity`]), in words that cannot be read in two ways.

mod certificate;
mod client;
mod identity;
mod name;
mod pem;
mod provider;
mod server;
mod spiffe;
mod stream;
mod trust;

pub use certificate::Certificate;
pub use client::{Client, Expected};
pub use identity::{Identity, Unfit};
pub use pem::Unusable;
pub use server::{Peer, Server, Session};
pub use spiffe::is_spiffe_id;
pub use stream::{Refused, Stream};
pub use trust::{Asks, Standing, Trust};

#[cfg(test)]
mod tests;
