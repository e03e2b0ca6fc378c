//! THE list of filters: one line a filter. And [`Chain`], their order on a route.
//!
//! Knows filters by their contract only: what they do is in `filters/`.

mod chain;

pub use chain::{Answered, BEFORE_ANYBODY, Chain, EACH_TRY, EARLY, Followers, JUDGING, LATE, Seen, Waiting};

use filter_api::Known;

/// Every filter that a configuration can name.
pub const ALL: &[Known] = &[
    Known::of::<filter_audit::Audit>(),
    Known::of::<filter_authz::Authz>(),
    Known::of::<filter_jwt::Jwt>(),
    Known::of::<filter_limits::Limits>(),
    Known::of::<filter_metadata::Metadata>(),
    Known::of::<filter_peer::Peer>(),
    Known::of::<filter_rate_limit::RateLimit>(),
    Known::of::<filter_redact::Redact>(),
    Known::of::<filter_validate::Validate>(),
];
