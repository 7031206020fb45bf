//! Errors of the model crate: one variant per thing that a caller can do differently.

use std::path::PathBuf;

use assay_text::config::ConfigError;
use assay_text::safetensors::TensorFileError;
use tch::TchError;

/// Result with [`ModelError`].
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// What went wrong while loading, training or running a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The model's `config.json` was refused.
    #[error("the model's configuration was refused")]
    Config(#[from] ConfigError),
    /// A file of tensors could not be read or written.
    #[error("tensors could not be read or written")]
    TensorFile(#[from] TensorFileError),
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{name}` has shape {found:?}, but {expected:?} is expected from config.json")]
    Shape {
        /// The tensor.
        name: String,
        /// Its dimensions in the file.
        found: Vec<usize>,
        /// The dimensions that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor has an element type that is not a float the model can use.
    #[error("tensor `{name}` has element type {dtype}: only F32, BF16 and F16 are supported")]
    ElementType {
        /// The tensor.
        name: String,
        /// Its type in the file.
        dtype: String,
    },
    /// The device does not exist or cannot be used.
    #[error("device `{device}` cannot be used: {problem}")]
    Device {
        /// What was asked for.
        device: String,
        /// Why not, and what to do.
        problem: String,
    },
    /// An adapter folder was refused.
    #[error("adapter `{}`: {problem}", path.display())]
    Adapter {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A model folder could not be read or written.
    #[error("`{}`: {problem}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting was refused.
    #[error("setting `{setting}` is {value}, but must be {rule}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// The given value.
        value: String,
        /// What it must be.
        rule: String,
    },
    /// A row of tokens was refused.
    #[error("row {row}: {problem}")]
    Row {
        /// Its number, from 0.
        row: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A resume state does not belong to this run or is damaged.
    #[error("resume state `{}`: {problem}", path.display())]
    Resume {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A folder of reference values was refused.
    #[error("reference values `{}`: {problem}", path.display())]
    Reference {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Training met a loss or gradient that is not a finite number.
    #[error(
        "{what} of step {step} is {value}, on rows {rows:?} of the training data (from 0): lower the learning rate or check them"
    )]
    NotFinite {
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// Optimizer step, from 1.
        step: u64,
        /// The value.
        value: f64,
        /// The rows, from 0, by pass: those of the first pass in which it appears.
        rows: Vec<Vec<usize>>,
    },
    /// The loss on the validation rows is not a finite number.
    #[error(
        "the validation loss after step {step} is {value}: lower the learning rate, or look for what is wrong with the \
         validation rows"
    )]
    ValidationNotFinite {
        /// Optimizer steps done.
        step: u64,
        /// The value.
        value: f64,
    },
    /// There is no next token: what the model says of it are no numbers.
    #[error(
        "the logits after {tokens} tokens are not finite numbers: weights or adapter hold some that are none, or too large \
         for their type"
    )]
    NoNextToken {
        /// Of prompt and answer.
        tokens: usize,
    },
    /// The caller stopped the run between two steps.
    #[error("cancelled")]
    Cancelled,
    /// The device is out of memory.
    #[error("out of memory on the device: use shorter rows, a smaller batch, or a device with more")]
    OutOfMemory(#[source] TchError),
    /// LibTorch refused an operation.
    #[error("a tensor operation failed")]
    Torch(#[source] TchError),
}

impl From<TchError> for ModelError {
    /// Tells running out of memory, which a caller can do something about, from all else.
    fn from(error: TchError) -> Self {
        if crate::oom::is_said(&error.to_string()) { Self::OutOfMemory(error) } else { Self::Torch(error) }
    }
}

impl ModelError {
    /// A setting that breaks its rule.
    pub(crate) fn setting(setting: &'static str, value: impl ToString, rule: impl Into<String>) -> Self {
        Self::Setting { setting, value: value.to_string(), rule: rule.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_memory_is_told_from_other_failures() {
        let cuda = TchError::Torch("CUDA out of memory. Tried to allocate 2.00 GiB".to_owned());
        assert!(matches!(ModelError::from(cuda), ModelError::OutOfMemory(_)));
        let cpu = TchError::Torch("DefaultCPUAllocator: can't allocate memory".to_owned());
        assert!(matches!(ModelError::from(cpu), ModelError::OutOfMemory(_)));
        let container = TchError::Torch("std::bad_alloc".to_owned());
        assert!(matches!(ModelError::from(container), ModelError::OutOfMemory(_)));
        let shape = TchError::Torch("mat1 and mat2 shapes cannot be multiplied".to_owned());
        assert!(matches!(ModelError::from(shape), ModelError::Torch(_)));
    }
}
