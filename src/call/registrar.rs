//! The registrar as a call: reads the one request message, asks [`register`](super::register), writes the one answer.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use fields::{Fields, ResponseHead};
use filter_api::{CallInfo, Code, Reason};
use portunus_proto::bindu::{HeartbeatRequest, RegisterAgentRequest, UnregisterAgentRequest};
use prost::Message;
use tokio::time::{Instant, timeout};

use super::answer;
use super::context::{Call, End, Origin};
use super::register::Registrar;
use super::splice::{Watch, attended};
use super::stop::Stop;
use crate::h2::{Receiver, Reply};
use crate::registry::{Caller, owner_by_address};
use crate::upstream::Cluster;

/// The largest request: `config_json` and skills are bounded by the registry at 256 KiB, and this leaves room to say so.
const MOST: usize = 320 * 1024;
/// How long a request may take to come: what it holds meanwhile is counted nowhere else.
const PATIENCE: Duration = Duration::from_secs(15);

/// Serves a call of `bindu.grpc.BinduService`.
pub(super) async fn serve(
    call: &mut Call,
    origin: &Origin,
    cluster: &Cluster,
    open: bool,
    (mut body, reply): (Receiver, &mut Reply),
) -> End {
    let mut watch = Watch::new(call.deadline, call.bounds.idle);
    // A copy: the filters that follow the call may live on one thread only, and must not be held while waiting.
    let info = call.info.clone();
    let answered = async {
        let request = attended(timeout(PATIENCE, read_one(&mut body)), reply, &mut watch)
            .await?
            .map_err(|_| Stop::deadline())??;
        call.tally.request_messages = 1;
        call.tally.request_bytes = request.len() as u64;
        attended(dispatch(&info, origin, cluster, open, request), reply, &mut watch).await?
    };
    match answered.await {
        Ok(message) => {
            call.tally.response_messages = 1;
            call.tally.response_bytes = message.len() as u64;
            send(reply, &message);
            End { code: Code::Ok, reason: None }
        }
        Err(Stop::Refused(refusal)) => {
            answer::refuse(reply, &refusal);
            End::refused(&refusal)
        }
        Err(Stop::Caller | Stop::Upstream(_)) => End::cancelled(),
    }
}

async fn dispatch(
    info: &CallInfo,
    origin: &Origin,
    cluster: &Cluster,
    open: bool,
    request: Bytes,
) -> Result<Vec<u8>, Stop> {
    let registry = cluster.registry().ok_or_else(|| unimplemented("this cluster has no registry"))?;
    let caller = Caller {
        peer: origin.peer,
        local: Some(origin.local.ip()),
        connection: origin.connection.clone(),
        owner: owner_by_address(origin.peer.ip(), open),
    };
    let registrar = Registrar::new(Arc::clone(registry)).on(&origin.metrics);
    Ok(match (&*info.service, &*info.method) {
        ("bindu.grpc.BinduService", "RegisterAgent") => {
            registrar.register(decode::<RegisterAgentRequest>(request)?, &caller).await.encode_to_vec()
        }
        ("bindu.grpc.BinduService", "Heartbeat") => {
            registrar.heartbeat(&decode::<HeartbeatRequest>(request)?, &caller, Instant::now()).encode_to_vec()
        }
        ("bindu.grpc.BinduService", "UnregisterAgent") => {
            registrar.unregister(&decode::<UnregisterAgentRequest>(request)?, &caller, Instant::now()).encode_to_vec()
        }
        _ => {
            return Err(unimplemented(
                "the registrar has RegisterAgent, Heartbeat and UnregisterAgent of bindu.grpc.BinduService",
            ));
        }
    })
}

fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, Stop> {
    M::decode(bytes).map_err(|error| {
        let message = format!("the request is no message of this method: {error}");
        Stop::refuse(Code::InvalidArgument, Reason::Framing, message)
    })
}

fn unimplemented(message: &str) -> Stop {
    Stop::refuse(Code::Unimplemented, Reason::NoRoute, message)
}

/// The one message of a unary request, without its prefix.
async fn read_one(body: &mut Receiver) -> Result<Bytes, Stop> {
    let mut bytes = BytesMut::new();
    poll_fn(|cx| poll_all(body, &mut bytes, cx)).await?;
    let Some((prefix, message)) = bytes.split_at_checked(5) else {
        return Err(if bytes.is_empty() { cardinality("none") } else { Stop::torn() });
    };
    if prefix[0] != 0 {
        // The method takes no encoding; `grpc-accept-encoding` in the answer would name none.
        return Err(unimplemented("the registrar takes no compressed messages: send identity"));
    }
    let size = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    match message.len() {
        len if len < size => Err(Stop::torn()),
        len if len > size => Err(cardinality("more")),
        _ => Ok(bytes.split_off(5).freeze()),
    }
}

fn cardinality(what: &str) -> Stop {
    unimplemented(&format!("a unary call has one request message, this one has {what}"))
}

fn poll_all(body: &mut Receiver, bytes: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
    loop {
        match std::task::ready!(body.poll_data(cx)) {
            Some(Ok(piece)) => {
                bytes.extend_from_slice(&piece);
                body.release(piece.len());
                if bytes.len() > MOST {
                    return Poll::Ready(Err(Stop::too_large(
                        "request",
                        u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                        MOST as u64,
                    )));
                }
            }
            Some(Err(_)) => return Poll::Ready(Err(Stop::Caller)),
            None => return Poll::Ready(Ok(())),
        }
    }
}

/// The whole answer: head, message, status.
fn send(reply: &mut Reply, message: &[u8]) {
    let mut fields = Fields::with_capacity(1, 32);
    fields.push("content-type", b"application/grpc");
    let Ok(mut sender) = reply.send_head(ResponseHead { status: 200, fields }, false) else { return };
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    // Small, so that h2 takes it whole and keeps what the caller's window does not take yet.
    if sender.send(framed.freeze(), false).is_ok() {
        let trailers = [("grpc-status", &b"0"[..])].into_iter().collect();
        answer::end_with(&mut sender, trailers);
    }
}
