//! Weights in 4 bits (NF4 of Dettmers et al. 2023), as bitsandbytes has them with double quantisation: blocks of 64 values, each an
//! index into a table of 16 numbers and scaled by the block's largest size; these sizes, less their mean, in blocks of 256, each an
//! index into a table of 256. Made and read with tensor operations alone, on any device.

use std::sync::OnceLock;

use tch::{Device, Kind, Tensor};

use crate::Result;

/// Values of one block, and sizes of one block of sizes.
const BLOCK: i64 = 64;
const SIZES_BLOCK: i64 = 256;
/// No block is divided by less.
const SMALLEST: f64 = 1e-38;

/// The quantiles of a normal distribution that 4 bits stand for (bitsandbytes, `_NF4_QUANT_TABLE`).
const TABLE: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// What becomes of the matrices of a model's layers. The numbers that they stand for are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FourBits {
    /// Held in 4 bits and computed anew for each product: an eighth of the memory that float32 takes.
    Held,
    /// Rounded to what 4 bits stand for and held as other weights are: fast, and no smaller.
    Rounded,
}

/// A matrix in 4 bits.
#[derive(Debug)]
pub(crate) struct Nf4 {
    /// Two values a byte, the first in the higher bits: `[elements / 2]`.
    pub(crate) codes: Tensor,
    /// The size of each block as an index: `[blocks]`.
    pub(crate) sizes: Tensor,
    /// The largest size of each block of sizes, `[blocks / 256]`, float32.
    pub(crate) scales: Tensor,
    /// The mean of all sizes, added to each: `[1]`, float32.
    pub(crate) offset: Tensor,
    shape: [i64; 2],
}

impl Nf4 {
    /// Rounds a matrix, whose number of values must be even.
    pub(crate) fn new(weight: &Tensor) -> Result<Self> {
        let _guard = tch::no_grad_guard();
        let shape = weight.size2()?;
        let weight = weight.f_to_kind(Kind::Float)?;
        let (scaled, sizes) = in_blocks(&weight.f_reshape([-1])?, BLOCK)?;
        let codes = nearest(&scaled, &table(weight.device())?)?.f_view([-1, 2])?;
        let codes = codes.f_select(1, 0)?.f_mul_scalar(16)?.f_add(&codes.f_select(1, 1)?)?;
        let offset = sizes.f_mean(Kind::Float)?.f_view([1])?;
        let (scaled, scales) = in_blocks(&sizes.f_sub(&offset)?, SIZES_BLOCK)?;
        let sizes = nearest(&scaled, &sizes_table(weight.device())?)?;
        let byte = |tensor: Tensor| tensor.f_to_kind(Kind::Uint8);
        Ok(Self { codes: byte(codes)?, sizes: byte(sizes)?, scales, offset, shape: shape.into() })
    }

    /// The matrix `[outputs, inputs]` that the codes stand for.
    pub(crate) fn values(&self, kind: Kind) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        let device = self.codes.device();
        let sizes = sizes_table(device)?.f_index_select(0, &self.sizes.f_to_kind(Kind::Int)?)?;
        let scales = self.scales.f_repeat_interleave_self_int(SIZES_BLOCK, 0, None)?;
        let sizes = sizes.f_mul(&scales.f_narrow(0, 0, sizes.size()[0])?)?.f_add(&self.offset)?;
        // Both values of a byte at once.
        let pairs = pairs(device)?.f_index_select(0, &self.codes.f_to_kind(Kind::Int)?)?;
        let elements = self.shape[0] * self.shape[1];
        let whole = elements - elements % BLOCK;
        let flat = pairs.f_view([-1])?;
        let mut blocks = flat.f_narrow(0, 0, whole)?.f_view([-1, BLOCK])?;
        let _scaled = blocks.f_mul_(&sizes.f_narrow(0, 0, whole / BLOCK)?.f_unsqueeze(1)?)?;
        if whole < elements {
            let _rest =
                flat.f_narrow(0, whole, elements - whole)?.f_mul_(&sizes.f_narrow(0, whole / BLOCK, 1)?)?;
        }
        Ok(flat.f_view(self.shape)?.f_to_kind(kind)?)
    }

    /// Bytes that it takes.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.codes.numel() + self.sizes.numel() + 4 * self.scales.numel() + 4
    }
}

/// Values `[N]` over the largest size of their block, the last of which may be shorter, and these sizes.
fn in_blocks(values: &Tensor, length: i64) -> Result<(Tensor, Tensor)> {
    let elements = values.size()[0];
    let missing = (length - elements % length) % length;
    let filled = values.f_constant_pad_nd([0, missing].as_slice())?.f_view([-1, length])?;
    let sizes = filled.f_abs()?.f_amax([1].as_slice(), false)?;
    let scaled = filled.f_mul(&sizes.f_clamp_min(SMALLEST)?.f_reciprocal()?.f_unsqueeze(1)?)?;
    Ok((scaled.f_clamp(-1.0, 1.0)?.f_view([-1])?.f_narrow(0, 0, elements)?, sizes))
}

/// The index of the nearest number of an ascending table, the lower of two as near.
fn nearest(values: &Tensor, table: &Tensor) -> Result<Tensor> {
    let count = table.size()[0] - 1;
    let between = table.f_narrow(0, 0, count)?.f_add(&table.f_narrow(0, 1, count)?)?.f_div_scalar(2.0)?;
    Ok(values.f_contiguous()?.f_bucketize(&between, true, false)?)
}

fn table(device: Device) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(&TABLE)?.f_to_device(device)?)
}

/// The two values of each byte of codes: `[256, 2]`.
fn pairs(device: Device) -> Result<Tensor> {
    let pairs: Vec<f32> = (0..=255usize).flat_map(|byte| [TABLE[byte >> 4], TABLE[byte & 15]]).collect();
    Ok(Tensor::f_from_slice(&pairs)?.f_view([256, 2])?.f_to_device(device)?)
}

/// The 256 numbers that sizes are rounded to (bitsandbytes, `create_dynamic_map`): for each of seven powers of ten the middles of
/// 1, 2, 4 .. 64 equal parts of 0.1 to 1, of both signs, and 0 and 1.
fn sizes_table(device: Device) -> Result<Tensor> {
    static NUMBERS: OnceLock<Vec<f32>> = OnceLock::new();
    let numbers = match NUMBERS.get() {
        Some(numbers) => numbers,
        None => {
            let made = sizes_numbers()?;
            NUMBERS.get_or_init(|| made)
        }
    };
    Ok(Tensor::f_from_slice(numbers)?.f_to_device(device)?)
}

fn sizes_numbers() -> Result<Vec<f32>> {
    const POWERS: [f64; 7] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];
    let mut numbers = vec![0.0, 1.0];
    for (place, power) in POWERS.into_iter().enumerate() {
        let parts = 1i64 << place;
        let ends = Tensor::f_linspace(0.1, 1.0, parts + 1, (Kind::Float, Device::Cpu))?;
        let middles = ends.f_narrow(0, 0, parts)?.f_add(&ends.f_narrow(0, 1, parts)?)?.f_div_scalar(2.0)?;
        let middles: Vec<f32> = Vec::try_from(middles.f_mul_scalar(power)?)?;
        numbers.extend(middles.iter().flat_map(|middle| [*middle, -middle]));
    }
    numbers.sort_by(f32::total_cmp);
    Ok(numbers)
}

#[cfg(test)]
mod tests;
