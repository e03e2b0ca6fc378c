//! Why a token does not pass. The words go to whoever sent it: they hold nothing of the token, and nothing of a key.

/// Why a token does not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is longer than [`MOST_OCTETS`](crate::MOST_OCTETS).
    #[error("the token is longer than 8 KiB: ask its issuer for one with fewer claims")]
    TooLarge,
    /// It is no token in the compact form.
    #[error("the token cannot be read: {0}")]
    Malformed(&'static str),
    /// Its header asks for something that must be understood, and is not.
    #[error(
        "the token's header asks for extensions (`crit`, `b64`), of which none is supported: ask for a token without them"
    )]
    Critical,
    /// Its `alg` is none that its issuer, or its key, may use.
    #[error("the token is signed with an algorithm that is not allowed here: ask its issuer for another")]
    Algorithm,
    /// Its `typ` is none that is taken here, such as that of a logout token.
    #[error("the token is of another type (`typ`) than those that are taken here: send an access token")]
    Type,
    /// Nobody who may sign tokens here is its `iss`.
    #[error("the token's issuer (`iss`) is none that is trusted here: get one from another issuer")]
    Issuer,
    /// Its issuer has no such key.
    #[error("the token's key (`kid`) is none of its issuer's: get a new token")]
    UnknownKey,
    /// The signature is not that of the key over this token.
    #[error("the token's signature does not fit: get a new token")]
    Signature,
    /// Its time is over.
    #[error("the token has expired: get a new one")]
    Expired,
    /// Its time has not come: `nbf` or `iat` is ahead.
    #[error("the token is not valid yet (`nbf` or `iat` is ahead): look at the clocks of both machines")]
    Early,
    /// A claim that is needed is not there, or not of its kind.
    #[error("the token's claim `{0}` is not there, or not of the kind that it must be: get another token")]
    Claim(String),
    /// It is for somebody else.
    #[error("the token is for another audience (`aud`): get one that is for this service")]
    Audience,
    /// There is no key of its issuer yet.
    #[error("the keys of the token's issuer could not be fetched yet: try again a little later")]
    KeysUnavailable,
}
