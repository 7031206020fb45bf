//! Hugging Face `config.json` to a [`DecoderConfig`]: one decoder described by data, for every family.
//! Old and new spellings are read, and what a file leaves out is what Transformers fills in. What the decoder cannot
//! compute is refused by name, never ignored.

mod error;
mod family;
mod fields;
mod projections;
mod rope;
mod windows;

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::bounded;
pub use error::ConfigError;
use family::{AttentionBias, Family};
use fields::Fields;
pub use projections::Projection;
pub use rope::RopeScaling;

/// Model types that [`DecoderConfig::from_json`] accepts.
pub const SUPPORTED_MODEL_TYPES: [&str; 6] = ["llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2"];

/// More layers than any model has: a file may not ask for unbounded memory.
const LAYERS_MAX: usize = 4096;

/// What the feed-forward gate goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU by the error function.
    Gelu,
    /// GELU by its approximation with a hyperbolic tangent.
    GeluTanh,
}

/// A decoder-only transformer: RMSNorm, rotary positions, grouped-query attention, gated feed-forward.
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
    /// Longest sequence that is computed, in tokens.
    pub max_positions: usize,
    /// Epsilon of every RMSNorm.
    pub norm_epsilon: f64,
    /// Norm weights are stored less 1, and multiplied in float32 (Gemma).
    pub unit_offset_norms: bool,
    /// A further RMSNorm after attention and after the feed-forward layer, before each is added (Gemma 2).
    pub post_norms: bool,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched.
    pub rope_scaling: RopeScaling,
    /// Width of the part of a head that is turned, from its start; the rest keeps its place (`partial_rotary_factor`).
    /// If odd, one more is turned.
    pub rotary_dim: usize,
    /// What `query * key` is multiplied with before the softmax.
    pub attention_scale: f64,
    /// Scores stay within this: `cap * tanh(score / cap)`.
    pub attention_softcap: Option<f64>,
    /// Logits stay within this.
    pub logit_softcap: Option<f64>,
    /// Per layer, how many tokens a token sees, itself included; none: all before it.
    pub windows: Vec<Option<usize>>,
    /// One projection for query, key and value, and one for gate and up (Phi-3).
    pub fused_projections: bool,
    /// Biases on the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias on the attention's output projection.
    pub output_bias: bool,
    /// Biases on the three feed-forward projections.
    pub mlp_bias: bool,
    /// What the gate goes through.
    pub activation: Activation,
    /// RMSNorm over each query and key head before the rotation (Qwen3).
    pub qk_norm: bool,
    /// Embeddings are multiplied with the root of `hidden_size`, rounded to the type of the weights (Gemma).
    pub scaled_embeddings: bool,
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
        let bytes = bounded::read(&path, bounded::JSON_BYTES_MAX)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let value = serde_json::from_slice(&bytes).map_err(|source| ConfigError::Json { path, source })?;
        Self::from_json(&value)
    }

    /// Reads a parsed `config.json`.
    pub fn from_json(value: &Value) -> Result<Self, ConfigError> {
        let fields = Fields::new(value)?;
        let family = Family::of(&fields)?;
        family.refuse_unsupported(&fields)?;
        let (hidden_size, head_count) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
        let head_dim = fields.size_unless_null("head_dim", family.head_dim)?;
        let head_dim = head_dim.unwrap_or(hidden_size / head_count);
        let kv_head_count = fields.size_unless_null("num_key_value_heads", family.kv_head_count)?;
        let layer_count = fields.at_most("num_hidden_layers", LAYERS_MAX)?;
        let rope = rope::read(&fields, family, head_dim)?;
        let query_scalar = match family.query_scalar {
            Some(default) => fields.positive_or("query_pre_attn_scalar", default)?,
            None => head_dim as f64,
        };
        let attention_bias =
            family.attention_bias == AttentionBias::AsFileSays && fields.flag("attention_bias", false)?;
        let config = Self {
            model_type: family.model_type.to_owned(),
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            layer_count,
            head_count,
            kv_head_count: kv_head_count.unwrap_or(head_count),
            head_dim,
            max_positions: rope.max_positions,
            norm_epsilon: fields.positive_or("rms_norm_eps", family.norm_epsilon)?,
            unit_offset_norms: family.unit_offset_norms,
            post_norms: family.post_norms,
            rope_theta: rope.theta,
            rope_scaling: rope.scaling,
            rotary_dim: rope.dim,
            attention_scale: 1.0 / query_scalar.sqrt(),
            attention_softcap: family.softcap(&fields, "attn_logit_softcapping", 50.0)?,
            logit_softcap: family.softcap(&fields, "final_logit_softcapping", 30.0)?,
            windows: windows::read(&fields, family, layer_count)?,
            fused_projections: family.fused_projections,
            qkv_bias: family.attention_bias == AttentionBias::QueryKeyValue || attention_bias,
            output_bias: attention_bias,
            mlp_bias: family.mlp_bias && fields.flag("mlp_bias", false)?,
            activation: family.activation(&fields)?,
            qk_norm: family.qk_norm,
            scaled_embeddings: family.scaled_embeddings,
            tied_embeddings: fields.flag("tie_word_embeddings", family.tied)?,
            bos_token_id: fields.token_ids("bos_token_id")?.first().copied(),
            eos_token_ids: fields.token_ids("eos_token_id")?,
        };
        config.check_heads()?;
        Ok(config)
    }

    fn check_heads(&self) -> Result<(), ConfigError> {
        let refused = |field: &str, value: usize, rule: String| {
            Err(ConfigError::Invalid { field: field.to_owned(), value: value.to_string(), rule })
        };
        if !self.head_count.is_multiple_of(self.kv_head_count) {
            let rule = format!("a divisor of `num_attention_heads` ({})", self.head_count);
            return refused("num_key_value_heads", self.kv_head_count, rule);
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) {
            let rule = "even and above 0, as rotary positions turn pairs";
            return refused("head_dim", self.head_dim, rule.to_owned());
        }
        if self.query_size() > fields::SIZE_MAX {
            let rule = format!("such that all heads are at most {} wide together", fields::SIZE_MAX);
            return refused("head_dim", self.head_dim, rule);
        }
        Ok(())
    }

    /// Width of all query heads.
    pub fn query_size(&self) -> usize {
        self.head_count * self.head_dim
    }

    /// Width of all key heads, and of all value heads.
    pub fn key_value_size(&self) -> usize {
        self.kv_head_count * self.head_dim
    }
}

#[cfg(test)]
mod tests;
