//! The compact form (RFC 7515 §3.1): three parts in base64url with dots between them, and what of the header is looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::{Algorithm, MOST_OCTETS, Rejection, json};

/// A token that can be read. Nothing of it is believed yet.
#[derive(Debug)]
pub(crate) struct Token<'t> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
    pub(crate) claims: Map<String, Value>,
    /// What is signed: header and claims as they came.
    pub(crate) signed: &'t [u8],
    pub(crate) signature: Vec<u8>,
}

/// Reads a token.
pub(crate) fn read(token: &[u8]) -> Result<Token<'_>, Rejection> {
    if token.len() > MOST_OCTETS {
        return Err(Rejection::TooLarge);
    }
    let dot = |octet: &u8| *octet == b'.';
    let mut parts = token.split(dot);
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Rejection::Malformed("it does not have three parts with dots between them"));
    };
    let header_of = Header::read(header)?;
    let claims = decode(claims, "its claims are no base64url without padding")?;
    let claims =
        json::object(&claims).ok_or(Rejection::Malformed("its claims are no JSON object with each name once"))?;
    let signed = token.get(..token.len() - signature.len() - 1).unwrap_or_default();
    let signature = decode(signature, "its signature is no base64url without padding")?;
    let Header { algorithm, kid, typ } = header_of;
    Ok(Token { algorithm, kid, typ, claims, signed, signature })
}

/// What of a header is looked at. `jwk`, `jku`, `x5u` and `x5c` are not: a token does not say by what it is to be believed.
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
}

impl Header {
    fn read(part: &[u8]) -> Result<Self, Rejection> {
        let octets = decode(part, "its header is no base64url without padding")?;
        let mut header =
            json::object(&octets).ok_or(Rejection::Malformed("its header is no JSON object with each name once"))?;
        let algorithm = match header.remove("alg") {
            Some(Value::String(name)) => Algorithm::named(&name).ok_or(Rejection::Algorithm)?,
            _ => return Err(Rejection::Malformed("its header has no text under `alg`")),
        };
        // Nothing that can stand in `crit` is understood here, and an empty one is forbidden (RFC 7515 §4.1.11). `b64: false` would
        // mean that something else is signed than what is read (RFC 7797).
        if header.contains_key("crit") || header.get("b64").is_some_and(|b64| *b64 != Value::Bool(true)) {
            return Err(Rejection::Critical);
        }
        let kid = text(header.remove("kid"), "its header has something else than text under `kid`")?;
        let typ = text(header.remove("typ"), "its header has something else than text under `typ`")?;
        Ok(Self { algorithm, kid, typ })
    }
}

fn text(value: Option<Value>, otherwise: &'static str) -> Result<Option<String>, Rejection> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Rejection::Malformed(otherwise)),
    }
}

/// Refuses padding, blanks, the other alphabet, and bits behind the end: a token has one spelling only.
fn decode(part: &[u8], otherwise: &'static str) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejection::Malformed(otherwise))
}
