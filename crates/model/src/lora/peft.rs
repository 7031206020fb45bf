//! PEFT's adapter folder: `adapter_config.json` and `adapter_model.safetensors`, read and written.

mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use assay_text::config::DecoderConfig;
use assay_text::safetensors::{Dtype, TensorBytes, TensorFiles, write_bytes, write_file};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::{Factor, Lora, LoraConfig, Place};
use crate::weights::{WeightLoader, stored_bytes};
use crate::{ModelError, Result};
use targets::targets;

const CONFIG_FILE: &str = "adapter_config.json";
const TENSOR_FILE: &str = "adapter_model.safetensors";

/// Fields that change the arithmetic of an adapter when they are set, and how to say so.
const MUST_BE_UNSET: [&str; 13] = [
    "alora_invocation_tokens",
    "exclude_modules",
    "fan_in_fan_out",
    "layer_replication",
    "layers_to_transform",
    "lora_bias",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "rank_pattern",
    "alpha_pattern",
];

impl Lora {
    /// Reads an adapter folder for a model of this shape.
    pub fn read(dir: &Path, model: &DecoderConfig, device: Device) -> Result<Self> {
        let config = read_config(dir, model)?;
        let mut lora = Self::zeros(config, model, device)?;
        let path = dir.join(TENSOR_FILE);
        let files = TensorFiles::open_file(&path)?;
        let loader = WeightLoader::files(&files, device, Kind::Float);
        let _guard = tch::no_grad_guard();
        let mut known = BTreeSet::new();
        for (place, factor) in lora.factors_mut() {
            let name = tensor_name(place);
            factor.f_copy_(&loader.load(&name, &shape_in_file(place))?.f_view(place.shape)?)?;
            if factor.f_isfinite()?.f_all()?.f_int64_value(&[])? != 1 {
                let problem = format!(
                    "tensor `{name}` holds values that are no finite numbers: its training went wrong"
                );
                return Err(ModelError::Adapter { path, problem });
            }
            known.insert(name);
        }
        match files.names().find(|name| !known.contains(*name)) {
            Some(name) => Err(ModelError::Adapter {
                path,
                problem: format!("tensor `{name}` belongs to no layer or target of this model and adapter"),
            }),
            None => Ok(lora),
        }
    }

    /// Writes an adapter folder that PEFT reads. `base_model` is recorded as the model it belongs to.
    pub fn write(&self, dir: &Path, base_model: Option<&str>) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(|error| ModelError::Adapter {
            path: dir.to_owned(),
            problem: format!("the folder cannot be made: {error}"),
        })?;
        let mut tensors = BTreeMap::new();
        for (place, factor) in self.places().iter().zip(self.factors()) {
            let bytes = TensorBytes { shape: shape_in_file(place), ..tensor_bytes(factor)? };
            tensors.insert(tensor_name(place), bytes);
        }
        write_file(&dir.join(TENSOR_FILE), &tensors)?;
        // The configuration comes last: a folder that has it is whole.
        let config = format!("{:#}\n", peft_config(self.config(), base_model));
        Ok(write_bytes(&dir.join(CONFIG_FILE), config.as_bytes())?)
    }
}

/// Whether a folder is that of an adapter.
pub fn is_adapter(dir: &Path) -> bool {
    dir.join(CONFIG_FILE).is_file()
}

/// The base model that an adapter folder names, if any.
pub fn base_model_of(dir: &Path) -> Result<Option<String>> {
    let config = read_json(&dir.join(CONFIG_FILE))?;
    Ok(config.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned))
}

fn tensor_name(place: &Place) -> String {
    let factor = match place.factor {
        Factor::A => "lora_A.weight",
        Factor::B => "lora_B.weight",
        Factor::Magnitude => "lora_magnitude_vector",
    };
    format!("base_model.model.model.layers.{}.{}.{factor}", place.layer, place.module.path())
}

fn shape_in_file(place: &Place) -> Vec<usize> {
    let [rows, columns] = place.shape.map(|length| length as usize);
    match place.factor {
        Factor::A | Factor::B => vec![rows, columns],
        Factor::Magnitude => vec![rows],
    }
}

/// A float32 tensor as it lies in a file.
pub(crate) fn tensor_bytes(tensor: &Tensor) -> Result<TensorBytes> {
    let bytes = stored_bytes(tensor, Kind::Float)?;
    let shape = tensor.size().iter().map(|length| *length as usize).collect();
    Ok(TensorBytes { dtype: Dtype::F32, shape, bytes })
}

fn read_json(path: &Path) -> Result<Value> {
    let refused = |problem| ModelError::Adapter { path: path.to_owned(), problem };
    let bytes = std::fs::read(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| refused(format!("is not valid JSON: {error}")))
}

fn read_config(dir: &Path, model: &DecoderConfig) -> Result<LoraConfig> {
    let path = dir.join(CONFIG_FILE);
    let value = read_json(&path)?;
    let refused = |problem: String| ModelError::Adapter { path: path.clone(), problem };
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => true,
    };
    if value.get("peft_type").and_then(Value::as_str) != Some("LORA") {
        return Err(refused("`peft_type` is not LORA, and only LoRA adapters are read".to_owned()));
    }
    if let Some(field) = MUST_BE_UNSET.into_iter().find(|field| value.get(field).is_some_and(is_set)) {
        return Err(refused(format!("`{field}` is {}, which is not supported", value[field])));
    }
    if value.get("bias").is_some_and(|bias| bias != "none") {
        return Err(refused(format!("`bias` is {}, but only \"none\" is supported", value["bias"])));
    }
    let number = |field: &str| {
        value.get(field).and_then(Value::as_f64).ok_or_else(|| refused(format!("has no number `{field}`")))
    };
    let rank = value
        .get("r")
        .and_then(Value::as_u64)
        .ok_or_else(|| refused("has no whole number `r`".to_owned()))?;
    Ok(LoraConfig {
        rank: rank as usize,
        alpha: number("lora_alpha")?,
        dropout: value.get("lora_dropout").and_then(Value::as_f64).unwrap_or(0.0),
        rslora: value.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
        dora: value.get("use_dora").and_then(Value::as_bool).unwrap_or(false),
        targets: targets(&value, model).map_err(refused)?,
    })
}

fn peft_config(config: &LoraConfig, base_model: Option<&str>) -> Value {
    let targets: Vec<_> = config.targets.iter().map(|module| module.name()).collect();
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": json_number(config.alpha),
        "lora_dropout": config.dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": config.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": config.dora,
        "use_rslora": config.rslora,
    })
}

/// Whole numbers as such: some readers of PEFT folders refuse an alpha of `16.0`.
fn json_number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 { json!(number as i64) } else { json!(number) }
}
