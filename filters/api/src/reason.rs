//! Why the proxy refused or ended a call: one word from a fixed list.

/// The word that stands in `ErrorInfo.reason`, in the metric label, in the log field and as the anchor in docs/errors.
///
/// A word, once given, is part of the contract with users: dashboards and alerts match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// Two sources name different agents.
    AgentConflict,
    /// Nobody named an agent, and there is more than one.
    AgentUnnamed,
    /// Two agents share the name that was asked for.
    AgentAmbiguous,
    /// Nobody registered this agent.
    AgentUnknown,
    /// The call could not be written to the audit log.
    Audit,
    /// The caller went away.
    Cancelled,
    /// The certificate of the caller is revoked, or not trusted (any more).
    Certificate,
    /// A method that takes one request message got none, or more.
    Cardinality,
    /// No connection to an instance could be made.
    ConnectFailed,
    /// Time ran out.
    Deadline,
    /// A rule says no, or an expression that had to say yes failed.
    Denied,
    /// The proxy is shutting down.
    Draining,
    /// A message must be read, and its compression is none that the proxy knows.
    Encoding,
    /// A filter did what filters may not.
    Filter,
    /// Where the call comes from cannot be read, and a trusted proxy says it.
    Forwarded,
    /// A message or the call's framing is broken.
    Framing,
    /// No message in either direction for too long.
    Idle,
    /// The call has come back to a proxy that it went through.
    Loop,
    /// A message is larger than allowed.
    MessageTooLarge,
    /// More messages than allowed.
    TooManyMessages,
    /// The cluster has no instance that can take the call.
    NoInstance,
    /// No route matches.
    NoRoute,
    /// Too much at once.
    Overloaded,
    /// The identity of the caller's certificate is none that may call.
    Peer,
    /// Not a gRPC request.
    Protocol,
    /// A connection has no PROXY header where it must have one, one that is none, or one that it may not have.
    ProxyHeader,
    /// More calls than the rate allows.
    RateLimited,
    /// Whether a route takes the call cannot be told.
    RouteUndecided,
    /// A message does not fit its type, or the rules for it.
    Schema,
    /// A policy reads a message, and what it is made of is not known yet.
    SchemaUnavailable,
    /// A connection is from an address that is not admitted.
    Source,
    /// The registrar refused, because another owner holds the agent.
    Owner,
    /// There is no token.
    TokenMissing,
    /// The token is none that can be read.
    TokenMalformed,
    /// The token is of a type that is not taken.
    TokenType,
    /// The token is signed with an algorithm that is not allowed.
    TokenAlgorithm,
    /// The token is from nobody who may sign one.
    TokenIssuer,
    /// The token's issuer has no such key.
    TokenKey,
    /// The token's signature does not fit.
    TokenSignature,
    /// The token's time is over.
    TokenExpired,
    /// The token's time has not come.
    TokenEarly,
    /// A claim that the token must have is not there, or not of its kind.
    TokenClaim,
    /// The token is for somebody else.
    Audience,
    /// A claim that an instance is to be told cannot be metadata.
    ClaimUnfit,
    /// The keys of the token's issuer were never obtained.
    KeysUnavailable,
    /// The upstream answered without a gRPC status.
    UpstreamHttp,
    /// The upstream ended the call before it was complete.
    UpstreamReset,
}

impl Reason {
    /// Every reason, for documentation and for the test that each is documented.
    pub const ALL: &[Self] = &[
        Self::AgentConflict,
        Self::AgentUnnamed,
        Self::AgentAmbiguous,
        Self::AgentUnknown,
        Self::Audit,
        Self::Cancelled,
        Self::Cardinality,
        Self::Certificate,
        Self::ConnectFailed,
        Self::Deadline,
        Self::Denied,
        Self::Draining,
        Self::Encoding,
        Self::Filter,
        Self::Forwarded,
        Self::Framing,
        Self::Idle,
        Self::Loop,
        Self::MessageTooLarge,
        Self::TooManyMessages,
        Self::NoInstance,
        Self::NoRoute,
        Self::Overloaded,
        Self::Peer,
        Self::Protocol,
        Self::Owner,
        Self::ProxyHeader,
        Self::RateLimited,
        Self::RouteUndecided,
        Self::Schema,
        Self::SchemaUnavailable,
        Self::Source,
        Self::TokenMissing,
        Self::TokenMalformed,
        Self::TokenType,
        Self::TokenAlgorithm,
        Self::TokenIssuer,
        Self::TokenKey,
        Self::TokenSignature,
        Self::TokenExpired,
        Self::TokenEarly,
        Self::TokenClaim,
        Self::Audience,
        Self::ClaimUnfit,
        Self::KeysUnavailable,
        Self::UpstreamHttp,
        Self::UpstreamReset,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentConflict => "agent_conflict",
            Self::AgentUnnamed => "agent_unnamed",
            Self::AgentAmbiguous => "agent_ambiguous",
            Self::AgentUnknown => "agent_unknown",
            Self::Audit => "audit",
            Self::Cancelled => "cancelled",
            Self::Cardinality => "cardinality",
            Self::Certificate => "certificate",
            Self::ConnectFailed => "connect_failed",
            Self::Deadline => "deadline",
            Self::Denied => "denied",
            Self::Draining => "draining",
            Self::Encoding => "encoding",
            Self::Filter => "filter",
            Self::Forwarded => "forwarded",
            Self::Framing => "framing",
            Self::Idle => "idle",
            Self::Loop => "loop",
            Self::MessageTooLarge => "message_too_large",
            Self::TooManyMessages => "too_many_messages",
            Self::NoInstance => "no_instance",
            Self::NoRoute => "no_route",
            Self::Overloaded => "overloaded",
            Self::Peer => "peer",
            Self::Protocol => "protocol",
            Self::Owner => "owner",
            Self::ProxyHeader => "proxy_header",
            Self::RateLimited => "rate_limited",
            Self::RouteUndecided => "route_undecided",
            Self::Schema => "schema",
            Self::SchemaUnavailable => "schema_unavailable",
            Self::Source => "source",
            Self::TokenMissing => "token_missing",
            Self::TokenMalformed => "token_malformed",
            Self::TokenType => "token_type",
            Self::TokenAlgorithm => "token_algorithm",
            Self::TokenIssuer => "token_issuer",
            Self::TokenKey => "token_key",
            Self::TokenSignature => "token_signature",
            Self::TokenExpired => "token_expired",
            Self::TokenEarly => "token_early",
            Self::TokenClaim => "token_claim",
            Self::Audience => "audience",
            Self::ClaimUnfit => "claim_unfit",
            Self::KeysUnavailable => "keys_unavailable",
            Self::UpstreamHttp => "upstream_http",
            Self::UpstreamReset => "upstream_reset",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn words_are_distinct_and_lower_case() {
        let words: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        assert!(words.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
