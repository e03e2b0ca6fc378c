//! HTTP/2 on both sides of the proxy, behind types of our own. Knows no call, no route, no configuration.
//!
//! In this release the crate `h2` does the work and `http` types stay in this folder. `edge` and `upstream` see heads as
//! [`fields`] lists, bytes, credit and a few kinds of error; an engine of our own can take this place without them
//! noticing.

mod client;
mod deferred;
mod heads;
mod held;
mod server;
mod stream;

pub use client::{ClientConnection, ClientSettings, Response, connect};
pub use deferred::Deferred;
pub use server::{Inbound, Reply, ServerConnection, ServerSettings, accept};
pub use stream::{ErrorCode, Receiver, Sender, StreamError};
