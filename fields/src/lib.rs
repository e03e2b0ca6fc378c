//! Heads and trailers as one list: names and values as slices of one buffer, in the order in which they came.
//!
//! Routing, filters and the splice read heads through this type and nothing else; `http::HeaderMap` stays in the
//! adaptors at the rim. It knows no connection, no call and no protocol beyond the form of a field (RFC 9110 §5).

mod head;
mod list;

pub use head::{HeadMark, Method, RequestHead, ResponseHead};
pub use list::{Fields, Iter, is_name, is_value};
