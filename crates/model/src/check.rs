//! Comparison with reference values made by Transformers, PEFT and TRL: logits, greedy continuation, and training step
//! by step. What is computed here goes through the same code as real jobs.

mod answers;
mod golden;
mod report;
mod together;
mod trl;

pub use golden::check;
pub use report::{CheckReport, Comparison};
pub use together::rows_together;
pub use trl::check_trl;

use std::path::Path;

use assay_text::safetensors::{Dtype, TensorFiles};
use serde::de::DeserializeOwned;
use tch::{Kind, Tensor};

use crate::train::{StepReport, Trainer};
use crate::{ModelError, Result};
use report::Steps;

/// One step as the reference saw it.
#[derive(Debug, Clone, serde::Deserialize)]
struct ExpectedStep {
    loss: f64,
    grad_norm: f64,
    #[serde(alias = "lr")]
    learning_rate: f64,
    trained_tokens: Option<u64>,
}

fn refused(path: &Path, problem: impl ToString) -> ModelError {
    ModelError::Reference { path: path.to_owned(), problem: problem.to_string() }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|error| refused(path, format!("cannot be read: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| refused(path, error))
}

/// A tensor of reference values, floats as float32 and whole numbers as int64.
fn tensor(files: &TensorFiles, name: &str) -> Result<Tensor> {
    let slice = files.tensor(name)?;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the foreign enum is open, and all else is refused")]
    let (kind, wide) = match slice.dtype {
        Dtype::F32 => (Kind::Float, Kind::Float),
        Dtype::F64 => (Kind::Double, Kind::Float),
        Dtype::BF16 => (Kind::BFloat16, Kind::Float),
        Dtype::I64 => (Kind::Int64, Kind::Int64),
        Dtype::I32 => (Kind::Int, Kind::Int64),
        other => return Err(refused(files.path(), format!("tensor `{name}` has element type {other:?}"))),
    };
    let size: Vec<i64> = slice.shape.iter().map(|length| *length as i64).collect();
    Ok(Tensor::f_from_data_size(slice.bytes, &size, kind)?.f_to_kind(wide)?)
}

/// Largest absolute difference; infinite if shapes differ or any value is not a number.
fn largest_difference(ours: &Tensor, theirs: &Tensor) -> Result<f64> {
    if ours.size() != theirs.size() {
        return Ok(f64::INFINITY);
    }
    if ours.numel() == 0 {
        return Ok(0.0);
    }
    let _guard = tch::no_grad_guard();
    let wide = |tensor: &Tensor| tensor.f_detach()?.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Double);
    let largest = wide(ours)?.f_sub(&wide(theirs)?)?.f_abs()?.f_max()?.f_double_value(&[])?;
    Ok(if largest.is_nan() { f64::INFINITY } else { largest })
}

/// Trains to the end and compares every step.
fn compare_steps(trainer: &mut Trainer<'_>, expected: &[ExpectedStep]) -> Result<Steps> {
    let mut steps = Steps::new(trainer.total_steps(), expected.len() as u64);
    let mut expected = expected.iter();
    while let Some(ours) = trainer.step()? {
        match expected.next() {
            Some(theirs) => steps.push(&ours, theirs),
            None => break,
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests;
