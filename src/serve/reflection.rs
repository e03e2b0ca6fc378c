//! `grpc.reflection.v1`, and by the same messages `v1alpha`: answers out of a catalog.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::server_reflection_server::ServerReflection;
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest,
    ServerReflectionResponse, ServiceResponse,
};

use super::Callers;
use super::directory::Directory;
use crate::schema::Excerpt;
use crate::upstream::VISITOR;

/// Streams of a listener that are open at once.
const STREAMS: usize = 256;
/// A stream without a question for this long ends.
const IDLE: Duration = Duration::from_secs(300);
/// Between two looks at what a caller may call: who lists again and again makes no work by it.
const LEAST: Duration = Duration::from_secs(1);
/// Octets of imports that go along with a file: a client asks for those that are still missing.
const ALONG: usize = 1 << 20;

/// The service of one listener.
pub(super) struct Reflection {
    directory: Arc<Directory>,
    callers: Arc<dyn Callers>,
    closing: watch::Receiver<bool>,
    room: Arc<Semaphore>,
}

impl Reflection {
    pub(super) fn new(directory: Arc<Directory>, callers: Arc<dyn Callers>, closing: watch::Receiver<bool>) -> Self {
        Self { directory, callers, closing, room: Arc::new(Semaphore::new(STREAMS)) }
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream = Answers;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let full =
            |_| Status::resource_exhausted("as many reflection streams as may be are open: come back a little later");
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(full)?;
        let visitor = request.metadata().get(VISITOR).and_then(|number| number.to_str().ok());
        let talk = Talk {
            visitor: visitor.unwrap_or_default().to_owned(),
            questions: request.into_inner(),
            directory: Arc::clone(&self.directory),
            callers: Arc::clone(&self.callers),
            closing: self.closing.clone(),
            excerpt: None,
            sent: HashSet::new(),
            over: false,
            _room: room,
        };
        Ok(Response::new(Box::pin(stream::unfold(talk, Talk::next))))
    }
}

/// One stream. It sees what its caller may call of one catalog, so that what it is told goes together, until it lists the services anew.
struct Talk {
    /// By what its caller is known.
    visitor: String,
    questions: Streaming<ServerReflectionRequest>,
    directory: Arc<Directory>,
    callers: Arc<dyn Callers>,
    closing: watch::Receiver<bool>,
    excerpt: Option<(Excerpt, Instant)>,
    /// Files that the client has.
    sent: HashSet<usize>,
    over: bool,
    _room: OwnedSemaphorePermit,
}

impl Talk {
    async fn next(mut self) -> Option<(Result<ServerReflectionResponse, Status>, Self)> {
        if self.over {
            return None;
        }
        let mut closing = self.closing.clone();
        let question = tokio::select! {
            // An error means that whoever would tell is gone, which is the same.
            _ = closing.wait_for(|closing| *closing) => Err(super::draining()),
            // No question for long: the stream ends, and with OK.
            question = tokio::time::timeout(IDLE, self.questions.message()) => question.unwrap_or(Ok(None)),
        };
        match question {
            Ok(Some(question)) => Some((Ok(self.answer(question).await), self)),
            Ok(None) => None,
            Err(status) => {
                self.over = true;
                Some((Err(status), self))
            }
        }
    }

    async fn answer(&mut self, question: ServerReflectionRequest) -> ServerReflectionResponse {
        let anew = matches!(question.message_request, Some(MessageRequest::ListServices(_)));
        let (excerpt, since) = match self.excerpt.take() {
            Some((excerpt, since)) if !anew || since.elapsed() < LEAST => (excerpt, since),
            _ => {
                self.sent.clear();
                (self.excerpt().await, Instant::now())
            }
        };
        let answer = match &question.message_request {
            Some(MessageRequest::ListServices(_)) => list(&excerpt),
            Some(MessageRequest::FileByFilename(name)) => self.files(&excerpt, excerpt.file(name), "file", name),
            Some(MessageRequest::FileContainingSymbol(name)) => {
                self.files(&excerpt, excerpt.symbol(name), "symbol", name)
            }
            Some(MessageRequest::FileContainingExtension(asked)) => {
                let place = excerpt.extension(&asked.containing_type, asked.extension_number);
                self.files(&excerpt, place, "extension of", &asked.containing_type)
            }
            Some(MessageRequest::AllExtensionNumbersOfType(name)) => match excerpt.extension_numbers(name) {
                Some(extension_number) => {
                    let base_type_name = name.clone();
                    let numbers = ExtensionNumberResponse { base_type_name, extension_number };
                    MessageResponse::AllExtensionNumbersResponse(numbers)
                }
                None => unknown("type", name),
            },
            None => failure(Code::InvalidArgument, "the request asks for nothing".to_owned()),
        };
        self.excerpt = Some((excerpt, since));
        ServerReflectionResponse {
            valid_host: question.host.clone(),
            original_request: Some(question),
            message_response: Some(answer),
        }
    }

    /// What is known now, as far as it is for the caller.
    async fn excerpt(&self) -> Excerpt {
        let catalog = Arc::clone(&self.directory.current().await.catalog);
        let may = self.callers.may_call(&self.visitor, &catalog).await;
        Excerpt::of(catalog, &may)
    }

    /// A file, and behind it what it imports that the client does not have.
    fn files(&mut self, excerpt: &Excerpt, place: Option<usize>, what: &str, name: &str) -> MessageResponse {
        let Some((place, (file, imports))) = place.and_then(|place| Some((place, excerpt.at(place)?))) else {
            return unknown(what, name);
        };
        self.sent.insert(place);
        let mut files = vec![file.to_vec()];
        let (mut along, mut open) = (0, imports.to_vec());
        let mut seen = HashSet::from([place]);
        while let Some(place) = open.pop() {
            let Some((file, imports)) = excerpt.at(place).filter(|_| seen.insert(place)) else { continue };
            open.extend(imports);
            if !self.sent.contains(&place) && along + file.len() <= ALONG {
                along += file.len();
                self.sent.insert(place);
                files.push(file.to_vec());
            }
        }
        MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto: files })
    }
}

fn list(excerpt: &Excerpt) -> MessageResponse {
    let service = excerpt.services().map(|name| ServiceResponse { name: name.to_owned() }).collect();
    MessageResponse::ListServicesResponse(ListServiceResponse { service })
}

fn unknown(what: &str, name: &str) -> MessageResponse {
    let name: String = name.chars().take(200).collect();
    failure(Code::NotFound, format!("no {what} `{}` is known here", name.escape_debug()))
}

fn failure(code: Code, error_message: String) -> MessageResponse {
    MessageResponse::ErrorResponse(ErrorResponse { error_code: code.into(), error_message })
}
