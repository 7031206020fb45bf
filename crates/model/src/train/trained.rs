//! What a run trains: an adapter beside frozen weights, or all weights of the model.

use std::collections::BTreeMap;
use std::path::Path;

use assay_text::config::DecoderConfig;
use assay_text::safetensors::{TensorFiles, write_file};
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::adamw::Span;
use crate::decoder::{Adapters, NoAdapters};
use crate::lora::{Dropout, Lora, LoraConfig, TrainingAdapters, tensor_bytes};
use crate::weights::WeightLoader;
use crate::whole::{Part, Place, Whole};
use crate::{ModelError, Result};

const ADAPTER_FOLDER: &str = "adapter";
const WEIGHTS_FILE: &str = "weights.safetensors";
const WEIGHTS_TENSOR: &str = "weights";

/// An adapter, or all weights.
#[derive(Debug)]
pub enum Trained {
    /// LoRA and its kin.
    Adapter(Lora),
    /// Full fine-tuning.
    Whole(Whole),
}

impl From<Lora> for Trained {
    fn from(lora: Lora) -> Self {
        Self::Adapter(lora)
    }
}

impl From<Whole> for Trained {
    fn from(whole: Whole) -> Self {
        Self::Whole(whole)
    }
}

/// What is trained, as the digest of a run has it: that of an adapter is as in the states of older versions.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Shape<'a> {
    Adapter(&'a LoraConfig),
    Whole(&'static str),
}

/// Gradients of leaves by their number; a leaf that is used twice may come twice.
pub(super) type Gradients = Vec<(usize, Tensor)>;

impl Trained {
    /// All values as one tensor, leaf by leaf; writing to it changes them.
    pub(crate) fn flat(&self) -> &Tensor {
        match self {
            Self::Adapter(lora) => lora.flat(),
            Self::Whole(whole) => whole.flat(),
        }
    }

    pub(super) fn leaves(&self) -> &[Tensor] {
        match self {
            Self::Adapter(lora) => lora.factors(),
            Self::Whole(whole) => whole.leaves(),
        }
    }

    /// Number of values.
    pub fn parameter_count(&self) -> usize {
        self.flat().numel()
    }

    pub(super) fn whole(&self) -> Option<&Whole> {
        match self {
            Self::Adapter(_) => None,
            Self::Whole(whole) => Some(whole),
        }
    }

    /// The numbers of a layer's leaves.
    pub(super) fn of_layer(&self, layer: usize) -> Vec<usize> {
        match self {
            Self::Adapter(lora) => numbers(lora.places(), |place| place.layer == layer),
            Self::Whole(whole) => numbers(whole.places(), |place| place.part == Part::Layer(layer)),
        }
    }

    /// The numbers of the leaves that hidden states before the final norm follow from.
    pub(super) fn of_hidden(&self) -> Vec<usize> {
        match self {
            Self::Adapter(lora) => numbers(lora.places(), |_| true),
            Self::Whole(whole) => {
                numbers(whole.places(), |place| matches!(place.part, Part::Embedding | Part::Layer(_)))
            }
        }
    }

    /// Adds gradients of leaves to the flat one.
    pub(super) fn add(&self, gradient: &Tensor, parts: &Gradients) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let mut starts = Vec::with_capacity(self.leaves().len());
        let mut start = 0;
        for leaf in self.leaves() {
            starts.push(start);
            start += leaf.numel() as i64;
        }
        for (number, part) in parts {
            let elements = part.numel() as i64;
            let mut place =
                gradient.f_narrow(0, starts[*number], elements)?.f_view(part.size().as_slice())?;
            let _sum = place.f_add_(part)?;
        }
        Ok(())
    }

    /// How the values learn, in their order.
    pub(super) fn spans(&self, lora_plus_ratio: f64) -> Result<Vec<Span>> {
        match self {
            Self::Adapter(lora) => Ok(lora.spans(lora_plus_ratio)),
            Self::Whole(_) if lora_plus_ratio != 1.0 => Err(ModelError::setting(
                "lora_plus_ratio",
                lora_plus_ratio,
                "1 where all weights are trained",
            )),
            Self::Whole(whole) => {
                let span = |place: &Place, leaf: &Tensor| Span {
                    elements: leaf.numel() as i64,
                    rate: 1.0,
                    decays: place.decays(),
                };
                Ok(whole.places().iter().zip(whole.leaves()).map(|(place, leaf)| span(place, leaf)).collect())
            }
        }
    }

    /// What a forward pass adds to the model's projections.
    pub(super) fn adapters(&self, dropout: Option<Dropout>) -> Box<dyn Adapters + '_> {
        match self {
            Self::Adapter(lora) => {
                let dropout = dropout.filter(|_| lora.config().dropout > 0.0);
                Box::new(TrainingAdapters { lora, dropout })
            }
            Self::Whole(_) => Box::new(NoAdapters),
        }
    }

    /// Its shape, for the digest of a run.
    pub(super) fn shape(&self) -> Shape<'_> {
        match self {
            Self::Adapter(lora) => Shape::Adapter(lora.config()),
            Self::Whole(_) => Shape::Whole("whole"),
        }
    }

    /// Writes what others load: a PEFT folder, or a model folder.
    pub(super) fn write(&self, dir: &Path, base_model: Option<&str>) -> Result<()> {
        match self {
            Self::Adapter(lora) => lora.write(dir, base_model),
            Self::Whole(whole) => whole.write(dir),
        }
    }

    /// Writes all values as they are, into the folder of a resume state.
    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        match self {
            Self::Adapter(lora) => lora.write(&dir.join(ADAPTER_FOLDER), None),
            Self::Whole(whole) => {
                let tensors = BTreeMap::from([(WEIGHTS_TENSOR.to_owned(), tensor_bytes(whole.flat())?)]);
                Ok(write_file(&dir.join(WEIGHTS_FILE), &tensors)?)
            }
        }
    }

    /// Reads the values of a resume state; nothing is changed yet.
    pub(super) fn read(&self, dir: &Path, model: &DecoderConfig, device: Device) -> Result<Tensor> {
        match self {
            Self::Adapter(_) => Ok(Lora::read(&dir.join(ADAPTER_FOLDER), model, device)?.into_flat()),
            Self::Whole(whole) => {
                let files = TensorFiles::open_file(&dir.join(WEIGHTS_FILE))?;
                let loader = WeightLoader::files(&files, device, Kind::Float);
                loader.load(WEIGHTS_TENSOR, &[whole.parameter_count()])
            }
        }
    }
}

fn numbers<P>(places: &[P], wanted: impl Fn(&P) -> bool) -> Vec<usize> {
    places.iter().enumerate().filter(|(_, place)| wanted(place)).map(|(number, _)| number).collect()
}
