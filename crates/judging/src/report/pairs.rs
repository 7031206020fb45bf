//! Joins keys, generations and verdicts to pairs.

use std::collections::{BTreeMap, BTreeSet};

use assay_domain::job::Comparison;

use super::build::ReportError;
use super::inputs::ReportInputs;
use super::resolved::{pass_of, resolve_record};
use super::types::{PairReport, PairVerdict, PassReport, ResponseReport};
use crate::logprob::{Preference, combine};
use crate::pair::Key;
use crate::records::{
    Evidence, GenerationRecord, KeyRecord, RawVerdictRecord, ResolvedRecord, Slot, VerdictStatus, Winner,
};
use crate::stats::panel::{mean_present, plurality, score_of};

/// A pair as the report shows it, with what only the computation needs.
pub(super) struct JoinedPair {
    pub(super) report: PairReport,
    /// The tuned system's name.
    pub(super) tuned: String,
    /// The other system's name: the base's, unless the comparison is a direct one.
    pub(super) base: String,
    /// Whether both responses' texts are known.
    pub(super) has_texts: bool,
    /// By judge, for judges by log-probabilities whose passes are all there.
    pub(super) preferences: BTreeMap<String, Preference>,
    /// By judge, P(A) + P(B) of each presentation.
    pub(super) label_masses: BTreeMap<String, Vec<f64>>,
}

impl JoinedPair {
    pub(super) fn verdict(&self, judge: &str) -> Option<&PairVerdict> {
        self.report.verdicts.iter().find(|verdict| verdict.judge == judge)
    }

    /// The verdicts of a row: one judge's, or those of the panel.
    fn verdicts_of<'a>(&'a self, judges: &'a [String]) -> impl Iterator<Item = &'a PairVerdict> {
        judges.iter().filter_map(|judge| self.verdict(judge))
    }

    /// The mean score over some judges that have a verdict.
    pub(super) fn score(&self, judges: &[String]) -> Option<f64> {
        mean_present(self.verdicts_of(judges).map(|verdict| verdict.score))
    }

    /// The verdict of most of some judges.
    pub(super) fn winner(&self, judges: &[String]) -> Option<Winner> {
        plurality(self.verdicts_of(judges).filter_map(|verdict| verdict.winner))
    }

    /// The status of the first judge without a verdict; `None` if there is no record at all.
    pub(super) fn missing_status(&self, judges: &[String]) -> Option<VerdictStatus> {
        self.verdicts_of(judges).map(|verdict| verdict.status).find(|status| *status != VerdictStatus::Ok)
    }

    /// Verdicts present among some judges.
    pub(super) fn present(&self, judges: &[String]) -> usize {
        self.verdicts_of(judges).filter(|verdict| verdict.status == VerdictStatus::Ok).count()
    }
}

/// Model, prompt set, sampling, system, prompt, sample.
type GenerationId<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, u32);

/// Comparison, prompt, sample: the same for every blinding secret.
type PairId<'a> = (usize, &'a str, u32);

/// All pairs that were planned, ordered by comparison (as the settings list them), prompt and sample.
pub(super) fn join(inputs: &ReportInputs, key: &Key) -> Result<Vec<JoinedPair>, ReportError> {
    let generations = generations_by_id(&inputs.generations)?;
    let verdicts = verdicts_by_pair(inputs, key)?;
    let planned = planned(inputs, key)?;
    let mut joined = Vec::with_capacity(planned.len());
    let comparisons: Vec<&Comparison> = inputs.spec.all_comparisons().collect();
    for (id, keys) in &planned {
        let comparison = comparisons[id.0];
        let generation = |model: &str, system: &str| {
            let wanted: GenerationId<'_> =
                (model, &comparison.prompts, &comparison.sampling, system, id.1, id.2);
            generations.get(&wanted).copied().ok_or_else(|| ReportError::MissingGeneration {
                model: model.to_owned(),
                system: system.to_owned(),
                prompt_id: id.1.to_owned(),
                sample: id.2,
            })
        };
        let tuned = generation(&comparison.model, &keys[0].tuned)?;
        let base = generation(comparison.other_model(), &keys[0].base)?;
        let mut pair = JoinedPair {
            report: PairReport {
                comparison: comparison.id.clone(),
                prompt_id: id.1.to_owned(),
                domain: tuned.domain.clone(),
                split: tuned.split.clone(),
                sample: id.2,
                prompt: tuned.prompt.clone(),
                base: response(base),
                tuned: response(tuned),
                verdicts: Vec::new(),
            },
            tuned: keys[0].tuned.clone(),
            base: keys[0].base.clone(),
            has_texts: true,
            preferences: BTreeMap::new(),
            label_masses: BTreeMap::new(),
        };
        for judge in &inputs.spec.judges {
            if let Some(records) = verdicts.get(&(*id, judge.name.as_str())) {
                add_verdict(&mut pair, &judge.name, records, keys);
            }
        }
        joined.push(pair);
    }
    Ok(joined)
}

