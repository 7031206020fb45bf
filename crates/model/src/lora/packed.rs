//! An adapter as the steps of generation apply it: the A factors of projections that share an input in one matrix, B
//! factors scaled, all of them packed.

use std::collections::BTreeMap;

use tch::Tensor;

use super::Lora;
use crate::packed::Packed;
use crate::{Module, Result};

/// A packed copy of an adapter. It does not follow later changes of the factors.
#[derive(Debug)]
pub(crate) struct PackedLora(BTreeMap<(usize, Module), Group>);

/// Adapted projections with one input, by the layer and the first of the projections.
#[derive(Debug)]
struct Group {
    /// All A factors, one below the other.
    reduce: Packed,
    /// For each adapted projection its place among the projections, where its part of the reduced input begins, and B.
    expand: Vec<(usize, usize, Packed)>,
}

impl PackedLora {
    /// For the given groups of projections that share an input; none where LibTorch's own products are to be used, and
    /// for DoRA, which also scales what the frozen projections answer.
    pub(crate) fn new(lora: &Lora, layer_count: usize, groups: &[&[Module]]) -> Result<Option<Self>> {
        if lora.config().dora {
            return Ok(None);
        }
        let _guard = tch::no_grad_guard();
        let mut packed = BTreeMap::new();
        for layer in 0..layer_count {
            for modules in groups {
                let factors = || {
                    modules
                        .iter()
                        .enumerate()
                        .filter_map(|(at, module)| Some((at, lora.pair(layer, *module)?)))
                };
                let stacked: Vec<&Tensor> = factors().map(|(_, (a, _))| a).collect();
                let (Some(first), false) = (modules.first(), stacked.is_empty()) else { continue };
                let Some(reduce) = Packed::new(&Tensor::f_cat(&stacked, 0)?)? else { return Ok(None) };
                let mut expand = Vec::with_capacity(stacked.len());
                for (number, (at, (_, b))) in factors().enumerate() {
                    let scaled = b.f_detach()?.f_mul_scalar(lora.config().scale())?;
                    let Some(b) = Packed::new(&scaled)? else { return Ok(None) };
                    expand.push((at, number * lora.config().rank, b));
                }
                packed.insert((layer, *first), Group { reduce, expand });
            }
        }
        Ok(Some(Self(packed)))
    }

    /// Adds what the adapter adds to the `outputs` of `modules` for `input`, to the rows from `start` on.
    pub(crate) fn add(
        &self,
        layer: usize,
        modules: &[Module],
        input: &Tensor,
        outputs: &mut [Tensor],
        start: i64,
    ) -> Result<()> {
        let group = modules.first().and_then(|first| self.0.get(&(layer, *first)));
        let Some(group) = group else { return Ok(()) };
        let rows = input.size()[0];
        let reduced = group.reduce.product(input, None)?;
        for (at, offset, b) in &group.expand {
            let part = reduced.f_narrow(1, *offset as i64, b.inputs() as i64)?;
            b.add_product(&part, &mut outputs[*at].f_narrow(0, start, rows)?)?;
        }
        Ok(())
    }
}
