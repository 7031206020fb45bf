//! Win rates: score of a pair -> mean over judges -> mean over a prompt's pairs -> mean over prompts.

use std::collections::{BTreeMap, BTreeSet};

use assay_domain::job::Comparison;

use super::inputs::ReportInputs;
use super::method::{ALPHA, BOOTSTRAP_REPLICATES, POWER};
use super::pairs::JoinedPair;
use super::types::{
    Bounds, CheckpointDifference, ComparisonReport, Counts, Interval, IntervalMethod, LeaveOneOut,
    MissingCounts, Scope, TieSensitivity, WinRate,
};
use super::{MISSING_SHARE_MAX, PROMPTS_FOR_PERCENT};
use crate::records::{VerdictStatus, Winner};
use crate::stats::binomial::{detectable_rate, sign_test};
use crate::stats::cluster::{bootstrap_means, clustered_mean, percentile, seeded_resamples, sign_flip_test};
use crate::stats::multiple::holm;
use crate::stats::panel::mean_present;
use crate::stats::proportion::{tie_rates, wilson, wilson_of_rate};

impl MissingCounts {
    /// Counts a status; `ok` is not missing.
    pub(super) fn add(&mut self, status: VerdictStatus) {
        match status {
            VerdictStatus::Ok => {}
            VerdictStatus::Refused => self.refused += 1,
            VerdictStatus::Blocked => self.blocked += 1,
            VerdictStatus::Truncated => self.truncated += 1,
            VerdictStatus::Malformed => self.malformed += 1,
            VerdictStatus::Error => self.error += 1,
        }
    }
}

/// All rows of one comparison.
pub(super) fn comparison(
    comparison: &Comparison,
    inputs: &ReportInputs,
    joined: &[JoinedPair],
    panel: &[String],
) -> ComparisonReport {
    let pairs: Vec<&JoinedPair> =
        joined.iter().filter(|pair| pair.report.comparison == comparison.id).collect();
    let available = inputs.spec.judges.iter().filter(|judge| judge.unavailable.is_none());
    let mut rows: Vec<(Option<String>, Vec<String>)> = vec![(None, panel.to_vec())];
    rows.extend(available.map(|judge| (Some(judge.name.clone()), vec![judge.name.clone()])));
    let mut rates = Vec::new();
    for scope in scopes(&pairs) {
        let inside: Vec<&JoinedPair> = pairs.iter().copied().filter(|pair| in_scope(pair, &scope)).collect();
        for (judge, judges) in &rows {
            rates.push(win_rate(judge.clone(), judges, &scope, &inside, inputs.spec.bootstrap_seed));
        }
    }
    ComparisonReport { comparison: comparison.clone(), rates, leave_one_out: leave_one_out(&pairs, panel) }
}

fn scopes(pairs: &[&JoinedPair]) -> Vec<Scope> {
    let splits: BTreeSet<_> = pairs.iter().map(|pair| Scope::Split(pair.report.split.clone())).collect();
    let domains: BTreeSet<_> = pairs.iter().map(|pair| Scope::Domain(pair.report.domain.clone())).collect();
    // A single split or domain repeats the row over all prompts.
    let several = |scopes: BTreeSet<Scope>| if scopes.len() > 1 { scopes } else { BTreeSet::new() };
    std::iter::once(Scope::All).chain(several(splits)).chain(several(domains)).collect()
}

fn in_scope(pair: &JoinedPair, scope: &Scope) -> bool {
    match scope {
        Scope::All => true,
        Scope::Split(name) => pair.report.split == *name,
        Scope::Domain(name) => pair.report.domain == *name,
    }
}

/// Mean score by prompt. Prompts are told apart by their text, so that one that stands twice in a set counts once.
fn prompt_means<'a>(pairs: &[&'a JoinedPair], judges: &[String]) -> BTreeMap<&'a str, f64> {
    let mut scores: BTreeMap<&str, Vec<Option<f64>>> = BTreeMap::new();
    for pair in pairs {
        scores.entry(&pair.report.prompt).or_default().push(pair.score(judges));
    }
    scores.into_iter().filter_map(|(prompt, scores)| Some((prompt, mean_present(scores)?))).collect()
}

