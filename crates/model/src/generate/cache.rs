//! Keys and values of the tokens so far: one block per layer, one slot per row, preallocated and grown in large steps.

use std::ops::Range;

use assay_text::config::DecoderConfig;
use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::decoder::{Attention, Mix};
use crate::packed::{self, few};

/// Slots are filled without gaps: rows 0 to `lengths.len()` are in use.
#[derive(Debug)]
pub(super) struct KvCache {
    /// Per layer, keys and values `[slots, kv_heads, capacity, head_dim]`.
    layers: Vec<(Tensor, Tensor)>,
    kv_heads: i64,
    head_dim: i64,
    mix: Mix,
    slots: i64,
    capacity: i64,
    /// Tokens in each used slot.
    lengths: Vec<i64>,
}

/// Keys and values of one row, per layer, `[kv_heads, tokens, head_dim]`.
#[derive(Debug)]
pub(super) struct Prefix(Vec<(Tensor, Tensor)>);

impl Prefix {
    /// Tokens in it.
    pub(super) fn tokens(&self) -> i64 {
        self.0.first().map_or(0, |(keys, _)| keys.size()[1])
    }
}

/// Positions that a growing cache gains at least.
const GROWTH_MIN: i64 = 64;

impl KvCache {
    pub(super) fn new(config: &DecoderConfig, device: Device, kind: Kind, slots: usize) -> Result<Self> {
        let (kv_heads, head_dim, slots) = (config.kv_head_count as i64, config.head_dim as i64, slots as i64);
        let empty = || Tensor::f_zeros([slots, kv_heads, 0, head_dim], (kind, device));
        let layers = (0..config.layer_count).map(|_| Ok((empty()?, empty()?))).collect::<Result<_>>()?;
        let mix = Mix::new(config);
        Ok(Self { layers, kv_heads, head_dim, mix, slots, capacity: 0, lengths: Vec::new() })
    }

    /// Makes room for `positions` tokens in every slot.
    pub(super) fn reserve(&mut self, positions: i64) -> Result<()> {
        if positions <= self.capacity {
            return Ok(());
        }
        let capacity = positions.max(self.capacity + (self.capacity / 4).max(GROWTH_MIN));
        let (used, kept) = (self.lengths.len() as i64, self.lengths.iter().copied().max().unwrap_or(0));
        let size = [self.slots, self.kv_heads, capacity, self.head_dim];
        let grow = |old: &Tensor| -> Result<Tensor> {
            // Zeros, not garbage: masked positions have weight 0, and 0 times a NaN would be a NaN.
            let new = Tensor::f_zeros(size, (old.kind(), old.device()))?;
            let part = |tensor: &Tensor| tensor.f_narrow(0, 0, used)?.f_narrow(2, 0, kept);
            part(&new)?.f_copy_(&part(old)?)?;
            Ok(new)
        };
        for (keys, values) in &mut self.layers {
            *keys = grow(keys)?;
            *values = grow(values)?;
        }
        self.capacity = capacity;
        Ok(())
    }

    /// Rows take the places of `order`, which names for each place the slot it comes from; all others are freed.
    pub(super) fn arrange(&mut self, order: &[usize]) -> Result<()> {
        let moves = || order.iter().enumerate().filter(|(place, from)| place != *from);
        let from: Vec<i64> = moves().map(|(_, from)| *from as i64).collect();
        let to: Vec<i64> = moves().map(|(place, _)| place as i64).collect();
        let length = moves().map(|(_, from)| self.lengths[*from]).max().unwrap_or(0);
        self.lengths = order.iter().map(|from| self.lengths[*from]).collect();
        if to.is_empty() {
            return Ok(());
        }
        let device = self.layers[0].0.device();
        let from = Tensor::f_from_slice(&from)?.f_to_device(device)?;
        let to = Tensor::f_from_slice(&to)?.f_to_device(device)?;
        for (keys, values) in &self.layers {
            for block in [keys, values] {
                let mut used = block.f_narrow(2, 0, length)?;
                let moving = used.f_index_select(0, &from)?;
                let _moved = used.f_index_copy_(0, &to, &moving)?;
            }
        }
        Ok(())
    }

    /// Takes slots for `count` new rows of `length` tokens each; a [`PromptPass`] and [`KvCache::fill`] fill them.
    pub(super) fn add(&mut self, length: i64, count: usize) -> Result<Range<usize>> {
        let first = self.lengths.len();
        self.reserve(length)?;
        self.lengths.extend(std::iter::repeat_n(length, count));
        Ok(first..self.lengths.len())
    }

