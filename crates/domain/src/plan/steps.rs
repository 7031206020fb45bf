//! Step arithmetic of training, as Transformers counts it: the last partial accumulation group of an epoch is stepped.

use crate::job::Recipe;
use crate::matrix::{Checkpoints, Evaluate};

/// The checkpoint at the end of a recipe that keeps the best.
pub const BEST: &str = "best";

/// The steps of one training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Optimizer steps in one epoch.
    pub per_epoch: u64,
    /// Optimizer steps in all.
    pub total: u64,
    /// Steps after which an adapter is kept, ascending; the last is `total`.
    pub kept: Vec<u64>,
    /// Whether the last adapter is the best one.
    pub keeps_best: bool,
}

/// Optimizer steps in one epoch: ceil(ceil(rows / micro) / accumulate).
pub const fn steps_per_epoch(rows: u32, micro_batch: u32, accumulate: u32) -> u64 {
    (rows as u64).div_ceil(micro_batch as u64).div_ceil(accumulate as u64)
}

impl Schedule {
    /// The schedule of a recipe on so many rows.
    pub fn of(recipe: &Recipe, checkpoints: Checkpoints, rows: u32) -> Self {
        let per_epoch = steps_per_epoch(rows, recipe.micro_batch.max(1), recipe.accumulate.max(1));
        let total = per_epoch * u64::from(recipe.epochs);
        let every = match checkpoints {
            Checkpoints::EveryEpoch => per_epoch,
            Checkpoints::EverySteps(steps) => u64::from(steps),
        }
        .max(1);
        let mut kept: Vec<u64> = (1..=total / every).map(|number| number * every).collect();
        if kept.last() != Some(&total) {
            kept.push(total);
        }
        Self { per_epoch, total, kept, keeps_best: recipe.keep_best }
    }

    /// The checkpoints that are evaluated: those asked for and kept, ascending.
    pub fn evaluated(&self, evaluate: &Evaluate) -> Vec<u64> {
        let asked: Vec<u64> = match evaluate {
            Evaluate::All => return self.kept.clone(),
            Evaluate::Last => vec![self.total],
            Evaluate::Epochs(epochs) => {
                epochs.iter().map(|epoch| u64::from(*epoch) * self.per_epoch).collect()
            }
            Evaluate::Steps(steps) => steps.clone(),
        };
        self.kept.iter().copied().filter(|step| asked.contains(step)).collect()
    }

    /// `epoch 1`, or `step 50` inside an epoch; `best` for the end of a recipe that keeps the best.
    pub fn label(&self, step: u64) -> String {
        if self.keeps_best && step == self.total {
            return String::from(BEST);
        }
        if self.per_epoch > 0 && step.is_multiple_of(self.per_epoch) {
            return format!("epoch {}", step / self.per_epoch);
        }
        format!("step {step}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{Preset, RecipeSettings};

    fn recipe(epochs: u32, micro_batch: u32, accumulate: u32) -> Recipe {
        let settings = RecipeSettings {
            epochs: Some(epochs),
            micro_batch: Some(micro_batch),
            accumulate: Some(accumulate),
            ..RecipeSettings::default()
        };
        settings.resolved("r")
    }

    #[test]
    fn the_runs_of_the_method() {
        // The Llama run trained on 1,213 rows in 304 steps, the Qwen runs on 1,153 rows in 290, with 2x4 and with 1x8.
        assert_eq!(Schedule::of(&recipe(2, 2, 4), Checkpoints::EveryEpoch, 1213).total, 304);
        assert_eq!(Schedule::of(&recipe(2, 2, 4), Checkpoints::EveryEpoch, 1153).total, 290);
        assert_eq!(Schedule::of(&recipe(2, 1, 8), Checkpoints::EveryEpoch, 1153).total, 290);
        assert_eq!(Schedule::of(&recipe(2, 2, 2), Checkpoints::EveryEpoch, 24).kept, [6, 12]);
    }

    #[test]
    fn every_preset_of_the_method_has_its_steps() {
        for preset in [Preset::Paper3b, Preset::PaperHalfB, Preset::Paper3bQv, Preset::PaperHalfBQv] {
            let settings = RecipeSettings { preset: Some(preset), ..RecipeSettings::default() }.whole();
            let checkpoints = settings.checkpoints.unwrap();
            let recipe = settings.resolved("r");
            let of = |rows| Schedule::of(&recipe, checkpoints, rows);
            assert_eq!((of(1153).total, of(1213).total), (290, 304), "{preset:?}");
            let kept: &[u64] = if recipe.targets.len() == 2 { &[100, 200, 290] } else { &[145, 290] };
            assert_eq!(of(1153).kept, kept, "{preset:?}");
        }
    }

    #[test]
    fn the_end_is_always_kept_once() {
        let steps = Schedule::of(&recipe(2, 2, 4), Checkpoints::EverySteps(100), 1153);
        assert_eq!(steps.kept, [100, 200, 290]);
        assert_eq!(Schedule::of(&recipe(2, 2, 2), Checkpoints::EverySteps(4), 24).kept, [4, 8, 12]);
        assert_eq!(Schedule::of(&recipe(1, 2, 2), Checkpoints::EverySteps(50), 3).kept, [1]);
        assert_eq!(steps.label(290), "epoch 2");
        let best =
            Schedule::of(&Recipe { keep_best: true, ..recipe(2, 2, 4) }, Checkpoints::EveryEpoch, 1153);
        assert_eq!((best.label(145).as_str(), best.label(290).as_str()), ("epoch 1", BEST));
        assert_eq!(steps.label(100), "step 100");
    }

    #[test]
    fn evaluated_checkpoints_are_kept_ones() {
        let steps = Schedule::of(&recipe(2, 2, 2), Checkpoints::EverySteps(4), 24);
        assert_eq!(steps.evaluated(&Evaluate::All), [4, 8, 12]);
        assert_eq!(steps.evaluated(&Evaluate::Last), [12]);
        assert_eq!(steps.evaluated(&Evaluate::Epochs(vec![2, 1])), [12]);
        assert_eq!(steps.evaluated(&Evaluate::Steps(vec![8, 4])), [4, 8]);
    }
}
