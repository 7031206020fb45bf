//! The rows that are generated together: prompts join, every row gains a token per step, finished rows leave.

use std::ops::Range;

use tch::Tensor;

use super::beginnings::Beginnings;
use super::cache::{KvCache, Part, Prefix, PromptPass};
use super::order::regroup;
use super::queue::Joining;
use super::{Completion, FinishReason, Generator};
use crate::Result;
use crate::decoder::RowAdapters;
use crate::sample::{self, RowState, SampleStream};

/// A row in the batch; its number is its slot in the cache.
#[derive(Debug)]
struct Row {
    index: usize,
    sample: u32,
    adapter: Option<usize>,
    /// Ids of prompt and answer.
    ids: Vec<u32>,
    prompt_length: usize,
    stream: SampleStream,
    seconds: f64,
}

/// A prompt that has run, and for which answers still wait.
struct Shared {
    prefix: Prefix,
    /// `[1, V]`.
    logits: Tensor,
}

/// Rows in order of their adapters, the base first.
pub(super) struct Batch<'a, 'g> {
    generator: &'g Generator<'a>,
    cache: KvCache,
    slots: usize,
    rows: Vec<Row>,
    beginnings: Beginnings,
    shared: Option<Shared>,
    new_tokens: u64,
}

impl<'a, 'g> Batch<'a, 'g> {
    pub(super) fn new(generator: &'g Generator<'a>, slots: usize, beginnings: Beginnings) -> Result<Self> {
        let decoder = generator.decoder;
        let cache = KvCache::new(decoder.config(), decoder.device(), decoder.kind(), slots)?;
        Ok(Self { generator, cache, slots, rows: Vec::new(), beginnings, shared: None, new_tokens: 0 })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows that may join.
    pub(super) fn free(&self) -> usize {
        self.slots - self.rows.len()
    }

    /// Tokens generated so far.
    pub(super) fn new_tokens(&self) -> u64 {
        self.new_tokens
    }

    /// Shares the time of a pass among the rows that took part.
    pub(super) fn spent(&mut self, took_part: Range<usize>, seconds: f64) {
        let share = seconds / took_part.len().max(1) as f64;
        for row in &mut self.rows[took_part] {
            row.seconds += share;
        }
    }

    /// Runs the prompts of new rows, each once, and picks the rows' first tokens. Answers which rows took part.
    pub(super) fn join(&mut self, joining: Vec<Joining<'_>>) -> Result<Range<usize>> {
        self.begin()?;
        let first = self.rows.len();
        let mut places = Vec::with_capacity(joining.len());
        for one in &joining {
            places.push(self.cache.add(one.ids.len() as i64, one.answers.len())?);
        }
        let logits = self.prompt_logits(&joining, &places)?;
        self.share(&joining, &places, &logits)?;
        let copies = joining.iter().zip(0..).flat_map(|(one, at)| one.answers.iter().map(move |_| at));
        let lines = Tensor::f_from_slice(&copies.collect::<Vec<i64>>())?.f_to_device(logits.device())?;
        let rows = joining.iter().flat_map(|one| one.answers.iter().map(|answer| self.row(one, *answer)));
        let rows: Vec<Row> = rows.collect();
        self.rows.extend(rows);
        self.pick(&logits.f_index_select(0, &lines)?, first)?;
        Ok(first..self.rows.len())
    }

    /// Keeps the prompt for which answers still wait, and none other.
    fn share(&mut self, joining: &[Joining<'_>], places: &[Range<usize>], logits: &Tensor) -> Result<()> {
        self.shared = match joining.iter().position(|one| one.has_more) {
            Some(at) if joining[at].has_run => return Ok(()),
            Some(at) => Some(Shared {
                prefix: self.cache.prefix(places[at].start)?,
                logits: logits.f_narrow(0, at as i64, 1)?.f_detach_copy()?,
            }),
            None => None,
        };
        Ok(())
    }

    fn row(&self, joining: &Joining<'_>, (index, sample): (usize, u32)) -> Row {
        let seed = self.generator.settings.sample.seed;
        let adapter = joining.adapter.map(|adapter| &self.generator.adapters[adapter].digest);
        Row {
            index,
            sample,
            adapter: joining.adapter,
            ids: joining.ids.to_vec(),
            prompt_length: joining.ids.len(),
            stream: SampleStream::new(seed, joining.ids, sample, adapter),
            seconds: 0.0,
        }
    }

    /// What comes after each prompt, `[joining, V]`, from a pass or from when it ran before; fills their slots.
    fn prompt_logits(&mut self, joining: &[Joining<'_>], places: &[Range<usize>]) -> Result<Tensor> {
        let fresh: Vec<usize> = (0..joining.len()).filter(|at| !joining[*at].has_run).collect();
        let mut lines = Vec::with_capacity(joining.len());
        if !fresh.is_empty() {
            let logits = self.run_prompts(joining, places, &fresh)?;
            lines = logits.f_split(1, 0)?;
        }
        if let Some(at) = joining.iter().position(|one| one.has_run)
            && let Some(shared) = &self.shared
        {
            self.cache.fill(&places[at], &shared.prefix)?;
            lines.insert(at, shared.logits.shallow_clone());
        }
        Ok(Tensor::f_cat(&lines, 0)?)
    }

    /// Runs what prompts begin with, once, in a slot that is free again afterwards.
    fn begin(&mut self) -> Result<()> {
        let mut beginnings = std::mem::replace(&mut self.beginnings, Beginnings::of(&[]));
        for (adapter, beginning) in beginnings.waiting() {
            let length = beginning.ids.len() as i64;
            let slots = self.cache.add(length, 1)?;
            let part = Part { slots: slots.clone(), start: 0, length, text: length };
            let _hidden = self.run(&[(adapter, &beginning.ids)], &[part])?;
            beginning.prefix = Some(self.cache.prefix(slots.start)?);
            self.cache.truncate(slots.start);
        }
        self.beginnings = beginnings;
        Ok(())
    }

    /// One pass over the prompts at `fresh`: their last logits, one line each.
    fn run_prompts(
        &self,
        joining: &[Joining<'_>],
        places: &[Range<usize>],
        fresh: &[usize],
    ) -> Result<Tensor> {
        let decoder = self.generator.decoder;
        let (mut rows, mut parts) = (Vec::new(), Vec::new());
        for (one, slots) in fresh.iter().map(|at| (&joining[*at], &places[*at])) {
            let text = one.ids.len() as i64;
            let prefix = self.beginnings.get(one.adapter).and_then(|beginning| beginning.prefix.as_ref());
            let prefix = prefix.filter(|prefix| self.is_long(prefix.tokens()) == self.is_long(text));
            let start = prefix.map_or(0, Prefix::tokens);
            if let Some(prefix) = prefix {
                self.cache.fill(slots, prefix)?;
            }
            let own = &one.ids[start as usize..];
            rows.push((one.adapter, own));
            parts.push(Part { slots: slots.clone(), start, length: own.len() as i64, text });
        }
        let hidden = self.run(&rows, &parts)?;
        let ends = parts.iter().scan(0, |end, part| {
            *end += part.length;
            Some(*end - 1)
        });
        let last = Tensor::f_from_slice(&ends.collect::<Vec<i64>>())?.f_to_device(decoder.device())?;
        decoder.logits(&hidden.f_index_select(0, &last)?)
    }

    /// One pass over the ids of `rows`, each with its adapter, which fill the slots of `parts`: their hidden states `[tokens, H]`.
    fn run(&self, rows: &[(Option<usize>, &[u32])], parts: &[Part]) -> Result<Tensor> {
        let decoder = self.generator.decoder;
        let ids: Vec<i64> = rows.iter().flat_map(|(_, ids)| *ids).map(|id| i64::from(*id)).collect();
        let tokens = parts
            .iter()
            .flat_map(|part| (part.start..part.start + part.length).map(|place| (place, part.text)));
        let positions = decoder.positions(tokens)?;
        let ids = Tensor::f_from_slice(&ids)?.f_to_device(decoder.device())?;
        let mut pass = PromptPass { cache: &self.cache, parts };
        let adapters = self.adapters(rows.iter().map(|(adapter, ids)| (*adapter, ids.len())));
        decoder.hidden(&ids, &positions, &mut pass, &adapters)
    }

    /// Runs the newest token of every row and picks the next ones. Answers which rows took part: all.
    pub(super) fn step(&mut self) -> Result<Range<usize>> {
        self.turn_anew()?;
        let logits = self.step_logits()?;
        self.pick(&logits, 0)?;
        Ok(0..self.rows.len())
    }

    /// Runs all but the newest token again of rows that have just outgrown a short text: all their tokens are turned otherwise
    /// now.
    fn turn_anew(&self) -> Result<()> {
        let Some(most) = self.generator.decoder.short_text_max() else { return Ok(()) };
        let outgrown = self.rows.iter().enumerate().filter(|(_, row)| row.ids.len() as i64 == most + 1);
        for (slot, row) in outgrown {
            let part = Part { slots: slot..slot + 1, start: 0, length: most, text: most + 1 };
            let _hidden = self.run(&[(row.adapter, &row.ids[..most as usize])], &[part])?;
        }
        Ok(())
    }

    fn is_long(&self, text: i64) -> bool {
        self.generator.decoder.short_text_max().is_some_and(|most| text > most)
    }

    /// What comes after the newest token of every row, `[rows, V]`.
    fn step_logits(&mut self) -> Result<Tensor> {
        let decoder = self.generator.decoder;
        let newest: Vec<i64> =
            self.rows.iter().filter_map(|row| row.ids.last()).map(|id| i64::from(*id)).collect();
        let ids = Tensor::f_from_slice(&newest)?.f_to_device(decoder.device())?;
        let adapters = self.adapters(self.rows.iter().map(|row| (row.adapter, 1)));
        let texts = self.rows.iter().map(|row| row.ids.len() as i64);
        let positions = decoder.positions(texts.map(|text| (text - 1, text)))?;
        let mut pass = self.cache.step(decoder.device())?;
        let hidden = decoder.hidden(&ids, &positions, &mut pass, &adapters)?;
        decoder.logits(&hidden)
    }

    /// The adapters of flat tokens, given the adapter and the number of tokens of one row after the other.
    fn adapters(&self, rows: impl Iterator<Item = (Option<usize>, usize)>) -> RowAdapters<'g> {
        let mut adapters = RowAdapters::new();
        let mut rows = rows.peekable();
        let mut start = 0;
        while let Some((adapter, tokens)) = rows.next() {
            let mut end = start + tokens;
            while let Some((_, tokens)) = rows.next_if(|(other, _)| *other == adapter) {
                end += tokens;
            }
            if let Some(adapter) = adapter.map(|adapter| &self.generator.adapters[adapter]) {
                let rows = start as i64..end as i64;
                adapters = adapters.with_served(rows, adapter.lora, Some(&adapter.served));
            }
            start = end;
        }
        adapters
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

    /// Takes finished rows out; the others move together, here as in the cache.
    pub(super) fn retire(&mut self) -> Result<Vec<Completion>> {
        let reasons: Vec<Option<FinishReason>> = self.rows.iter().map(|row| self.finished(row)).collect();
        let groups: Vec<Option<Option<usize>>> = self
            .rows
            .iter()
            .zip(&reasons)
            .map(|(row, reason)| reason.is_none().then_some(row.adapter))
            .collect();
        let order = regroup(&groups);
        self.cache.arrange(&order)?;
        let mut rows: Vec<Option<Row>> = self.rows.drain(..).map(Some).collect();
        self.rows.extend(order.iter().filter_map(|place| rows[*place].take()));
        let finished = rows.into_iter().zip(reasons);
        Ok(finished.filter_map(|(row, reason)| Some(completion(row?, reason?))).collect())
    }

    fn finished(&self, row: &Row) -> Option<FinishReason> {
        let settings = &self.generator.settings;
        if row.ids.last().is_some_and(|id| settings.eos_ids.contains(id)) {
            return Some(FinishReason::Stop);
        }
        (row.ids.len() - row.prompt_length >= settings.max_new_tokens).then_some(FinishReason::Length)
    }
}

fn completion(row: Row, finish_reason: FinishReason) -> Completion {
    Completion {
        index: row.index,
        sample: row.sample,
        ids: row.ids[row.prompt_length..].to_vec(),
        finish_reason,
        seconds: row.seconds,
    }
}

#[cfg(test)]
mod tests;
