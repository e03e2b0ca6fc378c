//! Bytes in: listeners, and the connections that they accept. Hands calls to [`call`](crate::call).
//!
//! One socket a listener, without SO_REUSEPORT: with it a second process could bind the same port and take a share of the
//! connections. What is accepted is dealt to the worker with the fewest open connections.

mod conn;
mod entry;
mod listener;
mod peers;
mod preface;
pub mod proxy_protocol;
mod secure;

pub use conn::{Accepted, Arrival, drive, serve};
pub use listener::{Deal, Gate, adopt, bind, run};
pub use secure::identity_of;
