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
    /// The length in tokens beyond which all tokens of a text have these instead.
    long: Option<(i64, Tensor)>,
    /// What cosines and sines are multiplied with.
    factor: f64,
}

/// Where flat tokens stand in their texts, and by which frequencies they are turned.
#[derive(Debug)]
pub struct Positions {
    /// `[N]`, int64.
    places: Tensor,
    /// Whether a token has the frequencies of long texts, `[N, 1]`; none: no token has.
    long: Option<Tensor>,
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
        let on_device = |frequencies: Vec<f64>| {
            let narrow: Vec<f32> = frequencies.into_iter().map(|frequency| frequency as f32).collect();
            Tensor::f_from_slice(&narrow)?.f_to_device(device)
        };
        let long = match config.long_rotary_frequencies() {
            Some((length, frequencies)) => Some((length as i64, on_device(frequencies)?)),
            None => None,
        };
        let frequencies = on_device(config.rotary_frequencies())?;
        Ok(Self { frequencies, long, factor: config.rotary_factor() })
    }

    /// The longest text that is turned by the first frequencies, where longer ones are turned by others.
    pub(super) fn short_text_max(&self) -> Option<i64> {
        self.long.as_ref().map(|(length, _)| *length)
    }

    pub(super) fn positions(
        &self,
        tokens: impl Iterator<Item = (i64, i64)>,
        device: Device,
    ) -> Result<Positions> {
        let (places, texts): (Vec<i64>, Vec<i64>) = tokens.unzip();
        let is_long = |text: &i64| self.short_text_max().is_some_and(|most| *text > most);
        let long = match texts.iter().any(is_long) {
            true => {
                let flags: Vec<bool> = texts.iter().map(is_long).collect();
                Some(Tensor::f_from_slice(&flags)?.f_to_device(device)?.f_unsqueeze(1)?)
            }
            false => None,
        };
        Ok(Positions { places: Tensor::f_from_slice(&places)?.f_to_device(device)?, long })
    }

    pub(super) fn rows(&self, positions: &Positions, kind: Kind) -> Result<Rotary> {
        let _guard = tch::no_grad_guard();
        let places = positions.places.f_to_kind(Kind::Float)?;
        let angles = places.f_outer(&self.frequencies)?;
        let angles = match (&self.long, &positions.long) {
            (Some((_, frequencies)), Some(long)) => {
                places.f_outer(frequencies)?.f_where_self(long, &angles)?
            }
            _ => angles,
        }
        .f_unsqueeze(1)?;
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