fn win_rate(
    judge: Option<String>,
    judges: &[String],
    scope: &Scope,
    pairs: &[&JoinedPair],
    seed: u64,
) -> WinRate {
    let means: Vec<f64> = prompt_means(pairs, judges).into_values().collect();
    let (counts, missing) = outcomes(pairs, judges);
    let prompts = means.len();
    let independent = counts.decided() == prompts as u64;
    let decided = counts.wins + counts.losses;
    let rate = mean_present(means.iter().copied().map(Some));
    WinRate {
        judge,
        scope: scope.clone(),
        prompts: prompts as u64,
        pairs: pairs.len() as u64,
        counts,
        missing,
        rate,
        few: prompts < PROMPTS_FOR_PERCENT,
        interval: interval(&means),
        bootstrap: if *scope == Scope::All { bootstrap(&means, seed) } else { None },
        wilson: wilson(counts.wins, decided, ALPHA).filter(|_| independent).map(|[low, high]| Interval {
            low,
            high,
            method: IntervalMethod::Wilson,
        }),
        sign_test_p: (independent && decided > 0).then(|| sign_test(counts.wins, counts.losses)),
        ties: tie_rates(counts.wins, counts.ties, counts.losses, ALPHA).map(|rates| TieSensitivity {
            half: rates.half,
            dropped: rates.dropped,
            as_loss: rates.as_loss,
        }),
        bounds: bounds(pairs, judges),
        detectable: detectable_rate(prompts as u64, ALPHA, POWER),
        withheld: withheld(pairs, judges),
    }
}

fn outcomes(pairs: &[&JoinedPair], judges: &[String]) -> (Counts, MissingCounts) {
    let mut counts = Counts::default();
    let mut missing = MissingCounts::default();
    for pair in pairs {
        match pair.winner(judges) {
            Some(Winner::Tuned) => counts.wins += 1,
            Some(Winner::Base) => counts.losses += 1,
            Some(Winner::Tie) => counts.ties += 1,
            None => match pair.missing_status(judges) {
                Some(status) => missing.add(status),
                None => missing.absent += 1,
            },
        }
    }
    (counts, missing)
}

/// The t interval over prompt means; where they do not vary, t would have no width, and Wilson's is honest.
fn interval(means: &[f64]) -> Option<Interval> {
    let clusters: Vec<Vec<f64>> = means.iter().map(|mean| vec![*mean]).collect();
    let mean = clustered_mean(&clusters)?;
    if means.len() < 2 {
        return None;
    }
    let clamp = |[low, high]: [f64; 2], method| Interval { low: low.max(0.0), high: high.min(1.0), method };
    if means.iter().all(|value| *value == means[0]) {
        return Some(clamp(wilson_of_rate(means[0], means.len() as u64, ALPHA)?, IntervalMethod::Wilson));
    }
    Some(clamp(mean.t_interval(ALPHA)?, IntervalMethod::ClusterT))
}

fn bootstrap(means: &[f64], seed: u64) -> Option<Interval> {
    if means.len() < 2 {
        return None;
    }
    let clusters: Vec<Vec<f64>> = means.iter().map(|mean| vec![*mean]).collect();
    let resampled = bootstrap_means(&clusters, seeded_resamples(clusters.len(), BOOTSTRAP_REPLICATES, seed));
    Some(Interval {
        low: percentile(&resampled, ALPHA / 2.0)?,
        high: percentile(&resampled, 1.0 - ALPHA / 2.0)?,
        method: IntervalMethod::ClusterBootstrap,
    })
}

