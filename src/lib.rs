//! Portunus.

pub mod admin;
pub mod balance;
pub mod h2;
pub mod observe;
pub mod registry;
pub mod route;
pub mod upstream;
pub mod wire;
