//! Where LoRA meets the frozen layers: after the projections, per module and, in generation, per range of rows.

use std::ops::Range;

use tch::Tensor;

use crate::lora::{Lora, PackedLora};
use crate::{Module, Result, packed};

/// Adds adapters to the outputs of projections.
pub trait Adapters {
    /// Given the shared `input` `[N, in]` of `modules` and their frozen `outputs` (`[N, out]` each, in the order of
    /// `modules`), answers the adapted outputs.
    fn adapt(
        &self,
        layer: usize,
        modules: &[Module],
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
    fn adapt(&self, _: usize, _: &[Module], _: &Tensor, outputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
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
    packed: Option<&'a PackedLora>,
}

impl<'a> RowAdapters<'a> {
    /// No adapters yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses `lora` for the tokens of `rows`.
    pub fn with(self, rows: Range<i64>, lora: &'a Lora) -> Self {
        self.with_packed(rows, lora, None)
    }

    /// The same, from a packed copy if there is one and the rows are few.
    pub(crate) fn with_packed(
        mut self,
        rows: Range<i64>,
        lora: &'a Lora,
        packed: Option<&'a PackedLora>,
    ) -> Self {
        if !rows.is_empty() {
            self.segments.push(Segment { rows, lora, packed });
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
        modules: &[Module],
        input: &Tensor,
        mut outputs: Vec<Tensor>,
    ) -> Result<Vec<Tensor>> {
        for segment in &self.segments {
            let (start, length) = (segment.rows.start, segment.rows.end - segment.rows.start);
            let part = input.f_narrow(0, start, length)?;
            if let Some(packed) = segment.packed.filter(|_| packed::is_for(&part)) {
                packed.add(layer, modules, &part, &mut outputs, start)?;
                continue;
            }
            for (module, output) in modules.iter().zip(&outputs) {
                if let Some(delta) = segment.lora.delta(layer, *module, &part)? {
                    let _updated = output.f_narrow(0, start, length)?.f_add_(&delta)?;
                }
            }
        }
        Ok(outputs)
    }
}
