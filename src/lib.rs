//! Portunus.

pub mod admin;
pub mod app;
pub mod balance;
pub mod call;
pub mod cli;
pub mod config;
pub mod edge;
pub mod filters;
pub mod h2;
pub mod observe;
pub mod registry;
pub mod route;
pub mod upstream;
pub mod wire;
