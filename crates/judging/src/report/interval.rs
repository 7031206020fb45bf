//! The intervals of a win rate: the headline, its check by bootstrap, and that of several training seeds.

use assay_domain::analysis::{ALPHA, BOOTSTRAP_REPLICATES};

use super::types::{Interval, IntervalMethod};
use crate::stats::cluster::{bootstrap_means, clustered_mean, percentile, seeded_resamples};
use crate::stats::crossed::crossed_mean;
use crate::stats::panel::mean_present;
use crate::stats::proportion::wilson_of_rate;

/// The headline: Student's t over prompt means; where these do not vary, t would have no width, and Wilson's is honest.
/// `None` for fewer than two prompts.
#[must_use]
pub fn headline_interval(prompt_means: &[f64]) -> Option<Interval> {
    if prompt_means.len() < 2 {
        return None;
    }
    let mean = clustered_mean(&one_each(prompt_means))?;
    if prompt_means.iter().all(|value| *value == prompt_means[0]) {
        return unvaried(prompt_means[0], prompt_means.len());
    }
    Some(clamped(mean.t_interval(ALPHA)?, IntervalMethod::ClusterT))
}

/// Percentiles of a bootstrap that resamples prompts. `None` for fewer than two prompts.
#[must_use]
pub fn bootstrap_interval(prompt_means: &[f64], seed: u64) -> Option<Interval> {
    if prompt_means.len() < 2 {
        return None;
    }
    let clusters = one_each(prompt_means);
    let resampled = bootstrap_means(&clusters, seeded_resamples(clusters.len(), BOOTSTRAP_REPLICATES, seed));
    Some(Interval {
        low: percentile(&resampled, ALPHA / 2.0)?,
        high: percentile(&resampled, 1.0 - ALPHA / 2.0)?,
        method: IntervalMethod::ClusterBootstrap,
    })
}

/// The interval of scores by prompt (rows) and training seed (columns), both sampled. `None` for fewer than two of either.
#[must_use]
pub fn pooled_interval(cells: &[Vec<f64>]) -> Option<Interval> {
    let mean = crossed_mean(cells)?;
    match mean.t_interval(ALPHA) {
        Some(ends) => Some(clamped(ends, IntervalMethod::CrossedT)),
        None => unvaried(mean.mean, mean.prompts),
    }
}

/// The t interval of a mean of differences in [-1, 1]; `None` where they do not vary.
pub(super) fn difference_interval(differences: &[f64]) -> Option<Interval> {
    let varies = differences.iter().any(|d| *d != differences[0]);
    let ends = clustered_mean(&one_each(differences))?.t_interval(ALPHA).filter(|_| varies)?;
    Some(Interval { low: ends[0].max(-1.0), high: ends[1].min(1.0), method: IntervalMethod::ClusterT })
}

/// A mean with its t interval, of anything.
pub(super) fn mean_and_ends(values: &[f64]) -> Option<(f64, Option<[f64; 2]>)> {
    let mean = mean_present(values.iter().copied().map(Some))?;
    Some((mean, clustered_mean(&one_each(values)).and_then(|mean| mean.t_interval(ALPHA))))
}

fn one_each(values: &[f64]) -> Vec<Vec<f64>> {
    values.iter().map(|value| vec![*value]).collect()
}

fn unvaried(rate: f64, prompts: usize) -> Option<Interval> {
    Some(clamped(wilson_of_rate(rate, prompts as u64, ALPHA)?, IntervalMethod::Wilson))
}

fn clamped([low, high]: [f64; 2], method: IntervalMethod) -> Interval {
    Interval { low: low.max(0.0), high: high.min(1.0), method }
}
