//! What a step of generation does beside its products, for few rows of float32 on the CPU: each one pass over the rows,
//! where LibTorch takes several operations and packs keys again for every row.

mod lanes;

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use super::rows::{Out, Rows};
use super::team;
use crate::Result;

/// RMSNorm of rows `[N, width]`.
pub(crate) fn rms_norm(input: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let mut output = Tensor::f_empty(input.size(), (Kind::Float, Device::Cpu))?;
    let (rows, weight) = (Rows::of(input), Rows::of(weight));
    let out = Out::new(&mut output, false);
    let mut normed = vec![0.0; weight.values().len()];
    for row in 0..rows.count() {
        lanes::rms_norm(rows.row(row), weight.values(), epsilon as f32, &mut normed);
        out.columns(0, normed.len()).write(row, &normed);
    }
    Ok(output)
}

/// Heads `[N, heads, head_dim]` turned by cosines and sines `[N, 1, pairs]`: the pairs are the two halves of the first
/// `2 * pairs` values of a head.
pub(crate) fn turn(heads: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let size = heads.size();
    let mut output = Tensor::f_empty([size[0], size[1] * size[2]], (Kind::Float, Device::Cpu))?;
    let (flat, cos, sin) = (heads.f_reshape([size[0], -1])?, cos.f_squeeze_dim(1)?, sin.f_squeeze_dim(1)?);
    let (rows, cos, sin) = (Rows::of(&flat), Rows::of(&cos), Rows::of(&sin));
    let out = Out::new(&mut output, false);
    let mut turned = vec![0.0; (size[1] * size[2]) as usize];
    for row in 0..rows.count() {
        turned.copy_from_slice(rows.row(row));
        let (cos, sin) = (cos.row(row), sin.row(row));
        for head in turned.chunks_exact_mut(size[2] as usize) {
            let (first, second) = head[..2 * cos.len()].split_at_mut(cos.len());
            for ((first, second), (cos, sin)) in first.iter_mut().zip(second).zip(cos.iter().zip(sin)) {
                (*first, *second) = (*first * cos - *second * sin, *second * cos + *first * sin);
            }
        }
        out.columns(0, turned.len()).write(row, &turned);
    }
    Ok(output.f_view(&size[..])?)
}

/// Writes the heads of `new` `[N, heads * width]`, one after the other, to these lines of `block` `[lines, width]`.
pub(crate) fn put(block: &mut Tensor, lines: &[usize], new: &Tensor) {
    let width = block.size()[1] as usize;
    let (rows, out) = (Rows::of(new), Out::new(block, false));
    let heads = (0..rows.count()).flat_map(|row| rows.row(row).chunks_exact(width));
    let mut columns = out.columns(0, width);
    for (line, head) in lines.iter().zip(heads) {
        columns.write(*line, head);
    }
}

/// `up` times the SiLU of `gate`, both `[N, width]`.
pub(crate) fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let mut output = Tensor::f_empty(gate.size(), (Kind::Float, Device::Cpu))?;
    let (count, width) = (gate.size()[0] as usize, gate.size()[1] as usize);
    let [gates, ups] = [gate, up].map(|rows| (Rows::of(rows).values(), Rows::of(rows).stride()));
    let out = Out::new(&mut output, false);
    team::for_each(count, &|row| {
        let [gates, ups] = [gates, ups].map(|(values, stride)| &values[row * stride..][..width]);
        let mut product = vec![0.0; width];
        lanes::silu_mul(gates, ups, &mut product);
        out.columns(0, width).write(row, &product);
    });
    Ok(output)
}

/// One token per row over the row's own past: `query` `[N, heads, head_dim]` over blocks of keys and values `[slots, kv_heads,
/// capacity, head_dim]`, of which row n sees the positions `spans[n]` of slot n. Answers `[N, heads * head_dim]`.
pub(crate) fn attend(
    query: &Tensor,
    [keys, values]: [&Tensor; 2],
    spans: &[Range<usize>],
    scale: f64,
) -> Result<Tensor> {
    let (query_size, size) = (query.size(), keys.size());
    let [kv_heads, capacity, width] = [1, 2, 3].map(|at| size[at] as usize);
    let mut output =
        Tensor::f_empty([query_size[0], query_size[1] * query_size[2]], (Kind::Float, Device::Cpu))?;
    let flat = |block: &Tensor| block.f_view([-1, width as i64]);
    let (query, keys, values) = (query.f_reshape([query_size[0], -1])?, flat(keys)?, flat(values)?);
    let (query, keys, values) = (Rows::of(&query), Rows::of(&keys), Rows::of(&values));
    let (queries, stride, keys, values) = (query.values(), query.stride(), keys.values(), values.values());
    let group = query_size[1] as usize / kv_heads * width;
    let out = Out::new(&mut output, false);
    team::for_each(spans.len() * kv_heads, &|task| {
        let (row, head) = (task / kv_heads, task % kv_heads);
        let first = task * capacity;
        let seen = (first + spans[row].start) * width..(first + spans[row].end) * width;
        let mut mixed = vec![0.0; group];
        let queries = &queries[row * stride + head * group..][..group];
        lanes::attend(queries, &keys[seen.clone()], &values[seen], scale as f32, width, &mut mixed);
        out.columns(head * group, group).write(row, &mixed);
    });
    Ok(output)
}
