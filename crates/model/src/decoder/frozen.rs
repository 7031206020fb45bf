//! Frozen projections as adapters see them.

use tch::Tensor;

use super::weight::Weight;
use crate::{Module, Result};

/// Projections that share an input, whose weights and biases are stacked.
#[derive(Debug, Clone, Copy)]
pub struct Frozen<'a> {
    modules: &'a [Module],
    widths: &'a [i64],
    weight: &'a Weight,
    bias: Option<&'a Tensor>,
}

impl<'a> Frozen<'a> {
    pub(super) fn new(
        modules: &'a [Module],
        widths: &'a [i64],
        weight: &'a Weight,
        bias: Option<&'a Tensor>,
    ) -> Self {
        Self { modules, widths, weight, bias }
    }

    /// Which they are, in order.
    pub fn modules(&self) -> &'a [Module] {
        self.modules
    }

    /// The weight `[out, in]` of one of them.
    pub(crate) fn weight(&self, number: usize) -> Result<Tensor> {
        Ok(self.weight.tensor()?.f_narrow(0, self.start(number), self.widths[number])?)
    }

    /// Its output `[N, out]` as it were without its bias.
    pub(crate) fn without_bias(&self, number: usize, output: &Tensor) -> Result<Tensor> {
        match self.bias {
            Some(bias) => Ok(output.f_sub(&bias.f_narrow(0, self.start(number), self.widths[number])?)?),
            None => Ok(output.shallow_clone()),
        }
    }

    fn start(&self, number: usize) -> i64 {
        self.widths[..number].iter().sum()
    }
}
