//! What is looked at before an export is handed out. Merged weights are judged in three steps, so that a wrong sum is told from
//! the rounding of a right one: the sums compute what base and adapter do; the file holds these sums, rounded once; and the
//! rounding leaves the adapter's effect standing.

use std::path::Path;

use assay_text::config::DecoderConfig;
use assay_text::safetensors::TensorFiles;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use super::Sum;
use crate::decoder::{Decoder, RowAdapters};
use crate::lora::Lora;
use crate::weights::{WeightLoader, float_kind};
use crate::{ModelError, Result};

/// Tokens of the sequence that base, adapter and merged weights are compared on.
const PROBE_TOKENS: usize = 48;
/// The largest difference between base with adapter and their sum before it is rounded, as a share of the largest logit: the order
/// of additions is all that differs.
const SUM_TOLERANCE: f64 = 1e-4;
/// The most that rounding may move logits (root mean square), as a share of what the adapter moves them: beyond a half, what is
/// handed out is more rounding than training.
const ROUNDING_SHARE_MAX: f64 = 0.5;

/// What the check of an export found: logits of a fixed sequence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportCheck {
    /// The largest logit of base and adapter, by size.
    pub largest_logit: f64,
    /// The largest change that the adapter makes, or the training of all weights.
    pub adapter_changes: f64,
    /// Where weights were merged, what that did.
    pub merged: Option<MergedCheck>,
}

/// What merging did to the logits of base and adapter in float32.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MergedCheck {
    /// The type that the weights are stored in: `f32`, `bf16` or `f16`.
    pub stored: &'static str,
    /// The largest difference of the sums before rounding.
    pub sums_differ: f64,
    /// What that may be.
    pub sums_tolerance: f64,
    /// The largest difference of the weights as stored.
    pub differs: f64,
    /// Its root mean square as a share of that of the adapter's changes; at most 0.5 is accepted.
    pub rounding_share: f64,
    /// The weights as stored, computed in the type that they are stored in.
    pub run: Closeness,
    /// Base and adapter, computed in that type: what is lost there without merging.
    pub unmerged_run: Closeness,
}

/// How close a model's next tokens are to those of base and adapter in float32.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Closeness {
    /// Mean Kullback-Leibler divergence of a token's distribution, in nats.
    pub divergence: f64,
    /// The share of tokens with the same most probable next token.
    pub same_first: f64,
}

/// Refuses an export unless the adapter that was written is the one that was trained, changes the base, and, where weights
/// were merged, they compute what base and adapter do.
pub fn check(
    model: &Path,
    trained: &Path,
    written: &Path,
    merged: Option<&Path>,
    device: Device,
) -> Result<ExportCheck> {
    let _guard = tch::no_grad_guard();
    let refused =
        |problem: &str| ModelError::Adapter { path: written.to_owned(), problem: problem.to_owned() };
    let base = Decoder::load(model, device, Kind::Float)?;
    let lora = Lora::read(trained, base.config(), device)?;
    let reloaded = Lora::read(written, base.config(), device)?;
    if lora.digest()? != reloaded.digest()? {
        return Err(refused("is not the adapter that was trained"));
    }
    let plain = logits(&base, None)?;
    let tuned = logits(&base, Some(&reloaded))?;
    drop(base);
    let adapter_changes = largest(&plain.f_sub(&tuned)?)?;
    if adapter_changes == 0.0 || !adapter_changes.is_finite() {
        return Err(refused("changes nothing, or computes what is no number: its outputs are of no use"));
    }
    let found = ExportCheck { largest_logit: largest(&tuned)?, adapter_changes, merged: None };
    let merged = match merged {
        Some(folder) => Some(Merged { model, folder, lora: &reloaded, device, plain, tuned }.check()?),
        None => None,
    };
    Ok(ExportCheck { merged, ..found })
}

