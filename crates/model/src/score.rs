//! Log-probabilities of labels as the next words: the numbers of a local judge. One pass over the prompts; no sampling.

use std::collections::BTreeSet;

use assay_text::tokenizer::{Tokenizer, TokenizerError};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::decoder::{Adapters, Decoder, NoAdapters, RowAdapters};
use crate::lora::Lora;
use crate::{ModelError, Result};

/// A label as the token sequences that spell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelTokens {
    /// What is spelled.
    pub label: String,
    /// Different token sequences, none empty.
    pub variants: Vec<Vec<u32>>,
}

impl LabelTokens {
    /// The label alone and with a space before it, as this tokenizer writes them.
    pub fn new(tokenizer: &Tokenizer, label: &str) -> Result<Self, TokenizerError> {
        let mut variants = BTreeSet::new();
        for text in [label.to_owned(), format!(" {label}")] {
            variants.insert(tokenizer.encode(&text, false)?);
        }
        variants.remove(&Vec::new());
        Ok(Self { label: label.to_owned(), variants: variants.into_iter().collect() })
    }
}

/// A prompt that ends where the label comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreRow {
    /// The caller's number.
    pub index: usize,
    /// Ids, the begun answer included.
    pub ids: Vec<u32>,
}

/// What the model says at the end of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelScores {
    /// The caller's number.
    pub index: usize,
    /// ln of the probability of each label, in the order of the labels: the sum over its variants.
    pub logprobs: Vec<f64>,
    /// Sum of the labels' probabilities: how much of the model's attention the question had.
    pub mass: f64,
}

/// How the passes are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoreSettings {
    /// Most tokens in one pass; a longer prompt has a pass of its own.
    pub tokens_per_pass: usize,
}

impl Default for ScoreSettings {
    fn default() -> Self {
        Self { tokens_per_pass: 4096 }
    }
}

/// Scores labels after every prompt. `between` is called with the number of scored rows after each pass; false stops the run
/// with [`ModelError::Cancelled`]. Variants of several tokens are scored by the sum of their tokens' log-probabilities.
pub fn score_labels(
    decoder: &Decoder,
    lora: Option<&Lora>,
    rows: &[ScoreRow],
    labels: &[LabelTokens],
    settings: ScoreSettings,
    between: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<LabelScores>> {
    check(decoder, rows, labels)?;
    let _guard = tch::no_grad_guard();
    let scorer = Scorer { decoder, lora, labels };
    let mut scores = Vec::with_capacity(rows.len());
    let mut start = 0;
    while start < rows.len() {
        let mut end = start + 1;
        let mut tokens = scorer.cost(&rows[start]);
        while end < rows.len() && tokens + scorer.cost(&rows[end]) <= settings.tokens_per_pass {
            tokens += scorer.cost(&rows[end]);
            end += 1;
        }
        scores.extend(scorer.pass(&rows[start..end])?);
        start = end;
        if !between(scores.len()) {
            return Err(ModelError::Cancelled);
        }
    }
    Ok(scores)
}

fn check(decoder: &Decoder, rows: &[ScoreRow], labels: &[LabelTokens]) -> Result<()> {
    let config = decoder.config();
    if labels.is_empty() || labels.iter().any(|label| label.variants.is_empty()) {
        return Err(ModelError::setting("labels", "empty", "at least one label, each of at least one token"));
    }
    let variants: Vec<&Vec<u32>> = labels.iter().flat_map(|label| &label.variants).collect();
    if variants.iter().collect::<BTreeSet<_>>().len() < variants.len() {
        return Err(ModelError::setting("labels", "spelled alike", "different token sequences"));
    }
    let longest = variants.iter().map(|variant| variant.len()).max().unwrap_or(0);
    for row in rows {
        let refuse = |problem: String| Err(ModelError::Row { row: row.index, problem });
        if row.ids.is_empty() {
            return refuse("the prompt has no tokens".to_owned());
        }
        if row.ids.len() + longest > config.max_positions {
            return refuse(format!(
                "{} tokens do not fit the model's {} positions",
                row.ids.len(),
                config.max_positions
            ));
        }
        let ids = row.ids.iter().chain(variants.iter().copied().flatten());
        if let Some(id) = ids.into_iter().find(|id| **id as usize >= config.vocab_size) {
            return refuse(format!("token id {id} is not below the vocabulary size {}", config.vocab_size));
        }
    }
    Ok(())
}

struct Scorer<'a> {
    decoder: &'a Decoder,
    lora: Option<&'a Lora>,
    labels: &'a [LabelTokens],
}

/// One logit line that is needed: after token `at` of a sequence comes `next`, of this label's variant.
struct Wanted {
    line: usize,
    next: u32,
    label: usize,
    variant: usize,
}

