//! AgentHandler of the sample agent: the developer's side of `bindufy(config, handler)`.

use std::collections::BTreeMap;

use portunus_proto::bindu::agent_handler_server::AgentHandler;
use portunus_proto::bindu::{
    GetCapabilitiesRequest, GetCapabilitiesResponse, HandleRequest, HandleResponse, HealthCheckRequest,
    HealthCheckResponse,
};
use tonic::{Request, Response, Status};

use crate::brain::{self, Thought};
use crate::handle::Handle;
use crate::stream::{Knobs, Messages};

use super::Options;

/// Answers for one instance.
pub(super) struct Handler {
    capabilities: GetCapabilitiesResponse,
    labels: BTreeMap<String, String>,
    instance: String,
    handle: Handle,
}

impl Handler {
    pub(super) fn new(options: &Options, handle: Handle) -> Self {
        let capabilities = GetCapabilitiesResponse {
            name: options.name.clone(),
            description: options.description.clone(),
            version: "1.0.0".into(),
            supports_streaming: options.streaming,
            skills: options.skills.clone(),
        };
        Self { capabilities, labels: super::labels(options), instance: options.instance.clone(), handle }
    }

    /// The one answer to a conversation.
    fn answer(&self, request: &HandleRequest) -> Result<HandleResponse, Status> {
        let Some(last) = request.messages.last() else {
            return Err(Status::invalid_argument("messages is empty: send the conversation, the newest message last"));
        };
        let mut metadata = self.labels.clone();
        for (name, value) in [("task_id", &request.task_id), ("context_id", &request.context_id)] {
            if !value.is_empty() {
                metadata.insert(name.into(), value.clone());
            }
        }
        let (content, state, prompt) = match brain::think(&last.content, request.messages.len() - 1) {
            // Only the content of a plain answer gets past the real core: the metadata is dropped there.
            Thought::Answer(content) => (format!("{content} (instance {})", self.instance), "", String::new()),
            Thought::InputRequired(prompt) => (String::new(), "input-required", prompt),
            Thought::AuthRequired(prompt) => (String::new(), "auth-required", prompt),
        };
        Ok(HandleResponse { content, state: state.into(), prompt, is_final: true, metadata })
    }
}

#[tonic::async_trait]
impl AgentHandler for Handler {
    type HandleMessagesStreamStream = Messages<HandleResponse>;

    async fn handle_messages(&self, request: Request<HandleRequest>) -> Result<Response<HandleResponse>, Status> {
        Ok(Response::new(self.answer(request.get_ref())?))
    }

    async fn handle_messages_stream(
        &self,
        request: Request<HandleRequest>,
    ) -> Result<Response<Messages<HandleResponse>>, Status> {
        if !self.capabilities.supports_streaming {
            return Err(Status::unimplemented("this agent does not stream: call HandleMessages"));
        }
        let knobs = Knobs::of(request.metadata());
        let whole = self.answer(request.get_ref())?;
        let pieces = match (knobs.count, knobs.size) {
            (None, None) => brain::pieces(&whole.content),
            (count, size) => made_pieces(count.unwrap_or(1), size.unwrap_or(1)),
        };
        Ok(Response::new(knobs.send(chunks(whole, pieces))))
    }

    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<GetCapabilitiesResponse>, Status> {
        Ok(Response::new(self.capabilities.clone()))
    }

    async fn health_check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let healthy = self.handle.is_healthy();
        let message = if healthy { "ok" } else { "told to be unhealthy" };
        Ok(Response::new(HealthCheckResponse { healthy, message: message.into() }))
    }
}

/// `count` pieces of `size` bytes each; a size beyond what a message may hold is the caller's error to see.
fn made_pieces(count: u64, size: usize) -> Vec<String> {
    let piece = "x".repeat(size.min(64 * 1024 * 1024));
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(1_000_000);
    // Bounded like the messages: a stranger's numbers must not become our memory.
    let count = count.min((1 << 30) / piece.len().max(1)).max(1);
    vec![piece; count]
}

/// An answer in pieces. The state, the prompt and the metadata come with the last one.
fn chunks(whole: HandleResponse, mut pieces: Vec<String>) -> impl Iterator<Item = HandleResponse> + Send {
    let last = HandleResponse { content: pieces.pop().unwrap_or_default(), ..whole };
    pieces.into_iter().map(|content| HandleResponse { content, ..HandleResponse::default() }).chain([last])
}