    /// Frees the slots from `first` on.
    pub(super) fn truncate(&mut self, first: usize) {
        self.lengths.truncate(first);
    }

    /// A copy of what is in a slot.
    pub(super) fn prefix(&self, slot: usize) -> Result<Prefix> {
        let part = |block: &Tensor| -> Result<Tensor> {
            Ok(block.f_select(0, slot as i64)?.f_narrow(1, 0, self.lengths[slot])?.f_detach_copy()?)
        };
        let layers = self.layers.iter().map(|(keys, values)| Ok((part(keys)?, part(values)?)));
        Ok(Prefix(layers.collect::<Result<_>>()?))
    }

    /// Fills slots that were taken for rows which begin alike.
    pub(super) fn fill(&self, slots: &Range<usize>, prefix: &Prefix) -> Result<()> {
        for (layer, (keys, values)) in prefix.0.iter().enumerate() {
            self.write(layer, slots, 0, [keys, values])?;
        }
        Ok(())
    }

    /// Writes keys and values `[kv_heads, tokens, head_dim]` to each of the slots, from the position `start` on.
    fn write(&self, layer: usize, slots: &Range<usize>, start: i64, new: [&Tensor; 2]) -> Result<()> {
        let (first, count) = (slots.start as i64, slots.len() as i64);
        let (keys, values) = &self.layers[layer];
        for (block, new) in [keys, values].into_iter().zip(new) {
            let mut place = block.f_narrow(0, first, count)?.f_narrow(2, start, new.size()[1])?;
            place.f_copy_(&new.f_unsqueeze(0)?)?;
        }
        Ok(())
    }

    /// Prepares a pass of one token for every used slot.
    pub(super) fn step(&mut self, device: Device) -> Result<StepPass<'_>> {
        let positions = self.lengths.clone();
        let longest = positions.iter().copied().max().unwrap_or(0) + 1;
        self.reserve(longest)?;
        for length in &mut self.lengths {
            *length += 1;
        }
        let (heads, capacity) = (self.kv_heads, self.capacity);
        let lines = (0..).zip(&positions).flat_map(|(slot, position)| {
            (0..heads).map(move |head| ((slot * heads + head) * capacity + position) as usize)
        });
        let lines: Vec<usize> = lines.collect();
        let positions = Tensor::f_from_slice(&positions)?.f_to_device(device)?;
        let windows = self.mix.windows().iter();
        let views = windows.map(|window| self.view(*window, &positions, longest)).collect::<Result<_>>()?;
        let targets: Vec<i64> = lines.iter().map(|line| *line as i64).collect();
        let targets = Tensor::f_from_slice(&targets)?.f_to_device(device)?;
        Ok(StepPass { cache: self, lines, targets, views })
    }

    /// What layers with this window look at; `longest` counts the new tokens in.
    fn view(&self, window: Option<i64>, positions: &Tensor, longest: i64) -> Result<PastView> {
        let shortest = self.lengths.iter().copied().min().unwrap_or(0);
        let start = window.map_or(0, |window| (shortest - window).max(0));
        let length = longest - start;
        let first = |end: i64| window.map_or(0, |window| (end - window).max(0));
        let spans = self.lengths.iter().map(|end| first(*end) as usize..*end as usize).collect();
        let fits = window.is_none_or(|window| length <= window);
        if fits && shortest == longest {
            return Ok(PastView { start, length, spans, mask: None });
        }
        let (kind, device) = (self.layers[0].0.kind(), positions.device());
        let (places, own) =
            (Tensor::f_arange_start(start, longest, (Kind::Int64, device))?, positions.f_unsqueeze(1)?);
        let mut hidden = places.f_unsqueeze(0)?.f_gt_tensor(&own)?;
        if let Some(window) = window {
            hidden = hidden.f_logical_or(&places.f_unsqueeze(0)?.f_le_tensor(&own.f_sub_scalar(window)?)?)?;
        }
        let mask = Tensor::f_zeros([self.lengths.len() as i64, length], (kind, device))?;
        let mask = mask.f_masked_fill(&hidden, f64::NEG_INFINITY)?.f_unsqueeze(1)?.f_unsqueeze(1)?;
        Ok(PastView { start, length, spans, mask: Some(mask) })
    }
}

