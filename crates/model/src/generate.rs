//! Answers to prompts with a KV cache: rows of different lengths and of different adapters in one batch; a row that is
//! finished leaves it at once, and the next one that waits takes its place.

mod batch;
mod beginnings;
mod cache;
mod order;
mod queue;
mod room;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use batch::Batch;
use beginnings::Beginnings;
use queue::Queue;
pub use room::{ROWS, rows_that_fit};

use crate::decoder::Decoder;
use crate::lora::{Lora, Served};
use crate::sample::SampleSettings;
use crate::{ModelError, Result, oom};

/// What is generated and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateSettings {
    /// How tokens are picked.
    pub sample: SampleSettings,
    /// Most tokens of an answer, the end-of-turn token included.
    pub max_new_tokens: usize,
    /// Answers for each prompt.
    pub samples: u32,
    /// Most rows in a batch.
    pub batch: usize,
    /// Ids that end an answer; none: every answer runs to `max_new_tokens`.
    pub eos_ids: Vec<u32>,
    /// Most prompt tokens in one pass; a longer prompt has a pass of its own.
    pub prompt_tokens_per_pass: usize,
}

impl GenerateSettings {
    /// Settings with a batch of [`ROWS`] and one answer per prompt.
    pub fn new(sample: SampleSettings, max_new_tokens: usize, eos_ids: &[u32]) -> Self {
        Self {
            sample,
            max_new_tokens,
            samples: 1,
            batch: ROWS,
            eos_ids: eos_ids.to_vec(),
            prompt_tokens_per_pass: 4096,
        }
    }

    /// Refuses values out of range.
    pub fn check(&self) -> Result<()> {
        self.sample.check()?;
        let counts = [
            ("max_new_tokens", self.max_new_tokens),
            ("samples", self.samples as usize),
            ("batch", self.batch),
            ("prompt_tokens_per_pass", self.prompt_tokens_per_pass),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((setting, count)) => Err(ModelError::setting(setting, count, "1 or more")),
            None => Ok(()),
        }
    }
}

/// A prompt as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptRow {
    /// The caller's number, given back in [`Completion`].
    pub index: usize,
    /// Ids with the header of the assistant's turn.
    pub ids: Vec<u32>,
    /// Which of the generator's adapters answers; none: the base model.
    pub adapter: Option<usize>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it.
    Stop,
    /// It reached `max_new_tokens`: it is cut.
    Length,
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The prompt's number.
    pub index: usize,
    /// Number of the answer to this prompt, from 0.
    pub sample: u32,
    /// Generated ids, the one that ended the answer included.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Its share of the time of the passes it was in.
    pub seconds: f64,
}

impl Completion {
    /// The ids to decode: without the one that ended the answer.
    pub fn text_ids(&self) -> &[u32] {
        match self.finish_reason {
            FinishReason::Stop => &self.ids[..self.ids.len() - 1],
            FinishReason::Length => &self.ids,
        }
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerateProgress {
    /// Answers finished.
    pub finished: usize,
    /// Answers in all.
    pub total: usize,
    /// Tokens generated so far.
    pub new_tokens: u64,
}

/// The outside of a run: a clock, a listener, a way to stop. Called between steps.
pub trait GenerateWatch {
    /// Seconds on a clock that never goes back.
    fn seconds(&self) -> f64;
    /// Told after every step.
    fn progress(&mut self, progress: GenerateProgress);
    /// Told when memory was not enough: at most so many rows are in a batch from here. Answers that are not finished begin anew.
    fn smaller_batch(&mut self, rows: usize);
    /// True ends the run with [`ModelError::Cancelled`].
    fn is_cancelled(&self) -> bool;
}

/// Told nothing, timed by nothing, never stopped: for tests and short runs.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl GenerateWatch for Unwatched {
    fn seconds(&self) -> f64 {
        0.0
    }

    fn progress(&mut self, _: GenerateProgress) {}

    fn smaller_batch(&mut self, _: usize) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Generates with a base model and any number of adapters. Rows of all of them share a batch, and the base weights are
/// read once for it.
#[derive(Debug)]
pub struct Generator<'a> {
    decoder: &'a Decoder,
    adapters: Vec<Adapter<'a>>,
    settings: GenerateSettings,
}

/// An adapter and what its rows' random streams know it by.
#[derive(Debug)]
struct Adapter<'a> {
    lora: &'a Lora,
    served: Served,
    digest: [u8; 32],
}