/// Every missing verdict as a loss, then as a win, through the same averages as the rate.
fn bounds(pairs: &[&JoinedPair], judges: &[String]) -> Option<Bounds> {
    let missing = pairs.iter().any(|pair| pair.present(judges) < judges.len());
    if !missing || judges.is_empty() {
        return None;
    }
    let filled_with = |value: f64| {
        let mut by_prompt: BTreeMap<&str, Vec<Option<f64>>> = BTreeMap::new();
        for pair in pairs {
            let score =
                |judge: &String| pair.verdict(judge).and_then(|verdict| verdict.score).unwrap_or(value);
            let mean = judges.iter().map(score).sum::<f64>() / judges.len() as f64;
            by_prompt.entry(&pair.report.prompt).or_default().push(Some(mean));
        }
        mean_present(by_prompt.into_values().map(mean_present))
    };
    Some(Bounds { low: filled_with(0.0)?, high: filled_with(1.0)? })
}

fn withheld(pairs: &[&JoinedPair], judges: &[String]) -> Option<String> {
    let planned = pairs.len() * judges.len();
    let present: usize = pairs.iter().map(|pair| pair.present(judges)).sum();
    let missing = planned - present;
    let limit = MISSING_SHARE_MAX * planned as f64;
    (missing as f64 > limit).then(|| {
        format!("{missing} of {planned} verdicts are missing, more than {:.0} %", MISSING_SHARE_MAX * 100.0)
    })
}

fn leave_one_out(pairs: &[&JoinedPair], panel: &[String]) -> Vec<LeaveOneOut> {
    if panel.len() < 2 {
        return Vec::new();
    }
    let without = |judge: &String| {
        let rest: Vec<String> = panel.iter().filter(|other| *other != judge).cloned().collect();
        LeaveOneOut {
            without: judge.clone(),
            rate: mean_present(prompt_means(pairs, &rest).into_values().map(Some)),
        }
    };
    panel.iter().map(without).collect()
}

/// Each checkpoint against the one before it in the same run, paired by prompt.
pub(super) fn checkpoint_differences(
    inputs: &ReportInputs,
    joined: &[JoinedPair],
    panel: &[String],
) -> Vec<CheckpointDifference> {
    let mut runs: BTreeMap<_, Vec<&Comparison>> = BTreeMap::new();
    for c in &inputs.spec.comparisons {
        runs.entry((&c.model, &c.data, &c.recipe, c.seed, &c.prompts, &c.sampling)).or_default().push(c);
    }
    let mut rows = Vec::new();
    for run in runs.values_mut() {
        run.sort_by_key(|comparison| comparison.step);
        rows.extend(run.windows(2).filter_map(|two| difference(two[0], two[1], joined, panel, inputs)));
    }
    let p: Vec<f64> = rows.iter().map(|row| row.p).collect();
    for (row, p_holm) in rows.iter_mut().zip(holm(&p)) {
        row.p_holm = p_holm;
    }
    rows
}

fn difference(
    from: &Comparison,
    to: &Comparison,
    joined: &[JoinedPair],
    panel: &[String],
    inputs: &ReportInputs,
) -> Option<CheckpointDifference> {
    let of = |comparison: &Comparison| {
        let pairs: Vec<&JoinedPair> =
            joined.iter().filter(|p| p.report.comparison == comparison.id).collect();
        prompt_means(&pairs, panel)
    };
    let (earlier, later) = (of(from), of(to));
    let differences: Vec<f64> =
        later.iter().filter_map(|(prompt, score)| Some(score - earlier.get(prompt)?)).collect();
    let clusters: Vec<Vec<f64>> = differences.iter().map(|d| vec![*d]).collect();
    let mean = clustered_mean(&clusters)?;
    let varies = differences.iter().any(|d| *d != differences[0]);
    let interval = mean.t_interval(ALPHA).filter(|_| varies);
    Some(CheckpointDifference {
        from: from.id.clone(),
        to: to.id.clone(),
        from_checkpoint: from.checkpoint.clone(),
        to_checkpoint: to.checkpoint.clone(),
        prompts: differences.len() as u64,
        difference: mean.mean,
        interval: interval.map(|[low, high]| Interval {
            low: low.max(-1.0),
            high: high.min(1.0),
            method: IntervalMethod::ClusterT,
        }),
        p: sign_flip_test(&differences, inputs.spec.bootstrap_seed).0,
        p_holm: 1.0,
    })
}
