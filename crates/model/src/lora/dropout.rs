//! The adapter as training sees it: shared inputs reduced in one product, dropout from a counter.

use tch::Tensor;

use super::Lora;
use crate::decoder::Adapters;
use crate::random::seeded;
use crate::{Module, Result};

/// What a dropout mask depends on, beside layer and module. No generator state is carried from one use to the next,
/// so masks are the same after a resume and when activations are computed twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DropoutKey {
    /// Seed of the run.
    pub(crate) seed: u64,
    /// Optimizer step, from 1.
    pub(crate) step: u64,
    /// Micro-batch of the step, from 0.
    pub(crate) micro: u64,
}

impl DropoutKey {
    /// A well mixed seed for one module of one layer.
    fn seed(self, layer: usize, module: Module) -> u64 {
        let words = [self.seed, self.step, self.micro, layer as u64, module as u64];
        words.into_iter().fold(0x6173_7361_792d_3031_u64, |state, word| mix(state ^ word))
    }
}

/// One round of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// An adapter over all rows, with gradients to its factors; dropout if a key is given.
#[derive(Debug)]
pub(crate) struct TrainingAdapters<'a> {
    pub(crate) lora: &'a Lora,
    pub(crate) dropout: Option<DropoutKey>,
}

impl Adapters for TrainingAdapters<'_> {
    fn adapt(
        &self,
        layer: usize,
        modules: &[Module],
        input: &Tensor,
        outputs: Vec<Tensor>,
    ) -> Result<Vec<Tensor>> {
        let targets: Vec<usize> =
            (0..modules.len()).filter(|number| self.lora.pair(layer, modules[*number]).is_some()).collect();
        let reduced = match (&targets[..], self.dropout) {
            ([], _) => return Ok(outputs),
            (_, Some(key)) => self.reduce_each(layer, modules, &targets, input, key)?,
            (_, None) => self.reduce_together(layer, modules, &targets, input)?,
        };
        let mut outputs = outputs;
        for (number, reduced) in targets.into_iter().zip(reduced) {
            let Some((_, b)) = self.lora.pair(layer, modules[number]) else { continue };
            let b = b.f_to_kind(reduced.f_kind()?)?;
            let scaled = reduced.f_mul_scalar(self.lora.config().scale())?;
            outputs[number] = outputs[number].f_addmm(&scaled, &b.f_transpose(0, 1)?)?;
        }
        Ok(outputs)
    }
}

impl TrainingAdapters<'_> {
    /// `A x` of each target, all from one product with the stacked factors.
    fn reduce_together(
        &self,
        layer: usize,
        modules: &[Module],
        targets: &[usize],
        input: &Tensor,
    ) -> Result<Vec<Tensor>> {
        let factors: Vec<&Tensor> = targets
            .iter()
            .filter_map(|number| self.lora.pair(layer, modules[*number]).map(|(a, _)| a))
            .collect();
        let kind = input.f_kind()?;
        if let [a] = factors[..] {
            return Ok(vec![input.f_linear(&a.f_to_kind(kind)?, None::<Tensor>)?]);
        }
        let stacked = Tensor::f_cat(&factors, 0)?.f_to_kind(kind)?;
        Ok(input.f_linear(&stacked, None::<Tensor>)?.f_split(self.lora.config().rank as i64, -1)?)
    }

    /// `A dropout(x)` of each target, every one with its own mask.
    fn reduce_each(
        &self,
        layer: usize,
        modules: &[Module],
        targets: &[usize],
        input: &Tensor,
        key: DropoutKey,
    ) -> Result<Vec<Tensor>> {
        let kind = input.f_kind()?;
        let mut reduced = Vec::with_capacity(targets.len());
        for number in targets {
            let Some((a, _)) = self.lora.pair(layer, modules[*number]) else { continue };
            let seed = key.seed(layer, modules[*number]);
            let dropped = seeded(seed, || input.f_dropout(self.lora.config().dropout, true))?;
            reduced.push(dropped.f_linear(&a.f_to_kind(kind)?, None::<Tensor>)?);
        }
        Ok(reduced)
    }
}
