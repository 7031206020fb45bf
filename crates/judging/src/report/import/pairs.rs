//! Rows to pairs: each pair counts once, however often it stands in the file.

use std::collections::{BTreeMap, BTreeSet};

use assay_domain::Digest;
use assay_domain::job::ReportSpec;

use super::Duplicate;
use super::rows::Row;
use crate::records::{FinishReason, Label, Slot, VerdictStatus};
use crate::report::pairs::{JoinedPair, pair_verdict};
use crate::report::types::{PairReport, PairVerdict, PassReport, ResponseReport};

/// All pairs, and those that were judged more often than the design asks for.
pub(super) struct Pairs {
    pub(super) joined: Vec<JoinedPair>,
    pub(super) duplicates: Vec<Duplicate>,
}

/// Comparison, item, prompt, sample, digest of both texts.
type PairId<'a> = (usize, &'a str, &'a str, &'a str, Option<Digest>);

pub(super) fn join(spec: &ReportSpec, rows: &[Row]) -> Pairs {
    let ids: Vec<String> = spec.comparisons.iter().map(|comparison| comparison.id.clone()).collect();
    let mut groups: BTreeMap<PairId<'_>, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let id = row.comparison.id();
        let place = ids.iter().position(|known| *known == id).unwrap_or_default();
        let texts = row.texts.as_ref().map(|(tuned, base)| Digest::of(format!("{tuned}\0{base}").as_bytes()));
        groups.entry((place, &row.item, &row.prompt, &row.sample, texts)).or_default().push(row);
    }
    let in_both_orders: BTreeSet<&str> = spec
        .judges
        .iter()
        .map(|judge| judge.name.as_str())
        .filter(|judge| both_orders(&groups, judge))
        .collect();
    let mut pairs = Pairs { joined: Vec::new(), duplicates: Vec::new() };
    let mut samples: BTreeMap<(usize, &str), u32> = BTreeMap::new();
    for (id, rows) in &groups {
        let sample = samples.entry((id.0, id.1)).or_default();
        let mut pair = pair(&ids[id.0], rows[0], *sample);
        *sample += 1;
        for judge in &spec.judges {
            let judged: Vec<&Row> = rows.iter().copied().filter(|row| row.judge == judge.name).collect();
            if judged.is_empty() {
                continue;
            }
            let both = in_both_orders.contains(judge.name.as_str());
            pair.report.verdicts.push(verdict(&judge.name, &judged, both));
            pairs.duplicates.extend(duplicate(&ids[id.0], &judged, both));
        }
        pairs.joined.push(pair);
    }
    pairs
}

/// Whether a judge saw most of its pairs in both orders: that is its design.
fn both_orders(groups: &BTreeMap<PairId<'_>, Vec<&Row>>, judge: &str) -> bool {
    let (mut both, mut all) = (0, 0);
    for rows in groups.values() {
        let slots: BTreeSet<Option<Slot>> =
            rows.iter().filter(|row| row.judge == judge).map(|row| row.tuned_slot).collect();
        all += usize::from(!slots.is_empty());
        both += usize::from(slots.len() > 1);
    }
    2 * both > all
}

fn pair(comparison: &str, row: &Row, sample: u32) -> JoinedPair {
    let response = |text: Option<&String>, finish: FinishReason| ResponseReport {
        text: text.cloned().unwrap_or_default(),
        finish_reason: finish,
        new_tokens: 0,
    };
    let texts = row.texts.as_ref();
    JoinedPair {
        report: PairReport {
            comparison: comparison.to_owned(),
            prompt_id: row.item.clone(),
            domain: row.domain.clone(),
            split: row.split.clone(),
            sample,
            prompt: row.prompt.clone(),
            base: response(texts.map(|texts| &texts.1), row.finish.1),
            tuned: response(texts.map(|texts| &texts.0), row.finish.0),
            verdicts: Vec::new(),
        },
        tuned: row.comparison.tuned.clone(),
        base: row.comparison.base.clone(),
        has_texts: texts.is_some(),
        preferences: BTreeMap::new(),
        label_masses: BTreeMap::new(),
    }
}

/// One judge on one pair. Every order that it should have seen needs a verdict; repetitions may fail.
fn verdict(judge: &str, rows: &[&Row], both_orders: bool) -> PairVerdict {
    let mut repeated: BTreeMap<(Option<Slot>, Option<Label>), u32> = BTreeMap::new();
    let mut passes = Vec::with_capacity(rows.len());
    for row in rows {
        let next = repeated.entry((row.tuned_slot, row.tuned_label)).or_default();
        passes.push(pass(row, row.replicate.unwrap_or(*next)));
        *next += 1;
    }
    let slots: BTreeSet<Option<Slot>> = rows.iter().map(|row| row.tuned_slot).collect();
    let read = |slot: &Option<Slot>| rows.iter().any(|row| row.tuned_slot == *slot && row.verdict.is_ok());
    let status = match slots.iter().all(read) {
        true if both_orders && slots.len() < 2 => VerdictStatus::Error,
        true => VerdictStatus::Ok,
        false => rows.iter().find_map(|row| row.verdict.err()).unwrap_or(VerdictStatus::Error),
    };
    pair_verdict(judge, status, passes, None)
}

fn pass(row: &Row, replicate: u32) -> PassReport {
    PassReport {
        tuned_slot: row.tuned_slot,
        tuned_label: row.tuned_label,
        replicate,
        status: row.verdict.err().unwrap_or(VerdictStatus::Ok),
        winner: row.verdict.ok(),
        p_tuned: None,
        confidence: row.confidence,
        scores: row.scores,
        note: row.note.clone(),
    }
}

/// The rows of a pair, if there are more than one for each order of the design and the file numbers no repetitions.
fn duplicate(comparison: &str, rows: &[&Row], both_orders: bool) -> Option<Duplicate> {
    let slots: BTreeSet<Option<Slot>> = rows.iter().map(|row| row.tuned_slot).collect();
    let wanted = if both_orders { slots.len() } else { 1 };
    let numbered = rows.iter().all(|row| row.replicate.is_some());
    (rows.len() > wanted && !numbered).then(|| Duplicate {
        comparison: comparison.to_owned(),
        item: rows[0].item.clone(),
        judge: rows[0].judge.clone(),
        lines: rows.iter().map(|row| row.line).collect(),
    })
}
