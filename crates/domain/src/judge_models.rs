//! Judge models: what they cost, what they accept, and which are gone (`judge_models/table.toml`, dated, with its source).

use std::sync::LazyLock;

use serde::Deserialize;

use crate::job::Provider;

/// The whole table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeModels {
    /// The day of its prices, `2026-11-22`.
    pub as_of: String,
    /// Where its prices come from.
    pub source: String,
    family: Vec<Family>,
    model: Vec<Model>,
    retired: Vec<Retired>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Family {
    prefix: String,
    provider: Provider,
    #[serde(flatten)]
    accepts: Accepts,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Model {
    id: String,
    #[serde(flatten)]
    price: Price,
    retires: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retired {
    prefix: String,
    on: String,
}

/// What a million tokens cost, in USD.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Price {
    /// Of prompts.
    pub usd_in: f64,
    /// Of answers, thinking included.
    pub usd_out: f64,
    /// Of prompts, through the batch API.
    pub batch_usd_in: f64,
    /// Of answers, through the batch API.
    pub batch_usd_out: f64,
}

impl Price {
    /// What so many tokens cost, in USD; through the batch API or not.
    pub fn usd(self, batch: bool, input: u64, output: u64) -> f64 {
        let (per_in, per_out) =
            if batch { (self.batch_usd_in, self.batch_usd_out) } else { (self.usd_in, self.usd_out) };
        (input as f64 * per_in + output as f64 * per_out) / 1e6
    }
}

/// What a model accepts in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Accepts {
    /// A temperature.
    pub temperature: When,
    /// A wish for log-probabilities.
    pub logprobs: When,
    /// How it is told how much to think.
    pub thinking: Knob,
    /// Whether it can be told not to think.
    pub thinking_off: bool,
    /// Whether it promises to follow a JSON Schema.
    pub schema: bool,
}

/// When a parameter is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// In every request.
    Always,
    /// In requests that turn thinking off.
    WithoutThinking,
    /// It is refused.
    Never,
}

/// How a model is told how much to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Knob {
    /// It does not think.
    None,
    /// Anthropic's `output_config.effort`.
    Effort,
    /// OpenAI's `reasoning_effort` (`reasoning.effort` in Responses).
    ReasoningEffort,
    /// Gemini 2.5's `thinkingBudget`.
    Budget,
    /// Gemini 3's `thinkingLevel`.
    Level,
}

/// The table that comes with this version.
pub fn builtin() -> &'static JudgeModels {
    static TABLE: LazyLock<JudgeModels> = LazyLock::new(|| {
        toml::from_str(include_str!("judge_models/table.toml")).expect("a test reads the table")
    });
    &TABLE
}

impl JudgeModels {
    /// A model's price; none for an id that the table does not hold, letter for letter.
    pub fn price(&self, model: &str) -> Option<Price> {
        self.model.iter().find(|known| known.id == model).map(|known| known.price)
    }

    /// What a model accepts; none for a family that the table does not know.
    pub fn accepts(&self, model: &str) -> Option<Accepts> {
        self.family_of(model).map(|family| family.accepts)
    }

    /// The lab that serves a model, by its Chat protocol for OpenAI; none for a family that the table does not know.
    pub fn provider(&self, model: &str) -> Option<Provider> {
        self.family_of(model).map(|family| family.provider)
    }

    /// When a model was retired; none for one that was not.
    pub fn retired(&self, model: &str) -> Option<&str> {
        self.retired.iter().find(|gone| model.starts_with(&gone.prefix)).map(|gone| gone.on.as_str())
    }

    /// The announced last day of a model that is still in the price list.
    pub fn retires(&self, model: &str) -> Option<&str> {
        self.model.iter().find(|known| known.id == model)?.retires.as_deref()
    }

    fn family_of(&self, model: &str) -> Option<&Family> {
        let fitting = self.family.iter().filter(|family| model.starts_with(&family.prefix));
        fitting.max_by_key(|family| family.prefix.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_priced_model_has_a_family_and_batches_cost_half() {
        let table = builtin();
        assert!(table.as_of.starts_with("2026-") && !table.source.is_empty());
        for model in &table.model {
            assert!(table.accepts(&model.id).is_some(), "{} has no family", model.id);
            let price = model.price;
            assert!(price.usd_in > 0.0 && price.usd_out > price.usd_in, "{}", model.id);
            assert!((price.batch_usd_in * 2.0 - price.usd_in).abs() < 1e-9, "{}", model.id);
            assert!((price.batch_usd_out * 2.0 - price.usd_out).abs() < 1e-9, "{}", model.id);
            assert_eq!(table.retired(&model.id), None, "{} has a price and is gone", model.id);
        }
    }

    #[test]
    fn an_unknown_model_has_no_price_and_no_abilities() {
        let table = builtin();
        assert_eq!((table.price("gpt-4o"), table.price("gpt-4o-mini-2099")), (None, None));
        assert_eq!((table.accepts("llama-3.2-3b"), table.provider("llama-3.2-3b")), (None, None));
    }

    #[test]
    fn the_longest_prefix_decides() {
        let temperature = |model| builtin().accepts(model).map(|accepts| accepts.temperature);
        assert_eq!(temperature("claude-opus-4-6"), Some(When::Always));
        assert_eq!(temperature("claude-opus-4-7"), Some(When::Never));
        assert_eq!(temperature("claude-sonnet-5"), Some(When::Never));
        assert_eq!(temperature("gpt-5"), Some(When::Never));
        assert_eq!(temperature("gpt-5.4-mini"), Some(When::WithoutThinking));
        assert_eq!(temperature("gpt-4o-2024-08-06"), Some(When::Always));
        assert_eq!(builtin().provider("gemini-2.5-flash-lite"), Some(Provider::Google));
    }

    #[test]
    fn the_judges_of_the_published_study_are_gone() {
        for model in ["claude-3-5-sonnet-20241022", "claude-opus-4-20250514", "claude-sonnet-4-20250514"] {
            assert!(builtin().retired(model).is_some(), "{model}");
        }
        assert_eq!(builtin().retired("claude-opus-4-8"), None);
        assert_eq!(builtin().retires("gpt-4o-2024-08-06"), Some("2027-01-14"));
    }
}
