//! LoRA: low-rank additions to frozen projections, `y = W x + B(A(dropout(x))) * scale`.
//! All factors of an adapter live in one flat float32 tensor, so that optimizer and norm are a few large operations.

mod dora;
mod dropout;
mod packed;
mod peft;

use std::collections::BTreeSet;

use assay_text::config::DecoderConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

pub(crate) use dora::{OutputScales, Served};
pub(crate) use dropout::{DrawKey, Dropout, TrainingAdapters};
pub(crate) use packed::PackedLora;
pub(crate) use peft::tensor_bytes;
pub use peft::{base_model_of, is_adapter};

use crate::adamw::Span;
use crate::decoder::Frozen;
use crate::random::seeded;
use crate::{ModelError, Module, Result, SizedModule};

/// Shape and scale of an adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// Rank of the two factors.
    pub rank: usize,
    /// Numerator of the scale.
    pub alpha: f64,
    /// Share of the adapter's inputs that training sets to zero, in `[0, 1)`.
    #[serde(default)]
    pub dropout: f64,
    /// Scale by `alpha / sqrt(rank)` instead of `alpha / rank`.
    #[serde(default)]
    pub rslora: bool,
    /// DoRA: the length of each row of an adapted projection's weight is learnt too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dora: bool,
    /// Adapted projections.
    pub targets: BTreeSet<Module>,
}

impl LoraConfig {
    /// What the product `B A x` is multiplied with.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        if self.rslora { self.alpha / rank.sqrt() } else { self.alpha / rank }
    }

    /// Refuses values out of range.
    pub fn check(&self) -> Result<()> {
        if self.rank == 0 {
            return Err(ModelError::setting("rank", self.rank, "1 or more"));
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return Err(ModelError::setting("alpha", self.alpha, "a number above 0"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(ModelError::setting("dropout", self.dropout, "at least 0 and below 1"));
        }
        if self.targets.is_empty() {
            let names = Module::ALL.map(Module::name).join(", ");
            return Err(ModelError::setting("targets", "empty", format!("some of {names}")));
        }
        Ok(())
    }

    /// Refuses targets that a model lacks.
    fn check_targets(&self, model: &DecoderConfig) -> Result<()> {
        let known: Vec<Module> = Module::of(model).iter().map(|sized| sized.module).collect();
        let Some(target) = self.targets.iter().find(|target| !known.contains(target)) else { return Ok(()) };
        let names: Vec<_> = known.into_iter().map(Module::name).collect();
        let rule = format!("one of {} for model type `{}`", names.join(", "), model.model_type);
        Err(ModelError::setting("targets", target.name(), rule))
    }
}

/// An adapter in memory.
#[derive(Debug)]
pub struct Lora {
    config: LoraConfig,
    flat: Tensor,
    places: Vec<Place>,
    factors: Vec<Tensor>,
    index: Index,
}

/// Which of a module's factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Factor {
    A,
    B,
    /// DoRA's, one for each output.
    Magnitude,
}

/// One factor's place in the flat tensor; places follow each other without gaps.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) layer: usize,
    pub(crate) module: Module,
    pub(crate) factor: Factor,
    /// Rows and columns.
    pub(crate) shape: [i64; 2],
}

impl Place {
    fn elements(&self) -> i64 {
        self.shape[0] * self.shape[1]
    }
}

impl Lora {
    /// A new adapter: A uniform in `±1/sqrt(in)` (Kaiming with `a = sqrt(5)`, as PEFT), B zero. The same seed gives
    /// the same values on every device.
    pub fn new(config: LoraConfig, model: &DecoderConfig, seed: u64, device: Device) -> Result<Self> {
        if config.dora {
            return Err(ModelError::setting("dora", true, "false where the model's weights are not at hand"));
        }
        Self::drawn(config, model, seed, device)
    }

    /// The same with magnitudes of 0.
    fn drawn(config: LoraConfig, model: &DecoderConfig, seed: u64, device: Device) -> Result<Self> {
        let mut lora = Self::zeros(config, model, device)?;
        let _guard = tch::no_grad_guard();
        seeded(seed, || {
            for (place, factor) in lora.factors_mut().filter(|(place, _)| place.factor == Factor::A) {
                let bound = 1.0 / (place.shape[1] as f64).sqrt();
                let mut values = Tensor::f_empty(place.shape, (Kind::Float, Device::Cpu))?;
                factor.f_copy_(&values.f_uniform_(-bound, bound)?)?;
            }
            Ok(lora)
        })
    }

