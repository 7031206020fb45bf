//! Exact tests: binomial, Fisher, and the power of the sign test.

/// Two-sided and one-sided p-values of an exact binomial test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinomialTest {
    /// Sum of the probabilities of all outcomes at most as probable as the one seen (within 1e-7, as scipy and R do).
    pub two_sided: f64,
    /// P(X >= k).
    pub greater: f64,
    /// P(X <= k).
    pub less: f64,
}

/// The exact test of `k` successes in `n` trials against probability `p0`.
#[must_use]
pub fn binomial_test(k: u64, n: u64, p0: f64) -> BinomialTest {
    let masses = binomial_masses(n, p0);
    let k = k.min(n) as usize;
    let limit = masses[k] * (1.0 + 1e-7);
    let sum = |masses: &mut dyn Iterator<Item = f64>| masses.sum::<f64>().min(1.0);
    BinomialTest {
        two_sided: sum(&mut masses.iter().copied().filter(|mass| *mass <= limit)),
        greater: sum(&mut masses[k..].iter().copied()),
        less: sum(&mut masses[..=k].iter().copied()),
    }
}

/// The exact two-sided sign test of wins against losses; 1 when there is neither.
#[must_use]
pub fn sign_test(wins: u64, losses: u64) -> f64 {
    if wins + losses == 0 { 1.0 } else { binomial_test(wins, wins + losses, 0.5).two_sided }
}

/// P(X = 0..=n). Ratios of neighbours outward from the mode, then divided by their sum: no logarithm of a factorial, so
/// the relative error stays near the last bit.
fn binomial_masses(n: u64, p: f64) -> Vec<f64> {
    let count = n as usize + 1;
    if p <= 0.0 || p >= 1.0 {
        let mut masses = vec![0.0; count];
        masses[if p <= 0.0 { 0 } else { count - 1 }] = 1.0;
        return masses;
    }
    let mode = (((n + 1) as f64 * p) as usize).min(count - 1);
    let mut masses = vec![0.0; count];
    masses[mode] = 1.0;
    let odds = p / (1.0 - p);
    for k in mode..count - 1 {
        masses[k + 1] = masses[k] * (n as usize - k) as f64 / (k + 1) as f64 * odds;
    }
    for k in (0..mode).rev() {
        masses[k] = masses[k + 1] * (k + 1) as f64 / (n as usize - k) as f64 / odds;
    }
    let total: f64 = masses.iter().sum();
    masses.iter_mut().for_each(|mass| *mass /= total);
    masses
}

/// Fisher's exact two-sided p for the table [[a, b], [c, d]].
#[must_use]
pub fn fisher_exact(a: u64, b: u64, c: u64, d: u64) -> f64 {
    let (row, column, total) = (a + b, a + c, a + b + c + d);
    let low = (row + column).saturating_sub(total);
    let high = row.min(column);
    // Weights relative to the first cell value, by ratios of neighbours; scaled by their sum.
    let mut weights = vec![1.0];
    for x in low..high {
        let last = weights[weights.len() - 1];
        let up = (row - x) as f64 * (column - x) as f64;
        let down = (x + 1) as f64 * (total + x + 1 - row - column) as f64;
        weights.push(last * up / down);
    }
    let seen = weights[(a - low) as usize];
    let total: f64 = weights.iter().sum();
    let extreme: f64 = weights.iter().filter(|weight| **weight <= seen * (1.0 + 1e-7)).sum();
    (extreme / total).min(1.0)
}

/// The power of the exact two-sided sign test with `n` independent prompts, no ties, and true win rate `p1`.
#[must_use]
pub fn sign_test_power(n: u64, p1: f64, alpha: f64) -> f64 {
    let under_half = binomial_masses(n, 0.5);
    let truth = binomial_masses(n, p1);
    // Two-sided p at one half is twice the smaller tail; walk in from both ends while it stays at most alpha.
    let mut tail = 0.0;
    let mut power = 0.0;
    for k in 0..=n as usize / 2 {
        tail += under_half[k];
        let opposite = n as usize - k;
        if k == opposite || 2.0 * tail > alpha {
            break;
        }
        power += truth[k] + truth[opposite];
    }
    power.min(1.0)
}

/// The least win rate above one half that the sign test detects with this power, to three decimals; `None` when not even
/// a certain win would be detected.
#[must_use]
pub fn detectable_rate(n: u64, alpha: f64, power: f64) -> Option<f64> {
    let enough = |thousandths: u32| sign_test_power(n, f64::from(thousandths) / 1000.0, alpha) >= power;
    if n == 0 || !enough(1000) {
        return None;
    }
    let (mut low, mut high) = (500, 1000);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(f64::from(high) / 1000.0)
}
