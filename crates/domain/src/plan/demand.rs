//! What a job needs of a worker: memory counted from what the engine keeps at once, and disk from its files. Upper bounds where
//! rows are drawn; measured peaks stand beside them in `docs/scheduling.md`.

use super::estimate::Judged;
use super::held;
use crate::job::{Demand, Footprint, Input, Recipe, Source};
use crate::matrix::{ModelFacts, TokenCount};

const MIB: f64 = 1_048_576.0;
/// An engine with LibTorch before its first model: 250 MiB were seen on x86-64 Linux.
const PROCESS_BYTES: f64 = 250.0 * MIB;
/// What the allocator cannot give back and what a pass holds for a moment, beside what is counted.
const MARGIN: f64 = 1.1;
/// Logits, probabilities and their gradient for a chunk of 64 MiB of float32 (`assay-model`, `train/loss.rs`).
const LOSS_BYTES: f64 = 3.0 * 64.0 * MIB;
/// Answers decoded at once (`GenerateSettings::batch`) and the most that a growing cache of keys and values has beside it.
const DECODED_ROWS: u64 = 16;
const CACHE_GROWTH: f64 = 1.25;
/// Tokens of one pass of a local judge (`ScoreSettings::tokens_per_pass`).
const SCORED_TOKENS: u64 = 4096;
/// Resume states on a worker's disk at once: one is sent while the next is written. Each has three values for one of an adapter.
const RESUME_STATES: f64 = 2.0;
/// Logs, metrics and answers.
const SMALL_FILES_BYTES: f64 = 64.0 * MIB;
/// Bytes of values on processors and on GPUs.
const SIZES: [f64; 2] = [4.0, 2.0];

/// Training keeps the model, for each value of the adapter itself, its gradient and two moments in float32, a chunk of logits,
/// and what backward needs of each token of a pass in every layer. One row at a time, with activations computed twice, it keeps
/// each layer's input and all that is in one layer.
pub(super) fn train(
    model: &ModelFacts,
    recipe: &Recipe,
    count: Option<&TokenCount>,
    checkpoints: usize,
) -> Demand {
    let rows = recipe.micro_batch.max(1) as usize;
    let (pass, longest) = tokens_of_pass(rows, recipe.max_length, count);
    let adapter = adapter_parameters(model, recipe);
    let fixed = |size: f64| PROCESS_BYTES + held::bytes(model, recipe, adapter, size) + LOSS_BYTES;
    let (layers, kept) = (f64::from(model.layers), values_kept(model));
    let twice = 2.0 * f64::from(model.hidden) * layers + kept;
    let whole = if held::is_recomputed(recipe) { twice } else { kept * layers };
    let memory = demand(
        |size| fixed(size) + held::size(recipe, size) * whole * pass,
        |size| fixed(size) + held::size(recipe, size) * twice * longest,
    );
    let files = checkpoints as f64 + 3.0 * RESUME_STATES;
    Demand { disk_mib: mib(4.0 * held::trained(model, recipe, adapter) * files), ..memory }
}

/// Tokens of the longest rows, as many as a pass has, and of the longest of them.
fn tokens_of_pass(rows: usize, max_length: u32, count: Option<&TokenCount>) -> (f64, f64) {
    let longest = count.map(|count| count.longest.as_slice()).unwrap_or_default();
    // Who resolved the matrix with an earlier version has not counted them.
    let [first, .., last] = longest else {
        let length = longest.first().copied().unwrap_or(max_length);
        return (rows as f64 * f64::from(length), f64::from(length));
    };
    let known: u32 = longest.iter().take(rows).sum();
    let others = rows.saturating_sub(longest.len()) as f64 * f64::from(*last);
    (f64::from(known) + others, f64::from(*first))
}

