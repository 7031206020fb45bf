//! Rows as the loops read them: in blocks, and in a block the values of all its rows for one input side by side.

use super::super::rows::Rows;
use super::BLOCK;

/// Inputs moved at once: what is written for all rows of a block stays in the nearest cache meanwhile.
const TILE: usize = 64;

pub(in super::super) struct Blocks {
    rows: usize,
    lines: usize,
    values: Vec<f32>,
}

impl Blocks {
    /// From rows of `inputs` values each; zeros make their number even.
    pub(in super::super) fn new(rows: &Rows<'_>, inputs: usize) -> Self {
        let (count, stride, all) = (rows.count(), rows.stride(), rows.values());
        let lines = inputs.next_multiple_of(2);
        let mut values = vec![0.0; count * lines];
        for (first, length) in cuts(count) {
            let block = &mut values[first * lines..(first + length) * lines];
            for (tile, place) in block.chunks_mut(TILE * length).zip((0..inputs).step_by(TILE)) {
                let width = TILE.min(inputs - place);
                for row in 0..length {
                    let row_values = &all[(first + row) * stride + place..][..width];
                    for (line, value) in tile.chunks_exact_mut(length).zip(row_values) {
                        line[row] = *value;
                    }
                }
            }
        }
        Self { rows: count, lines, values }
    }

    /// The number of the first row, the number of rows, and the values of each block.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize, &[f32])> {
        cuts(self.rows)
            .map(|(first, rows)| (first, rows, &self.values[first * self.lines..(first + rows) * self.lines]))
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
