//! Where LoRA meets the frozen layers: after the projections, per module and, in generation, per range of rows.

use std::ops::Range;

use tch::Tensor;

use crate::lora::Lora;
use crate::{Module, Result};

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
    segments: Vec<(Range<i64>, &'a Lora)>,
}

impl<'a> RowAdapters<'a> {
    /// No adapters yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses `lora` for the tokens of `rows`.
    pub fn with(mut self, rows: Range<i64>, lora: &'a Lora) -> Self {
        if !rows.is_empty() {
            self.segments.push((rows, lora));
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
        outputs: Vec<Tensor>,
    ) -> Result<Vec<Tensor>> {
        for (rows, lora) in &self.segments {
            let length = rows.end - rows.start;
            let part = input.f_narrow(0, rows.start, length)?;
            for (module, output) in modules.iter().zip(&outputs) {
                if let Some(delta) = lora.delta(layer, *module, &part)? {
                    let _updated = output.f_narrow(0, rows.start, length)?.f_add_(&delta)?;
                }
            }
        }
        Ok(outputs)
    }
}
