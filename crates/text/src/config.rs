//! Hugging Face `config.json` to a [`DecoderConfig`]: one decoder described by data, for the whole Llama family.
//! Old (`rope_theta`, `rope_scaling`) and new (`rope_parameters`) spellings are read; what the decoder cannot compute
//! is refused by name, never ignored.

mod fields;
mod rope;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use fields::Fields;
pub use rope::RopeScaling;

/// Model types that [`DecoderConfig::from_json`] accepts.
pub const SUPPORTED_MODEL_TYPES: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];

/// Why a `config.json` was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read `{}`: is this a Hugging Face model folder?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not JSON.
    #[error("`{}` is not valid JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A field that the decoder needs is missing.
    #[error("config.json has no `{field}`: the field is required for model type `{model_type}`")]
    Missing {
        /// The field.
        field: String,
        /// The model type of the file.
        model_type: String,
    },
    /// A field holds a value of the wrong type or out of range.
    #[error("config.json: `{field}` is {value}, but must be {rule}")]
    Invalid {
        /// The field.
        field: String,
        /// The value, as JSON.
        value: String,
        /// What it must be.
        rule: String,
    },
    /// The model type is not one that the decoder computes.
    #[error("model type `{model_type}` is not supported: use one of {}", SUPPORTED_MODEL_TYPES.join(", "))]
    ModelType {
        /// The model type of the file.
        model_type: String,
    },
    /// A feature of the file is not one that the decoder computes.
    #[error("config.json: `{feature}` is {value}, which is not supported ({rule})")]
    Feature {
        /// The field that asks for it.
        feature: String,
        /// The value, as JSON.
        value: String,
        /// What is supported.
        rule: String,
    },
}

/// A decoder-only transformer of the Llama family: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecoderConfig {
    /// `model_type` of the file.
    pub model_type: String,
    /// Rows of the embedding (may be padded beyond the tokenizer's vocabulary).
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layer_count: usize,
    /// Query heads.
    pub head_count: usize,
    /// Key and value heads; divides `head_count`.
    pub kv_head_count: usize,
    /// Width of one head; `head_count * head_dim` may differ from `hidden_size`.
    pub head_dim: usize,
    /// Longest sequence the positions were trained for, in tokens.
    pub max_positions: usize,
    /// Epsilon of every RMSNorm.
    pub norm_epsilon: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched.
    pub rope_scaling: RopeScaling,
    /// Biases on the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias on the attention's output projection.
    pub output_bias: bool,
    /// Biases on the three feed-forward projections.
    pub mlp_bias: bool,
    /// RMSNorm over each query and key head before the rotation (Qwen3).
    pub qk_norm: bool,
    /// The output head is the embedding.
    pub tied_embeddings: bool,
    /// First token of a text, if the file names one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text; may be empty.
    pub eos_token_ids: Vec<u32>,
}

impl DecoderConfig {
    /// Reads `DIR/config.json`.
    pub fn read(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join("config.json");
        let bytes =
            std::fs::read(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let value = serde_json::from_slice(&bytes).map_err(|source| ConfigError::Json { path, source })?;
        Self::from_json(&value)
    }

    /// Reads a parsed `config.json`.
    pub fn from_json(value: &Value) -> Result<Self, ConfigError> {
        let fields = Fields::new(value)?;
        refuse_unsupported(&fields)?;
        let head_count = fields.size("num_attention_heads")?;
        let hidden_size = fields.size("hidden_size")?;
        let (rope_theta, rope_scaling) = rope::read(&fields)?;
        let model_type = fields.model_type.as_str();
        // Only Qwen2 has the biases by architecture; elsewhere `attention_bias` puts one on all four projections.
        let attention_bias = fields.flag("attention_bias", false)? && model_type != "qwen2";
        let config = Self {
            model_type: model_type.to_owned(),
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            layer_count: fields.size("num_hidden_layers")?,
            head_count,
            kv_head_count: fields.size_or("num_key_value_heads", head_count)?,
            head_dim: fields.size_or("head_dim", hidden_size / head_count)?,
            max_positions: fields.size_or("max_position_embeddings", 2048)?,
            norm_epsilon: fields.positive_or("rms_norm_eps", 1e-6)?,
            rope_theta,
            rope_scaling,
            qkv_bias: model_type == "qwen2" || attention_bias,
            output_bias: attention_bias,
            mlp_bias: fields.flag("mlp_bias", false)? && model_type == "llama",
            qk_norm: model_type == "qwen3",
            tied_embeddings: fields.flag("tie_word_embeddings", false)?,
            bos_token_id: fields.token_ids("bos_token_id")?.first().copied(),
            eos_token_ids: fields.token_ids("eos_token_id")?,
        };
        config.check_heads()?;
        Ok(config)
    }

    fn check_heads(&self) -> Result<(), ConfigError> {
        if !self.head_count.is_multiple_of(self.kv_head_count) {
            return Err(ConfigError::Invalid {
                field: "num_key_value_heads".to_owned(),
                value: self.kv_head_count.to_string(),
                rule: format!("a divisor of `num_attention_heads` ({})", self.head_count),
            });
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(ConfigError::Invalid {
                field: "head_dim".to_owned(),
                value: self.head_dim.to_string(),
                rule: "even, as rotary positions turn pairs".to_owned(),
            });
        }
        Ok(())
    }

    /// Width of the query projection's output.
    pub fn query_size(&self) -> usize {
        self.head_count * self.head_dim
    }

    /// Width of the key projection's output, and of the value's.
    pub fn key_value_size(&self) -> usize {
        self.kv_head_count * self.head_dim
    }
}

fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), ConfigError> {
    if !SUPPORTED_MODEL_TYPES.contains(&fields.model_type.as_str()) {
        return Err(ConfigError::ModelType { model_type: fields.model_type.clone() });
    }
    fields.only("hidden_act", "only `silu`", |value| value == "silu")?;
    fields.only("quantization_config", "weights must be plain float32, bfloat16 or float16", |_| false)?;
    fields.only("partial_rotary_factor", "only 1", |value| value.as_f64() == Some(1.0))?;
    fields.only("layer_types", "only layers of `full_attention`", |value| {
        value.as_array().is_some_and(|types| types.iter().all(|kind| kind == "full_attention"))
    })?;
    fields.only("use_sliding_window", "only full attention", |value| value == false)?;
    if fields.model_type == "mistral" {
        // Mistral has no switch beside the window: a width means that it is used.
        fields.only("sliding_window", "only full attention", |_| false)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
