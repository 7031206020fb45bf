//! Picks the next token: repetition penalty, temperature, top-k, top-p, min-p, multinomial, in the order of Transformers,
//! with one random stream per (seed, prompt, sample, adapter), so that answers do not depend on what else is in the batch.

mod blocks;
mod filter;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use crate::packed::Rows;
use crate::{ModelError, Result};

/// How tokens are picked. The defaults sample from the model as it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleSettings {
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: f64,
    /// Keeps the most probable tokens up to this probability; 1 is off.
    pub top_p: f64,
    /// Keeps this many most probable tokens (and those equal to the last of them); 0 is off.
    pub top_k: u32,
    /// Keeps tokens with this share of the most probable one's probability; 0 is off.
    pub min_p: f64,
    /// Divides positive and multiplies negative logits of tokens in the prompt or the answer; 1 is off.
    pub repetition_penalty: f64,
    /// Seed of all streams of a run.
    pub seed: u64,
}

impl Default for SampleSettings {
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl SampleSettings {
    /// Refuses values out of range.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(ModelError::setting("temperature", self.temperature, "0 or more"));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(ModelError::setting("top_p", self.top_p, "above 0 and at most 1"));
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return Err(ModelError::setting("min_p", self.min_p, "from 0 to 1"));
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return Err(ModelError::setting(
                "repetition_penalty",
                self.repetition_penalty,
                "a number above 0",
            ));
        }
        Ok(())
    }

    /// Whether the most probable token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }
}

/// The random numbers of one answer: a ChaCha8 stream whose key is the hash of seed, prompt ids, sample and adapter.
#[derive(Debug, Clone)]
pub struct SampleStream(ChaCha8Rng);

impl SampleStream {
    /// The stream of the `sample`-th answer to a prompt by the base model or the adapter with this digest; the same on
    /// every machine, alone or in a batch.
    pub fn new(seed: u64, prompt_ids: &[u32], sample: u32, adapter: Option<&[u8; 32]>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"assay sample stream 1");
        if let Some(digest) = adapter {
            hasher.update(b" adapter");
            hasher.update(digest);
        }
        hasher.update(seed.to_le_bytes());
        hasher.update(sample.to_le_bytes());
        for id in prompt_ids {
            hasher.update(id.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(hasher.finalize().into()))
    }

    /// The next number in `[0, 1)`, with 53 random bits.
    pub(crate) fn next_unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What sampling needs to know of one row of the batch.
pub(crate) struct RowState<'a> {
    pub(crate) stream: &'a mut SampleStream,
    /// Ids of prompt and answer, for the repetition penalty.
    pub(crate) seen: &'a [u32],
}

/// Picks one token per row of `logits` `[N, V]`.
pub(crate) fn pick(
    settings: &SampleSettings,
    logits: &Tensor,
    rows: &mut [RowState<'_>],
) -> Result<Vec<u32>> {
    let logits = penalise(settings, logits.f_to_kind(Kind::Float)?, rows)?;
    if settings.is_greedy() {
        return most_probable(&logits, rows);
    }
    let units: Vec<f64> = rows.iter_mut().map(|row| row.stream.next_unit()).collect();
    let picked = draw(settings, &probabilities(settings, logits)?, &units)?;
    let id = |(picked, row): (Option<u32>, &RowState<'_>)| {
        picked.ok_or(ModelError::NoNextToken { tokens: row.seen.len() })
    };
    picked.into_iter().zip(&*rows).map(id).collect()
}

/// One token for each row of `probabilities` by a number in `[0, 1)`; none where they are no numbers.
fn draw(settings: &SampleSettings, probabilities: &Tensor, units: &[f64]) -> Result<Vec<Option<u32>>> {
    if probabilities.device() != Device::Cpu
        && let Some(picked) = blocks::pick(settings, probabilities, units)?
    {
        return Ok(picked);
    }
    let probabilities = probabilities.f_to_device(Device::Cpu)?.f_contiguous()?;
    // Read where they are: a copy takes as long as all the rest here.
    let lines = Rows::of(&probabilities);
    let pick = |(row, unit): (usize, &f64)| filter::pick_one(settings, lines.row(row), *unit);
    Ok(units.iter().enumerate().map(pick).collect())
}

fn most_probable(logits: &Tensor, rows: &[RowState<'_>]) -> Result<Vec<u32>> {
    let ids = logits.f_argmax(-1, true)?;
    // Where one is no number, the largest is none.
    let largest = Vec::<f32>::try_from(logits.f_gather(-1, &ids, false)?.f_view([-1])?)?;
    let ids = Vec::<i64>::try_from(ids.f_view([-1])?)?;
    let pick = |((id, logit), row): ((i64, f32), &RowState<'_>)| match logit.is_finite() {
        true => Ok(id as u32),
        false => Err(ModelError::NoNextToken { tokens: row.seen.len() }),
    };
    ids.into_iter().zip(largest).zip(rows).map(pick).collect()
}

/// Of penalised logits, before the filters.
fn probabilities(settings: &SampleSettings, logits: Tensor) -> Result<Tensor> {
    let scaled =
        if settings.temperature == 1.0 { logits } else { logits.f_div_scalar(settings.temperature)? };
    Ok(scaled.f_softmax(-1, Kind::Float)?)
}

fn penalise(settings: &SampleSettings, logits: Tensor, rows: &[RowState<'_>]) -> Result<Tensor> {
    if settings.repetition_penalty == 1.0 {
        return Ok(logits);
    }
    let penalised = logits.f_detach_copy()?;
    for (index, row) in rows.iter().enumerate() {
        let mut seen: Vec<i64> = row.seen.iter().map(|id| i64::from(*id)).collect();
        seen.sort_unstable();
        seen.dedup();
        let ids = Tensor::f_from_slice(&seen)?.f_to_device(logits.device())?;
        let mut line = penalised.f_select(0, index as i64)?;
        let values = line.f_index_select(0, &ids)?;
        let raised = values.f_mul_scalar(settings.repetition_penalty)?;
        let lowered = values.f_div_scalar(settings.repetition_penalty)?;
        let negative = values.f_lt(0.0)?;
        let _line = line.f_index_copy_(0, &ids, &raised.f_where_self(&negative, &lowered)?)?;
    }
    Ok(penalised)
}

#[cfg(test)]
mod tests;
