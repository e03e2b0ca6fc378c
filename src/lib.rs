//! Portunus.
pub mod h2;
pub mod wire;
