//! Rotary positions: cosines and sines per position, applied to query and key heads.

use assay_text::config::DecoderConfig;
use tch::{Device, Kind, Tensor};

use crate::Result;

/// The frequencies of a model.
#[derive(Debug)]
pub(super) struct RotaryTable {
    /// `[head_dim / 2]`, float32 as in Transformers, whose angles are float32 products.
    frequencies: Tensor,
}

/// The rotation of one pass: a row of cosines and a row of sines per token.
#[derive(Debug)]
pub struct Rotary {
    /// `[N, 1, head_dim / 2]`.
    cos: Tensor,
    /// `[N, 1, head_dim / 2]`.
    sin: Tensor,
}

impl RotaryTable {
    pub(super) fn new(config: &DecoderConfig, device: Device) -> Result<Self> {
        let frequencies: Vec<f32> =
            config.rotary_frequencies().iter().map(|frequency| *frequency as f32).collect();
        Ok(Self { frequencies: Tensor::f_from_slice(&frequencies)?.f_to_device(device)? })
    }

    pub(super) fn rows(&self, positions: &Tensor, kind: Kind) -> Result<Rotary> {
        let _guard = tch::no_grad_guard();
        let angles = positions.f_to_kind(Kind::Float)?.f_outer(&self.frequencies)?.f_unsqueeze(1)?;
        Ok(Rotary { cos: angles.f_cos()?.f_to_kind(kind)?, sin: angles.f_sin()?.f_to_kind(kind)? })
    }
}

impl Rotary {
    /// Turns heads `[N, heads, head_dim]`; the pairs of a head are its two halves (the layout of Hugging Face).
    pub(super) fn apply(&self, heads: &Tensor) -> Result<Tensor> {
        let halves = heads.f_chunk(2, -1)?;
        let (first, second) = (&halves[0], &halves[1]);
        let turned_first = first.f_mul(&self.cos)?.f_sub(&second.f_mul(&self.sin)?)?;
        let turned_second = second.f_mul(&self.cos)?.f_add(&first.f_mul(&self.sin)?)?;
        Ok(Tensor::f_cat(&[turned_first, turned_second], -1)?)
    }
}
