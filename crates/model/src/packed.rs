//! Products of a frozen float32 matrix with the rows of generation, faster than LibTorch's on processors with AVX-512.
//! Generation reads every weight once per step, so time goes with bytes: weights that came from a bfloat16 file are kept
//! in two bytes each, exactly, and become float32 in registers. A row's result does not depend on the rows beside it.

pub(crate) mod few;
mod kernel;
mod rows;
mod team;

use tch::{Device, Kind, Tensor};

use crate::Result;
use kernel::{Blocks, PANEL, Panel};
use rows::Out;
pub(crate) use rows::Rows;

/// Whether this processor has the loops that are faster than LibTorch's.
pub(crate) use kernel::is_supported;

/// Multiplications below which a second thread would come too late: 20 us of one.
const SMALL: usize = 1 << 18;

/// Rows up to which packed products are faster than LibTorch's (2 cores with AVX-512: twice as fast for 12 rows).
const FEW_ROWS: i64 = 64;

/// Whether products and the operations of [`few`] are for this tensor `[N, ..]`.
pub(crate) fn is_for(tensor: &Tensor) -> bool {
    let few = tensor.size().first().is_some_and(|rows| *rows <= FEW_ROWS);
    few && tensor.device() == Device::Cpu && tensor.kind() == Kind::Float && is_supported()
}

/// A matrix `[outputs, inputs]` in panels of 16 outputs; within a panel all weights of two inputs lie together.
#[derive(Debug)]
pub(crate) struct Packed {
    outputs: usize,
    inputs: usize,
    panels: Panels,
}

/// The weights of all panels.
#[derive(Debug)]
enum Panels {
    /// See [`Panel::Half`].
    Half(Vec<[u32; PANEL]>),
    /// See [`Panel::Full`].
    Full(Vec<[[f32; PANEL]; 2]>),
}

impl Packed {
    /// A packed copy of `weight`; none where LibTorch's own product is to be used: on other processors and devices, and
    /// in other types than float32.
    pub(crate) fn new(weight: &Tensor) -> Result<Option<Self>> {
        if weight.device() != Device::Cpu || weight.f_kind()? != Kind::Float || !kernel::is_supported() {
            return Ok(None);
        }
        let size = weight.size();
        let (outputs, inputs) = (size[0] as usize, size[1] as usize);
        let by_inputs = weight.f_transpose(0, 1)?.is_contiguous();
        let weight = if by_inputs { weight.f_transpose(0, 1)? } else { weight.f_contiguous()? };
        let values = Rows::of(&weight).values();
        let at = |output: usize, input: usize| match (output < outputs && input < inputs, by_inputs) {
            (false, _) => 0.0,
            (true, true) => values[input * outputs + output],
            (true, false) => values[output * inputs + input],
        };
        let fits_half = values.iter().all(|value| value.to_bits() & 0xffff == 0);
        let places = || {
            let panels = 0..outputs.div_ceil(PANEL);
            panels.flat_map(|panel| (0..inputs).step_by(2).map(move |input| (panel * PANEL, input)))
        };
        let panels = if fits_half {
            let word = |low: f32, high: f32| low.to_bits() >> 16 | high.to_bits();
            let words = |(first, input)| {
                std::array::from_fn(|lane| word(at(first + lane, input), at(first + lane, input + 1)))
            };
            Panels::Half(places().map(words).collect())
        } else {
            let weights = |(first, input)| {
                [input, input + 1].map(|input| std::array::from_fn(|lane| at(first + lane, input)))
            };
            Panels::Full(places().map(weights).collect())
        };
        Ok(Some(Self { outputs, inputs, panels }))
    }

    /// Columns of the matrix.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// `input` `[N, inputs]` times the matrix, plus `bias` `[outputs]`: `[N, outputs]`. Without gradients.
    pub(crate) fn product(&self, input: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let size = [input.size()[0], self.outputs as i64];
        let mut output = Tensor::f_empty(size, (Kind::Float, Device::Cpu))?;
        self.run(input, bias, Out::new(&mut output, false))?;
        Ok(output)
    }

    /// Adds the product to `output` `[N, outputs]`, which may be part of the columns of a larger tensor, as may `input`.
    pub(crate) fn add_product(&self, input: &Tensor, output: &mut Tensor) -> Result<()> {
        self.run(input, None, Out::new(output, true))
    }

    fn run(&self, input: &Tensor, bias: Option<&Tensor>, out: Out<'_>) -> Result<()> {
        let bias = bias.map(Tensor::f_contiguous).transpose()?;
        let bias = bias.as_ref().map(|bias| Rows::of(bias).values());
        let rows = Rows::of(input);
        let values = Blocks::new(&rows, self.inputs);
        let each =
            if rows.count() * self.inputs * self.outputs < SMALL { team::alone } else { team::for_each };
        each(self.outputs.div_ceil(PANEL), &|number| {
            let first = number * PANEL;
            let width = PANEL.min(self.outputs - first);
            let mut start = [0.0; PANEL];
            if let Some(bias) = bias {
                start[..width].copy_from_slice(&bias[first..first + width]);
            }
            kernel::panel(&self.panel(number), &values, &start, &mut out.columns(first, width));
        });
        Ok(())
    }

    fn panel(&self, number: usize) -> Panel<'_> {
        let pairs = self.inputs.div_ceil(2);
        let part = number * pairs..(number + 1) * pairs;
        match &self.panels {
            Panels::Half(words) => Panel::Half(&words[part]),
            Panels::Full(weights) => Panel::Full(&weights[part]),
        }
    }
}

#[cfg(test)]
mod tests;
