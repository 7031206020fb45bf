//! AdamW over one flat tensor (Loshchilov and Hutter 2019, in the operation order of `torch.optim.AdamW`), with its
//! state in reach: the optimizers of tch neither save nor load theirs.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::{ModelError, Result};

/// Constants of the optimizer; the defaults are those of PyTorch, but without weight decay, as Transformers has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWSettings {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second mean.
    pub epsilon: f64,
    /// Share of the learning rate by which weights shrink.
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

impl AdamWSettings {
    /// Refuses values out of range.
    pub fn check(&self) -> Result<()> {
        for (setting, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(ModelError::setting(setting, value, "at least 0 and below 1"));
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(ModelError::setting("epsilon", self.epsilon, "a number above 0"));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(ModelError::setting("weight_decay", self.weight_decay, "0 or more"));
        }
        Ok(())
    }
}

/// Values one after the other that learn alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span {
    /// How many.
    pub(crate) elements: i64,
    /// What the learning rate is multiplied with.
    pub(crate) rate: f64,
    /// Whether weight decay is for them.
    pub(crate) decays: bool,
}

/// Values that are updated at once: what an update needs beside them stays small and near.
const PIECE_ELEMENTS: i64 = 1 << 22;

/// Moments and number of updates.
#[derive(Debug)]
pub(crate) struct AdamW {
    settings: AdamWSettings,
    spans: Vec<Span>,
    /// Updates done.
    pub(crate) updates: u64,
    /// Mean of gradients.
    pub(crate) first: Tensor,
    /// Mean of squared gradients.
    pub(crate) second: Tensor,
}

impl AdamW {
    pub(crate) fn new(settings: AdamWSettings, spans: Vec<Span>, device: Device) -> Result<Self> {
        let mut merged: Vec<Span> = Vec::new();
        for span in spans {
            match merged.last_mut() {
                Some(last) if (last.rate, last.decays) == (span.rate, span.decays) => {
                    last.elements += span.elements
                }
                _ => merged.push(span),
            }
        }
        let elements: i64 = merged.iter().map(|span| span.elements).sum();
        let zeros = || Tensor::f_zeros([elements], (Kind::Float, device));
        Ok(Self { settings, spans: merged, updates: 0, first: zeros()?, second: zeros()? })
    }

    /// Updates `parameters` in place with this gradient; all are flat and of equal length.
    pub(crate) fn update(
        &mut self,
        parameters: &Tensor,
        gradient: &Tensor,
        learning_rate: f64,
    ) -> Result<()> {
        let _guard = tch::no_grad_guard();
        self.updates += 1;
        let mut start = 0;
        for span in &self.spans {
            let end = start + span.elements;
            while start < end {
                let length = PIECE_ELEMENTS.min(end - start);
                let piece = |tensor: &Tensor| tensor.f_narrow(0, start, length);
                let moments = [piece(&self.first)?, piece(&self.second)?];
                self.update_piece(
                    piece(parameters)?,
                    &piece(gradient)?,
                    moments,
                    learning_rate * span.rate,
                    span.decays,
                )?;
                start += length;
            }
        }
        Ok(())
    }

