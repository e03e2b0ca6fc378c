//! Portunus.
pub mod call;
pub mod observe;
pub mod registry;
pub mod upstream;