impl<'a> Generator<'a> {
    /// Checks the settings. [`PromptRow::adapter`] counts in `adapters`.
    pub fn new(decoder: &'a Decoder, adapters: &[&'a Lora], settings: GenerateSettings) -> Result<Self> {
        settings.check()?;
        decoder.pack()?;
        let adapter =
            |lora: &&'a Lora| Ok(Adapter { lora, served: decoder.served(lora)?, digest: lora.digest()? });
        Ok(Self { decoder, adapters: adapters.iter().map(adapter).collect::<Result<_>>()?, settings })
    }

    /// Answers all prompts; completions are in the order of prompts and samples. Where memory is not enough, batches become
    /// smaller, down to one row; an answer is the same in any.
    pub fn run(&self, prompts: &[PromptRow], watch: &mut dyn GenerateWatch) -> Result<Vec<Completion>> {
        self.check_prompts(prompts)?;
        let _guard = tch::no_grad_guard();
        let total = prompts.len() * self.settings.samples as usize;
        let (mut done, mut rows) = (Vec::with_capacity(total), self.settings.batch.min(total));
        loop {
            let answered = oom::as_error(|| self.answer(rows, prompts, &mut done, watch));
            match answered {
                Err(ModelError::OutOfMemory(_)) if rows > 1 => {
                    rows = rows.min(total - done.len()).div_ceil(2);
                    watch.smaller_batch(rows);
                }
                answered => break answered?,
            }
        }
        let order: BTreeMap<usize, usize> =
            prompts.iter().enumerate().map(|(place, prompt)| (prompt.index, place)).collect();
        done.sort_by_key(|completion: &Completion| {
            (order.get(&completion.index).copied(), completion.sample)
        });
        Ok(done)
    }

    /// Adds the answers that are not `done` yet, at most so many rows at once.
    fn answer(
        &self,
        rows: usize,
        prompts: &[PromptRow],
        done: &mut Vec<Completion>,
        watch: &mut dyn GenerateWatch,
    ) -> Result<()> {
        let mut queue = Queue::new(prompts, self.settings.samples).without(done);
        let total = done.len() + queue.len();
        let before: u64 = done.iter().map(|completion| completion.ids.len() as u64).sum();
        let mut batch = Batch::new(self, rows.min(queue.len()), Beginnings::of(prompts))?;
        while !queue.is_empty() || !batch.is_empty() {
            if watch.is_cancelled() {
                return Err(ModelError::Cancelled);
            }
            let start = watch.seconds();
            let joining = queue.take(batch.free(), self.settings.prompt_tokens_per_pass);
            let took_part = if joining.is_empty() { batch.step()? } else { batch.join(joining)? };
            batch.spent(took_part, watch.seconds() - start);
            done.extend(batch.retire()?);
            let new_tokens = before + batch.new_tokens();
            watch.progress(GenerateProgress { finished: done.len(), total, new_tokens });
        }
        Ok(())
    }

    fn check_prompts(&self, prompts: &[PromptRow]) -> Result<()> {
        let config = self.decoder.config();
        let mut seen = BTreeSet::new();
        for prompt in prompts {
            let refuse = |problem: String| Err(ModelError::Row { row: prompt.index, problem });
            let length = prompt.ids.len() + self.settings.max_new_tokens;
            if !seen.insert(prompt.index) {
                return refuse("the number comes twice among the prompts".to_owned());
            }
            if prompt.ids.is_empty() {
                return refuse("the prompt has no tokens".to_owned());
            }
            if length > config.max_positions {
                return refuse(format!(
                    "{} prompt tokens and {} new ones do not fit the model's {} positions: shorten the prompt or max_new_tokens",
                    prompt.ids.len(),
                    self.settings.max_new_tokens,
                    config.max_positions
                ));
            }
            if let Some(adapter) = prompt.adapter.filter(|adapter| *adapter >= self.adapters.len()) {
                return refuse(format!("adapter {adapter} is not among the {} given", self.adapters.len()));
            }
            if let Some(id) = prompt.ids.iter().find(|id| **id as usize >= config.vocab_size) {
                return refuse(format!(
                    "token id {id} is not below the vocabulary size {}",
                    config.vocab_size
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
