//! Answers as jobs generate them, with a cache of keys and values: beside those of Transformers, and in a batch beside those alone.

use super::Comparison;
use crate::Result;
use crate::decoder::Decoder;
use crate::generate::{Completion, GenerateSettings, Generator, PromptRow, Unwatched};
use crate::lora::Lora;
use crate::sample::SampleSettings;
use crate::train::TrainRow;

/// Tokens of each answer that is compared with itself.
const TOKENS: usize = 16;

/// Number of tokens of the greedy answer to `prompt` that are not those `expected`.
pub(super) fn greedy(model: &Decoder, prompt: &[u32], expected: &[u32]) -> Result<f64> {
    let prompt = PromptRow { index: 0, ids: prompt.to_vec(), adapter: None };
    let answers = answers(model, &[], &[prompt], (1, expected.len()))?;
    let ours = answers.iter().flat_map(|answer| &answer.ids);
    Ok(ours.zip(expected).filter(|(ours, theirs)| ours != theirs).count() as f64)
}

/// The share of answers of base and adapter, to the first halves of `rows`, that are others in one batch than each alone.
pub(super) fn together(model: &Decoder, lora: &Lora, rows: &[TrainRow]) -> Result<Comparison> {
    let halves = rows.iter().map(|row| &row.ids[..row.ids.len().div_ceil(2)]);
    let prompts = halves.flat_map(|ids| [None, Some(0)].map(|adapter| (ids.to_vec(), adapter))).enumerate();
    let prompts: Vec<PromptRow> =
        prompts.map(|(index, (ids, adapter))| PromptRow { index, ids, adapter }).collect();
    let [batch, alone] = [prompts.len(), 1].map(|rows| answers(model, &[lora], &prompts, (rows, TOKENS)));
    let (batch, alone) = (batch?, alone?);
    let others = batch.iter().zip(&alone).filter(|(one, other)| one.ids != other.ids).count();
    let share = others as f64 / prompts.len().max(1) as f64;
    let what = format!("answers in {:?} that differ in a batch (share)", model.kind());
    Ok(Comparison::told(what, share))
}

fn answers(
    model: &Decoder,
    adapters: &[&Lora],
    prompts: &[PromptRow],
    (batch, tokens): (usize, usize),
) -> Result<Vec<Completion>> {
    let greedy = SampleSettings { temperature: 0.0, ..SampleSettings::default() };
    let settings = GenerateSettings { batch, ..GenerateSettings::new(greedy, tokens, &[]) };
    Generator::new(model, adapters, settings)?.run(prompts, &mut Unwatched)
}