fn response(record: &GenerationRecord) -> ResponseReport {
    ResponseReport {
        text: record.text.clone(),
        finish_reason: record.finish_reason,
        new_tokens: record.new_tokens,
    }
}

fn generations_by_id(
    records: &[GenerationRecord],
) -> Result<BTreeMap<GenerationId<'_>, &GenerationRecord>, ReportError> {
    let mut found: BTreeMap<GenerationId<'_>, &GenerationRecord> = BTreeMap::new();
    for record in records {
        let id: GenerationId<'_> = (
            &record.model,
            &record.prompts,
            &record.sampling,
            &record.system,
            &record.prompt_id,
            record.sample,
        );
        match found.get(&id) {
            Some(known) if known.text != record.text || known.prompt != record.prompt => {
                return Err(ReportError::GenerationConflict {
                    system: record.system.clone(),
                    prompt_id: record.prompt_id.clone(),
                    sample: record.sample,
                });
            }
            Some(_) | None => {
                found.insert(id, record);
            }
        }
    }
    Ok(found)
}

/// The keys of every planned pair. Judges whose jobs were blinded by different secrets have different pair ids for the
/// same pair, so pairs meet by comparison, prompt and sample.
fn planned<'a>(
    inputs: &ReportInputs,
    key: &'a Key,
) -> Result<BTreeMap<PairId<'a>, Vec<&'a KeyRecord>>, ReportError> {
    let mut planned: BTreeMap<PairId<'a>, Vec<&'a KeyRecord>> = BTreeMap::new();
    for record in key.records() {
        planned.entry(pair_id_of(inputs, record)?).or_default().push(record);
    }
    Ok(planned)
}

fn pair_id_of<'a>(inputs: &ReportInputs, record: &'a KeyRecord) -> Result<PairId<'a>, ReportError> {
    let known = |comparison: &Comparison| comparison.id == record.comparison;
    match inputs.spec.all_comparisons().position(known) {
        Some(index) => Ok((index, &record.prompt_id, record.sample)),
        None => Err(ReportError::UnknownComparison {
            pair_id: record.pair_id.clone(),
            comparison: record.comparison.clone(),
        }),
    }
}

type Judged<'a> = (&'a RawVerdictRecord, &'a KeyRecord);

fn verdicts_by_pair<'a>(
    inputs: &'a ReportInputs,
    key: &'a Key,
) -> Result<BTreeMap<(PairId<'a>, &'a str), Vec<Judged<'a>>>, ReportError> {
    let panel: BTreeSet<&str> = inputs.spec.judges.iter().map(|judge| judge.name.as_str()).collect();
    let mut found: BTreeMap<(PairId<'a>, &'a str), Vec<Judged<'a>>> = BTreeMap::new();
    for raw in &inputs.verdicts {
        if !panel.contains(raw.judge.as_str()) {
            let known = panel.iter().copied().collect::<Vec<_>>().join(", ");
            return Err(ReportError::UnknownJudge { judge: raw.judge.clone(), known });
        }
        let record = key.get(&raw.pair_id, raw.pass).ok_or_else(|| super::ResolveError {
            judge: raw.judge.clone(),
            pair_id: raw.pair_id.clone(),
            pass: raw.pass,
        })?;
        found.entry((pair_id_of(inputs, record)?, &raw.judge)).or_default().push((raw, record));
    }
    Ok(found)
}