impl Scorer<'_> {
    /// Tokens that a row takes in a pass: itself, and again with each variant of several tokens.
    fn cost(&self, row: &ScoreRow) -> usize {
        row.ids.len() + self.long_variants().map(|(_, _, ids)| row.ids.len() + ids.len() - 1).sum::<usize>()
    }

    fn long_variants(&self) -> impl Iterator<Item = (usize, usize, &Vec<u32>)> {
        let all = self.labels.iter().enumerate();
        all.flat_map(|(label, tokens)| {
            tokens.variants.iter().enumerate().map(move |(variant, ids)| (label, variant, ids))
        })
        .filter(|(_, _, ids)| ids.len() > 1)
    }

    fn pass(&self, rows: &[ScoreRow]) -> Result<Vec<LabelScores>> {
        let mut plan = PassPlan::default();
        let wanted: Vec<Vec<Wanted>> = rows.iter().map(|row| self.plan_row(row, &mut plan)).collect();
        let logs = self.run(&plan, &wanted)?;
        let mut logs = logs.into_iter();
        Ok(rows.iter().zip(&wanted).map(|(row, wanted)| self.sum(row.index, wanted, &mut logs)).collect())
    }

    fn plan_row(&self, row: &ScoreRow, plan: &mut PassPlan) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let line = plan.add(&row.ids, &[row.ids.len() - 1]);
        for (label, tokens) in self.labels.iter().enumerate() {
            for (variant, ids) in tokens.variants.iter().enumerate().filter(|(_, ids)| ids.len() == 1) {
                wanted.push(Wanted { line, next: ids[0], label, variant });
            }
        }
        for (label, variant, ids) in self.long_variants() {
            let sequence: Vec<u32> = row.ids.iter().chain(&ids[..ids.len() - 1]).copied().collect();
            let places: Vec<usize> = (row.ids.len() - 1..sequence.len()).collect();
            let first = plan.add(&sequence, &places);
            wanted.extend(ids.iter().enumerate().map(|(step, id)| Wanted {
                line: first + step,
                next: *id,
                label,
                variant,
            }));
        }
        wanted
    }

    /// ln of the probability of every wanted token, in order.
    fn run(&self, plan: &PassPlan, wanted: &[Vec<Wanted>]) -> Result<Vec<f64>> {
        let device = self.decoder.device();
        let ids = Tensor::f_from_slice(&plan.ids)?.f_to_device(device)?;
        let mut attention = self.decoder.attention_over(&plan.lengths)?;
        let positions = self.decoder.positions(attention.tokens())?;
        let adapters: Box<dyn Adapters + '_> = match self.lora {
            Some(lora) => Box::new(RowAdapters::new().with(0..plan.ids.len() as i64, lora)),
            None => Box::new(NoAdapters),
        };
        let hidden = self.decoder.hidden(&ids, &positions, &mut attention, adapters.as_ref())?;
        let lines = Tensor::f_from_slice(&plan.lines)?.f_to_device(device)?;
        // Not by the copy of the head that answers are made with: it may be there or not, and has other last bits.
        let normed = self.decoder.final_norm(&hidden.f_index_select(0, &lines)?)?;
        let logits = self.decoder.head_logits(&normed)?;
        let logs = logits.f_log_softmax(-1, Kind::Float)?.f_reshape([-1])?;
        let width = self.decoder.config().vocab_size;
        let places: Vec<i64> =
            wanted.iter().flatten().map(|one| (one.line * width + one.next as usize) as i64).collect();
        let picked = logs.f_index_select(0, &Tensor::f_from_slice(&places)?.f_to_device(device)?)?;
        Ok(Vec::<f64>::try_from(picked.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?)?)
    }

    fn sum(&self, index: usize, wanted: &[Wanted], logs: &mut impl Iterator<Item = f64>) -> LabelScores {
        let mut variants: Vec<Vec<f64>> =
            self.labels.iter().map(|label| vec![0.0; label.variants.len()]).collect();
        for (one, log) in wanted.iter().zip(logs) {
            variants[one.label][one.variant] += log;
        }
        let logprobs: Vec<f64> = variants.iter().map(|logs| log_sum_exp(logs)).collect();
        let mass = log_sum_exp(&logprobs).exp();
        LabelScores { index, logprobs, mass }
    }
}

/// Sequences of one pass and the places whose logits are needed.
#[derive(Default)]
struct PassPlan {
    ids: Vec<i64>,
    lengths: Vec<i64>,
    lines: Vec<i64>,
}

impl PassPlan {
    /// Adds a sequence; answers the number of the first of its logit lines.
    fn add(&mut self, sequence: &[u32], places: &[usize]) -> usize {
        let (start, first) = (self.ids.len(), self.lines.len());
        self.ids.extend(sequence.iter().map(|id| i64::from(*id)));
        self.lengths.push(sequence.len() as i64);
        self.lines.extend(places.iter().map(|place| (start + place) as i64));
        first
    }
}

fn log_sum_exp(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most.is_infinite() {
        return most;
    }
    most + logs.iter().map(|log| (log - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests;