/// Generation keeps the model (on a processor also packed, two bytes a weight), and for the rows decoded at once their keys,
/// values and logits.
pub(super) fn generate(model: &ModelFacts, answers: u64, prompt: u32, new: u32) -> Demand {
    let rows = answers.clamp(1, DECODED_ROWS) as f64;
    let tokens = rows * (f64::from(prompt) + f64::from(new)) * CACHE_GROWTH;
    let cache = 2.0 * f64::from(model.kv_width) * f64::from(model.layers) * tokens;
    let logits = 3.0 * 4.0 * rows * vocabulary(model);
    let prompts = values_kept(model) * f64::from(prompt) * rows;
    let packed = |size: f64| if size > 2.0 { 2.0 } else { 0.0 } * parameters(model);
    let all =
        |size: f64| PROCESS_BYTES + size * (parameters(model) + cache + prompts) + packed(size) + logits;
    demand(all, all)
}

/// A local judge keeps the model and what a pass holds in one layer at a time, with the layers' keys and values.
pub(super) fn score(model: &ModelFacts, judged: &Judged) -> Demand {
    let tokens = judged.local_tokens().min(SCORED_TOKENS) as f64;
    let values = values_kept(model) + 2.0 * f64::from(model.kv_width) * f64::from(model.layers);
    let all = |size: f64| PROCESS_BYTES + size * (parameters(model) + values * tokens) + LOSS_BYTES;
    demand(all, all)
}

/// Adds the disk that inputs and small files take.
pub(super) fn with_disk(demand: Demand, inputs: &[Input]) -> Demand {
    let bytes = |input: &Input| match &input.source {
        Source::Upload { artifact } => artifact.bytes() as f64,
        Source::Output { .. } => 0.0,
    };
    let model: f64 = inputs.iter().filter(|input| input.name == "model").map(bytes).sum();
    let fetched: f64 = inputs.iter().map(bytes).sum();
    let disk_mib = demand.disk_mib + mib(fetched + SMALL_FILES_BYTES);
    Demand { disk_mib, model_mib: mib(model), ..demand }
}

fn demand(whole: impl Fn(f64) -> f64, least: impl Fn(f64) -> f64) -> Demand {
    let [float32, bfloat16] = SIZES.map(|size| {
        let (whole_mib, least_mib) = (mib(MARGIN * whole(size)), mib(MARGIN * least(size)));
        // One row may be all there is.
        Footprint { whole_mib, least_mib: least_mib.min(whole_mib) }
    });
    Demand { float32, bfloat16, ..Demand::default() }
}

/// Values that backward needs of one token in one layer, adapters on all projections: of each norm its input, its normalised
/// input and what goes into the projections; queries, keys, values and attention's output before and after heads are repeated;
/// gate, up, their activation and product, and the gradients of these for a moment.
fn values_kept(model: &ModelFacts) -> f64 {
    let attention = 4.0 * f64::from(model.attention_width) + 2.0 * f64::from(model.kv_width);
    6.0 * f64::from(model.hidden) + attention + 6.0 * feed_forward(model)
}

/// Width of the feed-forward part.
fn feed_forward(model: &ModelFacts) -> f64 {
    let width = |name: &str| model.projections.get(name).map(|(output, _)| f64::from(*output));
    let together = width("gate_up_proj").map(|both| both / 2.0);
    width("up_proj").or(together).unwrap_or(4.0 * f64::from(model.hidden))
}

fn vocabulary(model: &ModelFacts) -> f64 {
    model.embedding_parameters as f64 / f64::from(model.hidden.max(1))
}

fn parameters(model: &ModelFacts) -> f64 {
    let head = if model.tied { 0 } else { model.head_parameters };
    (model.linear_parameters + model.embedding_parameters + head) as f64
}

fn adapter_parameters(model: &ModelFacts, recipe: &Recipe) -> f64 {
    let targets = recipe.targets.iter().filter_map(|target| model.projections.get(target));
    let widths: u64 = targets.map(|(output, input)| u64::from(*output) + u64::from(*input)).sum();
    widths as f64 * f64::from(recipe.rank) * f64::from(model.layers)
}

fn mib(bytes: f64) -> u64 {
    (bytes / MIB).ceil() as u64
}
