//! Whether attention over the rows of a pass takes one call or one for each row. The kernel for all rows makes demands of device,
//! type and model; where they are met it is tried beside single rows before it is used.

use std::fmt;

use assay_text::config::DecoderConfig;
use tch::{Device, Kind, Tensor};

use super::attention::{Attention, PackedCausal};
use crate::{ModelError, Result};

/// The widest heads of LibTorch's flash kernels.
const HEAD_DIM_MAX: usize = 256;

/// Rows of a trial, in tokens: the shortest, and on both sides of the 64 and 128 tokens that kernels take at once.
const TRIAL_LENGTHS: [i64; 4] = [1, 70, 3, 131];
/// In the place of a model's windows, so that a trial's rows are longer.
const TRIAL_WINDOW: usize = 40;
/// Largest difference of a value or gradient, as a share of the largest: both round to bfloat16, each in its own order.
const TRIAL_TOLERANCE: f64 = 2e-2;

/// How attention over whole sequences that lie one after the other is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packing {
    /// One call for all of them: variable-length flash attention.
    Together,
    /// A call for each, and why.
    RowByRow(String),
}

impl Packing {
    /// What a model of this shape is computed with on this device, in this type.
    pub(super) fn chosen(config: &DecoderConfig, device: Device, kind: Kind) -> Self {
        match unsuited(config, device, kind) {
            Some(reason) => Self::RowByRow(reason),
            None => Self::tried(config, device, kind),
        }
    }

    /// Together where the kernel runs on this device and answers what single rows do, values and gradients: older GPUs have none, and
    /// a kernel that answers something else is not used.
    pub fn tried(config: &DecoderConfig, device: Device, kind: Kind) -> Self {
        match tch::with_grad(|| trial(config, device, kind)) {
            Ok(apart) if apart <= TRIAL_TOLERANCE => Self::Together,
            Ok(apart) => {
                Self::RowByRow(format!("on trial the kernel for all rows was {apart:.1e} from single rows"))
            }
            Err(error) => {
                Self::RowByRow(format!("on trial the kernel for all rows failed: {}", told(&error)))
            }
        }
    }

    /// The way, without the reason.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Together => "rows together",
            Self::RowByRow(_) => "row by row",
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Together => f.write_str(self.name()),
            Self::RowByRow(reason) => write!(f, "{} ({reason})", self.name()),
        }
    }
}

/// Why a kernel for all rows is not even tried.
fn unsuited(config: &DecoderConfig, device: Device, kind: Kind) -> Option<String> {
    if !matches!(device, Device::Cuda(_)) {
        return Some(String::from("the kernel for all rows is for NVIDIA GPUs"));
    }
    if ![Kind::BFloat16, Kind::Half].contains(&kind) {
        return Some(format!("the kernel for all rows computes in bfloat16 and float16, not {kind:?}"));
    }
    unsuited_model(config)
}

/// Why a model is not computed by it on any device.
pub(super) fn unsuited_model(config: &DecoderConfig) -> Option<String> {
    if config.attention_softcap.is_some() {
        return Some(String::from("the kernel for all rows has no cap of scores, which the model has"));
    }
    let width = config.head_dim;
    (width > HEAD_DIM_MAX).then(|| {
        format!("the kernel for all rows has heads of {HEAD_DIM_MAX} values at most, the model {width}")
    })
}

/// The largest difference of values and gradients between both ways, as a share of the largest of each.
fn trial(config: &DecoderConfig, device: Device, kind: Kind) -> Result<f64> {
    let mut windows: Vec<_> = config.windows.iter().map(|window| window.map(|_| TRIAL_WINDOW)).collect();
    windows.sort_unstable();
    windows.dedup();
    let config = DecoderConfig { windows, ..config.clone() };
    let inputs = inputs(&config, device, kind)?;
    let mut alone = PackedCausal::new(&TRIAL_LENGTHS, &config);
    let mut together = PackedCausal::together(&TRIAL_LENGTHS, &config, device)?;
    let mut largest = 0.0f64;
    for layer in 0..config.windows.len() {
        let (alone, together) =
            (with_gradients(&mut alone, layer, &inputs)?, with_gradients(&mut together, layer, &inputs)?);
        for (alone, together) in alone.iter().zip(&together) {
            let apart = largest_of(&together.f_sub(alone)?)? / largest_of(alone)?;
            largest = if apart.is_nan() { f64::INFINITY } else { largest.max(apart) };
        }
    }
    Ok(largest)
}

/// Query, key, value, and a gradient of what they come to: numbers between -2 and 2 that look random. LibTorch's generator is left
/// alone, as models are loaded while others draw from it.
fn inputs(config: &DecoderConfig, device: Device, kind: Kind) -> Result<[Tensor; 4]> {
    let (tokens, width) = (TRIAL_LENGTHS.iter().sum::<i64>(), config.head_dim as i64);
    let scattered = |heads: usize, start: i64| -> Result<Tensor> {
        let shape = [tokens, heads as i64, width];
        let places = start..start + shape.iter().product::<i64>();
        let places = Tensor::f_arange_start(places.start, places.end, (Kind::Double, Device::Cpu))?;
        let numbers = places.f_mul_scalar(12.9898)?.f_sin()?.f_mul_scalar(43758.5453)?.f_frac()?;
        Ok(numbers.f_mul_scalar(2.0)?.f_reshape(shape)?.f_to_device(device)?.f_to_kind(kind)?)
    };
    let (heads, kv_heads) = (config.head_count, config.kv_head_count);
    let gradient = scattered(heads, 3)?.f_reshape([tokens, -1])?;
    Ok([scattered(heads, 0)?, scattered(kv_heads, 1)?, scattered(kv_heads, 2)?, gradient])
}

/// The output, and the gradients of query, key and value.
fn with_gradients(way: &mut PackedCausal, layer: usize, inputs: &[Tensor; 4]) -> Result<Vec<Tensor>> {
    let [query, key, value, gradient] = inputs;
    let leaves: Vec<Tensor> = [query, key, value]
        .into_iter()
        .map(|input| Ok(input.f_detach()?.f_set_requires_grad(true)?))
        .collect::<Result<_>>()?;
    let output = way.attend(layer, &leaves[0], &leaves[1], &leaves[2])?;
    let sum = output.f_mul(gradient)?.f_sum(Kind::Float)?;
    let mut found = Tensor::f_run_backward(&[sum], &leaves, false, false)?;
    found.push(output.f_detach()?);
    Ok(found)
}

fn largest_of(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.f_abs()?.f_max()?.f_double_value(&[])?)
}

/// What LibTorch says, without its trace.
fn told(error: &ModelError) -> String {
    let source = std::error::Error::source(error);
    let text = source.map_or_else(|| error.to_string(), ToString::to_string);
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
