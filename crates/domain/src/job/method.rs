//! What a recipe trains.

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
