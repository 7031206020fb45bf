//! Attention over sequences of different lengths in one call: LibTorch's flash kernel, which tch leaves out. `varlen/shim.cpp` calls
//! it through LibTorch's dispatcher, so nothing of CUDA is linked; the gradient is LibTorch's own.

use std::ffi::{c_char, c_void};

use tch::{Device, TchError, Tensor};

use crate::device;

/// The kernel's heads have a multiple of so many values.
const HEAD_DIM_STEP: i64 = 8;

/// Where sequences begin that lie one after the other.
#[derive(Debug)]
pub(crate) struct Starts {
    /// `[sequences + 1]`, int32: the first is 0, the last the number of tokens.
    starts: Tensor,
    /// Tokens of the longest.
    longest: i64,
}

impl Starts {
    /// Of sequences of these lengths, in tokens.
    pub(crate) fn new(lengths: &[i64], device: Device) -> Result<Self, TchError> {
        let lengths_i32 = lengths.iter().map(|length| i32::try_from(*length));
        let mut starts = vec![0i32];
        for length in lengths_i32 {
            let next = length.ok().and_then(|length| starts.last()?.checked_add(length));
            starts.push(next.ok_or_else(|| TchError::Shape(format!("{lengths:?} are no lengths")))?);
        }
        let starts = Tensor::f_from_slice(&starts)?.f_to_device(device)?;
        Ok(Self { starts, longest: lengths.iter().copied().max().unwrap_or(0) })
    }
}

/// Each sequence causal within itself: `query` `[N, heads, head_dim]` over `key` and `value` `[N, kv_heads, head_dim]`, with gradients.
/// A token sees `window` tokens, itself included, or all before it. Answers `[N, heads, head_dim]`.
pub(crate) fn causal(
    inputs: [&Tensor; 3],
    starts: &Starts,
    scale: f64,
    window: Option<i64>,
) -> Result<Tensor, TchError> {
    let width = inputs[0].size3()?.2;
    let inputs = inputs.map(laid_out);
    let [query, key, value] = inputs;
    // The kernel counts the tokens to the left.
    let left = window.filter(|window| *window < starts.longest).map_or(-1, |window| window - 1);
    let output = call([&query?, &key?, &value?], starts, scale, left)?;
    if output.size()[2] == width { Ok(output) } else { output.f_narrow(2, 0, width) }
}

/// As the kernel wants heads: values side by side, filled up with zeros, which change no score and end as zeros in the output.
fn laid_out(heads: &Tensor) -> Result<Tensor, TchError> {
    let over = heads.size3()?.2 % HEAD_DIM_STEP;
    match heads.stride().last() {
        _ if over > 0 => heads.f_constant_pad_nd([0, HEAD_DIM_STEP - over]),
        Some(1) => Ok(heads.shallow_clone()),
        _ => heads.f_contiguous(),
    }
}

#[expect(unsafe_code, reason = "the one operator of LibTorch that tch has no function for")]
fn call(inputs: [&Tensor; 3], starts: &Starts, scale: f64, left: i64) -> Result<Tensor, TchError> {
    unsafe extern "C" {
        /// Puts a new tensor into `answer` and returns null, or returns a text to be freed.
        fn assay_varlen_attention(
            answer: *mut *mut c_void,
            query: *const c_void,
            key: *const c_void,
            value: *const c_void,
            starts: *const c_void,
            longest: i64,
            scale: f64,
            left: i64,
        ) -> *mut c_char;
    }
    let [query, key, value] = inputs.map(|input| input.as_ptr().cast());
    let mut answer = std::ptr::null_mut();
    // Safety: the tensors live until the call is over, it throws nothing, and `answer` is written before it returns null.
    let problem = unsafe {
        let starts_ptr = starts.starts.as_ptr().cast();
        assay_varlen_attention(&raw mut answer, query, key, value, starts_ptr, starts.longest, scale, left)
    };
    // Safety: a C string of `strdup`, which is nobody else's, or null.
    if let Some(text) = unsafe { device::text(problem) } {
        return Err(TchError::Torch(text));
    }
    if answer.is_null() {
        // There was no memory for the text.
        return Err(TchError::Torch(String::from("std::bad_alloc")));
    }
    // Safety: a `torch::Tensor` of `new`, as tch makes and deletes them.
    Ok(unsafe { Tensor::from_ptr(answer.cast()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_the_sums_of_lengths_and_lengths_that_are_none_are_refused() {
        let starts = Starts::new(&[3, 1, 5], Device::Cpu).unwrap();
        assert_eq!(Vec::<i32>::try_from(&starts.starts).unwrap(), [0, 3, 4, 9]);
        assert_eq!(starts.longest, 5);
        assert!(Starts::new(&[1 << 40], Device::Cpu).is_err());
        assert!(Starts::new(&[1 << 30, 1 << 30], Device::Cpu).is_err(), "their sum is over int32");
    }
}
