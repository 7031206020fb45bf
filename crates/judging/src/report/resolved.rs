//! Raw verdicts joined with their keys.

use crate::logprob::Pass;
use crate::pair::{Key, resolve};
use crate::prompt::{Channel, template};
use crate::records::{
    Choice, Evidence, KeyRecord, RawVerdictRecord, ResolvedRecord, SideScores, VerdictStatus, Winner,
};
use crate::verdict::{self, Missing, Verdict};

/// A verdict about a presentation that no key knows.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "judge {judge:?} gave a verdict on pair {pair_id} pass {pass}, which no key has: score and judge jobs must write verdicts and keys together"
)]
pub struct ResolveError {
    /// The judge.
    pub judge: String,
    /// The pair.
    pub pair_id: String,
    /// The pass.
    pub pass: u8,
}

/// Joins all raw verdicts with their keys, ordered by judge, pair, pass and replicate.
///
/// # Errors
/// A verdict without a key.
pub fn resolve_all(raw: &[RawVerdictRecord], key: &Key) -> Result<Vec<ResolvedRecord>, ResolveError> {
    let mut resolved = Vec::with_capacity(raw.len());
    for record in raw {
        let known = key.get(&record.pair_id, record.pass).ok_or_else(|| ResolveError {
            judge: record.judge.clone(),
            pair_id: record.pair_id.clone(),
            pass: record.pass,
        })?;
        resolved.push(resolve_record(record, known));
    }
    resolved.sort_by(|a, b| {
        (&a.judge, &a.pair_id, a.pass, a.replicate).cmp(&(&b.judge, &b.pair_id, b.pass, b.replicate))
    });
    Ok(resolved)
}

/// Joins one raw verdict with its key. The evidence is read again: a status of `ok` does not make a verdict.
#[must_use]
pub fn resolve_record(raw: &RawVerdictRecord, key: &KeyRecord) -> ResolvedRecord {
    let mut record = ResolvedRecord {
        pair_id: raw.pair_id.clone(),
        pass: raw.pass,
        judge: raw.judge.clone(),
        replicate: raw.replicate,
        comparison: key.comparison.clone(),
        prompt_id: key.prompt_id.clone(),
        sample: key.sample,
        tuned_slot: key.tuned_slot,
        tuned_label: key.tuned_label(),
        status: VerdictStatus::Ok,
        winner: None,
        p_tuned: None,
        label_mass: None,
        confidence: None,
        scores: None,
        note: None,
    };
    match read(raw, key) {
        Ok(Reading::Logprobs(pass)) => {
            record.winner = Some(resolve(pass.logprobs.choice(), key));
            record.p_tuned = Some(pass.p_tuned());
            record.label_mass = Some(pass.logprobs.mass());
        }
        Ok(Reading::Text(verdict)) => {
            record.winner = Some(resolve(verdict.choice, key));
            record.confidence = verdict.confidence;
            record.scores = Some(side_scores(&verdict, key));
            record.note = Some(verdict.reasoning);
        }
        Err(missing) => {
            record.status = missing.status;
            record.note = Some(missing.detail);
        }
    }
    record
}

enum Reading {
    Logprobs(Pass),
    Text(Verdict),
}

fn read(raw: &RawVerdictRecord, key: &KeyRecord) -> Result<Reading, Missing> {
    if raw.status != VerdictStatus::Ok {
        return Err(Missing::new(raw.status, raw.detail.clone().unwrap_or_default()));
    }
    let malformed = |detail: String| Missing::new(VerdictStatus::Malformed, detail);
    let channel = template(&raw.template).map_err(|error| malformed(error.to_string()))?.channel;
    match (&raw.evidence, channel) {
        (Evidence::Logprobs(logprobs), Channel::Logprobs) => {
            logprobs.check().map_err(|error| malformed(error.to_string()))?;
            Ok(Reading::Logprobs(pass_of(*logprobs, key)))
        }
        (Evidence::Text { text }, Channel::Json | Channel::Lines) => {
            verdict::parse(text, channel).map(Reading::Text)
        }
        (Evidence::None, _) => Err(malformed("no evidence with a status of ok".to_owned())),
        (Evidence::Logprobs(_), Channel::Json | Channel::Lines)
        | (Evidence::Text { .. }, Channel::Logprobs) => {
            Err(malformed(format!("evidence of another kind than template {} gives", raw.template)))
        }
    }
}

/// A log-probability answer with its place.
pub(super) fn pass_of(logprobs: crate::records::LabelLogprobs, key: &KeyRecord) -> Pass {
    Pass { tuned_slot: key.tuned_slot, tuned_label: key.tuned_label(), logprobs }
}

/// Scores follow their label, exactly as the winner does.
fn side_scores(verdict: &Verdict, key: &KeyRecord) -> SideScores {
    match resolve(Choice::A, key) {
        Winner::Tuned => SideScores { tuned: verdict.scores_a, base: verdict.scores_b },
        Winner::Base | Winner::Tie => SideScores { tuned: verdict.scores_b, base: verdict.scores_a },
    }
}
