//! Which tokens see which. Training and prompts pack whole sequences; generation brings its own, with a cache.

use std::rc::Rc;

use assay_text::config::DecoderConfig;
use tch::{Device, Tensor};

use super::{Mix, packing};
use crate::varlen::Starts;
use crate::{ModelError, Result};

/// Attention of one layer over flat tokens.
pub trait Attention {
    /// `query` is `[N, heads, head_dim]`, `key` and `value` are `[N, kv_heads, head_dim]`, query and key already
    /// turned by their positions. Answers `[N, heads * head_dim]`. Called once per layer, in order.
    fn attend(&mut self, layer: usize, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor>;
}

/// Whole sequences one after the other, each causal within itself and in the windows of the model: no padding is stored or computed.
#[derive(Debug, Clone)]
pub struct PackedCausal {
    lengths: Vec<i64>,
    mix: Mix,
    /// For one call over all sequences; none: a call for each.
    together: Option<Rc<Starts>>,
}

impl PackedCausal {
    /// For sequences of these lengths, in tokens; none may be 0. One call of LibTorch for each sequence and layer, on any device.
    pub fn new(lengths: &[i64], config: &DecoderConfig) -> Self {
        Self { lengths: lengths.to_vec(), mix: Mix::new(config), together: None }
    }

    /// The same with one call for all sequences of a layer, on devices that have the kernel. Refuses models that it does not compute.
    pub fn together(lengths: &[i64], config: &DecoderConfig, device: Device) -> Result<Self> {
        if let Some(reason) = packing::unsuited_model(config) {
            return Err(ModelError::setting("attention", "rows together", format!("row by row: {reason}")));
        }
        let starts = Starts::new(lengths, device)?;
        Ok(Self { together: Some(Rc::new(starts)), ..Self::new(lengths, config) })
    }

    /// For each flat token its place in its sequence, and the length of that.
    pub fn tokens(&self) -> impl Iterator<Item = (i64, i64)> {
        self.lengths.iter().flat_map(|length| (0..*length).map(|place| (place, *length)))
    }

    fn row_by_row(&self, layer: usize, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        if self.lengths.len() == 1 {
            return self.mix.causal(layer, query, key, value);
        }
        let split = |tensor: &Tensor| tensor.f_split_with_sizes(&self.lengths[..], 0);
        let (queries, keys, values) = (split(query)?, split(key)?, split(value)?);
        let outputs: Vec<Tensor> = queries
            .iter()
            .zip(&keys)
            .zip(&values)
            .map(|((query, key), value)| self.mix.causal(layer, query, key, value))
            .collect::<Result<_>>()?;
        Ok(Tensor::f_cat(&outputs, 0)?)
    }
}

impl Attention for PackedCausal {
    fn attend(&mut self, layer: usize, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let width = query.size()[1] * query.size()[2];
        let output = match &self.together {
            Some(starts) => self.mix.together(layer, query, key, value, starts)?,
            None => self.row_by_row(layer, query, key, value)?,
        };
        Ok(output.f_reshape([-1, width])?)
    }
}
