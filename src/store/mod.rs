//! Where registries are kept across restarts (`state.dir`): one file, one thread that writes it, one process at a time. Knows what a
//! record looks like in the file and nothing of what it means.

mod file;
mod writer;

pub use self::file::{File, OpenError};
pub use self::writer::Store;
