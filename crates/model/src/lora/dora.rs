//! DoRA (Liu et al. 2024), as PEFT computes it: `y = b + m / |W + s B A| * (W x + s B A x)`, the norm per output and
//! without gradient. `m` is learnt and begins as `|W|`.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::{Lora, LoraConfig, PackedLora};
use crate::decoder::{Decoder, Frozen};
use crate::{Module, Result};

/// What the outputs of adapted projections are scaled with, by layer and module: empty but for DoRA.
#[derive(Debug, Default)]
pub(crate) struct OutputScales(BTreeMap<(usize, Module), Tensor>);

/// What generation works out once for an adapter whose factors no longer change.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) packed: Option<PackedLora>,
    pub(crate) scales: OutputScales,
}

impl Lora {
    /// A new adapter for a model: as [`Lora::new`], with DoRA's magnitudes those of the model's weights.
    pub fn for_model(config: LoraConfig, model: &Decoder, seed: u64) -> Result<Self> {
        let lora = Self::drawn(config, model.config(), seed, model.device())?;
        let _guard = tch::no_grad_guard();
        for (layer, frozen) in model.frozen() {
            for (number, module) in frozen.modules().iter().enumerate() {
                if let Some(magnitude) = lora.magnitude(layer, *module) {
                    let norms = row_norms(&frozen.weight(number)?.f_to_kind(Kind::Float)?)?;
                    magnitude.shallow_clone().f_copy_(&norms)?;
                }
            }
        }
        Ok(lora)
    }

    /// The magnitudes `[out, 1]` of a module, if it is a target of DoRA.
    pub(crate) fn magnitude(&self, layer: usize, module: Module) -> Option<&Tensor> {
        let first = self.index.get(layer, module)?;
        self.config.dora.then(|| &self.factors[first + 2])
    }

    /// The scales of all outputs, for factors as they are now.
    pub(crate) fn output_scales<'m>(
        &self,
        projections: impl Iterator<Item = (usize, Frozen<'m>)>,
    ) -> Result<OutputScales> {
        let _guard = tch::no_grad_guard();
        let mut scales = BTreeMap::new();
        for (layer, frozen) in projections {
            for (number, module) in frozen.modules().iter().enumerate() {
                if let Some(scale) = self.output_scale(layer, &frozen, number)? {
                    scales.insert((layer, *module), scale);
                }
            }
        }
        Ok(OutputScales(scales))
    }

    /// `m / |W + s B A|` of one projection, `[1, out]`.
    fn output_scale(&self, layer: usize, frozen: &Frozen<'_>, number: usize) -> Result<Option<Tensor>> {
        let module = frozen.modules()[number];
        let (Some((a, b)), Some(magnitude)) = (self.pair(layer, module), self.magnitude(layer, module))
        else {
            return Ok(None);
        };
        let norm = {
            let _guard = tch::no_grad_guard();
            let weight = frozen.weight(number)?.f_to_kind(Kind::Float)?;
            row_norms(&weight.f_add(&b.f_matmul(a)?.f_mul_scalar(self.config.scale())?)?)?
        };
        Ok(Some(magnitude.f_div(&norm)?.f_transpose(0, 1)?))
    }

    /// What DoRA adds to an output, given the frozen part `W x` and the adapter's `s B A x`; `low` itself for LoRA.
    pub(super) fn weighed(
        &self,
        layer: usize,
        frozen: &Frozen<'_>,
        number: usize,
        (base, low): (Tensor, Tensor),
        known: Option<&OutputScales>,
    ) -> Result<Tensor> {
        let known = known.and_then(|scales| scales.0.get(&(layer, frozen.modules()[number])));
        let scale = match known {
            Some(scale) => Some(scale.shallow_clone()),
            None => self.output_scale(layer, frozen, number)?,
        };
        let Some(scale) = scale else { return Ok(low) };
        let scale = scale.f_to_kind(low.f_kind()?)?;
        Ok(base.f_mul(&scale.f_sub_scalar(1.0)?)?.f_add(&low.f_mul(&scale)?)?)
    }
}

/// The length of each row, `[rows, 1]`.
fn row_norms(matrix: &Tensor) -> Result<Tensor> {
    Ok(matrix.f_square()?.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Float)?.f_sqrt()?)
}
