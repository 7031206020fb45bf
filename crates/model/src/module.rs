//! The seven projections of a layer that LoRA can adapt.

use assay_text::config::DecoderConfig;
use serde::{Deserialize, Serialize};

/// A projection of a decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Module {
    /// Attention's query.
    #[serde(rename = "q_proj")]
    Query,
    /// Attention's key.
    #[serde(rename = "k_proj")]
    Key,
    /// Attention's value.
    #[serde(rename = "v_proj")]
    Value,
    /// Attention's output.
    #[serde(rename = "o_proj")]
    Output,
    /// Feed-forward gate.
    #[serde(rename = "gate_proj")]
    Gate,
    /// Feed-forward up.
    #[serde(rename = "up_proj")]
    Up,
    /// Feed-forward down.
    #[serde(rename = "down_proj")]
    Down,
}

impl Module {
    /// All seven, in the order of the forward pass.
    pub const ALL: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// The name in Hugging Face checkpoints and in `target_modules`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "q_proj",
            Self::Key => "k_proj",
            Self::Value => "v_proj",
            Self::Output => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// The module of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|module| module.name() == name)
    }

    /// The path inside a layer, such as `self_attn.q_proj`.
    pub fn path(self) -> String {
        let parent = match self {
            Self::Query | Self::Key | Self::Value | Self::Output => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        };
        format!("{parent}.{}", self.name())
    }

    /// Widths of its input and output.
    pub fn widths(self, config: &DecoderConfig) -> (usize, usize) {
        match self {
            Self::Query => (config.hidden_size, config.query_size()),
            Self::Key | Self::Value => (config.hidden_size, config.key_value_size()),
            Self::Output => (config.query_size(), config.hidden_size),
            Self::Gate | Self::Up => (config.hidden_size, config.intermediate_size),
            Self::Down => (config.intermediate_size, config.hidden_size),
        }
    }
}
