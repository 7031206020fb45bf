//! Cross-entropy in chunks: the logits of a large vocabulary never exist for more than a chunk of tokens, and the
//! gradients of the head's input and, where it is trained, of its weight are written down instead of recorded.

use tch::{Device, Kind, Tensor};

use super::batch::{MicroBatch, TrainRow};
use super::trained::Gradients;
use crate::Result;
use crate::decoder::{Adapters, Decoder};
use crate::whole::{Part, Whole};

/// Logits of one chunk: 64 MiB in float32.
const CHUNK_ELEMENTS: i64 = 1 << 24;

/// What follows from the loss of a pass.
pub(super) struct Top {
    /// Sum of the token losses.
    pub(super) sum: f64,
    /// Gradient of `scale * sum` with respect to the hidden states before the final norm, `[N, hidden_size]`.
    pub(super) hidden: Tensor,
    /// Where all weights are trained: the gradients of head and final norm.
    pub(super) leaves: Gradients,
}

/// Loss and gradients of `hidden` `[N, hidden_size]`.
pub(super) fn sum_and_gradients(
    model: &Decoder,
    hidden: &Tensor,
    batch: &MicroBatch,
    scale: f64,
    whole: Option<&Whole>,
) -> Result<Top> {
    let rows = hidden.f_detach()?.f_index_select(0, &batch.predicting)?.f_set_requires_grad(true)?;
    let normed = model.final_norm(&rows)?;
    let head = whole.and_then(Whole::head);
    let mut of_head = match head {
        Some(_) => Some(Tensor::f_zeros_like(&model.head()?.f_detach()?)?),
        None => None,
    };
    let (sum, normed_gradient) = {
        let _guard = tch::no_grad_guard();
        let mut gradients = Vec::new();
        let sum = for_each_chunk(model, &normed.f_detach()?, &batch.targets, |chunk| {
            let (normed, of_logits) = (chunk.normed.shallow_clone(), logits_gradient(model, chunk)?);
            if let Some(of_head) = &mut of_head {
                let product = of_logits.f_transpose(0, 1)?.f_matmul(&normed)?.f_mul_scalar(scale)?;
                let _sum = of_head.f_add_(&product)?;
            }
            gradients.push(of_logits.f_matmul(&model.head()?)?.f_mul_scalar(scale)?);
            Ok(())
        })?;
        (sum, Tensor::f_cat(&gradients, 0)?)
    };
    let surrogate = normed.f_mul(&normed_gradient)?.f_sum(Kind::Float)?;
    let norm = whole.and_then(|whole| Some((whole, whole.number_of(Part::FinalNorm)?)));
    let mut wanted = vec![&rows];
    wanted.extend(norm.map(|(whole, number)| &whole.leaves()[number]));
    let mut gradients = Tensor::f_run_backward(&[surrogate], &wanted, false, false)?.into_iter();
    let _guard = tch::no_grad_guard();
    let mut gradient = Tensor::f_zeros_like(hidden)?;
    if let Some(of_rows) = gradients.next() {
        let _gradient = gradient.f_index_copy_(0, &batch.predicting, &of_rows)?;
    }
    let leaves = norm.map(|(_, number)| number).into_iter().zip(gradients).chain(head.zip(of_head));
    Ok(Top { sum, hidden: gradient, leaves: leaves.collect() })
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
struct Chunk<'n> {
    /// `[P, hidden_size]`.
    normed: &'n Tensor,
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
    mut each: impl FnMut(Chunk<'_>) -> Result<()>,
) -> Result<f64> {
    let chunk = (CHUNK_ELEMENTS / model.config().vocab_size as i64).max(1);
    let mut sum = 0.0;
    for (normed, targets) in normed.f_split(chunk, 0)?.iter().zip(targets.f_split(chunk, 0)?) {
        let logits = model.head_logits(normed)?;
        let targets = targets.f_unsqueeze(1)?;
        let probabilities = logits.f_softmax(-1, Kind::Float)?;
        sum -= log_sum(&logits, &probabilities, &targets)?;
        each(Chunk { normed, logits, probabilities, targets })?;
    }
    Ok(sum)
}

/// Sum of the logarithms of the targets' probabilities.
fn log_sum(logits: &Tensor, probabilities: &Tensor, targets: &Tensor) -> Result<f64> {
    // Below this a float32 loses digits, and at 0 its logarithm is infinite. Such a target is rare: only then are the
    // logarithms of the whole chunk computed, which costs as much as the probabilities did.
    const SMALLEST: f64 = 1e-30;
    // Summed in float64 on the processor: Apple GPUs have none.
    let picked = probabilities.f_gather(1, targets, false)?.f_to_device(Device::Cpu)?;
    let logs = if picked.f_min()?.f_double_value(&[])? >= SMALLEST {
        picked.f_to_kind(Kind::Double)?.f_log()?
    } else {
        logits.f_log_softmax(-1, Kind::Float)?.f_gather(1, targets, false)?.f_to_device(Device::Cpu)?
    };
    Ok(logs.f_sum(Kind::Double)?.f_double_value(&[])?)
}

/// Gradient of the sum of losses with respect to the head's output before its cap, `[P, vocab_size]`: `softmax - one_hot`, times
/// the slope of the cap.
fn logits_gradient(model: &Decoder, chunk: Chunk<'_>) -> Result<Tensor> {
    let Chunk { normed: _, logits, mut probabilities, targets } = chunk;
    let minus_one = Tensor::f_full(targets.size(), -1.0, (Kind::Float, targets.device()))?;
    let mut difference = probabilities.f_scatter_add_(1, &targets, &minus_one)?;
    if let Some(cap) = model.logit_softcap() {
        difference = difference.f_mul_(&cap.slope(&logits)?)?;
    }
    Ok(difference.f_to_kind(model.kind())?)
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