    /// An adapter whose factors are all zero, to be filled by a reader.
    fn zeros(config: LoraConfig, model: &DecoderConfig, device: Device) -> Result<Self> {
        config.check()?;
        config.check_targets(model)?;
        let _guard = tch::no_grad_guard();
        let places = places(&config, model);
        let total: i64 = places.iter().map(Place::elements).sum();
        let flat = Tensor::f_zeros([total], (Kind::Float, device))?;
        let mut factors = Vec::with_capacity(places.len());
        let mut start = 0;
        for place in &places {
            let view = flat.f_narrow(0, start, place.elements())?.f_view(place.shape)?;
            // Detached: a leaf of its own that shares the flat tensor's memory.
            factors.push(view.f_detach()?.f_set_requires_grad(true)?);
            start += place.elements();
        }
        let index = Index::new(&places, model.layer_count);
        Ok(Self { config, flat, places, factors, index })
    }

    /// Rank, scale, targets.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// For tests of what a wrong setting does.
    #[cfg(test)]
    pub(crate) fn config_mut(&mut self) -> &mut LoraConfig {
        &mut self.config
    }

    /// Number of values in all factors.
    pub fn parameter_count(&self) -> usize {
        self.flat.numel()
    }

    /// SHA-256 of the scale and all factors: equal adapters have the same on every machine, whatever they are called.
    pub fn digest(&self) -> Result<[u8; 32]> {
        let mut hasher = Sha256::new();
        hasher.update(self.config.scale().to_le_bytes());
        hasher.update(tensor_bytes(&self.flat)?.bytes);
        Ok(hasher.finalize().into())
    }

    /// All factors as one tensor, in the order of [`Lora::factors`]; writing to it changes the factors.
    pub(crate) fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// The factors as leaves for gradients, layer by layer, module by module: A, B, magnitude.
    pub(crate) fn factors(&self) -> &[Tensor] {
        &self.factors
    }

    /// How the values of [`Lora::flat`] learn. For LoRA+ (Hayou et al. 2024) the rate of all but A factors is `ratio`.
    pub(crate) fn spans(&self, ratio: f64) -> Vec<Span> {
        let span = |place: &Place| Span {
            elements: place.elements(),
            rate: if place.factor == Factor::A { 1.0 } else { ratio },
            decays: true,
        };
        self.places.iter().map(span).collect()
    }

    /// The values alone.
    pub(crate) fn into_flat(self) -> Tensor {
        self.flat
    }

    /// Where each factor of [`Lora::factors`] belongs.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    fn factors_mut(&mut self) -> impl Iterator<Item = (&Place, &mut Tensor)> {
        self.places.iter().zip(&mut self.factors)
    }

    /// The two factors of a module, if it is a target.
    pub(crate) fn pair(&self, layer: usize, module: Module) -> Option<(&Tensor, &Tensor)> {
        let first = self.index.get(layer, module)?;
        Some((&self.factors[first], &self.factors[first + 1]))
    }

    /// What the adapter adds to `output` `[N, out]` of one of the frozen projections for `input` `[N, in]`, without
    /// dropout; none if it is not a target. `known` spares working scales out.
    pub(crate) fn delta(
        &self,
        layer: usize,
        frozen: &Frozen<'_>,
        number: usize,
        input: &Tensor,
        output: &Tensor,
        known: Option<&OutputScales>,
    ) -> Result<Option<Tensor>> {
        let Some((a, b)) = self.pair(layer, frozen.modules()[number]) else { return Ok(None) };
        let kind = input.f_kind()?;
        let reduced = input.f_linear(&a.f_to_kind(kind)?, None::<Tensor>)?;
        let reduced = reduced.f_mul_scalar(self.config.scale())?;
        let low = reduced.f_linear(&b.f_to_kind(kind)?, None::<Tensor>)?;
        if !self.config.dora {
            return Ok(Some(low));
        }
        let base = frozen.without_bias(number, output)?;
        self.weighed(layer, frozen, number, (base, low), known).map(Some)
    }
}

/// The places of all factors, in the order of the flat tensor.
fn places(config: &LoraConfig, model: &DecoderConfig) -> Vec<Place> {
    let rank = config.rank as i64;
    let mut places = Vec::new();
    for layer in 0..model.layer_count {
        for SizedModule { module, input, output } in Module::of(model) {
            if !config.targets.contains(&module) {
                continue;
            }
            places.push(Place { layer, module, factor: Factor::A, shape: [rank, input as i64] });
            places.push(Place { layer, module, factor: Factor::B, shape: [output as i64, rank] });
            if config.dora {
                places.push(Place { layer, module, factor: Factor::Magnitude, shape: [output as i64, 1] });
            }
        }
    }
    places
}

/// From layer and module to the number of its A factor.
#[derive(Debug)]
struct Index(Vec<[Option<usize>; Module::ALL.len()]>);

impl Index {
    fn new(places: &[Place], layer_count: usize) -> Self {
        let mut index = vec![[None; Module::ALL.len()]; layer_count];
        for (number, place) in places.iter().enumerate() {
            if place.factor == Factor::A {
                index[place.layer][place.module as usize] = Some(number);
            }
        }
        Self(index)
    }

    fn get(&self, layer: usize, module: Module) -> Option<usize> {
        self.0[layer][module as usize]
    }
}

#[cfg(test)]
pub(crate) mod tests;