/// Refuses an adapter folder, just written, unless it is the adapter that was trained over this base and computes with it what are
/// numbers; the largest change of a logit, 0 for one that has learned nothing.
pub(crate) fn check_saved(base: &Decoder, trained: &Lora, written: &Path) -> Result<f64> {
    let _guard = tch::no_grad_guard();
    let refused = |problem: String| ModelError::Adapter { path: written.to_owned(), problem };
    let reloaded = Lora::read(written, base.config(), base.device())?;
    if trained.digest()? != reloaded.digest()? {
        return Err(refused(String::from("is not the adapter that was trained")));
    }
    let changes = largest(&logits(base, None)?.f_sub(&logits(base, Some(&reloaded))?)?)?;
    if !changes.is_finite() {
        return Err(refused(format!("changes logits by {changes}: its outputs are of no use")));
    }
    Ok(changes)
}

/// Refuses a folder with all weights of a model unless they are those that were trained and change the base.
pub fn check_whole(model: &Path, trained: &Path, written: &Path, device: Device) -> Result<ExportCheck> {
    let refused = |problem: String| ModelError::Folder { path: written.to_owned(), problem };
    let (ours, theirs) = (TensorFiles::open_folder(written)?, TensorFiles::open_folder(trained)?);
    if !ours.names().eq(theirs.names()) {
        return Err(refused(String::from("has other tensors than were trained")));
    }
    for name in theirs.names() {
        let (ours, theirs) = (ours.tensor(name)?, theirs.tensor(name)?);
        if (ours.dtype, ours.shape, ours.bytes) != (theirs.dtype, theirs.shape, theirs.bytes) {
            return Err(refused(format!("tensor `{name}` is not what was trained")));
        }
    }
    let of = |folder: &Path| logits(&Decoder::load(folder, device, Kind::Float)?, None);
    let (plain, tuned) = (of(model)?, of(written)?);
    let adapter_changes = largest(&plain.f_sub(&tuned)?)?;
    if adapter_changes == 0.0 || !adapter_changes.is_finite() {
        let problem = "changes nothing, or computes what is no number: its outputs are of no use";
        return Err(refused(problem.to_owned()));
    }
    Ok(ExportCheck { largest_logit: largest(&tuned)?, adapter_changes, merged: None })
}

/// Merged weights beside what they were made of.
struct Merged<'a> {
    model: &'a Path,
    folder: &'a Path,
    lora: &'a Lora,
    device: Device,
    /// Logits of the base.
    plain: Tensor,
    /// Logits of base and adapter.
    tuned: Tensor,
}

