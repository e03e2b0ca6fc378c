//! Whole-proxy tests: a proxy in this process, backends and raw HTTP/2 peers around it, all on loopback and on ports that
//! the system chooses. One binary, so that it links once. Names that start with `tNN` answer a trap of FIELD.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::large_futures,
    reason = "all of this is tests and their helpers, which fail by panicking"
)]

mod harness;

mod accounting;
mod admin;
mod again;
mod agents;
mod anew;
mod audit;
mod authz;
mod bad_input;
mod balancing;
mod cancel;
mod deadlines;
mod ends;
mod expressions;
mod first;
mod flow;
mod forms;
mod heads;
mod health;
mod held;
mod held_answers;
mod hostile;
mod jwt;
mod keys;
mod listener;
mod memory;
mod online;
mod openssl;
mod origin;
mod passing;
mod policies;
mod rate_limit;
mod registrar;
mod relayed;
mod reload;
mod retries;
mod rollout;
mod routing;
mod schemas;
mod serve;
mod served;
mod state;
mod stopping;
mod systems;
mod tls;
mod trial;
mod upgrade;
mod upstream_tls;
mod validate;
mod watch;
mod withdrawn;
