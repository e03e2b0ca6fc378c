//! LLMService: a gateway to models that are all the sample brain, with caching, stop sequences, token limits and budgets
//! as a real one has. It has no field for a status, so an exceeded budget is RESOURCE_EXHAUSTED.

use std::collections::BTreeMap;

use portunus_proto::shannon::common::ToolCall;
use portunus_proto::shannon::llm::llm_service_server::LlmService;
use portunus_proto::shannon::llm::{
    AnalyzeComplexityRequest, AnalyzeComplexityResponse, CompletionChunk, EmbedTextRequest, EmbedTextResponse,
    Embedding, GenerateCompletionRequest, GenerateCompletionResponse, GenerationConfig, ListModelsRequest,
    ListModelsResponse,
};
use serde_json::json;
use tonic::{Request, Response, Status};

use crate::brain::{self, Thought};
use crate::stream::{Knobs, Messages};

use super::plan::Plan;
use super::{Kept, Store, models, values};

/// Numbers in an embedding.
const DIMENSIONS: usize = 16;
const EMBEDDING_MODEL: &str = "embed-16";

/// Completions kept under their cache keys.
pub(super) type Cache = BTreeMap<String, GenerateCompletionResponse>;

pub(super) struct Service(pub(super) Store);

impl Service {
    fn kept(&self) -> &Kept {
        &self.0.0
    }

    fn complete(&self, request: &GenerateCompletionRequest) -> Result<GenerateCompletionResponse, Status> {
        let Some(last) = request.messages.last() else {
            return Err(Status::invalid_argument("messages is empty: send the conversation, the newest message last"));
        };
        self.kept().clock.tick();
        let model = models::choose(&request.specific_model, request.tier())?;
        let config = request.config.clone().unwrap_or_default();
        let key = cache_key(request, &config, model.id);
        if config.enable_caching
            && let Some(hit) = self.kept().completions.lock().get(&key)
        {
            // A hit costs nothing, so no budget is asked.
            return Ok(GenerateCompletionResponse { cache_hit: true, ..hit.clone() });
        }
        let prompt = request.messages.iter().map(|m| brain::tokens(&m.content)).fold(0, i32::saturating_add);
        let tool_calls = tool_calls(request, &last.content);
        let (completion, finish_reason) = if tool_calls.is_empty() {
            cut(say(&last.content, request.messages.len() - 1), &config)
        } else {
            (String::new(), "tool_calls")
        };
        let usage = model.usage(prompt, brain::tokens(&completion));
        let spent = self.kept().budgets.lock().spend(request.metadata.as_ref(), usage.total_tokens);
        spent.map_err(Status::resource_exhausted)?;
        let response = GenerateCompletionResponse {
            completion,
            tool_calls,
            usage: Some(usage),
            model_used: model.id.into(),
            provider: model.provider.into(),
            cache_hit: false,
            finish_reason: finish_reason.into(),
        };
        if config.enable_caching {
            self.kept().completions.lock().insert(key, response.clone());
        }
        Ok(response)
    }
}

fn say(text: &str, before: usize) -> String {
    match brain::think(text, before) {
        Thought::Answer(text) | Thought::InputRequired(text) | Thought::AuthRequired(text) => text,
    }
}

fn cache_key(request: &GenerateCompletionRequest, config: &GenerationConfig, model: &str) -> String {
    if !config.cache_key.is_empty() {
        return config.cache_key.clone();
    }
    let said: Vec<_> = request.messages.iter().map(|m| format!("{}: {}", m.role, m.content)).collect();
    format!("{model} {} {:?} {}", config.max_tokens, config.stop_sequences, said.join("\n"))
}

/// A call of the first tool on offer that the text asks for.
fn tool_calls(request: &GenerateCompletionRequest, text: &str) -> Vec<ToolCall> {
    let needed = super::tools::needed(text);
    let offered = request.available_tools.iter().find(|tool| needed.contains(&tool.name.as_str()));
    offered
        .map(|tool| ToolCall {
            name: tool.name.clone(),
            parameters: Some(values::object(json!({"query": text}))),
            tool_id: tool.name.clone(),
        })
        .into_iter()
        .collect()
}

