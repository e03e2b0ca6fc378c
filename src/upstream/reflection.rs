//! Server reflection over gRPC: v1, and v1alpha where a server has only that. What to ask is the schema's to know.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use super::channel::{channel_to, failure};
use super::network::{Network, Place};
use super::security::Security;
use super::side::Failure;
use crate::registry::Instance;
use crate::schema::{Answer, Bounds, Collection, Question, Reflection, Schema, SchemaError, gather, link};

/// The two versions have the same messages under two names.
const VERSIONS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// For a connection to an instance to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// The schema of whoever is at the other end.
///
/// # Errors
/// It has no reflection, or what it says is no schema.
pub async fn reflect(channel: Channel, metadata: &MetadataMap, bounds: Bounds) -> Result<Schema, SchemaError> {
    link(collect(channel, metadata, bounds).await?).await
}

/// The files of whoever is at the other end.
///
/// # Errors
/// As [`reflect`].
pub async fn collect(channel: Channel, metadata: &MetadataMap, bounds: Bounds) -> Result<Collection, SchemaError> {
    let (mut first, mut unoffered, mut refused) = (None, false, None);
    for version in VERSIONS {
        let mut stream = Stream::open((channel.clone(), version), metadata.clone(), bounds);
        match gather(&mut stream, bounds).await {
            // Servers without v1 say so in many ways: UNIMPLEMENTED, UNAVAILABLE, HTTP 405 (FIELD.md §3).
            Err(error @ (SchemaError::Unavailable(_) | SchemaError::Unoffered(_))) if !stream.answered => {
                unoffered |= matches!(error, SchemaError::Unoffered(_));
                first = first.or(Some(error));
            }
            Err(error @ SchemaError::Refused { .. }) if !stream.answered => refused = refused.or(Some(error)),
            done => return done,
        }
    }
    // Whoever asks for a caller's identity has it.
    if let Some(refused) = refused {
        return Err(refused);
    }
    let why = first.map(|error| error.to_string()).unwrap_or_default();
    let why = format!("no server reflection, neither v1 nor v1alpha: {why}");
    // Who says something else than that there is none may have it in a while.
    Err(if unoffered { SchemaError::Unoffered(why) } else { SchemaError::Unavailable(why) })
}

/// The files of an instance, over a connection of their own to where it may be dialled.
///
/// # Errors
/// As [`reflect`].
pub(super) async fn collect_from(
    (network, security): (&Arc<dyn Network>, &Security),
    instance: &Instance,
    bounds: Bounds,
) -> Result<Collection, SchemaError> {
    let channel = channel_to(network, Place::of(instance, security), CONNECT);
    let channel = channel.map_err(|failure| SchemaError::Unreachable(failure.to_string()))?;
    collect(channel, &MetadataMap::new(), bounds).await
}

/// All questions of one fetch go over one stream, and so to one instance.
struct Stream {
    start: Option<(Channel, &'static str, MetadataMap, usize)>,
    open: Option<(mpsc::Sender<ServerReflectionRequest>, Streaming<ServerReflectionResponse>)>,
    answered: bool,
}

impl Stream {
    fn open((channel, path): (Channel, &'static str), metadata: MetadataMap, bounds: Bounds) -> Self {
        Self { start: Some((channel, path, metadata, bounds.bytes)), open: None, answered: false }
    }

    async fn exchange(
        &mut self,
        question: ServerReflectionRequest,
    ) -> Result<Option<ServerReflectionResponse>, Status> {
        if let Some((channel, path, metadata, most)) = self.start.take() {
            let (send, requests) = mpsc::channel(1);
            // The first goes before the stream is opened: some servers send no head before they have seen a question.
            send.send(question).await.map_err(|_| Status::cancelled("the stream ended"))?;
            let mut client = Grpc::new(channel).max_decoding_message_size(most);
            client.ready().await.map_err(|error| Status::from_error(error.into()))?;
            let mut requests = Request::new(ReceiverStream::new(requests));
            *requests.metadata_mut() = metadata;
            let codec = ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
            let answers = client.streaming(requests, PathAndQuery::from_static(path), codec).await?.into_inner();
            let (_, answers) = self.open.insert((send, answers));
            return answers.message().await;
        }
        let Some((send, answers)) = &mut self.open else { return Ok(None) };
        if send.send(question).await.is_err() {
            return Ok(None);
        }
        answers.message().await
    }
}

impl Reflection for Stream {
    async fn ask(&mut self, question: Question) -> Result<Answer, SchemaError> {
        let question = match question {
            Question::Services => MessageRequest::ListServices(String::new()),
            Question::Symbol(name) => MessageRequest::FileContainingSymbol(name),
            Question::File(name) => MessageRequest::FileByFilename(name),
        };
        let question = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let answer = self.exchange(question).await.map_err(|status| match failure(&status) {
            Failure::Status(Code::Unimplemented, message) => {
                SchemaError::Unoffered(format!("reflection ended with {:?}: {message}", Code::Unimplemented))
            }
            Failure::Status(code @ (Code::Unauthenticated | Code::PermissionDenied), message) => SchemaError::Refused {
                known: code == Code::PermissionDenied,
                why: format!("reflection ended with {code:?}: {message}"),
            },
            Failure::Status(code, message) => {
                SchemaError::Unavailable(format!("reflection ended with {code:?}: {message}"))
            }
            lost => SchemaError::Unreachable(lost.to_string()),
        })?;
        let answer = answer.ok_or_else(|| SchemaError::Unavailable("reflection ended in the middle".into()))?;
        self.answered = true;
        match answer.message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                Ok(Answer::Services(list.service.into_iter().map(|service| service.name).collect()))
            }
            Some(MessageResponse::FileDescriptorResponse(files)) => {
                Ok(Answer::Files(files.file_descriptor_proto.into_iter().map(Bytes::from).collect()))
            }
            Some(MessageResponse::ErrorResponse(error)) => Ok(Answer::Unknown(error.error_message)),
            _ => Err(SchemaError::Malformed("reflection answers with something that was not asked for".into())),
        }
    }
}
