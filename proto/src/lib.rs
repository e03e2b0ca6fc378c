//! The contracts of the four systems, as Rust types.
