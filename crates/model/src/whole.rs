//! All weights of a model as what is trained: one flat float32 tensor, whose parts the decoder computes with.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assay_text::safetensors::{Dtype, TensorFiles, weight_files, write_bytes, write_streamed};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::decoder::Decoder;
use crate::weights::{float_kind, stored_bytes};
use crate::{ModelError, Result};

/// The files of a model folder beside its weights.
const BESIDE: [&str; 2] = ["json", "jinja"];
/// The last file of a folder that is written: one that has it is whole.
const LAST: &str = "config.json";

/// The weights of one model, trained together. They are the decoder's own: an update changes what it computes.
#[derive(Debug)]
pub struct Whole {
    base: PathBuf,
    flat: Tensor,
    leaves: Vec<Tensor>,
    places: Vec<Place>,
    padding: Option<i64>,
}

/// Where in the forward pass a leaf is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The embedding, and the head too where they are tied.
    Embedding,
    /// A head of its own.
    Head,
    Layer(usize),
    FinalNorm,
}

/// One leaf: tensors of the model's files, one below the other.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) part: Part,
    tensors: Vec<(String, Vec<usize>)>,
}

impl Place {
    fn of(tensors: Vec<(String, Vec<usize>)>) -> Self {
        let first = tensors.first().map(|(name, _)| name.as_str()).unwrap_or_default();
        let layer = first.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next()?.parse().ok());
        let part = match (layer, first) {
            (Some(layer), _) => Part::Layer(layer),
            (None, "lm_head.weight") => Part::Head,
            (None, "model.norm.weight") => Part::FinalNorm,
            (None, _) => Part::Embedding,
        };
        Self { part, tensors }
    }

    /// Whether weight decay is for it: `get_decay_parameter_names` of Transformers leaves out biases and norms.
    pub(crate) fn decays(&self) -> bool {
        let norm = |part: &str| {
            part == "norm"
                || part.ends_with("_norm")
                || part.contains("layernorm")
                || part.contains("rmsnorm")
        };
        !self.tensors.iter().any(|(name, _)| name.contains("bias") || name.split('.').any(norm))
    }
}

/// Takes in the tensors of a model as they are loaded.
#[derive(Debug)]
pub(crate) struct Leaves {
    flat: Tensor,
    leaves: Vec<Tensor>,
    places: Vec<Place>,
    used: i64,
}

impl Leaves {
    /// With room for all tensors of these files.
    pub(crate) fn new(files: &TensorFiles, device: Device) -> Result<Self> {
        let mut room = 0;
        for name in files.names() {
            room += files.tensor(name)?.shape.iter().product::<usize>() as i64;
        }
        let flat = Tensor::f_empty([room], (Kind::Float, device))?;
        Ok(Self { flat, leaves: Vec::new(), places: Vec::new(), used: 0 })
    }

    /// A leaf with the values of `loaded`.
    pub(crate) fn take(&mut self, tensors: Vec<(String, Vec<usize>)>, loaded: &Tensor) -> Result<Tensor> {
        let elements = loaded.numel() as i64;
        let mut view = self.flat.f_narrow(0, self.used, elements)?.f_view(loaded.size().as_slice())?;
        view.f_copy_(loaded)?;
        self.used += elements;
        // Detached: a leaf of its own that shares the flat tensor's memory.
        let leaf = view.f_detach()?.f_set_requires_grad(true)?;
        self.leaves.push(leaf.shallow_clone());
        self.places.push(Place::of(tensors));
        Ok(leaf)
    }

    fn whole(self, base: &Path) -> Result<Whole> {
        let flat = self.flat.f_narrow(0, 0, self.used)?;
        let padding = padding(base)?;
        Ok(Whole { base: base.to_owned(), flat, leaves: self.leaves, places: self.places, padding })
    }
}

/// The token that `config.json` names for padding.
fn padding(base: &Path) -> Result<Option<i64>> {
    let path = base.join(LAST);
    let refused = |problem: String| ModelError::Folder { path: path.clone(), problem };
    let bytes = std::fs::read(&path).map_err(|error| refused(error.to_string()))?;
    let config: Value = serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
    Ok(config.get("pad_token_id").and_then(Value::as_i64))
}

impl Whole {
    /// A model of a folder in float32, and its weights to train.
    pub fn load(dir: &Path, device: Device) -> Result<(Decoder, Self)> {
        let (decoder, leaves) = Decoder::load_leaves(dir, device)?;
        Ok((decoder, leaves.whole(dir)?))
    }

