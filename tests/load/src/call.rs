//! Makes one call as planned, and checks every byte of its answer.

use bytes::Bytes;
use portunus_proto::echo::Chunk;
use portunus_proto::echo::echo_client::EchoClient;
use tokio::time::sleep;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::plan::{Cancel, Failure, Kind, Plan};

/// How long a backend does nothing for a call that is held.
const HELD_MS: u32 = 10_000;

/// How a call ended, as its caller saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// With this status, and every byte as it should be.
    Done(Code),
    /// The caller went away before.
    Cancelled,
    /// Wrongly.
    Wrong(String),
}

/// What goes wrong inside a call.
enum Broken {
    Status(Status),
    Bytes(String),
    /// The caller has seen as much as it wanted to.
    Left,
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// Makes the call; `id` goes with it as `x-request-id`.
pub(crate) async fn make(client: EchoClient<Channel>, plan: &Plan, id: u32) -> Seen {
    let call = async {
        match run(client, plan, id).await {
            Err(Broken::Left) => Seen::Cancelled,
            Err(Broken::Bytes(why)) => Seen::Wrong(why),
            Err(Broken::Status(status)) => match plan.failure {
                Some(failure) if failure.code() == status.code() => Seen::Done(status.code()),
                _ => Seen::Wrong(format!("{:?}: {}", status.code(), status.message())),
            },
            Ok(()) if plan.failure.is_none() => Seen::Done(Code::Ok),
            Ok(()) => Seen::Wrong("it was told to fail and did not".into()),
        }
    };
    let leaves = async {
        match plan.cancel {
            Some(Cancel::Turns(turns)) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            Some(Cancel::After(time)) => sleep(time).await,
            Some(Cancel::Messages(_)) | None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        seen = call => seen,
        () = leaves => Seen::Cancelled,
    }
}

async fn run(mut client: EchoClient<Channel>, plan: &Plan, id: u32) -> Result<(), Broken> {
    match plan.kind {
        Kind::Unary => {
            let sent = one(plan);
            let got = client.unary(request(chunk(&sent), plan, id)).await?.into_inner();
            same(&got.payload, &sent)
        }
        Kind::ClientStream => {
            let chunks = tokio_stream::iter(chunks(plan));
            let got = client.client_stream(request(chunks, plan, id)).await?.into_inner();
            let size: usize = plan.payloads.iter().map(Bytes::len).sum();
            if (got.count as usize, got.size) != (plan.payloads.len(), size as u64) {
                return Err(Broken::Bytes(format!("{} messages, {} bytes were counted", got.count, got.size)));
            }
            same(&got.payload, plan.payloads.last().unwrap_or(&Bytes::new()))
        }
        Kind::ServerStream => {
            let sent = one(plan);
            let asked = Chunk { count: plan.count, ..chunk(&sent) };
            let mut answers = client.server_stream(request(asked, plan, id)).await?.into_inner();
            let expected = std::iter::repeat_n(&sent, plan.count as usize);
            read(&mut answers, expected, plan).await
        }
        Kind::Bidi => {
            let chunks = tokio_stream::iter(chunks(plan));
            let mut answers = client.bidi(request(chunks, plan, id)).await?.into_inner();
            read(&mut answers, plan.payloads.iter(), plan).await
        }
    }
}

/// Reads a stream of answers to its end.
async fn read(
    answers: &mut Streaming<Chunk>,
    expected: impl ExactSizeIterator<Item = &Bytes>,
    plan: &Plan,
) -> Result<(), Broken> {
    let total = expected.len();
    for (index, expected) in (0_u32..).zip(expected) {
        if plan.cancel == Some(Cancel::Messages(index)) {
            return Err(Broken::Left);
        }
        let Some(chunk) = answers.message().await? else {
            return Err(Broken::Bytes(format!("{index} messages instead of {total}")));
        };
        if chunk.index != index {
            return Err(Broken::Bytes(format!("message {} came as number {index}", chunk.index)));
        }
        same(&chunk.payload, expected)?;
    }
    match answers.message().await? {
        None => Ok(()),
        Some(_) => Err(Broken::Bytes(format!("more than {total} messages"))),
    }
}

fn same(got: &Bytes, expected: &Bytes) -> Result<(), Broken> {
    if got == expected {
        return Ok(());
    }
    let differs = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    Err(Broken::Bytes(format!("{} bytes instead of {}, the same up to {differs}", got.len(), expected.len())))
}

fn one(plan: &Plan) -> Bytes {
    plan.payloads.first().cloned().unwrap_or_default()
}

fn chunk(payload: &Bytes) -> Chunk {
    Chunk { payload: payload.clone(), ..Chunk::default() }
}

fn chunks(plan: &Plan) -> Vec<Chunk> {
    plan.payloads.iter().map(chunk).collect()
}

fn request<T>(message: T, plan: &Plan, id: u32) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("x-request-id", id.into());
    if plan.held {
        metadata.insert("x-delay-ms", HELD_MS.into());
    }
    match plan.failure {
        Some(Failure::AtOnce(code)) => {
            metadata.insert("x-fail", (code as i32).into());
        }
        Some(Failure::After(messages, code)) => {
            metadata.insert("x-fail-after", messages.into());
            metadata.insert("x-fail-after-status", (code as i32).into());
        }
        None => {}
    }
    request
}
