//! The loops in AVX-512: 16 outputs in a register, two of them per row and panel.

use std::arch::x86_64::{
    __m512, _mm512_and_si512, _mm512_castsi512_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi32, _mm512_storeu_ps,
};

use super::{BLOCK, Blocks, Columns, PANEL, Panel};

/// Only to be called where [`super::is_supported`].
pub(super) fn panel(panel: &Panel<'_>, values: &Blocks, start: &[f32; PANEL], out: &mut Columns<'_>) {
    #[expect(unsafe_code, reason = "the compiler does not know the processor")]
    // Safety: the caller has asked the processor for AVX-512.
    unsafe {
        match panel {
            Panel::Half(words) => blocks(words, values, start, out),
            Panel::Full(weights) => blocks(weights, values, start, out),
        }
    }
}

/// The weights of one input, as two vectors.
trait Weights: Copy {
    #[expect(unsafe_code, reason = "a function for some processors")]
    unsafe fn vectors(&self) -> [__m512; 2];
}

impl Weights for [u32; 16] {
    #[target_feature(enable = "avx512f")]
    #[expect(unsafe_code, reason = "a function for some processors")]
    #[inline]
    unsafe fn vectors(&self) -> [__m512; 2] {
        // Safety: the array has the 64 bytes that are read.
        let words = unsafe { _mm512_loadu_si512(self.as_ptr().cast()) };
        let high = _mm512_and_si512(words, _mm512_set1_epi32(0xffff_0000_u32.cast_signed()));
        [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)), _mm512_castsi512_ps(high)]
    }
}

impl Weights for [f32; PANEL] {
    #[target_feature(enable = "avx512f")]
    #[expect(unsafe_code, reason = "a function for some processors")]
    #[inline]
    unsafe fn vectors(&self) -> [__m512; 2] {
        // Safety: the array has the 128 bytes that are read.
        unsafe { [_mm512_loadu_ps(self.as_ptr()), _mm512_loadu_ps(self.as_ptr().add(16))] }
    }
}

#[target_feature(enable = "avx512f")]
fn blocks<W: Weights>(panel: &[W], blocks: &Blocks, start: &[f32; PANEL], out: &mut Columns<'_>) {
    for (first, rows, values) in blocks.iter() {
        match rows {
            1 => block::<W, 1>(panel, values, start, first, out),
            2 => block::<W, 2>(panel, values, start, first, out),
            3 => block::<W, 3>(panel, values, start, first, out),
            4 => block::<W, 4>(panel, values, start, first, out),
            5 => block::<W, 5>(panel, values, start, first, out),
            6 => block::<W, 6>(panel, values, start, first, out),
            7 => block::<W, 7>(panel, values, start, first, out),
            8 => block::<W, 8>(panel, values, start, first, out),
            9 => block::<W, 9>(panel, values, start, first, out),
            10 => block::<W, 10>(panel, values, start, first, out),
            11 => block::<W, 11>(panel, values, start, first, out),
            _ => block::<W, BLOCK>(panel, values, start, first, out),
        }
    }
}

#[target_feature(enable = "avx512f")]
fn block<W: Weights, const ROWS: usize>(
    panel: &[W],
    values: &[f32],
    start: &[f32; PANEL],
    first: usize,
    out: &mut Columns<'_>,
) {
    #[expect(unsafe_code, reason = "vectors from memory")]
    // Safety: this function is for the processors that `vectors` is for.
    let start = unsafe { start.vectors() };
    let mut sums = [start; ROWS];
    let (values, _) = values.as_chunks::<ROWS>();
    for (weights, values) in panel.iter().zip(values) {
        #[expect(unsafe_code, reason = "vectors from memory")]
        // Safety: as above.
        let [low, high] = unsafe { weights.vectors() };
        for (value, sum) in values.iter().zip(&mut sums) {
            let value = _mm512_set1_ps(*value);
            sum[0] = _mm512_fmadd_ps(low, value, sum[0]);
            sum[1] = _mm512_fmadd_ps(high, value, sum[1]);
        }
    }
    for (row, sum) in sums.iter().enumerate() {
        let mut values = [0.0; PANEL];
        #[expect(unsafe_code, reason = "vectors to memory")]
        // Safety: the array has room for two vectors.
        unsafe {
            _mm512_storeu_ps(values.as_mut_ptr(), sum[0]);
            _mm512_storeu_ps(values.as_mut_ptr().add(16), sum[1]);
        }
        out.write(first + row, &values);
    }
}
