//! How a generate job drew its responses: `sampling.json`, beside `generations.jsonl` in one artifact.

use std::collections::BTreeMap;
use std::fmt;

use assay_domain::job::Sampling;
use serde::{Deserialize, Serialize};

/// The file of a `generations` artifact that holds the answers, as JSON lines.
pub const GENERATIONS_FILE: &str = "generations.jsonl";

/// The file of a `generations` artifact that holds a [`SamplingRecord`].
pub const SAMPLING_FILE: &str = "sampling.json";

/// What the matrix says about drawing responses, and what was in effect. Generations of older builds lack it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SamplingRecord {
    /// The model's name in the matrix.
    pub model: String,
    /// The prompt set's name in the matrix.
    pub prompts: String,
    /// Who answered, as [`assay_domain::job::System::name`] spells it.
    pub system: String,
    /// What the matrix says; settings that it leaves to the model are open.
    pub matrix: Sampling,
    /// What was in effect.
    pub effective: EffectiveSampling,
    /// What the model's `generation_config.json` says about drawing, was asked for and cannot be followed, by name.
    #[serde(default)]
    pub not_followed: BTreeMap<String, serde_json::Value>,
}

/// Every setting that decides which tokens are drawn, and who set it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EffectiveSampling {
    /// 0 takes the most probable token.
    pub temperature: Setting<f64>,
    /// Nucleus; 1 is off.
    pub top_p: Setting<f64>,
    /// Tokens kept; 0 is off.
    pub top_k: Setting<u32>,
    /// Share of the most probable token's probability; 0 is off.
    pub min_p: Setting<f64>,
    /// 1 is off.
    pub repetition_penalty: Setting<f64>,
    /// The most tokens of a response.
    pub max_new_tokens: Setting<u32>,
    /// Responses for each prompt.
    pub samples: Setting<u32>,
    /// Seeds the random stream of each (prompt, sample).
    pub seed: Setting<u64>,
}

/// A value in effect and who set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Who set it.
    pub source: SettingSource,
}

/// Who set a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingSource {
    /// The matrix; with `defaults: matrix` that is also what it leaves out.
    Matrix,
    /// The model's `generation_config.json`.
    Model,
    /// Nobody: it is off.
    Neutral,
}

impl<T> Setting<T> {
    /// The matrix's value, else the model's, else the one that changes nothing.
    pub fn of(matrix: Option<T>, model: Option<T>, neutral: T) -> Self {
        match (matrix, model) {
            (Some(value), _) => Self { value, source: SettingSource::Matrix },
            (None, Some(value)) => Self { value, source: SettingSource::Model },
            (None, None) => Self { value: neutral, source: SettingSource::Neutral },
        }
    }
}

impl<T: fmt::Display> fmt::Display for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            SettingSource::Matrix => "matrix",
            SettingSource::Model => "model",
            SettingSource::Neutral => "off",
        };
        write!(f, "{} ({source})", self.value)
    }
}

impl EffectiveSampling {
    /// The settings' names, in the order of a matrix file.
    pub const NAMES: [&'static str; 8] =
        ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens", "samples", "seed"];

    /// Each setting's value and source as text, in the order of [`Self::NAMES`].
    pub fn texts(&self) -> [String; 8] {
        [
            self.temperature.to_string(),
            self.top_p.to_string(),
            self.top_k.to_string(),
            self.min_p.to_string(),
            self.repetition_penalty.to_string(),
            self.max_new_tokens.to_string(),
            self.samples.to_string(),
            self.seed.to_string(),
        ]
    }
}

/// What the matrix says, as text in the order of [`EffectiveSampling::NAMES`]; none where it leaves a setting to the model.
pub fn texts_in_matrix(matrix: &Sampling) -> [Option<String>; 8] {
    let number = |value: Option<f64>| value.map(|value| value.to_string());
    [
        number(matrix.temperature),
        number(matrix.top_p),
        matrix.top_k.map(|value| value.to_string()),
        number(matrix.min_p),
        number(matrix.repetition_penalty),
        Some(matrix.max_new_tokens.to_string()),
        Some(matrix.samples.to_string()),
        Some(matrix.seed.to_string()),
    ]
}
