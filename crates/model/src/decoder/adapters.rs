//! Where LoRA meets the frozen layers: after the projections, per module and, in generation, per range of rows.

use std::ops::Range;

use tch::Tensor;

use super::Frozen;
use crate::lora::{Lora, Served};
use crate::{Result, packed};

/// Adds adapters to the outputs of projections.
pub trait Adapters {
    /// Given the `input` `[N, in]` of frozen projections and their `outputs` (`[N, out]` each, in their order, held by nobody
    /// else), answers the adapted outputs.
    fn adapt(
        &self,
        layer: usize,
        frozen: &Frozen<'_>,
        input: &Tensor,
        outputs: Vec<Tensor>,
    ) -> Result<Vec<Tensor>>;

    /// Whether the pass is one of generation or scoring: its products may be those of packed weights, which have no
    /// gradients and other last bits. Training never takes these, so that what it computes does not depend on what the
    /// process did before.
    fn are_served(&self) -> bool {
        false
    }
}

/// The base model as it is.
#[derive(Debug, Clone, Copy)]
pub struct NoAdapters;

impl Adapters for NoAdapters {
    fn adapt(&self, _: usize, _: &Frozen<'_>, _: &Tensor, outputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        Ok(outputs)
    }
}

/// Adapters for ranges of the flat tokens: base and tuned rows run in one batch. Rows outside of all ranges are left
/// as they are; ranges must not overlap. For passes of generation and scoring.
#[derive(Debug, Default)]
pub struct RowAdapters<'a> {
    segments: Vec<Segment<'a>>,
}

#[derive(Debug)]
struct Segment<'a> {
    rows: Range<i64>,
    lora: &'a Lora,
    served: Option<&'a Served>,
}

impl<'a> RowAdapters<'a> {
    /// No adapters yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses `lora` for the tokens of `rows`.
    pub fn with(self, rows: Range<i64>, lora: &'a Lora) -> Self {
        self.with_served(rows, lora, None)
    }

    /// The same, with what was worked out for the adapter before.
    pub(crate) fn with_served(
        mut self,
        rows: Range<i64>,
        lora: &'a Lora,
        served: Option<&'a Served>,
    ) -> Self {
        if !rows.is_empty() {
            self.segments.push(Segment { rows, lora, served });
        }
        self
    }
}

impl Adapters for RowAdapters<'_> {
    fn are_served(&self) -> bool {
        true
    }

    fn adapt(
        &self,
        layer: usize,
        frozen: &Frozen<'_>,
        input: &Tensor,
        mut outputs: Vec<Tensor>,
    ) -> Result<Vec<Tensor>> {
        for segment in &self.segments {
            let (start, length) = (segment.rows.start, segment.rows.end - segment.rows.start);
            let part = input.f_narrow(0, start, length)?;
            let packed = segment.served.and_then(|served| served.packed.as_ref());
            if let Some(packed) = packed.filter(|_| packed::is_for(&part)) {
                packed.add(layer, frozen.modules(), &part, &mut outputs, start)?;
                continue;
            }
            for (number, output) in outputs.iter().enumerate() {
                let mut output = output.f_narrow(0, start, length)?;
                let scales = segment.served.map(|served| &served.scales);
                let delta = segment.lora.delta(layer, frozen, number, &part, &output, scales)?;
                if let Some(delta) = delta {
                    let _updated = output.f_add_(&delta)?;
                }
            }
        }
        Ok(outputs)
    }
}
