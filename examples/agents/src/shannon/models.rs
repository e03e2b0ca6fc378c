//! The models that the LLM gateway offers, and what they cost.

use portunus_proto::shannon::common::{ModelTier, TokenUsage};
use portunus_proto::shannon::llm::{ModelInfo, Provider};
use tonic::Status;

#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    pub(super) id: &'static str,
    pub(super) provider: Provider,
    pub(super) tier: ModelTier,
    context: i32,
    /// US dollars for 1,000 tokens, of the prompt and of the completion.
    prices: (f64, f64),
    available: bool,
}

const fn model(id: &'static str, provider: Provider, tier: ModelTier, context: i32, prices: (f64, f64)) -> Model {
    Model { id, provider, tier, context, prices, available: true }
}

const MODELS: [Model; 6] = [
    model("gpt-5-mini", Provider::Openai, ModelTier::Small, 128_000, (0.001, 0.002)),
    model("haiku", Provider::Anthropic, ModelTier::Small, 200_000, (0.001, 0.002)),
    model("gpt-5", Provider::Openai, ModelTier::Medium, 256_000, (0.01, 0.03)),
    model("sonnet", Provider::Anthropic, ModelTier::Medium, 200_000, (0.01, 0.03)),
    model("opus", Provider::Anthropic, ModelTier::Large, 200_000, (0.03, 0.075)),
    Model { available: false, ..model("local-70b", Provider::Ollama, ModelTier::Large, 32_000, (0.0, 0.0)) },
];

impl Model {
    pub(super) fn usage(&self, prompt: i32, completion: i32) -> TokenUsage {
        let cost = |tokens: i32, price: f64| f64::from(tokens) / 1000.0 * price;
        TokenUsage {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt.saturating_add(completion),
            cost_usd: cost(prompt, self.prices.0) + cost(completion, self.prices.1),
            model: self.id.into(),
            tier: self.tier.into(),
        }
    }

    fn info(&self) -> ModelInfo {
        ModelInfo {
            id: self.id.into(),
            name: self.id.to_uppercase(),
            provider: self.provider.into(),
            tier: self.tier.into(),
            context_window: self.context,
            cost_per_1k_prompt_tokens: self.prices.0,
            cost_per_1k_completion_tokens: self.prices.1,
            supports_tools: true,
            supports_streaming: true,
            available: self.available,
        }
    }
}

/// The first model of a tier; an unspecified tier takes a medium one.
pub(super) fn of_tier(tier: ModelTier) -> &'static Model {
    let tier = if tier == ModelTier::Unspecified { ModelTier::Medium } else { tier };
    MODELS.iter().find(|model| model.available && model.tier == tier).unwrap_or(&MODELS[0])
}

/// The model that was named, or one of the tier.
///
/// # Errors
/// NOT_FOUND for a name that no model has, UNAVAILABLE for a model that is switched off.
pub(super) fn choose(name: &str, tier: ModelTier) -> Result<&'static Model, Status> {
    if name.is_empty() {
        return Ok(of_tier(tier));
    }
    let found = MODELS.iter().find(|model| model.id == name);
    let model = found.ok_or_else(|| Status::not_found(format!("there is no model `{name}`; ListModels names them")))?;
    if model.available { Ok(model) } else { Err(Status::unavailable(format!("model `{name}` is switched off"))) }
}

/// All of a tier and a provider; unspecified ones take any.
pub(super) fn list(tier: ModelTier, provider: Provider) -> Vec<ModelInfo> {
    MODELS
        .iter()
        .filter(|model| tier == ModelTier::Unspecified || model.tier == tier)
        .filter(|model| provider == Provider::Unspecified || model.provider == provider)
        .map(Model::info)
        .collect()
}
