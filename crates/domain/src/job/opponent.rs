//! The other side of a direct comparison.

use serde::{Deserialize, Serialize};

use super::{Quantization, System};

/// What a checkpoint is compared with, where that is not its own base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opponent {
    /// The model's name.
    pub model: String,
    /// The base, or a checkpoint of a training.
    #[serde(flatten)]
    pub system: System,
    /// `base`, or as [`super::Comparison::checkpoint`].
    pub checkpoint: String,
    /// How a base's matrices are held; a checkpoint's are held as its recipe says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
}

impl Opponent {
    /// `llama/talks/lora-r16/seed-42/step-12`, `llama/base`.
    pub fn id(&self) -> String {
        let held = self.quantization.map(|held| format!("-{}", held.as_str())).unwrap_or_default();
        format!("{}/{}{held}", self.model, self.system.name())
    }

    /// Model, data set, recipe, training seed and checkpoint, for people.
    pub fn words(&self) -> String {
        match &self.system {
            System::Base => {
                let held = self.quantization.map(|held| format!(" {}", held.as_str())).unwrap_or_default();
                format!("{} base{held}", self.model)
            }
            System::Tuned { data, recipe, seed, .. } => {
                format!("{} {data} {recipe} seed {seed} {}", self.model, self.checkpoint)
            }
        }
    }
}
