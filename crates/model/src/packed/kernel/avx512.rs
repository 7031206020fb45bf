//! The loops in AVX-512: 16 outputs in a register, one for each row of a block.

use std::arch::x86_64::{
    __m512, _mm512_and_si512, _mm512_castsi512_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi32, _mm512_storeu_ps,
};

use super::super::rows::Columns;
use super::{BLOCK, Blocks, PANEL, Panel};

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

/// The weights of two inputs, as two vectors.
trait Weights: Copy {
    #[expect(unsafe_code, reason = "a function for some processors")]
    unsafe fn vectors(&self) -> [__m512; 2];
}

impl Weights for [u32; PANEL] {
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

impl Weights for [[f32; PANEL]; 2] {
    #[target_feature(enable = "avx512f")]
    #[expect(unsafe_code, reason = "a function for some processors")]
    #[inline]
    unsafe fn vectors(&self) -> [__m512; 2] {
        // Safety: each array has the 64 bytes that are read.
        unsafe { [_mm512_loadu_ps(self[0].as_ptr()), _mm512_loadu_ps(self[1].as_ptr())] }
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
            12 => block::<W, 12>(panel, values, start, first, out),
            13 => block::<W, 13>(panel, values, start, first, out),
            14 => block::<W, 14>(panel, values, start, first, out),
            15 => block::<W, 15>(panel, values, start, first, out),
            16 => block::<W, 16>(panel, values, start, first, out),
            17 => block::<W, 17>(panel, values, start, first, out),
            18 => block::<W, 18>(panel, values, start, first, out),
            19 => block::<W, 19>(panel, values, start, first, out),
            20 => block::<W, 20>(panel, values, start, first, out),
            21 => block::<W, 21>(panel, values, start, first, out),
            22 => block::<W, 22>(panel, values, start, first, out),
            23 => block::<W, 23>(panel, values, start, first, out),
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
    // Safety: the array has the 64 bytes that are read.
    let mut sums = [unsafe { _mm512_loadu_ps(start.as_ptr()) }; ROWS];
    let (values, _) = values.as_chunks::<ROWS>();
    let (values, _) = values.as_chunks::<2>();
    for (weights, [even, odd]) in panel.iter().zip(values) {
        #[expect(unsafe_code, reason = "vectors from memory")]
        // Safety: this function is for the processors that `vectors` is for.
        let [for_even, for_odd] = unsafe { weights.vectors() };
        for (value, sum) in even.iter().zip(&mut sums) {
            *sum = _mm512_fmadd_ps(for_even, _mm512_set1_ps(*value), *sum);
        }
        for (value, sum) in odd.iter().zip(&mut sums) {
            *sum = _mm512_fmadd_ps(for_odd, _mm512_set1_ps(*value), *sum);
        }
    }
    for (row, sum) in sums.iter().enumerate() {
        let mut values = [0.0; PANEL];
        #[expect(unsafe_code, reason = "vectors to memory")]
        // Safety: the array has the 64 bytes that are written.
        unsafe {
            _mm512_storeu_ps(values.as_mut_ptr(), *sum);
        }
        out.write(first + row, &values);
    }
}