fn add_verdict(pair: &mut JoinedPair, judge: &str, records: &[Judged<'_>], keys: &[&KeyRecord]) {
    let resolved: Vec<ResolvedRecord> = records.iter().map(|(raw, key)| resolve_record(raw, key)).collect();
    let ids: BTreeSet<&str> = records.iter().map(|(raw, _)| raw.pair_id.as_str()).collect();
    let expected: BTreeSet<(&str, u8)> = keys
        .iter()
        .filter(|k| ids.contains(k.pair_id.as_str()))
        .map(|k| (k.pair_id.as_str(), k.pass))
        .collect();
    let seen: BTreeSet<(&str, u8)> =
        records.iter().map(|(raw, _)| (raw.pair_id.as_str(), raw.pass)).collect();
    let failed = resolved.iter().map(|record| record.status).find(|status| *status != VerdictStatus::Ok);
    // A pair judged in one order only would carry that order's bias: without all passes it is missing.
    let status = match failed {
        Some(status) => status,
        None if seen != expected => VerdictStatus::Error,
        None => VerdictStatus::Ok,
    };
    let preference = match status {
        VerdictStatus::Ok => preference(records),
        VerdictStatus::Refused
        | VerdictStatus::Blocked
        | VerdictStatus::Truncated
        | VerdictStatus::Malformed
        | VerdictStatus::Error => None,
    };
    let passes = resolved.iter().map(pass_report).collect();
    pair.report.verdicts.push(pair_verdict(judge, status, passes, preference.as_ref()));
    pair.label_masses
        .insert(judge.to_owned(), resolved.iter().filter_map(|record| record.label_mass).collect());
    if let Some(preference) = preference {
        pair.preferences.insert(judge.to_owned(), preference);
    }
}

/// All passes together, if all of them are log-probabilities.
fn preference(records: &[Judged<'_>]) -> Option<Preference> {
    let mut passes = Vec::with_capacity(records.len());
    for (raw, key) in records {
        match &raw.evidence {
            Evidence::Logprobs(logprobs) => passes.push(pass_of(*logprobs, key)),
            Evidence::Text { .. } | Evidence::None => return None,
        }
    }
    combine(&passes)
}

/// All passes of one judge over a pair, put together.
pub(super) fn pair_verdict(
    judge: &str,
    status: VerdictStatus,
    mut passes: Vec<PassReport>,
    preference: Option<&Preference>,
) -> PairVerdict {
    let winners: Vec<Winner> = passes.iter().filter_map(|pass| pass.winner).collect();
    let ok = status == VerdictStatus::Ok;
    let same = winners.windows(2).all(|two| two[0] == two[1]);
    let winner = if same { winners.first().copied() } else { Some(Winner::Tie) };
    passes.sort_by_key(|pass| (pass.tuned_slot, pass.tuned_label, pass.replicate));
    PairVerdict {
        judge: judge.to_owned(),
        status,
        winner: winner.filter(|_| ok),
        score: mean_over_orders(&passes).filter(|_| ok),
        p_tuned: preference.map(|preference| preference.p_tuned),
        label_mass_min: preference.map(|preference| preference.label_mass_min),
        passes,
    }
}

/// The mean over replicates of each order, then over orders: a repetition must not weigh an order up.
fn mean_over_orders(passes: &[PassReport]) -> Option<f64> {
    let of_slot = |slot: Option<Slot>| {
        let here = passes.iter().filter(|pass| pass.tuned_slot == slot);
        mean_present(here.map(|pass| pass.winner.map(score_of)))
    };
    mean_present([Some(Slot::First), Some(Slot::Second), None].map(of_slot))
}

fn pass_report(record: &ResolvedRecord) -> PassReport {
    PassReport {
        tuned_slot: Some(record.tuned_slot),
        tuned_label: Some(record.tuned_label),
        replicate: record.replicate,
        status: record.status,
        winner: record.winner,
        p_tuned: record.p_tuned,
        confidence: record.confidence,
        scores: record.scores,
        note: record.note.clone(),
    }
}
