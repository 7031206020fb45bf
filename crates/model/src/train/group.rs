//! Loss and gradient of the accumulation group of one optimizer step, pass by pass.

use tch::{Kind, Tensor};

use super::Fit;
use super::backward::Pass;
use super::batch::{MicroBatch, TrainRow};
use super::neftune;
use super::trained::{Gradients, Trained};
use crate::decoder::Decoder;
use crate::lora::{DrawKey, Dropout};
use crate::{ModelError, Result};

/// The rows of one optimizer step, and what their numbers follow from.
pub(super) struct Group<'a> {
    pub(super) model: &'a Decoder,
    pub(super) trained: &'a Trained,
    /// All rows of the training data.
    pub(super) rows: &'a [TrainRow],
    /// Numbers of the group's rows, by micro-batch.
    pub(super) micros: &'a [Vec<usize>],
    /// What the sum of losses is divided by.
    pub(super) divisor: f64,
    pub(super) seed: u64,
    /// Of NEFTune; 0 is none.
    pub(super) neftune_alpha: f64,
    /// From 1.
    pub(super) step: u64,
}

/// What one pass answers.
struct Part<'p> {
    rows: &'p [usize],
    loss_sum: f64,
    gradients: Gradients,
}

impl Group<'_> {
    /// Loss and flat gradient.
    pub(super) fn accumulate(&self, fit: Fit) -> Result<(f64, Tensor)> {
        let elements = self.trained.parameter_count() as i64;
        let gradient = Tensor::f_zeros([elements], (Kind::Float, self.model.device()))?;
        let mut loss_sum = 0.0;
        self.each_pass(fit, |part| {
            if !part.loss_sum.is_finite() {
                return Err(self.broken("loss", part.loss_sum, vec![part.rows.to_vec()]));
            }
            loss_sum += part.loss_sum;
            self.trained.add(&gradient, &part.gradients)
        })?;
        Ok((loss_sum / self.divisor, gradient))
    }

    /// Looks for the first pass whose gradient is no finite number; all rows if only their sum is none.
    pub(super) fn not_finite(&self, fit: Fit, norm: f64) -> ModelError {
        let looked = self.each_pass(fit, |part| {
            let mut squares = 0.0;
            for (_, gradient) in &part.gradients {
                squares += gradient.f_norm()?.f_double_value(&[])?.powi(2);
            }
            let norm = squares.sqrt();
            match norm.is_finite() {
                true => Ok(()),
                false => Err(self.broken("gradient norm", norm, vec![part.rows.to_vec()])),
            }
        });
        looked.err().unwrap_or_else(|| self.broken("gradient norm", norm, self.micros.to_vec()))
    }

    fn broken(&self, what: &'static str, value: f64, rows: Vec<Vec<usize>>) -> ModelError {
        ModelError::NotFinite { what, step: self.step, value, rows }
    }

    fn each_pass(&self, fit: Fit, mut each: impl FnMut(Part<'_>) -> Result<()>) -> Result<()> {
        for (micro, numbers) in self.micros.iter().enumerate() {
            let kept =
                |numbers: &[usize]| -> i64 { numbers.iter().map(|row| self.rows[*row].kept() as i64).sum() };
            let key = DrawKey { seed: self.seed, step: self.step, micro: micro as u64 };
            let mut dropout = Dropout { key, whole: kept(numbers), start: 0 };
            for (chunk, numbers) in numbers.chunks(fit.rows).enumerate() {
                let rows: Vec<&TrainRow> = numbers.iter().map(|row| &self.rows[*row]).collect();
                let Some(batch) = MicroBatch::new(&rows, self.model)? else { continue };
                let noise = neftune::noise(self.neftune_alpha, self.model, &rows, |row| {
                    key.seed_of_row(chunk * fit.rows + row)
                })?;
                let (loss_sum, gradients) = self.pass(&batch, dropout, noise, fit)?;
                each(Part { rows: numbers, loss_sum, gradients })?;
                dropout.start += kept(numbers);
            }
        }
        Ok(())
    }

    fn pass(
        &self,
        batch: &MicroBatch,
        dropout: Dropout,
        noise: Option<Tensor>,
        fit: Fit,
    ) -> Result<(f64, Gradients)> {
        let (model, trained, scale) = (self.model, self.trained, 1.0 / self.divisor);
        let adapters = trained.adapters(Some(dropout));
        Pass { model, trained, adapters, batch, noise, scale }.run(fit.recompute)
    }
}