    fn update_piece(
        &self,
        mut parameters: Tensor,
        gradient: &Tensor,
        [mut first, mut second]: [Tensor; 2],
        learning_rate: f64,
        decays: bool,
    ) -> Result<()> {
        let AdamWSettings { beta1, beta2, epsilon, weight_decay } = self.settings;
        if weight_decay > 0.0 && decays {
            let _parameters = parameters.f_mul_scalar_(1.0 - learning_rate * weight_decay)?;
        }
        let _first = first.f_lerp_(gradient, 1.0 - beta1)?;
        let squared = gradient.f_square()?.f_mul_scalar(1.0 - beta2)?;
        let _second = second.f_mul_scalar_(beta2)?.f_add_(&squared)?;
        let updates = self.updates as f64;
        let correction1 = 1.0 - beta1.powf(updates);
        let correction2 = 1.0 - beta2.powf(updates);
        let root = second.f_sqrt()?.f_div_scalar_(correction2.sqrt())?.f_add_scalar_(epsilon)?;
        let change = first.f_div(&root)?.f_mul_scalar_(learning_rate / correction1)?;
        let _parameters = parameters.f_sub_(&change)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three updates of `torch.optim.AdamW(lr=0.1, weight_decay=0.01)` from [1, -2, 3] with gradients
    /// [0.5, -0.25, 1], [0.1, 0.2, -0.3], [0, 1, 0], computed by hand in double precision.
    #[test]
    fn updates_follow_the_formula() {
        let settings = AdamWSettings { weight_decay: 0.01, ..AdamWSettings::default() };
        let mut optimizer = AdamW::new(settings, vec![span(3, 1.0, true)], Device::Cpu).unwrap();
        let parameters = Tensor::from_slice(&[1f32, -2.0, 3.0]);
        let gradients = [[0.5, -0.25, 1.0], [0.1, 0.2, -0.3], [0.0, 1.0, 0.0]];
        let (mut expected, mut first, mut second) = ([1.0, -2.0, 3.0], [0.0; 3], [0.0; 3]);
        for (done, gradient) in gradients.iter().enumerate() {
            let flat: Vec<f32> = gradient.iter().map(|value| *value as f32).collect();
            optimizer.update(&parameters, &Tensor::from_slice(&flat), 0.1).unwrap();
            for index in 0..3 {
                let value: f64 = gradient[index];
                first[index] = 0.9 * first[index] + 0.1 * value;
                second[index] = 0.999 * second[index] + 0.001 * value * value;
                let mean: f64 = first[index] / (1.0 - 0.9f64.powi(done as i32 + 1));
                let square: f64 = second[index] / (1.0 - 0.999f64.powi(done as i32 + 1));
                expected[index] = expected[index] * (1.0 - 0.001) - 0.1 * mean / (square.sqrt() + 1e-8);
            }
        }
        for (index, expected) in expected.iter().enumerate() {
            assert!((parameters.double_value(&[index as i64]) - expected).abs() < 1e-6);
        }
    }

    fn span(elements: i64, rate: f64, decays: bool) -> Span {
        Span { elements, rate, decays }
    }

    #[test]
    fn values_with_a_rate_of_their_own_move_and_decay_as_with_that_learning_rate_and_some_do_not_decay() {
        let after = |spans: Vec<Span>, weight_decay: f64, learning_rate: f64| {
            let settings = AdamWSettings { weight_decay, ..AdamWSettings::default() };
            let mut optimizer = AdamW::new(settings, spans, Device::Cpu).unwrap();
            let parameters = Tensor::from_slice(&[1f32, 1.0, 1.0]);
            for gradient in [[0.5f32, 0.5, 0.5], [-0.1, -0.1, -0.1]] {
                optimizer.update(&parameters, &Tensor::from_slice(&gradient), learning_rate).unwrap();
            }
            [0, 1, 2].map(|place| parameters.double_value(&[place]))
        };
        let all = |weight_decay, rate| after(vec![span(3, 1.0, true)], weight_decay, rate)[0];
        let mixed = after(vec![span(1, 1.0, true), span(1, 16.0, true), span(1, 1.0, false)], 0.1, 0.01);
        for (found, expected) in mixed.into_iter().zip([all(0.1, 0.01), all(0.1, 0.16), all(0.0, 0.01)]) {
            assert!((found - expected).abs() < 1e-6, "{mixed:?}");
        }
    }

    /// The largest tensors are updated piece by piece.
    #[test]
    fn pieces_end_where_values_do() {
        let elements = 2 * PIECE_ELEMENTS + 3;
        let spans = vec![span(5, 1.0, true), span(elements - 5, 1.0, false)];
        let mut optimizer = AdamW::new(AdamWSettings::default(), spans, Device::Cpu).unwrap();
        let parameters = Tensor::zeros([elements], (Kind::Float, Device::Cpu));
        optimizer.update(&parameters, &parameters.ones_like(), 0.5).unwrap();
        let moved = (parameters + 0.5).abs().max().double_value(&[]);
        assert!(moved < 1e-6, "every value moves by the learning rate: {moved}");
    }
}
