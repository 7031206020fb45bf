//! Products of a frozen float32 matrix with the rows of generation, faster than LibTorch's on processors with AVX-512.
//! Generation reads every weight once per step, so time goes with bytes: weights that came from a bfloat16 file are kept
//! in two bytes each, exactly, and become float32 in registers. A row's result does not depend on the rows beside it.

mod kernel;
mod team;

use tch::{Device, Kind, Tensor};

use crate::Result;
use kernel::{Blocks, Out, PANEL, Panel};

/// A matrix `[outputs, inputs]` in panels of 32 outputs; within a panel all weights of one input lie together.
#[derive(Debug)]
pub(crate) struct Packed {
    outputs: usize,
    inputs: usize,
    panels: Panels,
}

/// The weights of all panels, input by input.
#[derive(Debug)]
enum Panels {
    /// See [`Panel::Half`].
    Half(Vec<[u32; 16]>),
    /// See [`Panel::Full`].
    Full(Vec<[f32; PANEL]>),
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
        let values = floats(&weight);
        let at = |output: usize, input: usize| match (output < outputs, by_inputs) {
            (false, _) => 0.0,
            (true, true) => values[input * outputs + output],
            (true, false) => values[output * inputs + input],
        };
        let fits_half = values.iter().all(|value| value.to_bits() & 0xffff == 0);
        let places = || {
            (0..outputs.div_ceil(PANEL))
                .flat_map(|panel| (0..inputs).map(move |input| (panel * PANEL, input)))
        };
        let panels = if fits_half {
            let word = |low: f32, high: f32| low.to_bits() >> 16 | high.to_bits();
            let words = |(first, input)| {
                std::array::from_fn(|lane| word(at(first + lane, input), at(first + lane + 16, input)))
            };
            Panels::Half(places().map(words).collect())
        } else {
            let weights = |(first, input)| std::array::from_fn(|lane| at(first + lane, input));
            Panels::Full(places().map(weights).collect())
        };
        Ok(Some(Self { outputs, inputs, panels }))
    }

    /// `input` `[N, inputs]` times the matrix, plus `bias` `[outputs]`: `[N, outputs]`. Without gradients.
    pub(crate) fn product(&self, input: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let input = input.f_contiguous()?;
        let rows = input.numel() / self.inputs;
        let mut output = Tensor::f_empty([rows as i64, self.outputs as i64], (Kind::Float, Device::Cpu))?;
        let bias = bias.map(Tensor::f_contiguous).transpose()?;
        let (values, bias) = (Blocks::new(floats(&input), self.inputs), bias.as_ref().map(floats));
        let out = Out::new(&mut output, self.outputs);
        team::for_each(self.outputs.div_ceil(PANEL), &|number| {
            let first = number * PANEL;
            let width = PANEL.min(self.outputs - first);
            let mut start = [0.0; PANEL];
            if let Some(bias) = bias {
                start[..width].copy_from_slice(&bias[first..first + width]);
            }
            kernel::panel(&self.panel(number), &values, &start, &mut out.columns(first, width));
        });
        Ok(output)
    }

    fn panel(&self, number: usize) -> Panel<'_> {
        let inputs = number * self.inputs..(number + 1) * self.inputs;
        match &self.panels {
            Panels::Half(words) => Panel::Half(&words[inputs]),
            Panels::Full(weights) => Panel::Full(&weights[inputs]),
        }
    }
}

/// The values of a contiguous float32 tensor on the CPU.
fn floats(tensor: &Tensor) -> &[f32] {
    debug_assert!(tensor.is_contiguous() && tensor.kind() == Kind::Float && tensor.device() == Device::Cpu);
    #[expect(unsafe_code, reason = "tch has no view of a tensor's memory")]
    // Safety: the tensor is contiguous and owns `numel` floats for as long as it is borrowed.
    unsafe {
        std::slice::from_raw_parts(tensor.data_ptr().cast::<f32>(), tensor.numel())
    }
}

#[cfg(test)]
mod tests;