/// Ends a text at a stop sequence or at `max_tokens`, whichever is first.
fn cut(mut text: String, config: &GenerationConfig) -> (String, &'static str) {
    let stops = config.stop_sequences.iter().filter(|stop| !stop.is_empty());
    if let Some(at) = stops.filter_map(|stop| text.find(stop.as_str())).min() {
        text.truncate(at);
    }
    let most = usize::try_from(config.max_tokens).ok().filter(|most| *most > 0).map(|most| most.saturating_mul(4));
    match most {
        Some(most) if text.len() > most => {
            text.truncate(text.floor_char_boundary(most));
            (text, "length")
        }
        _ => (text, "stop"),
    }
}

#[tonic::async_trait]
impl LlmService for Service {
    type StreamCompletionStream = Messages<CompletionChunk>;

    async fn generate_completion(
        &self,
        request: Request<GenerateCompletionRequest>,
    ) -> Result<Response<GenerateCompletionResponse>, Status> {
        self.complete(request.get_ref()).map(Response::new)
    }

    async fn stream_completion(
        &self,
        request: Request<GenerateCompletionRequest>,
    ) -> Result<Response<Messages<CompletionChunk>>, Status> {
        let knobs = Knobs::of(request.metadata());
        let whole = self.complete(request.get_ref())?;
        let mut chunks: Vec<_> = brain::pieces(&whole.completion)
            .into_iter()
            .map(|delta| CompletionChunk { delta, ..CompletionChunk::default() })
            .collect();
        chunks.extend(
            whole
                .tool_calls
                .into_iter()
                .map(|call| CompletionChunk { tool_call_delta: Some(call), ..CompletionChunk::default() }),
        );
        chunks.push(CompletionChunk {
            finish_reason: whole.finish_reason,
            usage: whole.usage,
            ..CompletionChunk::default()
        });
        Ok(Response::new(knobs.send(chunks.into_iter())))
    }

    async fn embed_text(&self, request: Request<EmbedTextRequest>) -> Result<Response<EmbedTextResponse>, Status> {
        let request = request.into_inner();
        if request.texts.is_empty() {
            return Err(Status::invalid_argument("texts is empty"));
        }
        if !request.model.is_empty() && request.model != EMBEDDING_MODEL {
            return Err(Status::not_found(format!(
                "there is no embedding model `{}`, only {EMBEDDING_MODEL}",
                request.model
            )));
        }
        let embeddings = request.texts.into_iter().map(|text| Embedding { vector: embed(&text), text }).collect();
        Ok(Response::new(EmbedTextResponse {
            embeddings,
            dimensions: DIMENSIONS as i32,
            model_used: EMBEDDING_MODEL.into(),
        }))
    }

    async fn analyze_complexity(
        &self,
        request: Request<AnalyzeComplexityRequest>,
    ) -> Result<Response<AnalyzeComplexityResponse>, Status> {
        let query = request.into_inner().query;
        if query.trim().is_empty() {
            return Err(Status::invalid_argument("query is empty"));
        }
        let plan = Plan::of(&query, 0);
        Ok(Response::new(AnalyzeComplexityResponse {
            recommended_mode: plan.mode.into(),
            complexity_score: plan.score,
            required_capabilities: plan.capabilities(),
            estimated_agents: i32::try_from(plan.agents()).unwrap_or(i32::MAX),
            estimated_tokens: plan.tokens(),
            estimated_cost_usd: plan.cost(),
            reasoning: format!("{} parts in {} words", plan.agents(), query.split_whitespace().count()),
        }))
    }

    async fn list_models(&self, request: Request<ListModelsRequest>) -> Result<Response<ListModelsResponse>, Status> {
        let request = request.get_ref();
        Ok(Response::new(ListModelsResponse { models: models::list(request.tier(), request.provider()) }))
    }
}

/// Letter frequencies folded into a unit vector: near texts get near vectors.
fn embed(text: &str) -> Vec<f32> {
    let mut vector = [0.0_f32; DIMENSIONS];
    for byte in text.to_lowercase().bytes().filter(|b| !b.is_ascii_whitespace()) {
        if let Some(number) = vector.get_mut(usize::from(byte) % DIMENSIONS) {
            *number += 1.0;
        }
    }
    let length = vector.iter().map(|n| n * n).sum::<f32>().sqrt().max(1.0);
    vector.iter().map(|n| n / length).collect()
}
