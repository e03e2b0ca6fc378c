//! Portunus.
