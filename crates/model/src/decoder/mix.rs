//! The arithmetic of attention, the same for training, prompts and generation: scores, cap, mask, softmax, values.

use std::ops::Range;

use assay_text::config::DecoderConfig;
use tch::{Kind, Tensor};

use super::Softcap;
use crate::packed::few;
use crate::varlen::{self, Starts};
use crate::{Result, packed};

/// What a model's config says of attention.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    scale: f64,
    softcap: Option<Softcap>,
    grouped: bool,
    /// The different windows of all layers.
    windows: Vec<Option<i64>>,
    /// Per layer, which of them.
    window_of: Vec<usize>,
}

impl Mix {
    pub(crate) fn new(config: &DecoderConfig) -> Self {
        let mut windows: Vec<Option<usize>> = config.windows.clone();
        windows.sort_unstable();
        windows.dedup();
        let window_of = |window| windows.partition_point(|other| other < window);
        Self {
            scale: config.attention_scale,
            softcap: config.attention_softcap.map(Softcap::new),
            grouped: config.head_count != config.kv_head_count,
            window_of: config.windows.iter().map(window_of).collect(),
            windows: windows.into_iter().map(|window| window.map(|window| window as i64)).collect(),
        }
    }

    /// The different windows of all layers: how many tokens a token sees, itself included; none: all before it.
    pub(crate) fn windows(&self) -> &[Option<i64>] {
        &self.windows
    }

    /// The place in [`Mix::windows`] of this layer's window.
    pub(crate) fn window_of(&self, layer: usize) -> usize {
        self.window_of[layer]
    }

    /// The last N of K tokens of one sequence, causal: `query` `[N, heads, head_dim]`, `key` and `value` `[K, kv_heads, head_dim]`.
    /// Answers `[N, heads, head_dim]`.
    pub(crate) fn causal(
        &self,
        layer: usize,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
    ) -> Result<Tensor> {
        let (length, seen) = (query.size()[0], key.size()[0]);
        let window = self.windows[self.window_of[layer]].filter(|window| *window < seen);
        let batched = |tensor: &Tensor| tensor.f_transpose(0, 1)?.f_unsqueeze(0);
        let (key, value) = (batched(key)?, batched(value)?);
        if length == seen && window.is_none() && self.softcap.is_none() {
            let output = Tensor::f_scaled_dot_product_attention(
                &batched(query)?,
                &key,
                &value,
                None::<&Tensor>,
                0.0,
                true,
                Some(self.scale),
                self.grouped,
            )?;
            return Ok(output.f_squeeze_dim(0)?.f_transpose(0, 1)?);
        }
        // The query heads of a group become more rows over the same keys: keys and values are never repeated.
        let (heads, kv_heads, width) = (query.size()[1], key.size()[1], query.size()[2]);
        let groups = heads / kv_heads;
        let folded = query.f_reshape([length, kv_heads, groups, width])?.f_permute([1, 2, 0, 3])?;
        let folded = folded.f_reshape([1, kv_heads, groups * length, width])?;
        let mask = causal_mask(length, seen, window, query)?.f_repeat([groups, 1])?;
        let output = self.over(&folded, &key, &value, Some(&mask))?;
        let output = output.f_reshape([kv_heads, groups, length, width])?.f_permute([2, 0, 1, 3])?;
        Ok(output.f_reshape([length, heads, width])?)
    }

    /// Whole sequences one after the other, each causal, in one call: `query` `[N, heads, head_dim]`, `key` and `value`
    /// `[N, kv_heads, head_dim]`. Answers `[N, heads, head_dim]`. For models without a cap of scores.
    pub(crate) fn together(
        &self,
        layer: usize,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        starts: &Starts,
    ) -> Result<Tensor> {
        let window = self.windows[self.window_of[layer]];
        Ok(varlen::causal([query, key, value], starts, self.scale, window)?)
    }

    /// One token per row, `query` `[N, heads, head_dim]`, over its own past in blocks `[slots, kv_heads, capacity, head_dim]`
    /// of keys and values, of which `spans` has the positions that each row sees: `[N, heads * head_dim]`. None where
    /// [`Mix::over`] is to be used.
    pub(crate) fn over_spans(
        &self,
        query: &Tensor,
        blocks: [&Tensor; 2],
        spans: &[Range<usize>],
    ) -> Result<Option<Tensor>> {
        if self.softcap.is_some() || !packed::is_for(query) {
            return Ok(None);
        }
        Ok(Some(few::attend(query, blocks, spans, self.scale)?))
    }

    /// `query` `[B, kv_heads, Q, head_dim]` over `key` and `value` `[B, kv_heads, K, head_dim]`; `mask`, added to the
    /// scores, broadcasts to `[B, kv_heads, Q, K]`.
    pub(crate) fn over(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let Some(softcap) = self.softcap else {
            let scale = Some(self.scale);
            return Ok(Tensor::f_scaled_dot_product_attention(
                query, key, value, mask, 0.0, false, scale, false,
            )?);
        };
        let scores = query.f_matmul(&key.f_transpose(2, 3)?)?.f_mul_scalar(self.scale)?;
        let scores = softcap.apply(&scores)?;
        let scores = match mask {
            Some(mask) => scores.f_add(mask)?,
            None => scores,
        };
        let weights = scores.f_softmax(-1, Kind::Float)?.f_to_kind(query.f_kind()?)?;
        Ok(weights.f_matmul(value)?)
    }
}

/// For the last `length` of `tokens`: 0 where row i, the token `t = i + tokens - length`, may look at column j, `0 <= t - j < window`,
/// and minus infinity elsewhere: `[length, tokens]`.
fn causal_mask(length: i64, tokens: i64, window: Option<i64>, like: &Tensor) -> Result<Tensor> {
    let before = tokens - length;
    let seen = Tensor::f_ones([length, tokens], (Kind::Bool, like.device()))?.f_tril(before)?;
    let seen = match window {
        Some(window) => seen.f_triu(before + 1 - window)?,
        None => seen,
    };
    let mask = Tensor::f_zeros([length, tokens], (like.f_kind()?, like.device()))?;
    Ok(mask.f_masked_fill(&seen.f_logical_not()?, f64::NEG_INFINITY)?)
}
