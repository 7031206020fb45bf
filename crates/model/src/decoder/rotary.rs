//! Rotary positions: cosines and sines per position, applied to query and key heads.

use assay_text::config::DecoderConfig;
use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::packed::few;

/// The frequencies of a model.
#[derive(Debug)]
pub(super) struct RotaryTable {
    /// `[pairs]`, float32 as in Transformers, whose angles are float32 products.
    frequencies: Tensor,
    /// What cosines and sines are multiplied with.
    factor: f64,
}

/// The rotation of one pass: a row of cosines and a row of sines per token.
#[derive(Debug)]
pub struct Rotary {
    /// `[N, 1, pairs]`.
    cos: Tensor,
    /// `[N, 1, pairs]`.
    sin: Tensor,
}

impl RotaryTable {
    pub(super) fn new(config: &DecoderConfig, device: Device) -> Result<Self> {
        let frequencies: Vec<f32> =
            config.rotary_frequencies().iter().map(|frequency| *frequency as f32).collect();
        let frequencies = Tensor::f_from_slice(&frequencies)?.f_to_device(device)?;
        Ok(Self { frequencies, factor: config.rotary_factor() })
    }

    pub(super) fn rows(&self, positions: &Tensor, kind: Kind) -> Result<Rotary> {
        let _guard = tch::no_grad_guard();
        let angles = positions.f_to_kind(Kind::Float)?.f_outer(&self.frequencies)?.f_unsqueeze(1)?;
        let scaled = |values: Tensor| -> Result<Tensor> {
            let values = if self.factor == 1.0 { values } else { values.f_mul_scalar(self.factor)? };
            Ok(values.f_to_kind(kind)?)
        };
        Ok(Rotary { cos: scaled(angles.f_cos()?)?, sin: scaled(angles.f_sin()?)? })
    }
}

impl Rotary {
    /// Turns heads `[N, heads, head_dim]`; the pairs of a head are the two halves of its turned part (the layout of
    /// Hugging Face), and what comes after that part stays.
    pub(super) fn apply(&self, heads: &Tensor) -> Result<Tensor> {
        let (pairs, width) = (self.cos.size()[2], heads.size()[2]);
        let sizes = [pairs, pairs, width - 2 * pairs];
        let parts = heads.f_split_with_sizes(&sizes[..], -1)?;
        let (first, second) = (&parts[0], &parts[1]);
        let turned_first = first.f_mul(&self.cos)?.f_sub(&second.f_mul(&self.sin)?)?;
        let turned_second = second.f_mul(&self.cos)?.f_add(&first.f_mul(&self.sin)?)?;
        let whole = [&turned_first, &turned_second, &parts[2]];
        Ok(Tensor::f_cat(if sizes[2] == 0 { &whole[..2] } else { &whole }, -1)?)
    }

    /// The same for rows that [`crate::packed::is_for`], without gradients.
    pub(super) fn apply_few(&self, heads: &Tensor) -> Result<Tensor> {
        few::turn(heads, &self.cos, &self.sin)
    }
}
