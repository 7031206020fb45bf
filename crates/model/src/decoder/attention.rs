//! Which tokens see which. Training and prompts pack whole sequences; generation brings its own, with a cache.

use assay_text::config::DecoderConfig;
use tch::Tensor;

use super::Mix;
use crate::Result;

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
}

impl PackedCausal {
    /// For sequences of these lengths, in tokens; none may be 0.
    pub fn new(lengths: &[i64], config: &DecoderConfig) -> Self {
        Self { lengths: lengths.to_vec(), mix: Mix::new(config) }
    }

    /// For each flat token its place in its sequence, and the length of that.
    pub fn tokens(&self) -> impl Iterator<Item = (i64, i64)> {
        self.lengths.iter().flat_map(|length| (0..*length).map(|place| (place, *length)))
    }
}

impl Attention for PackedCausal {
    fn attend(&mut self, layer: usize, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let width = query.size()[1] * query.size()[2];
        let output = if self.lengths.len() == 1 {
            self.mix.causal(layer, query, key, value)?
        } else {
            let split = |tensor: &Tensor| tensor.f_split_with_sizes(&self.lengths[..], 0);
            let (queries, keys, values) = (split(query)?, split(key)?, split(value)?);
            let outputs: Vec<Tensor> = queries
                .iter()
                .zip(&keys)
                .zip(&values)
                .map(|((query, key), value)| self.mix.causal(layer, query, key, value))
                .collect::<Result<_>>()?;
            Tensor::f_cat(&outputs, 0)?
        };
        Ok(output.f_reshape([-1, width])?)
    }
}
