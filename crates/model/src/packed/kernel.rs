//! The inner loops: a block of rows times one panel, sums in registers. Every sum runs over the inputs in order, so that
//! it does not depend on how many rows there are.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;

mod blocks;

use std::marker::PhantomData;

use tch::Tensor;

pub(super) use blocks::Blocks;

/// Outputs of a panel: two vectors of 16.
pub(super) const PANEL: usize = 32;

/// Rows of a block: two sums for each of 12 leave 8 of 32 registers for weights and values.
const BLOCK: usize = 12;

/// Whether this processor has the fast loops.
pub(super) fn is_supported() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// All rows of `values` times the panel, added to `start`.
pub(super) fn panel(panel: &Panel<'_>, values: &Blocks, start: &[f32; PANEL], out: &mut Columns<'_>) {
    #[cfg(target_arch = "x86_64")]
    if is_supported() {
        return avx512::panel(panel, values, start, out);
    }
    plain::panel(panel, values, start, out);
}

/// The weights of one panel, input by input.
#[derive(Debug, Clone, Copy)]
pub(super) enum Panel<'a> {
    /// In each word the upper halves of two float32: of output `lane` below, of output `lane + 16` above.
    Half(&'a [[u32; 16]]),
    /// Of each output.
    Full(&'a [[f32; PANEL]]),
}

impl Panel<'_> {
    fn weight(&self, input: usize, lane: usize) -> f32 {
        match self {
            Self::Full(weights) => weights[input][lane],
            Self::Half(words) if lane < 16 => f32::from_bits(words[input][lane] << 16),
            Self::Half(words) => f32::from_bits(words[input][lane - 16] & 0xffff_0000),
        }
    }
}

/// Rows of output, written by several threads at once, each its own columns.
pub(super) struct Out<'a> {
    start: *mut f32,
    rows: usize,
    stride: usize,
    tensor: PhantomData<&'a Tensor>,
}

#[expect(unsafe_code, reason = "threads write different columns of the same rows")]
// Safety: the columns of a panel are written by the one thread that works on it, and nobody reads before all are done.
unsafe impl Sync for Out<'_> {}

impl<'a> Out<'a> {
    /// All of a contiguous float32 tensor `[rows, stride]` on the CPU.
    pub(super) fn new(tensor: &'a mut Tensor, stride: usize) -> Self {
        let rows = tensor.numel() / stride.max(1);
        Self { start: tensor.data_ptr().cast(), rows, stride, tensor: PhantomData }
    }

    /// `width` columns from `first` on, 32 at most; each column is asked for once.
    pub(super) fn columns(&self, first: usize, width: usize) -> Columns<'_> {
        assert!(
            width <= PANEL && first + width <= self.stride,
            "columns {first}..+{width} of {}",
            self.stride
        );
        Columns { out: self, first, width }
    }
}

/// The columns of one panel.
pub(super) struct Columns<'a> {
    out: &'a Out<'a>,
    first: usize,
    width: usize,
}

impl Columns<'_> {
    fn write(&mut self, row: usize, values: &[f32; PANEL]) {
        assert!(row < self.out.rows, "row {row} of {}", self.out.rows);
        let at = row * self.out.stride + self.first;
        #[expect(unsafe_code, reason = "threads write different columns of the same rows")]
        // Safety: row and columns are inside the tensor, and nobody else writes them.
        unsafe {
            std::ptr::copy_nonoverlapping(values.as_ptr(), self.out.start.add(at), self.width);
        }
    }
}
