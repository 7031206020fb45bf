//! Win rates: score of a pair -> mean over judges -> mean over a prompt's pairs -> mean over prompts.

use assay_domain::analysis::{ALPHA, POWER};
use std::collections::{BTreeMap, BTreeSet};

use assay_domain::job::{Comparison, ReportSpec};

use super::differences::correct;
use super::interval::{bootstrap_interval, headline_interval};
use super::pairs::JoinedPair;
use super::types::{
    Bounds, ComparisonReport, Counts, Interval, IntervalMethod, LeaveOneOut, MissingCounts, Scope,
    TieSensitivity, WinRate,
};
use super::{MISSING_SHARE_MAX, PROMPTS_FOR_PERCENT};
use super::{leaks, style};
use crate::records::{VerdictStatus, Winner};
use crate::stats::binomial::{detectable_rate, sign_test};
use crate::stats::cluster::sign_flip_test;
use crate::stats::panel::mean_present;
use crate::stats::proportion::{tie_rates, wilson};

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
    spec: &ReportSpec,
    joined: &[JoinedPair],
    panel: &[String],
) -> ComparisonReport {
    let pairs: Vec<&JoinedPair> =
        joined.iter().filter(|pair| pair.report.comparison == comparison.id).collect();
    let available = spec.judges.iter().filter(|judge| judge.unavailable.is_none());
    let mut rows: Vec<(Option<String>, Vec<String>)> = vec![(None, panel.to_vec())];
    rows.extend(available.map(|judge| (Some(judge.name.clone()), vec![judge.name.clone()])));
    let mut rates = Vec::new();
    for scope in scopes(&pairs) {
        let inside: Vec<&JoinedPair> = pairs.iter().copied().filter(|pair| in_scope(pair, &scope)).collect();
        for (judge, judges) in &rows {
            rates.push(win_rate(judge.clone(), judges, &scope, &inside, spec.bootstrap_seed));
        }
    }
    ComparisonReport {
        comparison: comparison.clone(),
        rates,
        leave_one_out: leave_one_out(&pairs, panel),
        style: style::style(&pairs, panel),
        leaks: leaks::leaks(&pairs, panel),
    }
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
pub(super) fn prompt_means<'a>(pairs: &[&'a JoinedPair], judges: &[String]) -> BTreeMap<&'a str, f64> {
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
        interval: headline_interval(&means),
        bootstrap: bootstrap_interval(&means, seed).filter(|_| *scope == Scope::All),
        p: against_half(&means, seed),
        p_holm: None,
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

/// Sign flips of the prompts' distances from one half.
fn against_half(means: &[f64], seed: u64) -> Option<f64> {
    let distances: Vec<f64> = means.iter().map(|mean| mean - 0.5).collect();
    (!distances.is_empty()).then(|| sign_flip_test(&distances, seed).0)
}

/// Holm over the panel's rows on all prompts (the primary family), and over all other rows (the secondary one).
pub(super) fn correct_for_families(comparisons: &mut [ComparisonReport]) {
    for primary in [true, false] {
        let member = |row: &&mut WinRate| (row.judge.is_none() && row.scope == Scope::All) == primary;
        let rows = comparisons.iter_mut().flat_map(|comparison| &mut comparison.rates).filter(member);
        let mut tested: Vec<(&mut WinRate, f64)> = rows.filter_map(|row| row.p.map(|p| (row, p))).collect();
        correct(&mut tested, |(_, p)| *p, |(row, _), p| row.p_holm = Some(p));
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
