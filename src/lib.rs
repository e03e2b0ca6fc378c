//! Portunus: a gRPC proxy in front of AI-agent backends.
//!
//! # The way of a call
//!
//! In the order in which a newcomer reads it; docs/request-path.md tells the same with every step.
//!
//! 1. [`edge::run`] accepts a connection and deals it to the worker with the fewest; [`edge::drive`] reads its calls.
//! 2. [`call`] is the life of one call. **Read it first.** A connection's turn ([`call::Attached`]) hands what came to the calls
//!    of its [`call::Worker`]. A call loads the [`Snapshot`](config::snapshot::Snapshot) once, so that it sees one version of the
//!    configuration.
//! 3. [`wire::classify()`] says which call it is, or why it is none; [`wire::strip_identity`] takes off what only the proxy
//!    may say.
//! 4. The listener's [`Chain`](filters::Chain) of early filters; then [`Router::candidates`](route::Router::candidates); then the
//!    route's.
//! 5. [`Registry::choose`](registry::Registry::choose) names the agent, in a cluster whose instances register. Then the
//!    late filters.
//! 6. [`balance::pick`] picks an instance, and a [`Lane`](upstream::Lane) a place on a connection of this worker's to it. Filters
//!    that transform see the head that goes out.
//! 7. From there on two streams are spliced: an [`Event`](h2::Event) of one [`Connection`](h2::Connection) is output of the other, and
//!    [`Scanner`](wire::Scanner) finds the messages in between.
//! 8. [`Call::finish`](call::Call::finish) counts the call, writes it down and tells the filters that followed it.
//!
//! A call to the registrar ends after step 5, in [`call::register`].
//!
//! # Around it
//!
//! [`cli`] has the commands, [`app`] assembles and runs what a configuration asks for, [`config`] reads and checks the file,
//! [`observe`] counts and logs, [`admin`] shows. Who may use whom is in docs/architecture.md, and `tests/layers.rs` checks it.

pub mod admin;
pub mod app;
pub mod balance;
pub mod call;
pub mod cli;
pub mod config;
pub mod edge;
pub mod expr;
pub mod filters;
pub mod h2;
pub mod in_force;
pub mod observe;
pub mod registry;
pub mod route;
pub mod schema;
pub mod serve;
pub mod store;
pub mod upstream;
pub mod validate;
pub mod watch;
pub mod wire;
