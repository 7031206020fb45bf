//! Settings of a training run.

use serde::{Deserialize, Serialize};

use super::EarlyStopping;
use crate::adamw::AdamWSettings;
use crate::schedule::Schedule;
use crate::{ModelError, Result};

/// When checkpoints are due; the end of the run always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointEvery {
    /// After each epoch.
    #[default]
    Epoch,
    /// After each N optimizer steps.
    Steps(u64),
}

/// How to train, apart from the adapter's shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSettings {
    /// Passes over the rows.
    pub epochs: u64,
    /// Rows of one forward and backward pass.
    pub micro_batch: usize,
    /// Micro-batches of one optimizer step; the last group of an epoch may have fewer.
    pub accumulation: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Optimizer steps until it is reached.
    pub warmup_steps: u64,
    /// What happens to it afterwards.
    pub schedule: Schedule,
    /// Steps that the schedule counts on, if other than the run's.
    pub schedule_steps: Option<u64>,
    /// Largest norm of the gradient; 0 turns clipping off.
    pub max_grad_norm: f64,
    /// Constants of AdamW.
    pub optimizer: AdamWSettings,
    /// Seed of data order and dropout.
    pub seed: u64,
    /// Whether each epoch has its own random order.
    pub shuffle: bool,
    /// Divide by the labels counted before the shift, as Transformers 4.57 did.
    pub reference_quirks: bool,
    /// Compute activations twice instead of keeping them: less memory, a third more work.
    pub recompute: bool,
    /// When checkpoints are due.
    pub checkpoint: CheckpointEvery,
    /// LoRA+: learning rate of B factors as a multiple of that of A factors. What is off is left out of the run's
    /// digest here and below, so that states of older versions belong to the same run.
    #[serde(skip_serializing_if = "is_one")]
    pub lora_plus_ratio: f64,
    /// NEFTune: size of the noise on embeddings; 0 is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub neftune_alpha: f64,
    /// Whether the factors with the lowest validation loss are kept beside the last.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_best: bool,
    /// When the run ends before its last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
}

fn is_one(ratio: &f64) -> bool {
    *ratio == 1.0
}

fn is_zero(alpha: &f64) -> bool {
    *alpha == 0.0
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            epochs: 2,
            micro_batch: 2,
            accumulation: 4,
            learning_rate: 2e-4,
            warmup_steps: 20,
            schedule: Schedule::Linear,
            schedule_steps: None,
            max_grad_norm: 1.0,
            optimizer: AdamWSettings::default(),
            seed: 42,
            shuffle: true,
            reference_quirks: false,
            recompute: false,
            checkpoint: CheckpointEvery::Epoch,
            lora_plus_ratio: 1.0,
            neftune_alpha: 0.0,
            keep_best: false,
            early_stopping: None,
        }
    }
}

impl TrainSettings {
    /// Refuses values out of range.
    pub fn check(&self) -> Result<()> {
        for (setting, value) in [
            ("epochs", self.epochs),
            ("micro_batch", self.micro_batch as u64),
            ("accumulation", self.accumulation as u64),
        ] {
            if value == 0 {
                return Err(ModelError::setting(setting, value, "1 or more"));
            }
        }
        let delta = self.early_stopping.map_or(0.0, |stopping| stopping.min_delta);
        for (setting, value) in [
            ("learning_rate", self.learning_rate),
            ("max_grad_norm", self.max_grad_norm),
            ("neftune_alpha", self.neftune_alpha),
            ("early_stopping.min_delta", delta),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(ModelError::setting(setting, value, "0 or more"));
            }
        }
        if !(self.lora_plus_ratio > 0.0 && self.lora_plus_ratio.is_finite()) {
            return Err(ModelError::setting("lora_plus_ratio", self.lora_plus_ratio, "a number above 0"));
        }
        if self.early_stopping.is_some_and(|stopping| stopping.patience == 0) {
            return Err(ModelError::setting("early_stopping.patience", 0, "1 or more"));
        }
        if self.checkpoint == CheckpointEvery::Steps(0) {
            return Err(ModelError::setting("checkpoint", "every 0 steps", "every 1 or more steps"));
        }
        self.optimizer.check()
    }

    /// Learning rate of the step after `done` steps of a run of `total`.
    pub(super) fn learning_rate_after(&self, done: u64, total: u64) -> f64 {
        let total = self.schedule_steps.unwrap_or(total);
        self.schedule.learning_rate(self.learning_rate, self.warmup_steps, total, done)
    }
}
