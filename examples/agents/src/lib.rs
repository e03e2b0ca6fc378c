//! Sample backends of the four systems, and our own Echo: real behaviour over memory, repeatable with a seed and a
//! logical clock. Tests and the demo embed them (`start(Options)` on the running tokio runtime, then `address()`,
//! `handle()`, `shutdown()`, `kill()`); the binary has a subcommand each. Knows nothing of the proxy.

mod backend;
pub mod bindu;
mod brain;
mod clock;
pub mod core;
pub mod echo;
mod front;
mod handle;
pub mod openastra;
mod options;
pub mod seal;
mod seed;
mod server;
pub mod shannon;
mod stream;

pub use clock::Clock;
pub use handle::{Behaviour, Calls, Cancellation, Handle};
pub use options::Options;
pub use seed::random as random_seed;
