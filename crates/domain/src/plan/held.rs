//! What the numbers of a training take in memory: the model's, and those that are trained.

use crate::job::{Method, Quantization, Recipe};
use crate::matrix::ModelFacts;

/// A weight that is trained, its gradient, that of the pass under way, and two moments, in float32.
const WHOLE_BYTES: f64 = 20.0;
/// A value of an adapter, its gradient and two moments, in float32.
const ADAPTER_BYTES: f64 = 16.0;
/// Half a byte, and for each block of 64 a byte and a 256th part of four.
const NF4_BYTES: f64 = 0.5 + (1.0 + 4.0 / 256.0) / 64.0;
/// Of a layer in 4 bits: its values in full, going forward or back, and the indices that they are looked up by.
const NF4_INDEX_BYTES: f64 = 2.0;

/// Bytes of a value while a model is trained this way on a device whose values have so many: all weights are trained in float32.
pub(super) fn size(recipe: &Recipe, size: f64) -> f64 {
    match recipe.method {
        Method::Lora => size,
        Method::Full => 4.0,
    }
}

/// Bytes of model, trained values, gradients and moments.
pub(super) fn bytes(model: &ModelFacts, recipe: &Recipe, adapter: f64, size: f64) -> f64 {
    let best = if recipe.keep_best { 4.0 } else { 0.0 };
    match (recipe.method, recipe.quantization) {
        (Method::Full, _) => (WHOLE_BYTES + best) * (linear(model) + tables(model)),
        (Method::Lora, None) => size * (linear(model) + tables(model)) + (ADAPTER_BYTES + best) * adapter,
        (Method::Lora, Some(Quantization::Nf4)) => {
            let layer = linear(model) / f64::from(model.layers.max(1));
            let held = NF4_BYTES * linear(model) + (size + NF4_INDEX_BYTES) * layer;
            held + size * tables(model) + (ADAPTER_BYTES + best) * adapter
        }
    }
}

/// Whether activations are always computed twice.
pub(super) fn is_recomputed(recipe: &Recipe) -> bool {
    recipe.quantization.is_some()
}

/// Values that one checkpoint hands over.
pub(super) fn trained(model: &ModelFacts, recipe: &Recipe, adapter: f64) -> f64 {
    match recipe.method {
        Method::Lora => adapter,
        Method::Full => linear(model) + tables(model),
    }
}

fn linear(model: &ModelFacts) -> f64 {
    model.linear_parameters as f64
}

/// Embedding, and the head where it is one of its own.
fn tables(model: &ModelFacts) -> f64 {
    let head = if model.tied { 0 } else { model.head_parameters };
    (model.embedding_parameters + head) as f64
}
