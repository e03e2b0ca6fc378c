//! Calls: here only the registrar, until the rest is merged.
pub mod register;
