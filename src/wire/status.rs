//! Statuses on the wire: refusals of ours as trailers, and what other kinds of ends mean in gRPC.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use fields::{Fields, ResponseHead};
use filter_api::{Code, Detail, Reason, Refusal};
use prost::Message as _;
use tonic_types::pb;

use super::compress::ACCEPTED;

/// The trailers that tell a caller of a refusal.
pub fn refusal_trailers(refusal: &Refusal) -> Fields {
    let mut trailers = Fields::with_capacity(4, 256);
    trailers.push("grpc-status", refusal.code.digits().as_bytes());
    trailers.push("grpc-message", percent_encode(&refusal.message).as_bytes());
    trailers.push("grpc-status-details-bin", STANDARD_NO_PAD.encode(details(refusal)).as_bytes());
    if refusal.reason == Reason::Encoding {
        // So that the caller can send it again in a way that is read (gRPC, "Compression").
        trailers.push("grpc-accept-encoding", ACCEPTED.as_bytes());
    }
    if let Some(challenge) = challenge(refusal) {
        trailers.push("www-authenticate", challenge.as_bytes());
    }
    for detail in &refusal.details {
        if let Detail::RetryAfter(wait) = detail {
            // gRFC A6: grpc clients wait this long before they try again by themselves.
            trailers.push("grpc-retry-pushback-ms", wait.as_millis().to_string().as_bytes());
        }
    }
    trailers
}

/// How a caller shows who it is (RFC 6750 §3): who sent no token is told of no error, nor where it is the certificate that is at fault.
fn challenge(refusal: &Refusal) -> Option<&'static str> {
    match (refusal.code, refusal.reason) {
        (Code::Unauthenticated, Reason::TokenMissing | Reason::Certificate) => Some("Bearer"),
        (Code::Unauthenticated, _) => Some("Bearer error=\"invalid_token\""),
        _ => None,
    }
}

/// A whole answer without messages ("Trailers-Only") from the status fields.
pub fn trailers_only(http: u16, trailers: &Fields) -> ResponseHead {
    let mut fields = Fields::with_capacity(trailers.len() + 1, trailers.size() + 48);
    fields.push("content-type", b"application/grpc");
    for (name, value) in trailers {
        fields.push(name, value);
    }
    ResponseHead { status: http, fields }
}

/// The status of an answer that carries none, by its HTTP status
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
pub fn code_of_http(status: u16) -> Code {
    match status {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// The status of a stream that was reset with an HTTP/2 error code (gRPC over HTTP/2, "Errors").
pub fn status_of_reset(http2_code: u32) -> Code {
    match http2_code {
        7 => Code::Unavailable,
        8 => Code::Cancelled,
        11 => Code::ResourceExhausted,
        12 => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

/// `grpc-message`: everything outside printable ASCII, and `%`, as `%XX` of its UTF-8 bytes.
fn percent_encode(message: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    text
}

/// The status that a head or trailers carry, and its message as people read it.
pub fn status_of(fields: &Fields) -> Option<(Code, String)> {
    let code = Code::parse(fields.get("grpc-status")?).unwrap_or(Code::Unknown);
    Some((code, fields.get("grpc-message").map(percent_decode).unwrap_or_default()))
}

/// As lenient as the specification asks: what is no `%XX` stays as it is.
fn percent_decode(message: &[u8]) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(message.len()), message);
    while let Some((first, others)) = rest.split_first() {
        let hex = others.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.filter(|hex| !hex.starts_with('+')).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { others.get(2..).unwrap_or_default() } else { others };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `google.rpc.Status` with an `ErrorInfo` that names the reason, and what else there is for machines.
fn details(refusal: &Refusal) -> Vec<u8> {
    let info = pb::ErrorInfo {
        reason: refusal.reason.as_str().to_owned(),
        domain: "portunus".to_owned(),
        ..Default::default()
    };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    let mut violations = Vec::new();
    for detail in &refusal.details {
        match detail {
            Detail::RetryAfter(wait) => {
                let info = pb::RetryInfo { retry_delay: prost_types::Duration::try_from(*wait).ok() };
                details.push(any("google.rpc.RetryInfo", &info));
            }
            Detail::BadField { field, description } => violations.push(pb::bad_request::FieldViolation {
                field: field.clone(),
                description: description.clone(),
                ..Default::default()
            }),
        }
    }
    if !violations.is_empty() {
        details.push(any("google.rpc.BadRequest", &pb::BadRequest { field_violations: violations }));
    }
    let status = pb::Status { code: i32::from(refusal.code.number()), message: refusal.message.clone(), details };
    status.encode_to_vec()
}

fn any(name: &str, message: &impl prost::Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use fields::Fields;
    use filter_api::{Code, Detail, Reason, Refusal};
    use prost::Message as _;
    use tonic_types::pb;

    use super::{percent_decode, percent_encode, refusal_trailers, status_of, trailers_only};

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encode("a b~"), "a b~");
        assert_eq!(percent_encode("100% é\n"), "100%25 %C3%A9%0A");
    }

    #[test]
    fn messages_are_read_as_they_were_meant() {
        for message in ["a b~", "100% é\n", "%", "%zz", "%+1", "%4", "日本"] {
            assert_eq!(percent_decode(percent_encode(message).as_bytes()), message);
            assert_eq!(percent_decode(message.as_bytes()), message, "as it stands");
        }
        let mut trailers = Fields::default();
        assert_eq!(status_of(&trailers), None);
        trailers.push("grpc-status", b"14");
        trailers.push("grpc-message", b"b%C3%BCsy%FF");
        assert_eq!(status_of(&trailers), Some((Code::Unavailable, "büsy\u{fffd}".to_owned())));
        trailers.set("grpc-status", b"x");
        assert_eq!(status_of(&trailers).unwrap().0, Code::Unknown);
    }

    #[test]
    fn a_refusal_tells_people_and_machines() {
        let refusal = Refusal::new(Code::ResourceExhausted, Reason::Overloaded, "too many calls: come back later")
            .with(Detail::RetryAfter(Duration::from_millis(1_500)))
            .with(Detail::BadField { field: "a.b".into(), description: "is bad".into() });
        let trailers = refusal_trailers(&refusal);
        assert_eq!(trailers.get_str("grpc-status"), Some("8"));
        assert_eq!(trailers.get_str("grpc-retry-pushback-ms"), Some("1500"));
        let bytes = base64::engine::general_purpose::STANDARD_NO_PAD
            .decode(trailers.get("grpc-status-details-bin").unwrap())
            .unwrap();
        let status = pb::Status::decode(&bytes[..]).unwrap();
        assert_eq!((status.code, status.message.as_str()), (8, "too many calls: come back later"));
        let urls: Vec<_> = status.details.iter().map(|any| any.type_url.rsplit('.').next().unwrap()).collect();
        assert_eq!(urls, ["ErrorInfo", "RetryInfo", "BadRequest"]);
        let info = pb::ErrorInfo::decode(&status.details[0].value[..]).unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("overloaded", "portunus"));
    }

    #[test]
    fn trailers_only_is_a_grpc_answer() {
        let head = trailers_only(200, &refusal_trailers(&Refusal::new(Code::NotFound, Reason::AgentUnknown, "x")));
        assert_eq!((head.status, head.fields.get_str("content-type")), (200, Some("application/grpc")));
        assert_eq!(head.fields.get_str("grpc-status"), Some("5"));
    }
}
