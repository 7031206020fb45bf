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
        let sum = for_each_chunk(model, &normed, &batch.targets, |logits, targets| {
            gradients.push(head_gradient(model, logits, targets, scale)?.f_to_kind(model.kind())?);
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
        sum += for_each_chunk(model, &normed, &batch.targets, |_, _| Ok(()))?;
        predicted += batch.targets.numel() as u64;
    }
    Ok((sum, predicted))
}

/// Sums the losses chunk by chunk; `each` gets the chunk's log-probabilities, which it may overwrite, and targets.
fn for_each_chunk(
    model: &Decoder,
    normed: &Tensor,
    targets: &Tensor,
    mut each: impl FnMut(Tensor, &Tensor) -> Result<()>,
) -> Result<f64> {
    let chunk = (CHUNK_ELEMENTS / model.config().vocab_size as i64).max(1);
    let mut sum = 0.0;
    for (normed, targets) in normed.f_split(chunk, 0)?.iter().zip(targets.f_split(chunk, 0)?) {
        let logits = normed.f_linear(model.head(), None::<Tensor>)?;
        let log_probabilities = logits.f_log_softmax(-1, Kind::Float)?;
        let targets = targets.f_unsqueeze(1)?;
        sum -= log_probabilities.f_gather(1, &targets, false)?.f_sum(Kind::Double)?.f_double_value(&[])?;
        each(log_probabilities, &targets)?;
    }
    Ok(sum)
}

/// Gradient of `scale * sum of losses` with respect to the head's input: `(softmax - one_hot) * scale * W`.
fn head_gradient(model: &Decoder, mut logs: Tensor, targets: &Tensor, scale: f64) -> Result<Tensor> {
    let mut difference = logs.f_exp_()?;
    let minus_one = Tensor::f_full_like(&targets.f_to_kind(Kind::Float)?, -1.0)?;
    let _difference = difference.f_scatter_add_(1, targets, &minus_one)?;
    let gradient = difference.f_to_kind(model.kind())?.f_matmul(model.head())?;
    Ok(gradient.f_mul_scalar(scale)?)
}