    /// Number of values.
    pub fn parameter_count(&self) -> usize {
        self.flat.numel()
    }

    /// All weights as one tensor, in the order of [`Whole::leaves`]; writing to it changes the model.
    pub(crate) fn flat(&self) -> &Tensor {
        &self.flat
    }

    pub(crate) fn leaves(&self) -> &[Tensor] {
        &self.leaves
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The number of the leaf of a part that has only one.
    pub(crate) fn number_of(&self, part: Part) -> Option<usize> {
        self.places.iter().position(|place| place.part == part)
    }

    /// Takes the padding token out of the gradient of what was embedded: embeddings of Transformers have none for it.
    pub(crate) fn without_padding(&self, embedded: Tensor) -> Result<Tensor> {
        let rows = embedded.size().first().copied().unwrap_or(0);
        if let Some(token) = self.padding.filter(|token| (0..rows).contains(token)) {
            let _guard = tch::no_grad_guard();
            let _zeros = embedded.f_select(0, token)?.f_zero_()?;
        }
        Ok(embedded)
    }

    /// The number of the leaf that the head multiplies with.
    pub(crate) fn head(&self) -> Option<usize> {
        self.number_of(Part::Head).or_else(|| self.number_of(Part::Embedding))
    }

    /// Writes a model folder as the base's: its files, tensors and element types, to which the weights are rounded, and what
    /// lies beside them.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let failed = |path: &Path, error: std::io::Error| ModelError::Folder {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        std::fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
        for name in weight_files(&self.base)? {
            let files = TensorFiles::open_file(&self.base.join(&name))?;
            let mut heads: BTreeMap<String, (Dtype, Vec<usize>)> = BTreeMap::new();
            for name in files.names() {
                let slice = files.tensor(name)?;
                heads.insert(name.to_owned(), (slice.dtype, slice.shape.to_vec()));
            }
            write_streamed(&dir.join(&name), &heads, |name| self.bytes(&files, name))?;
        }
        let mut beside = Vec::new();
        for entry in std::fs::read_dir(&self.base).map_err(|error| failed(&self.base, error))? {
            let path = entry.map_err(|error| failed(&self.base, error))?.path();
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if BESIDE.contains(&extension) {
                beside.push(path);
            }
        }
        beside.sort_by_key(|path| path.ends_with(LAST));
        for path in beside {
            let bytes = std::fs::read(&path).map_err(|error| failed(&path, error))?;
            write_bytes(&dir.join(path.file_name().unwrap_or_default()), &bytes)?;
        }
        Ok(())
    }

    /// A tensor of the base as it is now; one that is no weight stays as it was.
    fn bytes<'f>(&self, files: &'f TensorFiles, name: &str) -> Result<Cow<'f, [u8]>> {
        let slice = files.tensor(name)?;
        match self.tensor(name)? {
            Some(tensor) => Ok(Cow::Owned(stored_bytes(&tensor, float_kind(name, slice.dtype)?)?)),
            None => Ok(Cow::Borrowed(slice.bytes)),
        }
    }

    /// The tensor of this name in the model's files.
    fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        for (place, leaf) in self.places.iter().zip(&self.leaves) {
            let mut start = 0;
            for (known, shape) in &place.tensors {
                let rows = shape[0] as i64;
                if known == name {
                    return Ok(Some(leaf.f_narrow(0, start, rows)?));
                }
                start += rows;
            }
        }
        // Some files of tied models hold the head as well.
        match self.head() {
            Some(head) if name == "lm_head.weight" => Ok(Some(self.leaves[head].shallow_clone())),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_and_norms_do_not_decay() {
        let decays = |name: &str| Place::of(vec![(name.to_owned(), vec![1])]).decays();
        for name in [
            "model.norm.weight",
            "model.layers.0.input_layernorm.weight",
            "model.layers.3.pre_feedforward_layernorm.weight",
            "model.layers.0.self_attn.q_norm.weight",
            "model.layers.0.self_attn.q_proj.bias",
        ] {
            assert!(!decays(name), "{name}");
        }
        for name in ["model.embed_tokens.weight", "lm_head.weight", "model.layers.0.mlp.down_proj.weight"] {
            assert!(decays(name), "{name}");
        }
    }
}
