//! What a recipe trains, and beside what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which numbers a training changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// An adapter beside the model's weights, which stay as they are.
    #[default]
    Lora,
    /// All weights of the model.
    Full,
}

impl Method {
    /// Whether it is that of recipes which say nothing: then it is no part of a job key.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How the matrices of a frozen base model are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// In 4 bits, as bitsandbytes has them with double quantisation.
    Nf4,
}

/// The type that hidden states have between the layers of a model whose products are computed in bfloat16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Residual {
    /// Sums over many layers keep the digits that bfloat16 drops.
    Float32,
}

impl Quantization {
    /// Its word in a matrix.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
        }
    }
}
