//! The `audit` filter: who did what, on what, and how it ended, in append-only JSON lines that are chained, so that a change shows.
//!
//! ```yaml
//! filters:
//!   - audit: {file: audit.jsonl, fields: [tenant_id, workflow.name], key_file: keys/audit.key, sync: each}
//! ```
//!
//! `begin` is written before anything of the call goes on, and `end` with its outcome; where fields are chosen, `request` between them. A
//! file has one chain and one writer ([`Files`]); [`verify()`] finds what happened to one. docs/audit.md has the form of the lines.

mod event;
mod file;
mod files;
mod filter;
mod key;
mod line;
#[cfg(test)]
mod scratch;
mod trail;
mod verify;
mod walk;

pub use files::{Files, KEPT_AS};
pub use filter::{Audit, Config, OnFailure, Sync};
pub use key::Key;
pub use trail::Reading;
pub use verify::{Finding, Report, What, first_number, verify};
