//! Portunus.

pub mod admin;
pub mod observe;
