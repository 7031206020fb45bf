//! A trained adapter for others: its product added to the base's weights, and the check that what was written computes what
//! was trained.

mod check;
mod sum;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use assay_text::config::DecoderConfig;
use assay_text::safetensors::{Dtype, TensorFiles, weight_files, write_bytes, write_streamed};
use serde_json::{Value, json};
use tch::{Device, Kind};

pub(crate) use check::check_saved;
pub use check::{ExportCheck, MergedCheck, check, check_whole};
pub(crate) use sum::Sum;

use crate::lora::Lora;
use crate::weights::{WeightLoader, dtype_of, float_kind, stored_bytes, torch_name};
use crate::{ModelError, Result};

const CONFIG_FILE: &str = "config.json";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// The element type of merged weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Each tensor has that of the base model's.
    AsBase,
    /// All have this one: float32, bfloat16 or float16.
    As(Kind),
}

impl Stored {
    /// `f32`, `bf16` or `f16`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "f32" => Some(Self::As(Kind::Float)),
            "bf16" => Some(Self::As(Kind::BFloat16)),
            "f16" => Some(Self::As(Kind::Half)),
            _ => None,
        }
    }

    fn of(self, name: &str, base: Dtype) -> Result<Kind> {
        match self {
            Self::AsBase => float_kind(name, base),
            Self::As(kind) => Ok(kind),
        }
    }
}

/// Writes the weights of `model` with the adapter's product added, in the files that they have there, and says the type in a
/// `config.json` that is in `out` already. Sums are in float32 and rounded once.
pub fn merge(model: &Path, adapter: &Path, out: &Path, stored: Stored) -> Result<()> {
    let config = DecoderConfig::read(model)?;
    let lora = Lora::read(adapter, &config, Device::Cpu)?;
    let sum = Sum::new(&lora, &config);
    let _guard = tch::no_grad_guard();
    let held = TensorFiles::open_folder(model)?;
    if let Some(name) = sum.names().find(|name| !held.contains(name)) {
        return Err(ModelError::Adapter {
            path: adapter.to_owned(),
            problem: format!("adapts `{name}`, which the model's files do not hold"),
        });
    }
    let mut total = 0;
    for file in weight_files(model)? {
        let files = TensorFiles::open_file(&model.join(&file))?;
        let loader = WeightLoader::sums(&files, &sum, Device::Cpu);
        let mut heads = BTreeMap::new();
        for name in files.names() {
            let slice = files.tensor(name)?;
            let kind = stored.of(name, slice.dtype)?;
            total += slice.shape.iter().product::<usize>() * kind.elt_size_in_bytes();
            heads.insert(name.to_owned(), (dtype_of(kind), slice.shape.to_vec()));
        }
        write_streamed(&out.join(&file), &heads, |name| -> Result<_> {
            let slice = files.tensor(name)?;
            let kind = stored.of(name, slice.dtype)?;
            Ok(Cow::Owned(stored_bytes(&loader.load(name, slice.shape)?, kind)?))
        })?;
    }
    match stored {
        Stored::AsBase => Ok(()),
        Stored::As(kind) => describe(out, kind, total),
    }
}

/// Puts the type of weights and their bytes where Transformers looks for them.
fn describe(out: &Path, kind: Kind, total: usize) -> Result<()> {
    let name = torch_name(kind);
    rewrite(&out.join(CONFIG_FILE), |config| {
        // Transformers 5 writes `dtype`, versions before it `torch_dtype`.
        let field = if config.get("torch_dtype").is_some() { "torch_dtype" } else { "dtype" };
        config[field] = json!(name);
    })?;
    rewrite(&out.join(INDEX_FILE), |index| index["metadata"]["total_size"] = json!(total))
}

/// Changes a JSON file, if it exists.
fn rewrite(path: &Path, change: impl FnOnce(&mut Value)) -> Result<()> {
    let refused = |problem: String| ModelError::Adapter { path: path.to_owned(), problem };
    if !path.exists() {
        return Ok(());
    }
    let bytes = std::fs::read(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let mut value: Value =
        serde_json::from_slice(&bytes).map_err(|error| refused(format!("is not valid JSON: {error}")))?;
    if !value.is_object() {
        return Err(refused(String::from("is not a JSON object")));
    }
    change(&mut value);
    Ok(write_bytes(path, format!("{value:#}\n").as_bytes())?)
}
