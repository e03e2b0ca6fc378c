//! Heads on their way through: what the proxy writes into a request, and what an answer's head says.

use fields::{RequestHead, ResponseHead};
use filter_api::{Code, Reason, Refusal};
use rand::Rng as _;
use tokio::time::Instant;

use super::context::{Call, RequestId};
use crate::wire::{HopId, code_of_http, format_timeout};

/// The longest name that a caller may give its call.
const LONGEST_ID: usize = 128;

/// Gives a call the names under which it is found again, before anything can end it: a line of the access log without one
/// could not be told from another.
pub(super) fn identify(call: &mut Call) {
    let head = &mut call.head;
    match head.fields.get_str("x-request-id").filter(|id| !id.is_empty() && id.len() <= LONGEST_ID) {
        Some(id) => call.request_id = RequestId::from_slice(id.as_bytes()),
        None => {
            call.request_id = hex(rand::rng().random());
            head.fields.set("x-request-id", &call.request_id);
        }
    }
    call.path.trace_id = head.fields.get_str("traceparent").and_then(trace_id).map(str::to_owned);
}

/// Takes off a request's head what ends at this hop, once for all tries.
pub(super) fn prepare(call: &mut Call, hop: &HopId) {
    let Call { head, info, forward, taken, .. } = call;
    let to_agent = forward.as_ref().is_some_and(|forward| forward.agent.is_some());
    head.fields.retain(|name, value| match name {
        b"te" | b"host" | b"grpc-timeout" | b"content-length" => false,
        // Ours takes the place of the second: by it the agent was named. Routes may go by either, also another time.
        b"x-portunus-agent" | b"x-forwarded-host" if to_agent => {
            taken.push_as_it_came(name, value, false);
            false
        }
        _ => true,
    });
    hop.sign(&mut head.fields);
    // Grpc servers refuse a call without it, and it is per hop (FIELD.md T15).
    head.fields.push("te", b"trailers");
    // What was matched is what is sent (DESIGN.md §4), also where a filter wrote another.
    let rest = head.path().strip_prefix('/').and_then(|path| path.strip_prefix(&*info.service));
    if rest.and_then(|rest| rest.strip_prefix('/')) != Some(&*info.method) {
        head.set_path(&format!("/{}/{}", info.service, info.method));
    }
}

/// Writes what depends on the moment and the instance, all of it at the end. `authority` is that of an agent's instance: the
/// caller's named the agent, and an SDK expects its own.
pub(super) fn complete(head: &mut RequestHead, deadline: Option<Instant>, authority: Option<&str>, now: Instant) {
    if let Some(deadline) = deadline {
        let left = deadline.saturating_duration_since(now);
        head.fields.push("grpc-timeout", format_timeout(left).as_bytes());
    }
    if let Some(authority) = authority {
        head.push_authority("x-forwarded-host");
        head.set_authority(authority);
    }
    if head.authority().is_empty() {
        head.set_authority("portunus.invalid");
    }
}

/// Whether an answer is none that gRPC knows; then what the caller is told.
pub(super) fn not_grpc(head: &ResponseHead) -> Option<Box<Refusal>> {
    let grpc = head.fields.get("content-type").is_some_and(|value| value.starts_with(b"application/grpc"));
    if head.fields.contains("grpc-status") || (head.status == 200 && grpc) {
        return None;
    }
    let message =
        format!("the instance answered with HTTP status {} and no gRPC status: is it a gRPC server?", head.status);
    Some(Box::new(Refusal::new(code_of_http(head.status), Reason::UpstreamHttp, message)))
}

/// What a caller is told where messages came and no status.
pub(super) fn no_status() -> Box<Refusal> {
    let message = "the instance ended the call without a gRPC status";
    Box::new(Refusal::new(Code::Unknown, Reason::UpstreamHttp, message))
}

/// A number in 32 hexadecimal digits.
fn hex(number: u128) -> RequestId {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut id = [0; 32];
    for (pair, octet) in id.as_chunks_mut::<2>().0.iter_mut().zip(number.to_be_bytes()) {
        *pair = [DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]];
    }
    RequestId::from_buf(id)
}

/// The trace id in a `traceparent` (W3C Trace Context §3.2).
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}
