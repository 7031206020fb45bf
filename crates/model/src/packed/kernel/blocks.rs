//! Rows as the loops read them: in blocks, and in a block the values of all its rows for one input side by side.

use super::BLOCK;

pub(in super::super) struct Blocks {
    rows: usize,
    inputs: usize,
    values: Vec<f32>,
}

impl Blocks {
    /// From rows of `inputs` values each, one after the other.
    pub(in super::super) fn new(rows: &[f32], inputs: usize) -> Self {
        let count = rows.len() / inputs.max(1);
        let mut values = Vec::with_capacity(rows.len());
        for (first, length) in cuts(count) {
            let block = &rows[first * inputs..(first + length) * inputs];
            for input in 0..inputs {
                values.extend(block[input..].iter().step_by(inputs));
            }
        }
        Self { rows: count, inputs, values }
    }

    /// The number of the first row, the number of rows, and the values of each block.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize, &[f32])> {
        cuts(self.rows).map(|(first, rows)| {
            (first, rows, &self.values[first * self.inputs..(first + rows) * self.inputs])
        })
    }
}

/// Cuts rows into as few blocks as possible, of nearly equal size: first row and number of rows of each.
fn cuts(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(BLOCK);
    (0..count).map(move |block| {
        let start = |block: usize| block * rows / count;
        (start(block), start(block + 1) - start(block))
    })
}
