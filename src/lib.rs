//! Portunus.
pub mod cli;
pub mod config;
pub mod h2;
pub mod wire;
