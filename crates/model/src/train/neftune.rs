//! NEFTune (Jain et al. 2023): noise on the embeddings of training rows, as Transformers adds it to rows without padding.

use tch::{Device, Kind, Tensor};

use super::TrainRow;
use crate::Result;
use crate::decoder::Decoder;
use crate::random::seeded;

/// Noise for what is kept of some rows, one after the other `[N, hidden_size]`: uniform in `±alpha / sqrt(tokens of the
/// row * hidden_size)`. None for an alpha of 0. `seed` is that of a row by its place here; the same seed gives the same
/// values on every device.
pub(super) fn noise(
    alpha: f64,
    model: &Decoder,
    rows: &[&TrainRow],
    seed: impl Fn(usize) -> u64,
) -> Result<Option<Tensor>> {
    if alpha == 0.0 {
        return Ok(None);
    }
    let width = model.config().hidden_size;
    let mut noise = Vec::with_capacity(rows.len());
    for (number, row) in rows.iter().enumerate() {
        // In float32, as Transformers computes it.
        let bound = f64::from(alpha as f32 / ((row.ids.len() * width) as f32).sqrt());
        let mut values = Tensor::f_empty([row.kept() as i64, width as i64], (Kind::Float, Device::Cpu))?;
        noise.push(seeded(seed(number), || values.f_uniform_(-bound, bound))?);
    }
    Ok(Some(Tensor::f_cat(&noise, 0)?.f_to_device(model.device())?.f_to_kind(model.kind())?))
}
