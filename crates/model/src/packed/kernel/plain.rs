//! The loops in plain Rust: what the fast ones must give, bit by bit.

use super::super::rows::Columns;
use super::{Blocks, PANEL, Panel};

pub(super) fn panel(panel: &Panel<'_>, values: &Blocks, start: &[f32; PANEL], out: &mut Columns<'_>) {
    for (first, rows, values) in values.iter() {
        for row in 0..rows {
            let mut sums = *start;
            for (input, values) in values.chunks_exact(rows).enumerate() {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    *sum = panel.weight(input, lane).mul_add(values[row], *sum);
                }
            }
            out.write(first + row, &sums);
        }
    }
}
