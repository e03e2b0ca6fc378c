//! The life of one call, from its head to its end. **Read this first**, then the files in the order of the request path:
//!
//! 1. `turn` takes what came over a connection, one event at a time, and says which call it is for.
//! 2. `begin` reads a request's head and has `plan` decide: route, filters, agent.
//! 3. `forward` picks an instance (`seek`), finds a place on a connection to it (`dial` opens more), and sends the head.
//! 4. `splice` joins the two streams: octets and trailers of one go into the other's output within the same turn. Where somebody reads
//!    what is in messages, `hold` has each pass before it goes on; `first` waits for one that decides where the call goes.
//! 5. `ends` ends calls: complete, refused, left by their caller, or out of time; `again` those that another snapshot does not let in.
//!
//! Decisions are plain code, async where filters may take their time; the moving of octets is not. Both ends of a call live on one
//! [`Worker`], whose connections (`link`) and calls (`passage`) know each other by key. Knows sockets only as something to read from
//! and to write to.

mod again;
mod away;
mod begin;
mod budget;
mod context;
mod dial;
mod download;
mod ends;
mod first;
mod forward;
mod gather;
mod head;
mod hold;
mod judge;
mod ledger;
mod link;
mod passage;
mod plan;
mod registrar;
mod seek;
mod splice;
mod standing;
mod stop;
mod turn;
mod upload;
mod visitors;
mod warrant;
mod worker;

pub mod register;

pub use crate::wire::HopId;
pub use budget::Budget;
pub use context::{Call, CallPath, Certified, End, Origin, Shared, Tally};
pub use link::{Attached, close};
pub use visitors::{Visitor, Visitors};
pub use worker::{Holds, Worker};