/// The part of the past that layers of one window look at.
struct PastView {
    start: i64,
    length: i64,
    /// The positions that each row may look at.
    spans: Vec<Range<usize>>,
    /// 0 where a row may look and minus infinity where it may not, `[rows, 1, 1, length]`; none if all may look at all.
    mask: Option<Tensor>,
}

/// Attention of one new token per row over its own past.
pub(super) struct StepPass<'a> {
    cache: &'a mut KvCache,
    /// Where each new key and value goes, in lines of `head_dim`, `[N * kv_heads]`.
    lines: Vec<usize>,
    /// The same for LibTorch.
    targets: Tensor,
    /// In the order of [`Mix::windows`].
    views: Vec<PastView>,
}

impl Attention for StepPass<'_> {
    fn attend(&mut self, layer: usize, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let cache = &*self.cache;
        let (rows, kv_heads, head_dim) = (query.size()[0], cache.kv_heads, cache.head_dim);
        let (keys, values) = &cache.layers[layer];
        let is_few = packed::is_for(query);
        for (block, new) in [(keys, key), (values, value)] {
            let mut lines = block.f_view([-1, head_dim])?;
            if is_few {
                few::put(&mut lines, &self.lines, &new.f_reshape([rows, -1])?);
            } else {
                let _written = lines.f_index_copy_(0, &self.targets, &new.f_reshape([-1, head_dim])?)?;
            }
        }
        let view = &self.views[cache.mix.window_of(layer)];
        if let Some(mixed) = cache.mix.over_spans(query, [keys, values], &view.spans)? {
            return Ok(mixed);
        }
        let past = |block: &Tensor| block.f_narrow(0, 0, rows)?.f_narrow(2, view.start, view.length);
        // The query heads of a group look at the same keys: as if they were tokens of one sequence, so that keys and
        // values are read in place and never repeated.
        let query = query.f_reshape([rows, kv_heads, -1, head_dim])?;
        let output = cache.mix.over(&query, &past(keys)?, &past(values)?, view.mask.as_ref())?;
        Ok(output.f_reshape([rows, -1])?)
    }
}

/// Tokens that run for the rows of some slots: a prompt, what prompts begin with, or what comes after that.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The slots of the rows that have these tokens.
    pub(super) slots: Range<usize>,
    /// Tokens that are in the slots already.
    pub(super) start: i64,
    /// Tokens that run.
    pub(super) length: i64,
    /// Length of the text that they are turned as a part of.
    pub(super) text: i64,
}

/// Attention of parts of prompts, packed one after the other, that fills the slots of their rows.
pub(super) struct PromptPass<'a> {
    pub(super) cache: &'a KvCache,
    pub(super) parts: &'a [Part],
}

impl PromptPass<'_> {
    /// `query` `[tokens, heads, head_dim]` of a part over its own keys and values and those before them.
    fn attend_part(&self, layer: usize, part: &Part, [query, key, value]: [&Tensor; 3]) -> Result<Tensor> {
        let cache = self.cache;
        cache.write(layer, &part.slots, part.start, [&key.f_transpose(0, 1)?, &value.f_transpose(0, 1)?])?;
        if part.start == 0 {
            return cache.mix.causal(layer, query, key, value);
        }
        let (keys, values) = &cache.layers[layer];
        let slot = part.slots.start as i64;
        let so_far = |block: &Tensor| {
            block.f_select(0, slot)?.f_narrow(1, 0, part.start + part.length)?.f_transpose(0, 1)
        };
        cache.mix.causal(layer, query, &so_far(keys)?, &so_far(values)?)
    }
}

impl Attention for PromptPass<'_> {
    fn attend(&mut self, layer: usize, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let lengths: Vec<i64> = self.parts.iter().map(|part| part.length).collect();
        let split = |tensor: &Tensor| tensor.f_split_with_sizes(&lengths[..], 0);
        let (queries, keys, values) = (split(query)?, split(key)?, split(value)?);
        let attended = |(at, part)| self.attend_part(layer, part, [&queries[at], &keys[at], &values[at]]);
        let outputs = self.parts.iter().enumerate().map(attended).collect::<Result<Vec<Tensor>>>()?;
        Ok(Tensor::f_cat(&outputs, 0)?.f_reshape([-1, query.size()[1] * query.size()[2]])?)
    }
}
