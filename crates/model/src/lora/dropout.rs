//! The adapter as training sees it: shared inputs reduced in one product, dropout from a counter.

use tch::Tensor;

use super::Lora;
use crate::decoder::{Adapters, Frozen};
use crate::random::seeded;
use crate::{Module, Result};

/// What is drawn at random in a pass depends on this, beside layer and module or row. No generator state is carried
/// from one use to the next, so masks are the same after a resume and when activations are computed twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DrawKey {
    /// Seed of the run.
    pub(crate) seed: u64,
    /// Optimizer step, from 1.
    pub(crate) step: u64,
    /// Micro-batch of the step, from 0.
    pub(crate) micro: u64,
}

impl DrawKey {
    /// A well mixed seed for one module of one layer.
    fn seed_of_module(self, layer: usize, module: Module) -> u64 {
        self.mixed([layer as u64, module as u64])
    }

    /// A well mixed seed for one row of the micro-batch, from 0.
    pub(crate) fn seed_of_row(self, row: usize) -> u64 {
        self.mixed([u64::MAX, row as u64])
    }

    fn mixed(self, of: [u64; 2]) -> u64 {
        let words = [self.seed, self.step, self.micro, of[0], of[1]];
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

/// Dropout of one pass. Masks are those of a whole micro-batch, of which a pass may hold only some rows: where memory
/// makes passes smaller, the masks stay the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dropout {
    pub(crate) key: DrawKey,
    /// Tokens of the micro-batch.
    pub(crate) whole: i64,
    /// Where the pass begins among them.
    pub(crate) start: i64,
}

impl Dropout {
    /// `input` `[N, in]` with a share of its elements set to zero and the others enlarged to keep the mean.
    fn apply(self, input: &Tensor, share: f64, seed: u64) -> Result<Tensor> {
        let (rows, width) = input.size2()?;
        if rows == self.whole {
            return Ok(seeded(seed, || input.f_dropout(share, true))?);
        }
        let ones = Tensor::f_ones([self.whole, width], (input.f_kind()?, input.device()))?;
        let mask = seeded(seed, || ones.f_dropout(share, true))?;
        Ok(input.f_mul(&mask.f_narrow(0, self.start, rows)?)?)
    }
}

/// An adapter over all rows, with gradients to its factors; dropout if it is given.
#[derive(Debug)]
pub(crate) struct TrainingAdapters<'a> {
    pub(crate) lora: &'a Lora,
    pub(crate) dropout: Option<Dropout>,
}

impl Adapters for TrainingAdapters<'_> {
    fn adapt(
        &self,
        layer: usize,
        frozen: &Frozen<'_>,
        input: &Tensor,
        outputs: Vec<Tensor>,
    ) -> Result<Vec<Tensor>> {
        if self.lora.config().dora {
            return self.adapt_weighed(layer, frozen, input, outputs);
        }
        let modules = frozen.modules();
        let targets: Vec<usize> =
            (0..modules.len()).filter(|number| self.lora.pair(layer, modules[*number]).is_some()).collect();
        let reduced = match (&targets[..], self.dropout) {
            ([], _) => return Ok(outputs),
            (_, Some(dropout)) => self.reduce_each(layer, modules, &targets, input, dropout)?,
            (_, None) => self.reduce_together(layer, modules, &targets, input)?,
        };
        let mut outputs = outputs;
        for (number, reduced) in targets.into_iter().zip(reduced) {
            let Some((_, b)) = self.lora.pair(layer, modules[number]) else { continue };
            let b = b.f_to_kind(reduced.f_kind()?)?;
            let _sum = outputs[number].f_addmm_(&reduced, &b.f_transpose(0, 1)?)?;
        }
        Ok(outputs)
    }
}

impl TrainingAdapters<'_> {
    /// DoRA: dropout, as PEFT has it, is also on what the frozen part of its sum sees.
    fn adapt_weighed(
        &self,
        layer: usize,
        frozen: &Frozen<'_>,
        input: &Tensor,
        mut outputs: Vec<Tensor>,
    ) -> Result<Vec<Tensor>> {
        for (number, output) in outputs.iter_mut().enumerate() {
            let module = frozen.modules()[number];
            let Some((a, b)) = self.lora.pair(layer, module) else { continue };
            let (input, base) = match self.dropout {
                Some(dropout) => {
                    let seed = dropout.key.seed_of_module(layer, module);
                    let dropped = dropout.apply(input, self.lora.config().dropout, seed)?;
                    let base = dropped.f_linear(&frozen.weight(number)?, None::<Tensor>)?;
                    (dropped, base)
                }
                None => (input.shallow_clone(), frozen.without_bias(number, output)?),
            };
            let reduced = self.reduce(&input, a)?;
            let low = reduced.f_linear(&b.f_to_kind(reduced.f_kind()?)?, None::<Tensor>)?;
            *output = output.f_add(&self.lora.weighed(layer, frozen, number, (base, low), None)?)?;
        }
        Ok(outputs)
    }

    /// `A x` of each target times the scale, all from one product with the stacked factors.
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
        if let [a] = factors[..] {
            return Ok(vec![self.reduce(input, a)?]);
        }
        let stacked = Tensor::f_cat(&factors, 0)?;
        Ok(self.reduce(input, &stacked)?.f_split(self.lora.config().rank as i64, -1)?)
    }

    /// `A dropout(x)` of each target times the scale, every one with its own mask.
    fn reduce_each(
        &self,
        layer: usize,
        modules: &[Module],
        targets: &[usize],
        input: &Tensor,
        dropout: Dropout,
    ) -> Result<Vec<Tensor>> {
        let mut reduced = Vec::with_capacity(targets.len());
        for number in targets {
            let Some((a, _)) = self.lora.pair(layer, modules[*number]) else { continue };
            let seed = dropout.key.seed_of_module(layer, modules[*number]);
            let dropped = dropout.apply(input, self.lora.config().dropout, seed)?;
            reduced.push(self.reduce(&dropped, a)?);
        }
        Ok(reduced)
    }

    /// `A x` times the scale, for one A or several, one below the other.
    fn reduce(&self, input: &Tensor, a: &Tensor) -> Result<Tensor> {
        let reduced = input.f_linear(&a.f_to_kind(input.f_kind()?)?, None::<Tensor>)?;
        Ok(reduced.f_mul_scalar(self.lora.config().scale())?)
    }
}
