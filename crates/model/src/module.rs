//! The projections of a layer that LoRA can adapt: seven, or four where a family fuses them.

use assay_text::config::{DecoderConfig, Projection};
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
    /// Attention's query, key and value in one.
    #[serde(rename = "qkv_proj")]
    QueryKeyValue,
    /// Feed-forward gate and up in one.
    #[serde(rename = "gate_up_proj")]
    GateUp,
}

/// A projection with its widths in one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizedModule {
    /// Which.
    pub module: Module,
    /// Width of its input.
    pub input: usize,
    /// Width of its output.
    pub output: usize,
}

impl Module {
    /// All that any family has. The order is part of dropout's masks: new ones come last.
    pub const ALL: [Self; 9] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Output,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::QueryKeyValue,
        Self::GateUp,
    ];

    /// Those of a model, in the order of the forward pass.
    pub fn of(config: &DecoderConfig) -> Vec<SizedModule> {
        let sized = |projection: Projection| {
            let Projection { name, input, output } = projection;
            Self::from_name(name).map(|module| SizedModule { module, input, output })
        };
        config.projections().into_iter().filter_map(sized).collect()
    }

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
            Self::QueryKeyValue => "qkv_proj",
            Self::GateUp => "gate_up_proj",
        }
    }

    /// The module of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|module| module.name() == name)
    }

    /// The path inside a layer, such as `self_attn.q_proj`.
    pub fn path(self) -> String {
        let parent = match self {
            Self::Query | Self::Key | Self::Value | Self::QueryKeyValue | Self::Output => "self_attn",
            Self::Gate | Self::Up | Self::GateUp | Self::Down => "mlp",
        };
        format!("{parent}.{}", self.name())
    }
}
