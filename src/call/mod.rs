//! The life of one call. **Read this first**: [`serve`] is the request path, top to bottom.
//!
//! Decisions are plain async code ([`plan`], [`forward`]); the moving of bytes is not ([`splice`]). Called by the edge for
//! each call that comes in; knows no socket.

mod answer;
mod context;
mod forward;
mod half;
mod head;
mod plan;
mod registrar;
mod replay;
mod splice;
mod stop;
mod waiting;

pub mod register;

use std::sync::Arc;

use filter_api::{CallInfo, Code, Reason, Refusal};
use tokio::time::Instant;

pub use context::{Call, CallPath, End, Origin, Shared, Worker};
pub use replay::Budget;
pub use splice::Tally;

use crate::config::snapshot::Snapshot;
use crate::h2::{Inbound, Reply};
use crate::wire::{self, Rejected};
use forward::Journey;
use plan::Plan;
use splice::{Upload, Watch, attended};
use stop::Stop;

/// Serves one call, from its head to its end.
pub async fn serve(worker: Arc<Worker>, origin: Arc<Origin>, inbound: Inbound) {
    let shared = &worker.shared;
    // Loaded once: a call sees one version of the configuration, whatever happens meanwhile.
    let snapshot: Arc<Snapshot> = shared.snapshot.load_full();
    let Inbound { mut head, body, mut reply } = inbound;
    let Some(listener) = snapshot.listeners.get(&origin.listener) else {
        return refuse_unserved(&origin, &mut reply);
    };
    let mut call = match read(shared, &origin, &mut head, &snapshot) {
        Ok(call) => call,
        Err(rejected) => return reject(&origin, &mut reply, &rejected),
    };
    let mut watch = Watch::new(call.deadline, None);
    let decided = plan::decide(shared, &origin, listener, &mut call, &mut head);
    let end = match attended(decided, &mut reply, &mut watch).await {
        Ok(Ok(Plan::Forward(plan))) => {
            head::prepare(&mut head, &call);
            let watch = Watch::new(call.deadline, call.bounds.idle);
            let upload = Upload::new(body, Arc::clone(&origin.buffered));
            let call = &mut call;
            let journey =
                Journey { worker: &worker, listener, call, plan, head, reply, upload, watch, tried: Vec::new() };
            journey.run().await
        }
        Ok(Ok(Plan::Register { cluster, open })) => {
            registrar::serve(&mut call, &origin, &cluster, open, (body, &mut reply)).await
        }
        Ok(Err(refusal)) | Err(Stop::Refused(refusal)) => {
            answer::refuse(&mut reply, &refusal);
            End::refused(&refusal)
        }
        Err(Stop::Caller | Stop::Upstream(_)) => End::cancelled(),
    };
    call.finish(shared, &origin, end);
}

/// Reads the head and takes off what only the proxy may write.
fn read(
    shared: &Shared,
    origin: &Origin,
    head: &mut fields::RequestHead,
    snapshot: &Snapshot,
) -> Result<Call, Rejected> {
    let asked = wire::classify(head)?;
    let info = CallInfo {
        service: asked.service.into(),
        method: asked.method.into(),
        protocol: asked.protocol,
        listener: Arc::clone(&origin.listener),
        peer: origin.peer,
    };
    let timeout = asked.timeout;
    let mut call = Call::begin(shared, info, head.authority().to_owned());
    call.deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    wire::strip_identity(&mut head.fields, &snapshot.identity);
    head::identify(head, &mut call);
    Ok(call)
}

/// Answers what is no call.
fn reject(origin: &Origin, reply: &mut Reply, rejected: &Rejected) {
    match rejected {
        Rejected::Bare(http) => {
            origin.metrics.refused(Reason::Protocol);
            answer::refuse_bare(reply, *http);
        }
        Rejected::Status(http, refusal) => {
            origin.metrics.refused(refusal.reason);
            answer::refuse_with_http(reply, *http, refusal);
        }
    }
}

/// The listener went with the last configuration, and its connections are on their way out.
fn refuse_unserved(origin: &Origin, reply: &mut Reply) {
    origin.metrics.refused(Reason::Draining);
    let refusal = Refusal::new(Code::Unavailable, Reason::Draining, "this listener is closing: connect again");
    answer::refuse(reply, &refusal);
}

impl End {
    /// The upstream's own answer went through.
    fn upstream(trailers: &fields::Fields) -> Self {
        let code = trailers.get("grpc-status").and_then(Code::parse).unwrap_or(Code::Unknown);
        Self { code, reason: None }
    }

    fn refused(refusal: &Refusal) -> Self {
        Self { code: refusal.code, reason: Some(refusal.reason) }
    }

    /// The caller went away.
    fn cancelled() -> Self {
        Self { code: Code::Cancelled, reason: Some(Reason::Cancelled) }
    }
}
