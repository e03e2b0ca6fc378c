//! Answers of the admin server: a status, a body, and the headers that every answer carries.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// An answer, ready to be written.
pub(super) type Reply = Response<Full<Bytes>>;

/// A JSON answer, indented: people read it with curl.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            with_type(status, HeaderValue::from_static("application/json"), body)
        }
        Err(error) => {
            // Only a map with keys that are no text can fail, and no view holds one.
            tracing::error!(%error, "an admin answer could not be written as JSON; this is a bug");
            let body = b"{\"error\": \"this answer could not be written as JSON; Portunus' log says more\"}\n".to_vec();
            with_type(StatusCode::INTERNAL_SERVER_ERROR, HeaderValue::from_static("application/json"), body)
        }
    }
}

/// An answer of another type.
pub(super) fn with_type(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    // No CORS headers, ever: no page of another origin has anything to read here. `nosniff` keeps a browser from taking
    // JSON with a caller's text in it for a page; `no-store` keeps owners and addresses out of caches. The rest keeps answers out of
    // other pages, as a frame, a script or an image of theirs, and out of the reach of a page that opened one in a window.
    let headers: [(HeaderName, HeaderValue); 8] = [
        (CONTENT_TYPE, content_type),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    reply.headers_mut().extend(headers);
    reply
}

/// A request that is turned away: the status, and what to do instead.
#[derive(Debug)]
pub(super) struct Refused(pub(super) StatusCode, pub(super) &'static str);

/// A refusal: what is wrong and what to do. 401 must say by what one is known (RFC 9110 section 15.5.2).
pub(super) fn refuse(status: StatusCode, error: &str) -> Reply {
    let mut reply = json(status, &serde_json::json!({ "error": error }));
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer realm=\"portunus admin\"");
        reply.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    reply
}

/// 405, which must say what would be allowed (RFC 9110 section 15.5.6).
pub(super) fn wrong_method(path: &str, allowed: &str) -> Reply {
    let mut reply = refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("{path} answers {allowed} only"));
    if let Ok(value) = HeaderValue::from_str(allowed) {
        reply.headers_mut().insert(ALLOW, value);
    }
    reply
}

/// 404 with everything that there is.
pub(super) fn not_found<'a>(endpoints: impl Iterator<Item = &'a str>) -> Reply {
    let endpoints: Vec<&str> = endpoints.collect();
    let value = serde_json::json!({ "error": "there is no such endpoint", "endpoints": endpoints });
    json(StatusCode::NOT_FOUND, &value)
}
