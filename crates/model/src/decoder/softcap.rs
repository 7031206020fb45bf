//! Soft caps of Gemma 2: scores and logits stay between plus and minus a cap.

use tch::{Kind, Tensor};

use crate::Result;

/// `cap * tanh(x / cap)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Softcap(f64);

impl Softcap {
    pub(crate) fn new(cap: f64) -> Self {
        Self(cap)
    }

    /// The capped values.
    pub(crate) fn apply(self, values: &Tensor) -> Result<Tensor> {
        Ok(values.f_div_scalar(self.0)?.f_tanh()?.f_mul_scalar(self.0)?)
    }

    /// The derivative at values whose capped form this is, in float32: `1 - (capped / cap)^2`.
    pub(crate) fn slope(self, capped: &Tensor) -> Result<Tensor> {
        let squared = capped.f_to_kind(Kind::Float)?.f_div_scalar(self.0)?.f_square()?;
        Ok(squared.f_neg()?.f_add_scalar(1.0)?)
    }
}
