//! What a request is, from its head alone: which call of which protocol, or why it is none.

use std::time::Duration;

use fields::{Method, RequestHead};
use filter_api::{Code, Protocol, Reason, Refusal};

use super::parse_timeout;

/// A call, as its head asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What the caller speaks.
    pub protocol: Protocol,
    /// What the caller gives it to be done, from the head on.
    pub timeout: Option<Duration>,
}

/// Why a request is no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Answered with this HTTP status alone: the request is not well-formed, so no protocol is known to answer in.
    Bare(u16),
    /// Answered with this HTTP status and a gRPC status.
    Status(u16, Box<Refusal>),
}

/// Reads a head but for its path ([`method_of`]). Everything that is wrong with it is said here, before a route is chosen (DESIGN.md
/// §4).
pub fn classify(head: &RequestHead) -> Result<Asked, Rejected> {
    let told = Told::by(head).ok_or(Rejected::Bare(400))?;
    let refuse =
        |http, code, message: &str| Rejected::Status(http, Box::new(Refusal::new(code, Reason::Protocol, message)));
    if !told.content_type.is_some_and(is_grpc) {
        let message = "this listener speaks gRPC: send POST with content-type application/grpc over HTTP/2";
        return Err(refuse(415, Code::Unimplemented, message));
    }
    if head.method != Method::Post {
        return Err(refuse(405, Code::Unimplemented, "a gRPC call is a POST"));
    }
    let timeout = match told.timeout.map(parse_timeout) {
        None => None,
        Some(Some(timeout)) => Some(timeout),
        Some(None) => {
            let message = "grpc-timeout is 1 to 8 digits and a unit of H, M, S, m, u or n, for example 30S";
            return Err(refuse(200, Code::InvalidArgument, message));
        }
    };
    Ok(Asked { protocol: Protocol::Grpc, timeout })
}

/// Service and method of a call, by its path.
pub fn method_of(head: &RequestHead) -> Result<(&str, &str), Rejected> {
    split_path(head.path()).ok_or_else(|| {
        let message = "the path of a gRPC call is /package.Service/Method and nothing else";
        Rejected::Status(200, Box::new(Refusal::new(Code::Unimplemented, Reason::NoRoute, message)))
    })
}

/// The fields that say what a request is.
#[derive(Default)]
struct Told<'a> {
    content_type: Option<&'a [u8]>,
    timeout: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
}

impl<'a> Told<'a> {
    /// Looks for them; `None` for the forms that two readers could understand differently, which are refused without being
    /// understood at all.
    fn by(head: &'a RequestHead) -> Option<Self> {
        let mut told = Self::default();
        for (name, value, _) in head.fields.raw() {
            let place = match name {
                b"content-type" => &mut told.content_type,
                b"grpc-timeout" => &mut told.timeout,
                b"host" => &mut told.host,
                b"te" if !value.eq_ignore_ascii_case(b"trailers") => return None,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let authority = head.authority_bytes();
        // Userinfo would be read as one host here and as another upstream (RFC 9113 §8.3.1 forbids it).
        let odd = head.method == Method::Connect || authority.contains(&b'@');
        let another = |host: &[u8]| !authority.is_empty() && !host.eq_ignore_ascii_case(authority);
        (!odd && !told.host.is_some_and(another)).then_some(told)
    }
}

/// `application/grpc`, alone or with a codec (`+proto`) or parameters; `application/grpc-web` is something else.
fn is_grpc(content_type: &[u8]) -> bool {
    const BASE: &[u8] = b"application/grpc";
    let Some((base, rest)) = content_type.split_at_checked(BASE.len()) else { return false };
    base.eq_ignore_ascii_case(BASE) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// Service and method of a path that is exactly `/service/method`.
fn split_path(path: &str) -> Option<(&str, &str)> {
    let names = path.strip_prefix('/')?;
    let slash = names.bytes().position(|b| b == b'/')?;
    let (service, method) = (names.get(..slash)?, names.get(slash + 1..)?);
    (is_identifier(service) && is_identifier(method)).then_some((service, method))
}

/// `[A-Za-z_][A-Za-z0-9_.]*`: what protobuf's names can be, with dots.
fn is_identifier(name: &str) -> bool {
    name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && name.bytes().all(|b| IDENTIFIER[usize::from(b)])
}

const IDENTIFIER: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'_' | b'.');
        byte += 1;
    }
    table
};

