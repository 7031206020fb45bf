//! What the evaluations of a run come to: its best factors, and whether it is to end before its last step.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{Evaluation, TrainSettings};
use crate::Result;

/// When a run ends before its last step, as `EarlyStoppingCallback` of Transformers has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    /// Evaluations in a row without a lower loss after which it ends.
    pub patience: u64,
    /// How much lower than the lowest before a loss must be.
    pub min_delta: f64,
}

/// The evaluations of a run in sum; part of the resume state.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Watched {
    /// That with the lowest loss, the earliest of equals.
    pub(super) best: Option<Evaluation>,
    /// Evaluations in a row without a loss that counts as lower.
    without: u64,
    /// Whether the run ends here.
    pub(super) stopped: bool,
}

impl Watched {
    /// Takes the evaluation of a step in; whether it is the best so far.
    pub(super) fn note(&mut self, evaluation: Evaluation, settings: &TrainSettings) -> bool {
        let lowest = self.best.map_or(f64::INFINITY, |best| best.loss);
        let stopping = settings.early_stopping;
        let lower = evaluation.loss < lowest - stopping.map_or(0.0, |stopping| stopping.min_delta);
        self.without = if lower { 0 } else { self.without + 1 };
        self.stopped = stopping.is_some_and(|stopping| self.without >= stopping.patience);
        let best = evaluation.loss < lowest;
        if best {
            self.best = Some(evaluation);
        }
        best
    }
}

/// A copy of factors.
pub(super) fn copied(flat: &Tensor) -> Result<Tensor> {
    let _guard = tch::no_grad_guard();
    let mut copy = flat.f_empty_like()?;
    copy.f_copy_(flat)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(losses: &[f64], early_stopping: Option<EarlyStopping>) -> (Option<u64>, Option<usize>) {
        let settings = TrainSettings { early_stopping, ..TrainSettings::default() };
        let mut watched = Watched::default();
        let mut ended = None;
        for (number, loss) in losses.iter().enumerate() {
            let step = number as u64 + 1;
            watched.note(Evaluation { step, loss: *loss, predicted_tokens: 9 }, &settings);
            if watched.stopped && ended.is_none() {
                ended = Some(number + 1);
            }
        }
        (watched.best.map(|best| best.step), ended)
    }

    #[test]
    fn the_lowest_loss_is_best_and_patience_ends_the_run() {
        let losses = [3.0, 2.0, 2.5, 2.0, 1.9, 2.1, 2.2, 2.3];
        assert_eq!(watch(&losses, None), (Some(5), None));
        let patience = |patience, min_delta| Some(EarlyStopping { patience, min_delta });
        assert_eq!(watch(&losses, patience(3, 0.0)), (Some(5), Some(8)));
        assert_eq!(watch(&losses[..4], patience(2, 0.0)), (Some(2), Some(4)));
        // Lower by 0.1 is best, but not by enough to go on.
        assert_eq!(watch(&losses[..5], patience(3, 0.2)), (Some(5), Some(5)));
        assert_eq!(watch(&[], patience(1, 0.0)), (None, None));
    }
}
