//! Several judges on the same pairs: plurality, and three averages that differ once verdicts are missing.

use crate::records::Winner;

/// A win score: 1 for tuned, one half for a tie, 0 for base.
#[must_use]
pub fn score_of(winner: Winner) -> f64 {
    match winner {
        Winner::Tuned => 1.0,
        Winner::Tie => 0.5,
        Winner::Base => 0.0,
    }
}

/// The verdict that most judges gave; a tie where tuned and base are level, or ties lead. `None` without verdicts.
#[must_use]
pub fn plurality(verdicts: impl IntoIterator<Item = Winner>) -> Option<Winner> {
    let (mut tuned, mut base, mut ties) = (0, 0, 0);
    for verdict in verdicts {
        match verdict {
            Winner::Tuned => tuned += 1,
            Winner::Base => base += 1,
            Winner::Tie => ties += 1,
        }
    }
    if tuned + base + ties == 0 {
        return None;
    }
    let most = tuned.max(base).max(ties);
    let leaders = [tuned, base, ties].iter().filter(|count| **count == most).count();
    Some(match (leaders, most == tuned, most == base) {
        (1, true, _) => Winner::Tuned,
        (1, _, true) => Winner::Base,
        _ => Winner::Tie,
    })
}

/// The mean of what is there; `None` when nothing is.
#[must_use]
pub fn mean_present(scores: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0u64);
    for score in scores.into_iter().flatten() {
        sum += score;
        n += 1;
    }
    (n > 0).then(|| sum / n as f64)
}

/// Three averages of items x judges. The report prints the middle one.
#[derive(Debug, Clone, PartialEq)]
pub struct PanelRates {
    /// Each judge's own rate over the items it judged.
    pub per_judge: Vec<Option<f64>>,
    /// Mean of the judges' rates: judges with few verdicts count as much as others.
    pub macro_mean: Option<f64>,
    /// Mean over judges for each item, then over items: the estimand.
    pub item_mean: Option<f64>,
    /// Mean over all verdicts.
    pub pooled: Option<f64>,
}

/// Averages items x judges of scores; `None` for a missing verdict.
#[must_use]
pub fn panel_rates(items: &[Vec<Option<f64>>]) -> PanelRates {
    let judges = items.iter().map(Vec::len).max().unwrap_or(0);
    let of_judge = |judge: usize| mean_present(items.iter().map(|item| item.get(judge).copied().flatten()));
    let per_judge: Vec<Option<f64>> = (0..judges).map(of_judge).collect();
    PanelRates {
        macro_mean: mean_present(per_judge.iter().copied()),
        item_mean: mean_present(items.iter().map(|item| mean_present(item.iter().copied()))),
        pooled: mean_present(items.iter().flatten().copied()),
        per_judge,
    }
}

/// The item mean without each judge in turn.
#[must_use]
pub fn leave_one_out(items: &[Vec<Option<f64>>]) -> Vec<Option<f64>> {
    let judges = items.iter().map(Vec::len).max().unwrap_or(0);
    let without = |left_out: usize| {
        let rest = |item: &Vec<Option<f64>>| {
            mean_present(item.iter().enumerate().filter(|(j, _)| *j != left_out).map(|(_, score)| *score))
        };
        mean_present(items.iter().map(rest))
    };
    (0..judges).map(without).collect()
}

/// Mean of rates given as (wins, n), each counted once; `None` if there is none or one has no items.
#[must_use]
pub fn macro_rate(files: &[(u64, u64)]) -> Option<f64> {
    if files.iter().any(|(_, n)| *n == 0) {
        return None;
    }
    mean_present(files.iter().map(|(wins, n)| Some(*wins as f64 / *n as f64)))
}

/// All wins over all items.
#[must_use]
pub fn pooled_rate(files: &[(u64, u64)]) -> Option<f64> {
    let (wins, n) = files.iter().fold((0, 0), |(wins, n), file| (wins + file.0, n + file.1));
    (n > 0).then(|| wins as f64 / n as f64)
}
