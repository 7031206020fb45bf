//! What families differ in, as data: the parts that each has, and what Transformers fills in for fields that a file leaves
//! out (`configuration_*.py` of Transformers 5).

use super::fields::Fields;
use super::rope::RopeTypes;
use super::{Activation, ConfigError};

/// Where attention has biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttentionBias {
    Never,
    /// On all four projections if `attention_bias` says so.
    AsFileSays,
    /// On query, key and value, always.
    QueryKeyValue,
}

/// Which layers see a window only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WindowRule {
    None,
    /// All, if `sliding_window` is set.
    All,
    /// With `use_sliding_window`, those from `max_window_layers` on.
    FromLayer,
    /// Every other, the first included.
    Alternating,
}

/// One `model_type`.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) model_type: &'static str,
    pub(super) max_positions: usize,
    pub(super) norm_epsilon: f64,
    /// None: as many as query heads.
    pub(super) kv_head_count: Option<usize>,
    /// None: `hidden_size / num_attention_heads`.
    pub(super) head_dim: Option<usize>,
    pub(super) tied: bool,
    activation_field: &'static str,
    activation: Activation,
    pub(super) attention_bias: AttentionBias,
    /// The field `mlp_bias` is read.
    pub(super) mlp_bias: bool,
    pub(super) qk_norm: bool,
    pub(super) fused_projections: bool,
    pub(super) windows: WindowRule,
    /// Where `sliding_window` is left out.
    pub(super) window: Option<usize>,
    pub(super) rope_types: RopeTypes,
    /// Default of `query_pre_attn_scalar`, in whose place others have the width of a head.
    pub(super) query_scalar: Option<f64>,
    softcaps: bool,
    pub(super) unit_offset_norms: bool,
    pub(super) post_norms: bool,
    pub(super) scaled_embeddings: bool,
}

const LLAMA: Family = Family {
    model_type: "llama",
    max_positions: 2048,
    norm_epsilon: 1e-6,
    kv_head_count: None,
    head_dim: None,
    tied: false,
    activation_field: "hidden_act",
    activation: Activation::Silu,
    attention_bias: AttentionBias::AsFileSays,
    mlp_bias: true,
    qk_norm: false,
    fused_projections: false,
    windows: WindowRule::None,
    window: Some(4096),
    rope_types: RopeTypes::General,
    query_scalar: None,
    softcaps: false,
    unit_offset_norms: false,
    post_norms: false,
    scaled_embeddings: false,
};

const MISTRAL: Family = Family {
    model_type: "mistral",
    max_positions: 131_072,
    kv_head_count: Some(8),
    attention_bias: AttentionBias::Never,
    mlp_bias: false,
    windows: WindowRule::All,
    ..LLAMA
};

const QWEN2: Family = Family {
    model_type: "qwen2",
    max_positions: 32_768,
    kv_head_count: Some(32),
    attention_bias: AttentionBias::QueryKeyValue,
    mlp_bias: false,
    windows: WindowRule::FromLayer,
    ..LLAMA
};

const QWEN3: Family = Family {
    model_type: "qwen3",
    head_dim: Some(128),
    attention_bias: AttentionBias::AsFileSays,
    qk_norm: true,
    ..QWEN2
};

const PHI3: Family = Family {
    model_type: "phi3",
    max_positions: 4096,
    norm_epsilon: 1e-5,
    attention_bias: AttentionBias::Never,
    mlp_bias: false,
    fused_projections: true,
    windows: WindowRule::All,
    window: None,
    rope_types: RopeTypes::Phi3,
    ..LLAMA
};

const GEMMA2: Family = Family {
    model_type: "gemma2",
    max_positions: 8192,
    kv_head_count: Some(4),
    head_dim: Some(256),
    tied: true,
    activation_field: "hidden_activation",
    activation: Activation::GeluTanh,
    mlp_bias: false,
    windows: WindowRule::Alternating,
    query_scalar: Some(256.0),
    softcaps: true,
    unit_offset_norms: true,
    post_norms: true,
    scaled_embeddings: true,
    ..LLAMA
};

static FAMILIES: [Family; super::SUPPORTED_MODEL_TYPES.len()] = [LLAMA, MISTRAL, QWEN2, QWEN3, PHI3, GEMMA2];

impl Family {
    pub(super) fn of(fields: &Fields<'_>) -> Result<&'static Self, ConfigError> {
        let known = FAMILIES.iter().find(|family| family.model_type == fields.model_type);
        known.ok_or_else(|| ConfigError::ModelType { model_type: fields.model_type.clone() })
    }

    /// Refuses what this family cannot have or the decoder cannot compute, wherever a file asks for it.
    pub(super) fn refuse_unsupported(&self, fields: &Fields<'_>) -> Result<(), ConfigError> {
        let none = format!("model type `{}` has none", self.model_type);
        fields
            .only("quantization_config", "weights must be plain float32, bfloat16 or float16", |_| false)?;
        fields.only("use_bidirectional_attention", "attention looks back only", |value| value == false)?;
        for dropout in ["attention_dropout", "resid_pdrop", "embd_pdrop"] {
            let rule = "only 0: dropout is the adapter's";
            fields.only(dropout, rule, |value| value.as_f64() == Some(0.0))?;
        }
        if self.attention_bias == AttentionBias::Never {
            fields.only("attention_bias", &none, |value| value == false)?;
        }
        if !self.mlp_bias {
            fields.only("mlp_bias", &none, |value| value == false)?;
        }
        if self.windows == WindowRule::None {
            fields.only("sliding_window", &none, |_| false)?;
        }
        if self.windows != WindowRule::FromLayer {
            fields.only("use_sliding_window", &none, |value| value == false)?;
        }
        Ok(())
    }

    pub(super) fn activation(&self, fields: &Fields<'_>) -> Result<Activation, ConfigError> {
        let Some(value) = fields.get(self.activation_field) else { return Ok(self.activation) };
        match value.as_str() {
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu") => Ok(Activation::Gelu),
            Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            Some(_) | None => Err(ConfigError::Feature {
                feature: self.activation_field.to_owned(),
                value: value.to_string(),
                rule: "only `silu`, `gelu` and `gelu_pytorch_tanh`".to_owned(),
            }),
        }
    }

    /// A cap that may be null; none in families without caps.
    pub(super) fn softcap(
        &self,
        fields: &Fields<'_>,
        field: &str,
        default: f64,
    ) -> Result<Option<f64>, ConfigError> {
        if self.softcaps { fields.positive_unless_null(field, default) } else { Ok(None) }
    }
}
