//! Intervals for proportions of independent items, and ties counted in three ways.

use super::binomial::sign_test;
use super::special::{beta_quantile, normal_quantile};

fn z_of(alpha: f64) -> f64 {
    normal_quantile(1.0 - alpha / 2.0)
}

/// Wilson's score interval; `None` for no items.
#[must_use]
pub fn wilson(k: u64, n: u64, alpha: f64) -> Option<[f64; 2]> {
    if n == 0 || k > n {
        return None;
    }
    let (low, high) = wilson_of(k as f64 / n as f64, n as f64, z_of(alpha));
    // At the ends the bound is exact; the formula may miss it by a rounding error.
    Some([if k == 0 { 0.0 } else { low.max(0.0) }, if k == n { 1.0 } else { high.min(1.0) }])
}

/// Wilson's formula for a mean score in [0, 1] of `n` items that may be half won; conservative where scores vary less
/// than wins and losses would. `None` for no items.
#[must_use]
pub fn wilson_of_rate(rate: f64, n: u64, alpha: f64) -> Option<[f64; 2]> {
    if n == 0 || !(0.0..=1.0).contains(&rate) {
        return None;
    }
    let (low, high) = wilson_of(rate, n as f64, z_of(alpha));
    Some([if rate == 0.0 { 0.0 } else { low.max(0.0) }, if rate == 1.0 { 1.0 } else { high.min(1.0) }])
}

fn wilson_of(p: f64, n: f64, z: f64) -> (f64, f64) {
    let z2 = z * z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    (centre - half, centre + half)
}

/// Clopper and Pearson's exact interval; `None` for no items.
#[must_use]
pub fn clopper_pearson(k: u64, n: u64, alpha: f64) -> Option<[f64; 2]> {
    if n == 0 || k > n {
        return None;
    }
    let (successes, failures) = (k as f64, (n - k) as f64);
    let low = if k == 0 { 0.0 } else { beta_quantile(alpha / 2.0, successes, failures + 1.0) };
    let high = if k == n { 1.0 } else { beta_quantile(1.0 - alpha / 2.0, successes + 1.0, failures) };
    Some([low, high])
}

/// Agresti and Coull's interval, clamped to [0, 1]; `None` for no items.
#[must_use]
pub fn agresti_coull(k: u64, n: u64, alpha: f64) -> Option<[f64; 2]> {
    if n == 0 || k > n {
        return None;
    }
    let z2 = z_of(alpha).powi(2);
    let n_adjusted = n as f64 + z2;
    let p = (k as f64 + z2 / 2.0) / n_adjusted;
    let half = z_of(alpha) * (p * (1.0 - p) / n_adjusted).sqrt();
    Some([(p - half).max(0.0), (p + half).min(1.0)])
}

/// The equal-tailed interval of Jeffreys' posterior Beta(k + 1/2, n - k + 1/2); `None` for no items.
#[must_use]
pub fn jeffreys(k: u64, n: u64, alpha: f64) -> Option<[f64; 2]> {
    if n == 0 || k > n {
        return None;
    }
    let (a, b) = (k as f64 + 0.5, (n - k) as f64 + 0.5);
    Some([beta_quantile(alpha / 2.0, a, b), beta_quantile(1.0 - alpha / 2.0, a, b)])
}

/// Newcombe's interval for the difference of two independent proportions, a/na - b/nb.
#[must_use]
pub fn newcombe(a: u64, na: u64, b: u64, nb: u64, alpha: f64) -> Option<[f64; 2]> {
    let [low_a, high_a] = wilson(a, na, alpha)?;
    let [low_b, high_b] = wilson(b, nb, alpha)?;
    let (pa, pb) = (a as f64 / na as f64, b as f64 / nb as f64);
    let difference = pa - pb;
    Some([
        difference - ((pa - low_a).powi(2) + (high_b - pb).powi(2)).sqrt(),
        difference + ((high_a - pa).powi(2) + (pb - low_b).powi(2)).sqrt(),
    ])
}

/// Cohen's h, the effect size of two proportions.
#[must_use]
pub fn cohens_h(p1: f64, p2: f64) -> f64 {
    2.0 * p1.sqrt().asin() - 2.0 * p2.sqrt().asin()
}

/// A win rate with ties counted in three ways.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TieRates {
    /// A tie is half a win.
    pub half: f64,
    /// Ties are left out; `None` if there is nothing else.
    pub dropped: Option<f64>,
    /// A tie is a loss.
    pub as_loss: f64,
    /// Wilson's interval with ties left out.
    pub wilson_dropped: Option<[f64; 2]>,
    /// Exact sign test with ties left out.
    pub sign_test_p: f64,
}

/// Counts ties in three ways; `None` for no items.
#[must_use]
pub fn tie_rates(wins: u64, ties: u64, losses: u64, alpha: f64) -> Option<TieRates> {
    let n = wins + ties + losses;
    if n == 0 {
        return None;
    }
    let decided = wins + losses;
    Some(TieRates {
        half: (wins as f64 + ties as f64 / 2.0) / n as f64,
        dropped: (decided > 0).then(|| wins as f64 / decided as f64),
        as_loss: wins as f64 / n as f64,
        wilson_dropped: wilson(wins, decided, alpha),
        sign_test_p: sign_test(wins, losses),
    })
}

/// The rate if all missing items were losses, and if all were wins; `None` for no items at all.
#[must_use]
pub fn missing_bounds(score_sum: f64, present: u64, missing: u64) -> Option<[f64; 2]> {
    let n = present + missing;
    (n > 0).then(|| [score_sum / n as f64, (score_sum + missing as f64) / n as f64])
}
