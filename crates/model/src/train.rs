//! Supervised fine-tuning of a LoRA adapter or of all weights. The caller owns the loop: `step` until it answers none, `evaluate` and
//! save when it likes. Nothing here reads a clock; every random choice follows from the seed and the step's number.

mod backward;
mod batch;
mod best;
mod fit;
mod group;
mod loss;
mod neftune;
mod order;
mod resume;
mod settings;
mod trained;

use assay_text::config::DecoderConfig;
use tch::Tensor;

pub use batch::{IGNORED, TrainRow};
pub use best::EarlyStopping;
pub use fit::Fit;
pub use resume::ResumeReport;
pub use settings::{CheckpointEvery, TrainSettings};
pub use trained::Trained;

use crate::adamw::AdamW;
use crate::decoder::{Decoder, NoAdapters};
use crate::lora::Lora;
use crate::{ModelError, Result, device};
use batch::{RowCounts, check_rows};
use best::Watched;
use group::Group;
use order::DataOrder;

/// What one optimizer step did.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Epoch of the step, from 0.
    pub epoch: u64,
    /// Sum of the token losses of the accumulation group, divided as the settings say.
    pub loss: f64,
    /// Norm of the gradient over all factors before clipping.
    pub grad_norm: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Tokens of the step's rows.
    pub tokens: u64,
    /// Tokens that were predicted.
    pub predicted_tokens: u64,
    /// How its passes fitted into memory.
    pub fit: Fit,
}

/// Mean loss over a validation set.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Evaluation {
    /// Optimizer steps done before it.
    pub step: u64,
    /// Sum of token losses divided by the number of predicted tokens of the whole set: it does not depend on how the
    /// rows are batched.
    pub loss: f64,
    /// Tokens that were predicted.
    pub predicted_tokens: u64,
}

/// A training run: a model, what is trained of it or beside it, an optimizer, and rows of tokens.
#[derive(Debug)]
pub struct Trainer<'a> {
    model: &'a Decoder,
    trained: Trained,
    settings: TrainSettings,
    rows: Vec<TrainRow>,
    validation: Vec<TrainRow>,
    order: DataOrder,
    optimizer: AdamW,
    fit: Fit,
    steps_done: u64,
    evaluations: Vec<Evaluation>,
    watched: Watched,
    /// The values of the best evaluation, where they are kept.
    best: Option<Tensor>,
}

impl<'a> Trainer<'a> {
    /// A run from its start. Weights that are trained must be those of `model`. Refuses settings out of range and rows that
    /// the model cannot read.
    pub fn new(
        model: &'a Decoder,
        trained: impl Into<Trained>,
        settings: TrainSettings,
        rows: Vec<TrainRow>,
        validation: Vec<TrainRow>,
    ) -> Result<Self> {
        settings.check()?;
        if rows.is_empty() {
            return Err(ModelError::setting("rows", 0, "at least one row to train on"));
        }
        check_rows(&rows, model.config())?;
        check_rows(&validation, model.config())?;
        let order = DataOrder::new(&settings, rows.len());
        let trained = trained.into();
        let spans = trained.spans(settings.lora_plus_ratio)?;
        let optimizer = AdamW::new(settings.optimizer, spans, model.device())?;
        // What a product is computed with would be kept for its gradient: all layers at once, were they not computed twice.
        let fit = Fit { recompute: settings.recompute || model.is_in_4_bits(), ..Fit::of(&settings) };
        Ok(Self {
            fit,
            model,
            trained,
            settings,
            rows,
            validation,
            order,
            optimizer,
            steps_done: 0,
            evaluations: Vec::new(),
            watched: Watched::default(),
            best: None,
        })
    }

