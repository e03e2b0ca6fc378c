//! What Portunus calls by itself, until the rest is merged.
pub mod core;
pub mod probe;
pub mod side;
