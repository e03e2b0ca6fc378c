//! Between `http`'s types and our lists. The only place, with its neighbours, where `http` is known on the data path.

use bytes::Bytes;
use fields::{Fields, Method, RequestHead, ResponseHead};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The head of a request that a caller sent.
pub(super) fn request_in(parts: &http::request::Parts) -> RequestHead {
    let method = match parts.method {
        http::Method::POST => Method::Post,
        http::Method::CONNECT => Method::Connect,
        _ => Method::Other,
    };
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let authority = parts.uri.authority().map_or("", Authority::as_str);
    let mut head = RequestHead::new(method, path, authority, room(&parts.headers));
    copy_in(&parts.headers, &mut head.fields);
    head
}

/// The head of a response that an upstream sent.
pub(super) fn response_in(parts: &http::response::Parts) -> ResponseHead {
    ResponseHead { status: parts.status.as_u16(), fields: list_in(&parts.headers) }
}

/// A list of fields that came.
pub(super) fn list_in(map: &HeaderMap) -> Fields {
    let (fields, bytes) = room(map);
    let mut list = Fields::with_capacity(fields, bytes);
    copy_in(map, &mut list);
    list
}

/// A request to send upstream. `None` where path or authority cannot stand in a URI.
pub(super) fn request_out(head: RequestHead) -> Option<http::Request<()>> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(Authority::try_from(head.authority()).ok()?);
    uri.path_and_query = Some(PathAndQuery::try_from(head.path()).ok()?);
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_parts(uri).ok()?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = map_out(head.fields);
    Some(request)
}

/// A response to send to a caller.
pub(super) fn response_out(head: ResponseHead) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(head.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    *response.headers_mut() = map_out(head.fields);
    response
}

/// A list of fields to send. Values become slices of one shared buffer.
///
/// A field that HTTP/2 cannot carry is left out: such a one cannot have come over HTTP/2, and filters check what they set.
pub(super) fn map_out(fields: Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    let (buffer, ranges) = fields.into_parts();
    let buffer = Bytes::from(buffer);
    for (name, value) in ranges {
        let Ok(name) = HeaderName::from_bytes(&buffer[name]) else { continue };
        let Ok(mut value) = HeaderValue::from_maybe_shared(buffer.slice(value)) else { continue };
        // Never indexed by HPACK: a token must not stay in the compression table of a shared connection (RFC 7541 §7.1).
        if name == http::header::AUTHORIZATION || name == http::header::COOKIE {
            value.set_sensitive(true);
        }
        map.append(name, value);
    }
    map
}

fn room(map: &HeaderMap) -> (usize, usize) {
    // Room for a few more fields, so that filters and the proxy's own edits do not move the list.
    let bytes: usize = map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (map.len() + 4, bytes + 96)
}

fn copy_in(map: &HeaderMap, list: &mut Fields) {
    for (name, value) in map {
        list.push(name.as_str(), value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use fields::{Fields, Method, RequestHead};

    use super::{list_in, map_out, request_out};

    #[test]
    fn lists_survive_the_round_trip() {
        let mut list = Fields::default();
        for (name, value) in [("x-a", &b"1"[..]), ("x-b-bin", b"AAEC"), ("x-a", b"2"), ("x-utf", "é".as_bytes())] {
            list.push(name, value);
        }
        let back = list_in(&map_out(list));
        assert_eq!(back.get_all("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(back.get("x-utf"), Some("é".as_bytes()));
        assert_eq!(back.len(), 4);
    }

    #[test]
    fn an_authority_that_is_none_is_refused() {
        assert!(request_out(RequestHead::new(Method::Post, "/a.B/C", "host:1", (0, 0))).is_some());
        assert!(request_out(RequestHead::new(Method::Post, "/a.B/C", "a b", (0, 0))).is_none());
    }

    #[test]
    fn tokens_are_never_indexed() {
        let mut list = Fields::default();
        list.push("authorization", b"Bearer x");
        assert!(map_out(list)["authorization"].is_sensitive());
    }
}
