//! Paired differences on shared prompts: checkpoints of one run, and models or recipes against each other.

use std::collections::BTreeMap;

use assay_domain::job::{Comparison, ReportSpec};
use serde::{Deserialize, Serialize};

use super::interval::difference_interval;
use super::pairs::JoinedPair;
use super::rates::prompt_means;
use super::types::{CheckpointDifference, Interval};
use crate::stats::cluster::sign_flip_test;
use crate::stats::multiple::holm;
use crate::stats::panel::mean_present;

/// Two tuned systems, each against its own base, on the prompts that both answered, in the panel's eyes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemDifference {
    /// The one: model, data set and recipe at its last checkpoint.
    pub one: String,
    /// The other.
    pub other: String,
    /// The prompt set and sampling that both share.
    pub prompts_of: String,
    /// Prompts that both have.
    pub prompts: u64,
    /// Mean over prompts of the other's score less the one's; training seeds are averaged first.
    pub difference: f64,
    /// Its interval, clustered by prompt.
    pub interval: Option<Interval>,
    /// Sign-flip permutation test over prompts.
    pub p: f64,
    /// Holm's correction over all rows of this table.
    pub p_holm: f64,
}

/// Score by prompt.
type Scores<'a> = BTreeMap<&'a str, f64>;

/// Each checkpoint against the one before it in the same run, paired by prompt.
pub(super) fn checkpoints(
    spec: &ReportSpec,
    joined: &[JoinedPair],
    panel: &[String],
) -> Vec<CheckpointDifference> {
    let mut runs: BTreeMap<_, Vec<&Comparison>> = BTreeMap::new();
    for c in &spec.comparisons {
        runs.entry((&c.model, &c.data, &c.recipe, c.seed, &c.prompts, &c.sampling)).or_default().push(c);
    }
    let mut rows = Vec::new();
    for run in runs.values_mut() {
        run.sort_by_key(|comparison| comparison.step);
        for two in run.windows(2) {
            let (earlier, later) = (scores(two[0], joined, panel), scores(two[1], joined, panel));
            if let Some(paired) = Paired::of(&earlier, &later, spec.bootstrap_seed) {
                rows.push(checkpoint_row(two[0], two[1], paired));
            }
        }
    }
    correct(&mut rows, |row| row.p, |row, p| row.p_holm = p);
    rows
}

fn checkpoint_row(from: &Comparison, to: &Comparison, paired: Paired) -> CheckpointDifference {
    CheckpointDifference {
        from: from.id.clone(),
        to: to.id.clone(),
        from_checkpoint: from.checkpoint.clone(),
        to_checkpoint: to.checkpoint.clone(),
        prompts: paired.prompts,
        difference: paired.difference,
        interval: paired.interval,
        p: paired.p,
        p_holm: 1.0,
    }
}

/// Every two systems that answered the same prompt set with the same sampling, at their last checkpoints.
pub(super) fn systems(spec: &ReportSpec, joined: &[JoinedPair], panel: &[String]) -> Vec<SystemDifference> {
    let mut sets: BTreeMap<(&str, &str), Vec<(String, Scores<'_>)>> = BTreeMap::new();
    for group in last_checkpoints(spec) {
        let c = group[0];
        let by_seed: Vec<Scores<'_>> = group.iter().map(|c| scores(c, joined, panel)).collect();
        sets.entry((&c.prompts, &c.sampling)).or_default().push((system_name(c), mean_of(&by_seed)));
    }
    let mut rows = Vec::new();
    for ((prompts, sampling), systems) in &sets {
        for (index, (other, other_scores)) in systems.iter().enumerate() {
            for (one, one_scores) in &systems[..index] {
                let Some(paired) = Paired::of(one_scores, other_scores, spec.bootstrap_seed) else {
                    continue;
                };
                rows.push(SystemDifference {
                    one: one.clone(),
                    other: other.clone(),
                    prompts_of: [*prompts, *sampling].join(" ").trim().to_owned(),
                    prompts: paired.prompts,
                    difference: paired.difference,
                    interval: paired.interval,
                    p: paired.p,
                    p_holm: 1.0,
                });
            }
        }
    }
    correct(&mut rows, |row| row.p, |row, p| row.p_holm = p);
    rows
}

/// Comparisons at the last step of their run, those that differ in nothing but the training seed together.
pub(super) fn last_checkpoints(spec: &ReportSpec) -> Vec<Vec<&Comparison>> {
    let mut groups: Vec<Vec<&Comparison>> = Vec::new();
    let same = |a: &Comparison, b: &Comparison| {
        (&a.model, &a.data, &a.recipe, &a.prompts, &a.sampling)
            == (&b.model, &b.data, &b.recipe, &b.prompts, &b.sampling)
    };
    for c in &spec.comparisons {
        match groups.iter_mut().find(|group| same(group[0], c)) {
            Some(group) if c.step > group[0].step => *group = vec![c],
            Some(group) if c.step == group[0].step => group.push(c),
            Some(_) => {}
            None => groups.push(vec![c]),
        }
    }
    groups
}

/// The words of a system that say something.
pub(super) fn system_name(c: &Comparison) -> String {
    let words = [c.model.as_str(), c.data.as_str(), c.recipe.as_str()];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn scores<'a>(comparison: &Comparison, joined: &'a [JoinedPair], panel: &[String]) -> Scores<'a> {
    let pairs: Vec<&JoinedPair> = joined.iter().filter(|p| p.report.comparison == comparison.id).collect();
    prompt_means(&pairs, panel)
}

/// The mean over seeds, for prompts that every seed has.
fn mean_of<'a>(by_seed: &[Scores<'a>]) -> Scores<'a> {
    let Some(first) = by_seed.first() else { return Scores::new() };
    let mean = |prompt: &str| {
        let all: Option<Vec<f64>> = by_seed.iter().map(|scores| scores.get(prompt).copied()).collect();
        mean_present(all?.into_iter().map(Some))
    };
    first.keys().filter_map(|prompt| Some((*prompt, mean(prompt)?))).collect()
}

struct Paired {
    prompts: u64,
    difference: f64,
    interval: Option<Interval>,
    p: f64,
}

impl Paired {
    /// `None` without a shared prompt.
    fn of(from: &Scores<'_>, to: &Scores<'_>, seed: u64) -> Option<Paired> {
        let shared = to.iter().filter_map(|(prompt, score)| Some(score - from.get(prompt)?));
        let differences: Vec<f64> = shared.collect();
        Some(Paired {
            prompts: differences.len() as u64,
            difference: mean_present(differences.iter().copied().map(Some))?,
            interval: difference_interval(&differences),
            p: sign_flip_test(&differences, seed).0,
        })
    }
}

/// Holm over a whole table.
pub(super) fn correct<T>(rows: &mut [T], p: impl Fn(&T) -> f64, set: impl Fn(&mut T, f64)) {
    let raw: Vec<f64> = rows.iter().map(p).collect();
    for (row, corrected) in rows.iter_mut().zip(holm(&raw)) {
        set(row, corrected);
    }
}
