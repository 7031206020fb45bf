//! A trained adapter for others: its product added to the base's weights, and the check that what was written computes what
//! was trained.

use std::collections::BTreeMap;
use std::path::Path;

use assay_text::config::DecoderConfig;
use assay_text::safetensors::{Dtype, TensorBytes, TensorFiles, weight_files, write_file};
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::decoder::{Decoder, RowAdapters};
use crate::lora::Lora;
use crate::weights::WeightLoader;
use crate::{ModelError, Module, Result};

/// Tokens of the sequence that base, adapter and merged weights are compared on.
const PROBE_TOKENS: usize = 48;
/// The largest difference between merged and unmerged logits, as a share of the largest logit: for float32 weights, and for
/// weights of two bytes, which merging rounds once.
const TOLERANCE_F32: f64 = 1e-4;
const TOLERANCE_HALF: f64 = 2e-2;

/// What the check of an export found: logits of a fixed sequence, computed in float32.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportCheck {
    /// The largest logit of base and adapter, by size.
    pub largest_logit: f64,
    /// The largest change that the adapter makes.
    pub adapter_changes: f64,
    /// The largest difference between merged weights and base with adapter, where weights were merged.
    pub merged_differs: Option<f64>,
    /// What that may be.
    pub merged_tolerance: f64,
}

/// Writes the weights of `model` with the adapter's product added, in the files and element types that they have there.
/// Sums are in float32 and rounded once.
pub fn merge(model: &Path, adapter: &Path, out: &Path) -> Result<()> {
    let config = DecoderConfig::read(model)?;
    let lora = Lora::read(adapter, &config, Device::Cpu)?;
    let _guard = tch::no_grad_guard();
    let mut adapted = BTreeMap::new();
    for layer in 0..config.layer_count {
        for sized in Module::of(&config).into_iter().filter(|sized| lora.pair(layer, sized.module).is_some())
        {
            adapted.insert(
                format!("model.layers.{layer}.{}.weight", sized.module.path()),
                (layer, sized.module),
            );
        }
    }
    for name in weight_files(model)? {
        let files = TensorFiles::open_file(&model.join(&name))?;
        let mut tensors = BTreeMap::new();
        for name in files.names() {
            let tensor = match adapted.remove(name) {
                Some((layer, module)) => merged(&files, name, &lora, layer, module)?,
                None => as_it_is(&files, name)?,
            };
            tensors.insert(name.to_owned(), tensor);
        }
        write_file(&out.join(&name), &tensors)?;
    }
    match adapted.keys().next() {
        None => Ok(()),
        Some(name) => Err(ModelError::Adapter {
            path: adapter.to_owned(),
            problem: format!("adapts `{name}`, which the model's files do not hold"),
        }),
    }
}

fn as_it_is(files: &TensorFiles, name: &str) -> Result<TensorBytes> {
    let slice = files.tensor(name)?;
    Ok(TensorBytes { dtype: slice.dtype, shape: slice.shape.to_vec(), bytes: slice.bytes.to_vec() })
}

fn merged(files: &TensorFiles, name: &str, lora: &Lora, layer: usize, module: Module) -> Result<TensorBytes> {
    let slice = files.tensor(name)?;
    let weight = WeightLoader::files(files, Device::Cpu, Kind::Float).load(name, slice.shape)?;
    let Some((a, b)) = lora.pair(layer, module) else { return as_it_is(files, name) };
    let mut sum = weight.f_add(&b.f_matmul(a)?.f_mul_scalar(lora.config().scale())?)?;
    if let Some(magnitude) = lora.magnitude(layer, module) {
        // DoRA: each row gets the length that was learnt.
        let lengths = sum.f_square()?.f_sum_dim_intlist([1].as_slice(), true, Kind::Float)?.f_sqrt()?;
        sum = sum.f_mul(&magnitude.f_div(&lengths)?)?;
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the loader refused all other types")]
    let kind = match slice.dtype {
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F16 => Kind::Half,
        _ => Kind::Float,
    };
    let sum = sum.f_to_kind(kind)?.f_contiguous()?;
    let mut bytes = vec![0; slice.bytes.len()];
    sum.f_copy_data_u8(&mut bytes, sum.numel())?;
    Ok(TensorBytes { dtype: slice.dtype, shape: slice.shape.to_vec(), bytes })
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
    let refused = |problem: String| ModelError::Adapter { path: written.to_owned(), problem };
    let base = Decoder::load(model, device, Kind::Float)?;
    let lora = Lora::read(trained, base.config(), device)?;
    let reloaded = Lora::read(written, base.config(), device)?;
    if lora.digest()? != reloaded.digest()? {
        return Err(refused(String::from("is not the adapter that was trained")));
    }
    let plain = logits(&base, None)?;
    let tuned = logits(&base, Some(&reloaded))?;
    drop(base);
    let adapter_changes = largest(&plain.f_sub(&tuned)?)?;
    if adapter_changes == 0.0 {
        return Err(refused(String::from("changes nothing: its outputs are those of the base model")));
    }
    let mut check = ExportCheck {
        largest_logit: largest(&tuned)?,
        adapter_changes,
        merged_differs: None,
        merged_tolerance: if halves(model)? { TOLERANCE_HALF } else { TOLERANCE_F32 },
    };
    check.merged_tolerance *= check.largest_logit;
    if let Some(folder) = merged {
        let differs = largest(&logits(&Decoder::load(folder, device, Kind::Float)?, None)?.f_sub(&tuned)?)?;
        check.merged_differs = Some(differs);
        if differs.is_nan() || differs > check.merged_tolerance {
            let most = check.merged_tolerance;
            let problem =
                format!("merged weights give logits that differ by {differs:e}; {most:e} is accepted");
            return Err(ModelError::Adapter { path: folder.to_owned(), problem });
        }
    }
    Ok(check)
}

/// Logits of a sequence that is the same for all models of one vocabulary.
fn logits(model: &Decoder, lora: Option<&Lora>) -> Result<Tensor> {
    let vocabulary = model.config().vocab_size;
    let ids: Vec<i64> =
        (0..PROBE_TOKENS).map(|place| (place * 7919 + 11) as i64 % vocabulary as i64).collect();
    let length = ids.len() as i64;
    let adapters = match lora {
        Some(lora) => RowAdapters::new().with(0..length, lora),
        None => RowAdapters::new(),
    };
    model.sequence_logits(&Tensor::from_slice(&ids).f_to_device(model.device())?, &[length], &adapters)
}

fn largest(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.f_abs()?.f_max()?.f_double_value(&[])?)
}

/// Whether any weight has two bytes.
fn halves(model: &Path) -> Result<bool> {
    let files = TensorFiles::open_folder(model)?;
    for name in files.names() {
        if matches!(files.tensor(name)?.dtype, Dtype::BF16 | Dtype::F16) {
            return Ok(true);
        }
    }
    Ok(false)
}
