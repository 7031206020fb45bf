//! Correlations and the Wilcoxon test, for 1 to 5 scores.

use super::special::normal_sf;

/// Pearson's correlation; `None` where it is 0/0 or lengths differ.
#[must_use]
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() || x.is_empty() {
        return None;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        xy += (a - mx) * (b - my);
        xx += (a - mx).powi(2);
        yy += (b - my).powi(2);
    }
    (xx > 0.0 && yy > 0.0).then(|| xy / (xx * yy).sqrt())
}

/// Spearman's rank correlation, ties at their mean rank.
#[must_use]
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    pearson(&mean_ranks(x), &mean_ranks(y))
}

/// Kendall's tau-b.
#[must_use]
pub fn kendall_tau_b(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() {
        return None;
    }
    let (mut score, mut untied_x, mut untied_y) = (0.0, 0.0f64, 0.0f64);
    for i in 0..x.len() {
        for j in 0..i {
            let (dx, dy) = (sign(x[i] - x[j]), sign(y[i] - y[j]));
            score += dx * dy;
            untied_x += dx * dx;
            untied_y += dy * dy;
        }
    }
    (untied_x > 0.0 && untied_y > 0.0).then(|| score / (untied_x * untied_y).sqrt())
}

fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// Ranks from 1, ties at their mean.
fn mean_ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal as f64 + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

/// What to do with differences of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeros {
    /// Leave them out before ranking.
    Drop,
    /// Rank them, then leave them out (Pratt).
    Pratt,
}

/// The signed-rank test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wilcoxon {
    /// The smaller of the two rank sums.
    pub statistic: f64,
    /// Two-sided p by the normal approximation with tie correction, without continuity correction.
    pub p: f64,
}

/// Wilcoxon's signed-rank test of paired differences. `None` when all are zero.
#[must_use]
pub fn wilcoxon(differences: &[f64], zeros: Zeros) -> Option<Wilcoxon> {
    let kept: Vec<f64> = match zeros {
        Zeros::Drop => differences.iter().copied().filter(|d| *d != 0.0).collect(),
        Zeros::Pratt => differences.to_vec(),
    };
    let ranks = mean_ranks(&kept.iter().map(|d| d.abs()).collect::<Vec<_>>());
    let sum =
        |want: f64| kept.iter().zip(&ranks).filter(|(d, _)| sign(**d) == want).map(|(_, r)| r).sum::<f64>();
    let statistic = sum(1.0).min(sum(-1.0));
    let n = kept.len() as f64;
    let n_zero = kept.iter().filter(|d| **d == 0.0).count() as f64;
    let mean = (n * (n + 1.0) - n_zero * (n_zero + 1.0)) / 4.0;
    let squares = |n: f64| n * (n + 1.0) * (2.0 * n + 1.0) / 24.0;
    let variance = squares(n) - squares(n_zero) - tie_term(&kept) / 48.0;
    if variance <= 0.0 {
        return None;
    }
    Some(Wilcoxon { statistic, p: (2.0 * normal_sf((statistic - mean).abs() / variance.sqrt())).min(1.0) })
}

/// Sum of t^3 - t over groups of equal size among non-zero differences.
fn tie_term(differences: &[f64]) -> f64 {
    let mut sizes: Vec<f64> = differences.iter().map(|d| d.abs()).filter(|d| *d > 0.0).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.chunk_by(|a, b| a == b).map(|group| (group.len() as f64).powi(3) - group.len() as f64).sum()
}
