//! The method's own recipes by name: once as its text says, once (`-qv`) as the files of its runs show.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Checkpoints, RecipeSettings, Target};
use crate::job::{LossOn, Method};

/// Settings of a recipe under one name; what stands beside it in the recipe takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preset {
    /// The text's recipe for models of 3 billion parameters: rank 16, alpha 32, seven projections.
    #[serde(rename = "paper-3b")]
    Paper3b,
    /// The text's recipe for models of half a billion parameters: rank 8, alpha 16, seven projections.
    #[serde(rename = "paper-0.5b")]
    PaperHalfB,
    /// The run of 3 billion parameters as its files show: `q_proj` and `v_proj`, rank 16, one row in each of eight
    /// passes, kept every 100 steps, loss and tokens as Transformers 4.57 and TRL 0.24 had them.
    #[serde(rename = "paper-3b-qv")]
    Paper3bQv,
    /// The run of half a billion parameters as its files show: as `paper-3b-qv` (rank 16 too), with two rows in each
    /// of four passes.
    #[serde(rename = "paper-0.5b-qv")]
    PaperHalfBQv,
}

/// The seven projections of a layer whose query, key, value, gate and up are tensors of their own.
const SEVEN: [Target; 7] = [
    Target::QProj,
    Target::KProj,
    Target::VProj,
    Target::OProj,
    Target::GateProj,
    Target::UpProj,
    Target::DownProj,
];

impl Preset {
    /// Its settings, every one of them: a later change of what is left out must not change the method.
    pub(super) fn settings(self) -> RecipeSettings {
        let from_files = matches!(self, Self::Paper3bQv | Self::PaperHalfBQv);
        let (rank, alpha) = if self == Self::PaperHalfB { (8, 16.0) } else { (16, 32.0) };
        let (micro_batch, accumulate) = if self == Self::Paper3bQv { (1, 8) } else { (2, 4) };
        let targets = if from_files { vec![Target::QProj, Target::VProj] } else { SEVEN.to_vec() };
        let checkpoints = if from_files { Checkpoints::EverySteps(100) } else { Checkpoints::EveryEpoch };
        RecipeSettings {
            preset: None,
            method: Some(Method::Lora),
            rank: Some(rank),
            alpha: Some(alpha),
            dropout: Some(0.05),
            targets: Some(targets),
            rslora: Some(false),
            epochs: Some(2),
            micro_batch: Some(micro_batch),
            accumulate: Some(accumulate),
            learning_rate: Some(2e-4),
            warmup_steps: Some(20),
            weight_decay: Some(0.0),
            max_grad_norm: Some(1.0),
            max_length: Some(2048),
            loss_on: Some(LossOn::All),
            reference_quirks: Some(from_files),
            lora_plus_ratio: Some(1.0),
            neftune_alpha: Some(0.0),
            dora: Some(false),
            keep_best: Some(false),
            early_stopping: None,
            quantization: None,
            residual: None,
            checkpoints: Some(checkpoints),
        }
    }
}