    /// Optimizer steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.order.total_steps()
    }

    /// Optimizer steps of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.order.steps_per_epoch()
    }

    /// How passes fit into memory so far.
    pub fn fit(&self) -> Fit {
        self.fit
    }

    /// Whether no step is left: all are done, or the validation loss no longer falls.
    pub fn is_over(&self) -> bool {
        self.watched.stopped || self.steps_done == self.total_steps()
    }

    /// The evaluation with the lowest loss so far, that of the base model apart.
    pub fn best(&self) -> Option<Evaluation> {
        self.watched.best
    }

    /// Puts the values of the best evaluation in the place of the last, where the settings keep them, and answers the
    /// step whose values there are now. For runs that are over.
    pub fn restore_best(&mut self) -> Result<u64> {
        match (&self.best, self.watched.best) {
            (Some(factors), Some(best)) => {
                let _guard = tch::no_grad_guard();
                self.trained.flat().shallow_clone().f_copy_(factors)?;
                Ok(best.step)
            }
            _ => Ok(self.steps_done),
        }
    }

    /// A row of the training data, from 0.
    pub fn row(&self, row: usize) -> Option<&TrainRow> {
        self.rows.get(row)
    }

    /// Optimizer steps done, those before a resume included.
    pub fn steps_done(&self) -> u64 {
        self.steps_done
    }

    /// Epochs done, as a fraction.
    pub fn epochs_done(&self) -> f64 {
        self.steps_done as f64 / self.order.steps_per_epoch() as f64
    }

    /// What is trained, as it is now.
    pub fn trained(&self) -> &Trained {
        &self.trained
    }

    /// Gives the adapter back and ends the run; none where all weights were trained.
    pub fn into_lora(self) -> Option<Lora> {
        match self.trained {
            Trained::Adapter(lora) => Some(lora),
            Trained::Whole(_) => None,
        }
    }

    /// All evaluations of the run, those before a resume included.
    pub fn evaluations(&self) -> &[Evaluation] {
        &self.evaluations
    }

    /// Whether a checkpoint belongs after the step that was just done: at the settings' interval and at the end.
    pub fn checkpoint_due(&self) -> bool {
        let interval = match self.settings.checkpoint {
            CheckpointEvery::Epoch => self.order.steps_per_epoch(),
            CheckpointEvery::Steps(steps) => steps,
        };
        self.steps_done > 0
            && (self.steps_done.is_multiple_of(interval) || self.steps_done == self.total_steps())
    }

    /// Does the next optimizer step; none when the run is done. Where memory is not enough, passes become smaller and
    /// the step begins anew, until one row is too much even with activations computed twice. After an error the run
    /// must be abandoned or resumed from its last checkpoint.
    pub fn step(&mut self) -> Result<Option<StepReport>> {
        if self.is_over() {
            return Ok(None);
        }
        let micros = self.order.step(self.steps_done)?;
        let group = || micros.iter().flatten().map(|row| &self.rows[*row]);
        let counts: RowCounts = group().map(TrainRow::counts).sum();
        let divisor = counts.divisor(self.settings.reference_quirks);
        let step = self.steps_done + 1;
        let group = Group {
            model: self.model,
            trained: &self.trained,
            rows: &self.rows,
            micros: &micros,
            divisor,
            seed: self.settings.seed,
            neftune_alpha: self.settings.neftune_alpha,
            step,
        };
        let device = self.model.device();
        let (loss, gradient) =
            self.fit.within_memory(|fit| device::in_fixed_order(device, || group.accumulate(fit)))?;
        let grad_norm = gradient.f_norm()?.f_double_value(&[])?;
        if !grad_norm.is_finite() {
            return Err(group.not_finite(self.fit, grad_norm));
        }
        let gradient = clip(gradient, grad_norm, self.settings.max_grad_norm)?;
        let learning_rate = self.settings.learning_rate_after(self.steps_done, self.total_steps());
        self.optimizer.update(self.trained.flat(), &gradient, learning_rate)?;
        let epoch = self.steps_done / self.order.steps_per_epoch();
        self.steps_done = step;
        Ok(Some(StepReport {
            step,
            epoch,
            loss,
            grad_norm,
            learning_rate,
            tokens: counts.tokens,
            predicted_tokens: counts.predicted,
            fit: self.fit,
        }))
    }

    /// Loss as it is now on the validation rows; none without such rows. It is kept for
    /// [`Trainer::evaluations`].
    pub fn evaluate(&mut self) -> Result<Option<Evaluation>> {
        let (model, rows, adapters) = (self.model, &self.validation, self.trained.adapters(None));
        let sums = self.fit.within_memory(|fit| loss::of_rows(model, adapters.as_ref(), rows, fit.rows))?;
        drop(adapters);
        let evaluation = self.evaluation(sums)?;
        let known = self.evaluations.last().is_some_and(|last| last.step == self.steps_done);
        if let (Some(evaluation), false) = (evaluation, known) {
            let best = self.watched.note(evaluation, &self.settings);
            if best && self.settings.keep_best {
                self.best = Some(best::copied(self.trained.flat())?);
            }
        }
        self.evaluations.extend(evaluation);
        Ok(evaluation)
    }

    /// Loss of the base model, without the adapter, on the validation rows. Weights that are trained are the base model's before the
    /// first step only: after it there is none.
    pub fn evaluate_base(&mut self) -> Result<Option<Evaluation>> {
        if self.trained.whole().is_some() && self.steps_done > 0 {
            return Ok(None);
        }
        let (model, rows) = (self.model, &self.validation);
        let sums = self.fit.within_memory(|fit| loss::of_rows(model, &NoAdapters, rows, fit.rows))?;
        self.evaluation(sums)
    }

    fn evaluation(&self, (sum, predicted_tokens): (f64, u64)) -> Result<Option<Evaluation>> {
        let (step, loss) = (self.steps_done, sum / predicted_tokens as f64);
        match predicted_tokens {
            0 => Ok(None),
            _ if !loss.is_finite() => Err(ModelError::ValidationNotFinite { step, value: loss }),
            _ => Ok(Some(Evaluation { step, loss, predicted_tokens })),
        }
    }

    /// The model that is trained.
    pub fn model_config(&self) -> &DecoderConfig {
        self.model.config()
    }
}

/// Scales the gradient so that its norm is at most `max_norm` (`clip_grad_norm_` of PyTorch); 0 turns clipping off.
fn clip(mut gradient: Tensor, norm: f64, max_norm: f64) -> Result<Tensor> {
    let coefficient = max_norm / (norm + 1e-6);
    if max_norm > 0.0 && coefficient < 1.0 {
        let _gradient = gradient.f_mul_scalar_(coefficient)?;
    }
    Ok(gradient)
}

#[cfg(test)]
mod tests;
