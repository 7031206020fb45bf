//! The inner loops: a block of rows times one panel, sums in registers. Every sum runs over the inputs in order, so that
//! it does not depend on how many rows there are.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;

mod blocks;

use super::rows::Columns;
pub(super) use blocks::Blocks;

/// Outputs of a panel: one vector.
pub(super) const PANEL: usize = 16;

/// Rows of a block. Their 24 sums leave 8 of 32 registers for weights and values; where each weight meets 24 rows at once,
/// the next ones arrive meanwhile.
const BLOCK: usize = 24;

/// Whether this processor has the fast loops.
pub(crate) fn is_supported() -> bool {
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

/// The weights of one panel: of two inputs after the other two, the last one with zeros if need be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Panel<'a> {
    /// In each word the upper halves of two float32: of the first input below, of the second above.
    Half(&'a [[u32; PANEL]]),
    /// Of each input.
    Full(&'a [[[f32; PANEL]; 2]]),
}

impl Panel<'_> {
    fn weight(&self, input: usize, lane: usize) -> f32 {
        match (self, input % 2) {
            (Self::Full(weights), half) => weights[input / 2][half][lane],
            (Self::Half(words), 0) => f32::from_bits(words[input / 2][lane] << 16),
            (Self::Half(words), _) => f32::from_bits(words[input / 2][lane] & 0xffff_0000),
        }
    }
}
