//! The limits filter: bounds messages, duration and silence of a call.
