//! Answers to prompts with a KV cache: rows of different lengths in one batch; a row that is finished leaves it at once,
//! and the next prompt takes its place.

mod cache;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use cache::{KvCache, PromptPass};

use crate::decoder::{Adapters, Decoder, NoAdapters, PackedCausal, RowAdapters};
use crate::lora::Lora;
use crate::sample::{self, RowState, SampleSettings, SampleStream};
use crate::{ModelError, Result};

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
    /// Settings with a batch of 16 and one answer per prompt.
    pub fn new(sample: SampleSettings, max_new_tokens: usize, eos_ids: &[u32]) -> Self {
        Self {
            sample,
            max_new_tokens,
            samples: 1,
            batch: 16,
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

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// A row in the batch; its number is its slot in the cache.
#[derive(Debug)]
struct Row {
    index: usize,
    sample: u32,
    /// Ids of prompt and answer.
    ids: Vec<u32>,
    prompt_length: usize,
    stream: SampleStream,
    seconds: f64,
}

/// Generates with a base model and at most one adapter, which then holds for all rows.
#[derive(Debug)]
pub struct Generator<'a> {
    decoder: &'a Decoder,
    lora: Option<&'a Lora>,
    settings: GenerateSettings,
}

impl<'a> Generator<'a> {
    /// Checks the settings.
    pub fn new(decoder: &'a Decoder, lora: Option<&'a Lora>, settings: GenerateSettings) -> Result<Self> {
        settings.check()?;
        Ok(Self { decoder, lora, settings })
    }

    /// Answers all prompts; completions are in the order of prompts and samples.
    pub fn run(&self, prompts: &[PromptRow], watch: &mut dyn GenerateWatch) -> Result<Vec<Completion>> {
        self.check_prompts(prompts)?;
        let _guard = tch::no_grad_guard();
        let samples = self.settings.samples;
        let mut waiting: VecDeque<(&PromptRow, u32)> =
            prompts.iter().flat_map(|prompt| (0..samples).map(move |sample| (prompt, sample))).collect();
        let total = waiting.len();
        let slots = self.settings.batch.min(total);
        let mut batch = Batch {
            generator: self,
            cache: KvCache::new(self.decoder.config(), self.decoder.device(), self.decoder.kind(), slots)?,
            rows: Vec::new(),
            done: Vec::new(),
            new_tokens: 0,
        };
        while !waiting.is_empty() || !batch.rows.is_empty() {
            if watch.is_cancelled() {
                return Err(ModelError::Cancelled);
            }
            let start = watch.seconds();
            let joining = batch.joining(&mut waiting, slots);
            let took_part = if joining.is_empty() { batch.step()? } else { batch.join(joining)? };
            let share = (watch.seconds() - start) / took_part.len().max(1) as f64;
            for row in &mut batch.rows[took_part] {
                row.seconds += share;
            }
            batch.retire()?;
            watch.progress(GenerateProgress {
                finished: batch.done.len(),
                total,
                new_tokens: batch.new_tokens,
            });
        }
        let mut done = batch.done;
        let order: std::collections::BTreeMap<usize, usize> =
            prompts.iter().enumerate().map(|(place, prompt)| (prompt.index, place)).collect();
        done.sort_by_key(|completion| (order.get(&completion.index).copied(), completion.sample));
        Ok(done)
    }

    fn check_prompts(&self, prompts: &[PromptRow]) -> Result<()> {
        let config = self.decoder.config();
        let mut seen = std::collections::BTreeSet::new();
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
            if let Some(id) = prompt.ids.iter().find(|id| **id as usize >= config.vocab_size) {
                return refuse(format!(
                    "token id {id} is not below the vocabulary size {}",
                    config.vocab_size
                ));
            }
        }
        Ok(())
    }

    fn adapters(&self, tokens: i64) -> Box<dyn Adapters + 'a> {
        match self.lora {
            Some(lora) => Box::new(RowAdapters::new().with(0..tokens, lora)),
            None => Box::new(NoAdapters),
        }
    }
}

struct Batch<'a, 'g> {
    generator: &'g Generator<'a>,
    cache: KvCache,
    rows: Vec<Row>,
    done: Vec<Completion>,
    new_tokens: u64,
}