/// The host of an authority as routes match it: without port and trailing dot. Case is the matcher's.
pub fn authority_host(authority: &str) -> &str {
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.bytes().rposition(|b| b == b':').and_then(|at| authority.get(..at)).unwrap_or(authority),
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fields::{Method, RequestHead};
    use filter_api::Code;

    use super::{Rejected, authority_host, classify, method_of};

    fn head(method: Method, path: &str, fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::new(method, path, "host:1", (4, 64));
        for (name, value) in fields {
            head.fields.push(name, value.as_bytes());
        }
        head
    }

    const GRPC: (&str, &str) = ("content-type", "application/grpc");

    #[test]
    fn a_call_is_read() {
        let head =
            head(Method::Post, "/a.b.C/D", &[GRPC, ("te", "trailers"), ("grpc-timeout", "5S"), ("host", "HOST:1")]);
        assert_eq!(classify(&head).unwrap().timeout, Some(Duration::from_secs(5)));
        assert_eq!(method_of(&head), Ok(("a.b.C", "D")));
    }

    #[test]
    fn forms_with_two_readings_end_with_400() {
        for fields in [
            &[GRPC, ("te", "gzip")][..],
            &[GRPC, GRPC],
            &[GRPC, ("grpc-timeout", "1S"), ("grpc-timeout", "2S")],
            &[GRPC, ("host", "other")],
            &[GRPC, ("host", "host:1"), ("host", "host:1")],
        ] {
            assert_eq!(classify(&head(Method::Post, "/a.B/C", fields)), Err(Rejected::Bare(400)), "{fields:?}");
        }
        assert_eq!(classify(&head(Method::Connect, "", &[GRPC])), Err(Rejected::Bare(400)));
    }

    #[test]
    fn paths_have_one_form() {
        for path in [
            "", "/", "*", "/a", "/a/", "//b", "/a/b/", "/a/b/c", "/a/b?q=1", "/a%2eb/c", "/../a/b", "/1a/b", "/a/b#x",
            "/a b/c", "a/b", "/.a/b", "/a/-b", "/a;x/b", "/é/b",
        ] {
            let Err(Rejected::Status(200, refusal)) = method_of(&head(Method::Post, path, &[GRPC])) else {
                panic!("{path} passed")
            };
            assert_eq!(refusal.code, Code::Unimplemented);
        }
        assert!(method_of(&head(Method::Post, "/_a.b_1/C_d.e", &[GRPC])).is_ok());
    }

    #[test]
    fn what_is_no_grpc_is_told_so() {
        let status = |result: Result<_, Rejected>| match result {
            Err(Rejected::Status(http, _)) => http,
            other => panic!("{other:?}"),
        };
        for bad in ["application/json", "application/grpc-web", "application/grpcx", "text/plain", "application/grp"] {
            assert_eq!(
                status(classify(&head(Method::Post, "/a.B/C", &[("content-type", bad)])).map(|_| ())),
                415,
                "{bad}"
            );
        }
        for good in ["application/grpc", "application/grpc+proto", "Application/gRPC", "application/grpc; x=y"] {
            assert!(classify(&head(Method::Post, "/a.B/C", &[("content-type", good)])).is_ok(), "{good}");
        }
        assert_eq!(status(classify(&head(Method::Other, "/a.B/C", &[GRPC])).map(|_| ())), 405);
        assert_eq!(status(classify(&head(Method::Post, "/a.B/C", &[GRPC, ("grpc-timeout", "soon")])).map(|_| ())), 200);
    }

    #[test]
    fn hosts_lose_port_and_dot() {
        for (authority, host) in
            [("a.b:1", "a.b"), ("a.b.", "a.b"), ("a.b.:80", "a.b"), ("[::1]:5", "::1"), ("a", "a"), ("", "")]
        {
            assert_eq!(authority_host(authority), host);
        }
    }
}