impl Merged<'_> {
    fn check(&self) -> Result<MergedCheck> {
        let (sums_differ, sums_tolerance) = self.sums()?;
        let kind = self.weights()?;
        let difference = self.logits_of(&Decoder::load(self.folder, self.device, Kind::Float)?)?;
        let rounding_share =
            root_mean_square(&difference)? / root_mean_square(&self.plain.f_sub(&self.tuned)?)?;
        if rounding_share.is_nan() || rounding_share > ROUNDING_SHARE_MAX {
            return Err(self.refused(format!(
                "rounding merged weights to {} moves logits {rounding_share:.2} times as much as the adapter does; {ROUNDING_SHARE_MAX} is \
                 accepted: store them as f32, or use the adapter unmerged",
                name_of(kind)
            )));
        }
        let (run, unmerged_run) = (self.run(kind)?, self.unmerged_run(kind)?);
        let (differs, stored) = (largest(&difference)?, name_of(kind));
        Ok(MergedCheck { stored, sums_differ, sums_tolerance, differs, rounding_share, run, unmerged_run })
    }

    /// How far logits of the sums, in float32, are from those of base and adapter, and how far they may be.
    fn sums(&self) -> Result<(f64, f64)> {
        let sums = Decoder::load_sums(self.model, self.lora, self.device)?;
        let (differ, tolerance) = (largest(&self.logits_of(&sums)?)?, SUM_TOLERANCE * largest(&self.tuned)?);
        if differ.is_nan() || differ > tolerance {
            let problem = format!(
                "merged weights give logits that differ by {differ:e} before they are rounded; {tolerance:e} is accepted"
            );
            return Err(self.refused(problem));
        }
        Ok((differ, tolerance))
    }

    /// Refuses files that hold anything but the sums, rounded once; answers the type of the adapted weights.
    fn weights(&self) -> Result<Kind> {
        let (base, written) = (TensorFiles::open_folder(self.model)?, TensorFiles::open_folder(self.folder)?);
        let config = DecoderConfig::read(self.model)?;
        let sum = Sum::new(self.lora, &config);
        let sums = WeightLoader::sums(&base, &sum, Device::Cpu);
        if let Some(name) = base.names().find(|name| !written.contains(name)) {
            return Err(self.refused(format!("merged weights have no tensor `{name}`")));
        }
        for name in written.names() {
            let slice = written.tensor(name)?;
            let kind = float_kind(name, slice.dtype)?;
            let found = WeightLoader::files(&written, Device::Cpu, kind).load(name, slice.shape)?;
            let expected = sums.load(name, slice.shape)?.f_to_kind(kind)?;
            if expected.f_isfinite()?.f_all()?.f_int64_value(&[])? != 1 {
                return Err(self.refused(format!(
                    "tensor `{name}` has numbers that {} does not hold: store the weights as bf16 or f32",
                    name_of(kind)
                )));
            }
            if !found.f_equal(&expected)? {
                return Err(self.refused(format!("tensor `{name}` is not the sum of base and adapter")));
            }
        }
        let first = sum.names().next().unwrap_or_default();
        float_kind(first, written.tensor(first)?.dtype)
    }

    fn run(&self, kind: Kind) -> Result<Closeness> {
        self.closeness(&logits(&Decoder::load(self.folder, self.device, kind)?, None)?)
    }

    fn unmerged_run(&self, kind: Kind) -> Result<Closeness> {
        self.closeness(&logits(&Decoder::load(self.model, self.device, kind)?, Some(self.lora))?)
    }

    /// The differences of a merged model's logits.
    fn logits_of(&self, model: &Decoder) -> Result<Tensor> {
        Ok(logits(model, None)?.f_sub(&self.tuned)?)
    }

    fn closeness(&self, logits: &Tensor) -> Result<Closeness> {
        let (ours, theirs) =
            (self.tuned.f_log_softmax(-1, Kind::Double)?, logits.f_log_softmax(-1, Kind::Double)?);
        let divergence = ours.f_exp()?.f_mul(&ours.f_sub(&theirs)?)?.f_sum_dim_intlist(
            [-1].as_slice(),
            false,
            Kind::Double,
        )?;
        let same = ours.f_argmax(-1, false)?.f_eq_tensor(&theirs.f_argmax(-1, false)?)?;
        Ok(Closeness {
            // Rounding may make it less than it can be.
            divergence: divergence.f_mean(Kind::Double)?.f_double_value(&[])?.max(0.0),
            same_first: same.f_mean(Kind::Double)?.f_double_value(&[])?,
        })
    }

    fn refused(&self, problem: String) -> ModelError {
        ModelError::Adapter { path: self.folder.to_owned(), problem }
    }
}

fn name_of(kind: Kind) -> &'static str {
    if kind == Kind::BFloat16 {
        "bf16"
    } else if kind == Kind::Half {
        "f16"
    } else {
        "f32"
    }
}

/// Logits, in float32, of a sequence that is the same for all models of one vocabulary.
fn logits(model: &Decoder, lora: Option<&Lora>) -> Result<Tensor> {
    let vocabulary = model.config().vocab_size;
    let ids: Vec<i64> =
        (0..PROBE_TOKENS).map(|place| (place * 7919 + 11) as i64 % vocabulary as i64).collect();
    let length = ids.len() as i64;
    let adapters = match lora {
        Some(lora) => RowAdapters::new().with(0..length, lora),
        None => RowAdapters::new(),
    };
    let ids = Tensor::f_from_slice(&ids)?.f_to_device(model.device())?;
    let logits = model.sequence_logits(&ids, &[length], &adapters)?;
    // What is computed of them is in float64, which Apple GPUs have not.
    Ok(logits.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?)
}

fn largest(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.f_abs()?.f_max()?.f_double_value(&[])?)
}

fn root_mean_square(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.f_square()?.f_mean(Kind::Double)?.f_sqrt()?.f_double_value(&[])?)
}

#[cfg(test)]
mod tests;