impl Batch<'_, '_> {
    /// Rows that take free slots now: as many as fit in one pass.
    fn joining(&self, waiting: &mut VecDeque<(&PromptRow, u32)>, slots: usize) -> Vec<Row> {
        let settings = &self.generator.settings;
        let mut joining = Vec::new();
        let mut tokens = 0;
        while self.rows.len() + joining.len() < slots
            && let Some((prompt, sample)) = waiting.front().copied()
        {
            tokens += prompt.ids.len();
            if !joining.is_empty() && tokens > settings.prompt_tokens_per_pass {
                break;
            }
            waiting.pop_front();
            joining.push(Row {
                index: prompt.index,
                sample,
                ids: prompt.ids.clone(),
                prompt_length: prompt.ids.len(),
                stream: SampleStream::new(settings.sample.seed, &prompt.ids, sample),
                seconds: 0.0,
            });
        }
        joining
    }

    /// Runs the prompts of new rows and picks their first tokens. Answers which rows took part.
    fn join(&mut self, joining: Vec<Row>) -> Result<std::ops::Range<usize>> {
        let decoder = self.generator.decoder;
        let lengths: Vec<i64> = joining.iter().map(|row| row.ids.len() as i64).collect();
        let first_slot = self.cache.add(&lengths)?;
        let flat: Vec<i64> = joining.iter().flat_map(|row| &row.ids).map(|id| i64::from(*id)).collect();
        let ids = Tensor::f_from_slice(&flat)?.f_to_device(decoder.device())?;
        let inner = PackedCausal::new(&lengths, decoder.config());
        let positions = inner.positions(decoder.device())?;
        let mut pass = PromptPass { cache: &self.cache, first_slot, lengths: &lengths, inner };
        let adapters = self.generator.adapters(flat.len() as i64);
        let hidden = decoder.hidden(&ids, &positions, &mut pass, adapters.as_ref())?;
        let mut end = 0;
        let last: Vec<i64> = lengths
            .iter()
            .map(|length| {
                end += length;
                end - 1
            })
            .collect();
        let last = Tensor::f_from_slice(&last)?.f_to_device(decoder.device())?;
        let logits = decoder.logits(&hidden.f_index_select(0, &last)?)?;
        self.rows.extend(joining);
        self.pick(&logits, first_slot)?;
        Ok(first_slot..self.rows.len())
    }

    /// Runs one token of every row and picks the next ones.
    fn step(&mut self) -> Result<std::ops::Range<usize>> {
        let decoder = self.generator.decoder;
        let newest: Vec<i64> =
            self.rows.iter().filter_map(|row| row.ids.last()).map(|id| i64::from(*id)).collect();
        let ids = Tensor::f_from_slice(&newest)?.f_to_device(decoder.device())?;
        let mut pass = self.cache.step(decoder.device())?;
        let positions = pass.positions.shallow_clone();
        let adapters = self.generator.adapters(newest.len() as i64);
        let hidden = decoder.hidden(&ids, &positions, &mut pass, adapters.as_ref())?;
        let logits = decoder.logits(&hidden)?;
        self.pick(&logits, 0)?;
        Ok(0..self.rows.len())
    }

    /// Adds a token to every row from `first` on; `logits` has a line for each of them.
    fn pick(&mut self, logits: &Tensor, first: usize) -> Result<()> {
        let rows = &mut self.rows[first..];
        let mut states: Vec<RowState<'_>> =
            rows.iter_mut().map(|row| RowState { stream: &mut row.stream, seen: &row.ids }).collect();
        let picked = sample::pick(&self.generator.settings.sample, logits, &mut states)?;
        for (row, id) in rows.iter_mut().zip(&picked) {
            row.ids.push(*id);
        }
        self.new_tokens += picked.len() as u64;
        Ok(())
    }

    /// Takes finished rows out; the last row moves into the place of each, here as in the cache.
    fn retire(&mut self) -> Result<()> {
        let settings = &self.generator.settings;
        for slot in (0..self.rows.len()).rev() {
            let row = &self.rows[slot];
            let stopped = row.ids.last().is_some_and(|id| settings.eos_ids.contains(id));
            if !stopped && row.ids.len() - row.prompt_length < settings.max_new_tokens {
                continue;
            }
            self.cache.remove(slot)?;
            let row = self.rows.swap_remove(slot);
            self.done.push(Completion {
                index: row.index,
                sample: row.sample,
                ids: row.ids[row.prompt_length..].to_vec(),
                finish_reason: if stopped { FinishReason::Stop } else { FinishReason::Length },
                seconds: row.seconds,
            });
        }
        debug_assert_eq!(self.rows.len(), self.cache.used(), "rows and slots go together");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
