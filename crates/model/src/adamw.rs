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

/// Moments and number of updates.
#[derive(Debug)]
pub(crate) struct AdamW {
    settings: AdamWSettings,
    /// What the learning rate of each value is multiplied with; none: 1.
    rates: Option<Tensor>,
    /// Updates done.
    pub(crate) updates: u64,
    /// Mean of gradients.
    pub(crate) first: Tensor,
    /// Mean of squared gradients.
    pub(crate) second: Tensor,
}

impl AdamW {
    pub(crate) fn new(
        settings: AdamWSettings,
        rates: Option<Tensor>,
        elements: i64,
        device: Device,
    ) -> Result<Self> {
        let zeros = || Tensor::f_zeros([elements], (Kind::Float, device));
        Ok(Self { settings, rates, updates: 0, first: zeros()?, second: zeros()? })
    }

    /// Updates `parameters` in place with this gradient; all are flat and of equal length.
    pub(crate) fn update(
        &mut self,
        parameters: &Tensor,
        gradient: &Tensor,
        learning_rate: f64,
    ) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let AdamWSettings { beta1, beta2, epsilon, weight_decay } = self.settings;
        self.updates += 1;
        let mut parameters = parameters.shallow_clone();
        if weight_decay > 0.0 {
            let decay = -learning_rate * weight_decay;
            let _parameters = match &self.rates {
                Some(rates) => parameters.f_mul_(&rates.f_mul_scalar(decay)?.f_add_scalar_(1.0)?)?,
                None => parameters.f_mul_scalar_(1.0 + decay)?,
            };
        }
        let _first = self.first.f_lerp_(gradient, 1.0 - beta1)?;
        let squared = gradient.f_square()?.f_mul_scalar(1.0 - beta2)?;
        let _second = self.second.f_mul_scalar_(beta2)?.f_add_(&squared)?;
        let updates = self.updates as f64;
        let correction1 = 1.0 - beta1.powf(updates);
        let correction2 = 1.0 - beta2.powf(updates);
        let root = self.second.f_sqrt()?.f_div_scalar_(correction2.sqrt())?.f_add_scalar_(epsilon)?;
        let mut change = self.first.f_div(&root)?.f_mul_scalar_(learning_rate / correction1)?;
        if let Some(rates) = &self.rates {
            let _change = change.f_mul_(rates)?;
        }
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
        let mut optimizer = AdamW::new(settings, None, 3, Device::Cpu).unwrap();
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

    #[test]
    fn a_value_with_a_rate_of_its_own_moves_and_decays_as_with_that_learning_rate() {
        let settings = AdamWSettings { weight_decay: 0.1, ..AdamWSettings::default() };
        let after = |rates: Option<Tensor>, learning_rate: f64| {
            let mut optimizer = AdamW::new(settings, rates, 2, Device::Cpu).unwrap();
            let parameters = Tensor::from_slice(&[1f32, 1.0]);
            for gradient in [[0.5f32, 0.5], [-0.1, -0.1]] {
                optimizer.update(&parameters, &Tensor::from_slice(&gradient), learning_rate).unwrap();
            }
            [parameters.double_value(&[0]), parameters.double_value(&[1])]
        };
        let rated = after(Some(Tensor::from_slice(&[1f32, 16.0])), 0.01);
        assert!((rated[0] - after(None, 0.01)[0]).abs() < 1e-6);
        assert!((rated[1] - after(None, 0.16)[1]).abs() < 1e-6);
    }
}
