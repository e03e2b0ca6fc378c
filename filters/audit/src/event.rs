//! What the lines of a call say, as JSON without braces.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use filter_api::{CallInfo, Extracted, Outcome, Who};
use serde::Serialize;

/// The longest name or identity that is written; a caller chooses some of them.
const MOST_TEXT: usize = 512;

/// A name for a call that no other call has: of this process' own number, and of the calls it has had.
pub(crate) fn call_id() -> String {
    static PROCESS: LazyLock<u32> = LazyLock::new(rand::random);
    static CALLS: AtomicU64 = AtomicU64::new(1);
    format!("{:08x}-{}", *PROCESS, CALLS.fetch_add(1, Ordering::Relaxed))
}

#[derive(Serialize)]
struct Begin<'a> {
    event: &'static str,
    call: &'a str,
    listener: &'a str,
    peer: std::net::IpAddr,
    #[serde(flatten)]
    who: Whom,
    service: &'a str,
    method: &'a str,
    handler: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Whom {
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<Box<str>>,
}

#[derive(Serialize)]
struct Request<'a> {
    event: &'static str,
    call: &'a str,
    fields: &'a serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hidden: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<&'a str>,
}

#[derive(Serialize)]
struct Unread<'a> {
    event: &'static str,
    call: &'a str,
    unread: &'a str,
}

#[derive(Serialize)]
struct End<'a> {
    event: &'static str,
    call: &'a str,
    #[serde(flatten)]
    who: Whom,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    duration_ms: f64,
    request_messages: u64,
    response_messages: u64,
}

/// The call begins.
pub(crate) fn begin(call: &str, info: &CallInfo, request_id: Option<&str>) -> Vec<u8> {
    fields(&Begin {
        event: "begin",
        call,
        listener: &info.listener,
        peer: info.peer.ip().to_canonical(),
        who: Whom::of(info.who()),
        service: cut(&info.service),
        method: cut(&info.method),
        handler: info.protocol.as_str(),
        request_id: request_id.map(cut),
    })
}

/// What it is on.
pub(crate) fn request(call: &str, found: &Extracted) -> Vec<u8> {
    let Extracted { fields: values, hidden, unknown } = found;
    let [hidden, unknown] = [hidden, unknown].map(|paths| paths.iter().map(|path| &**path).collect());
    fields(&Request { event: "request", call, fields: values, hidden, unknown })
}

/// What it is on cannot be told.
pub(crate) fn unread(call: &str, why: &str) -> Vec<u8> {
    fields(&Unread { event: "request", call, unread: cut(why) })
}

/// How it ended.
#[expect(clippy::cast_precision_loss, reason = "exact up to 285 years of microseconds")]
pub(crate) fn end(call: &str, outcome: &Outcome<'_>) -> Vec<u8> {
    fields(&End {
        event: "end",
        call,
        who: Whom::of(outcome.call.map(CallInfo::who).unwrap_or_default()),
        agent: outcome.call.and_then(|call| call.agent.as_ref()).map(|agent| &*agent.id),
        code: outcome.code.as_str(),
        reason: outcome.reason.map(filter_api::Reason::as_str),
        duration_ms: outcome.duration.as_micros() as f64 / 1_000.0,
        request_messages: outcome.request_messages,
        response_messages: outcome.response_messages,
    })
}

/// Its caller left, or its time ran out, while its begin was being written.
pub(crate) fn left(call: &str) -> Vec<u8> {
    format!("\"event\":\"end\",\"call\":\"{call}\",\"left\":true").into_bytes()
}

impl Whom {
    fn of(who: Who) -> Self {
        let Who { identity, subject, issuer } = who;
        let cut = |text: Option<Arc<str>>| text.map(|text| Box::from(cut(&text)));
        Self { identity: cut(identity), subject: cut(subject), issuer: cut(issuer) }
    }
}

fn cut(text: &str) -> &str {
    let end = if text.len() <= MOST_TEXT { text.len() } else { text.floor_char_boundary(MOST_TEXT) };
    text.get(..end).unwrap_or_default()
}

fn fields(event: &impl Serialize) -> Vec<u8> {
    // Maps with text for keys, which are always JSON.
    let object = serde_json::to_vec(event).unwrap_or_default();
    let inner = object.strip_prefix(b"{").and_then(|inner| inner.strip_suffix(b"}"));
    inner.unwrap_or(b"\"event\":\"broken\"").to_vec()
}
