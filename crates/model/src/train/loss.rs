//! Cross-entropy in chunks: the logits of a large vocabulary never exist for more than a chunk of tokens, and the
//! gradient of the frozen head is written down instead of recorded.

use tch::{Kind, Tensor};

use super::batch::{MicroBatch, TrainRow};
use crate::Result;
use crate::decoder::{Adapters, Decoder};

/// Logits of one chunk: 64 MiB in float32.
const CHUNK_ELEMENTS: i64 = 1 << 24;

/// Sum of the token losses for `hidden` `[N, hidden_size]` before the final norm, and the gradient of
/// `scale * sum` with respect to `hidden`.
pub(super) fn sum_and_gradient(
    model: &Decoder,
    hidden: &Tensor,
    batch: &MicroBatch,
    scale: f64,
) -> Result<(f64, Tensor)> {
    let rows = hidden.f_detach()?.f_index_select(0, &batch.predicting)?.f_set_requires_grad(true)?;
    let normed = model.final_norm(&rows)?;
    let (sum, normed_gradient) = {
        let _guard = tch::no_grad_guard();
        let normed = normed.f_detach()?;
        let mut gradients = Vec::new();
        let sum = for_each_chunk(model, &normed, &batch.targets, |chunk| {
            gradients.push(head_gradient(model, chunk, scale)?);
            Ok(())
        })?;
        (sum, Tensor::f_cat(&gradients, 0)?)
    };
    let surrogate = normed.f_mul(&normed_gradient)?.f_sum(Kind::Float)?;
    let gradients = Tensor::f_run_backward(&[surrogate], &[&rows], false, false)?;
    let _guard = tch::no_grad_guard();
    let mut gradient = Tensor::f_zeros_like(hidden)?;
    let _gradient = gradient.f_index_copy_(0, &batch.predicting, &gradients[0])?;
    Ok((sum, gradient))
}

/// Sum of the token losses of whole rows, and the number of predictions.
pub(super) fn of_rows(
    model: &Decoder,
    adapters: &dyn Adapters,
    rows: &[TrainRow],
    micro_batch: usize,
) -> Result<(f64, u64)> {
    let _guard = tch::no_grad_guard();
    let (mut sum, mut predicted) = (0.0, 0);
    for rows in rows.chunks(micro_batch) {
        let rows: Vec<&TrainRow> = rows.iter().collect();
        let Some(batch) = MicroBatch::new(&rows, model)? else { continue };
        let mut attention = batch.attention.clone();
        let hidden = model.hidden(&batch.ids, &batch.positions, &mut attention, adapters)?;
        let normed = model.final_norm(&hidden.f_index_select(0, &batch.predicting)?)?;
        sum += for_each_chunk(model, &normed, &batch.targets, |_| Ok(()))?;
        predicted += batch.targets.numel() as u64;
    }
    Ok((sum, predicted))
}

/// Some of the predictions of a batch.
struct Chunk {
    /// `[P, vocab_size]`.
    logits: Tensor,
    /// Their softmax in float32.
    probabilities: Tensor,
    /// `[P, 1]`.
    targets: Tensor,
}

/// Sums the losses chunk by chunk.
fn for_each_chunk(
    model: &Decoder,
    normed: &Tensor,
    targets: &Tensor,
    mut each: impl FnMut(Chunk) -> Result<()>,
) -> Result<f64> {
    let chunk = (CHUNK_ELEMENTS / model.config().vocab_size as i64).max(1);
    let mut sum = 0.0;
    for (normed, targets) in normed.f_split(chunk, 0)?.iter().zip(targets.f_split(chunk, 0)?) {
        let logits = model.head_logits(normed)?;
        let targets = targets.f_unsqueeze(1)?;
        let probabilities = logits.f_softmax(-1, Kind::Float)?;
        sum -= log_sum(&logits, &probabilities, &targets)?;
        each(Chunk { logits, probabilities, targets })?;
    }
    Ok(sum)
}

/// Sum of the logarithms of the targets' probabilities.
fn log_sum(logits: &Tensor, probabilities: &Tensor, targets: &Tensor) -> Result<f64> {
    // Below this a float32 loses digits, and at 0 its logarithm is infinite. Such a target is rare: only then are the
    // logarithms of the whole chunk computed, which costs as much as the probabilities did.
    const SMALLEST: f64 = 1e-30;
    let picked = probabilities.f_gather(1, targets, false)?;
    let logs = if picked.f_min()?.f_double_value(&[])? >= SMALLEST {
        picked.f_to_kind(Kind::Double)?.f_log()?
    } else {
        logits.f_log_softmax(-1, Kind::Float)?.f_gather(1, targets, false)?
    };
    Ok(logs.f_sum(Kind::Double)?.f_double_value(&[])?)
}

/// Gradient of `scale * sum of losses` with respect to the head's input: `(softmax - one_hot) * scale * W`, with the
/// slope of the cap between the two where logits are capped.
fn head_gradient(model: &Decoder, chunk: Chunk, scale: f64) -> Result<Tensor> {
    let Chunk { logits, mut probabilities, targets } = chunk;
    let minus_one = Tensor::f_full(targets.size(), -1.0, (Kind::Float, targets.device()))?;
    let mut difference = probabilities.f_scatter_add_(1, &targets, &minus_one)?;
    if let Some(cap) = model.logit_softcap() {
        difference = difference.f_mul_(&cap.slope(&logits)?)?;
    }
    let gradient = difference.f_to_kind(model.kind())?.f_matmul(model.head())?;
    Ok(gradient.f_mul_scalar(scale)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_of_no_probability_has_a_finite_loss() {
        let logits = Tensor::from_slice2(&[[0.0f32, 200.0], [3.0, 4.0]]);
        let targets = Tensor::from_slice(&[0i64, 1]).unsqueeze(1);
        let sum = log_sum(&logits, &logits.softmax(-1, Kind::Float), &targets).unwrap();
        let expected = -200.0 - (1.0 + (-1f64).exp()).ln();
        assert!((sum - expected).abs() < 1e-4, "{sum}");
        let likely = (logits.get(1).unsqueeze(0), targets.get(1).unsqueeze(0));
        let sum = log_sum(&likely.0, &likely.0.softmax(-1, Kind::Float), &likely.1).unwrap();
        assert!((sum + (1.0 + (-1f64).exp()).ln()).abs() < 1e-6, "{sum}");
    }
}
