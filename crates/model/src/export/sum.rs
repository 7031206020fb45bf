//! The weights that base and adapter come to together.

use std::collections::BTreeMap;

use assay_text::config::DecoderConfig;
use tch::{Kind, Tensor};

use crate::lora::Lora;
use crate::{Module, Result};

/// An adapter by the names of the tensors that it adds to.
#[derive(Debug)]
pub(crate) struct Sum<'a> {
    lora: &'a Lora,
    adapted: BTreeMap<String, (usize, Module)>,
}

impl<'a> Sum<'a> {
    pub(crate) fn new(lora: &'a Lora, config: &DecoderConfig) -> Self {
        let mut adapted = BTreeMap::new();
        for layer in 0..config.layer_count {
            for sized in Module::of(config) {
                if lora.pair(layer, sized.module).is_some() {
                    let name = format!("model.layers.{layer}.{}.weight", sized.module.path());
                    adapted.insert(name, (layer, sized.module));
                }
            }
        }
        Self { lora, adapted }
    }

    /// The tensors that it changes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.adapted.keys().map(String::as_str)
    }

    /// What becomes of a tensor of the base, in float32: `W + s B A`, for DoRA with its rows at the lengths that were learnt.
    pub(crate) fn of(&self, name: &str, weight: Tensor) -> Result<Tensor> {
        let Some((layer, module)) = self.adapted.get(name).copied() else { return Ok(weight) };
        let Some((a, b)) = self.lora.pair(layer, module) else { return Ok(weight) };
        let sum = weight.f_add(&b.f_matmul(a)?.f_mul_scalar(self.lora.config().scale())?)?;
        let Some(magnitude) = self.lora.magnitude(layer, module) else { return Ok(sum) };
        let lengths = sum.f_square()?.f_sum_dim_intlist([1].as_slice(), true, Kind::Float)?.f_sqrt()?;
        Ok(sum.f_mul(&magnitude.f_div(&lengths)?)?)
    }
}
