//! Corrections for several tests at once: adjusted p-values in input order.

/// Bonferroni: p times the number of tests.
#[must_use]
pub fn bonferroni(p: &[f64]) -> Vec<f64> {
    p.iter().map(|value| (value * p.len() as f64).min(1.0)).collect()
}

/// Holm's step-down correction: running maximum of p(i) * (m - i + 1), clipped at 1.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![0.0; p.len()];
    let mut running = 0.0f64;
    for (rank, index) in order.iter().enumerate() {
        running = running.max(p[*index] * (p.len() - rank) as f64).min(1.0);
        adjusted[*index] = running;
    }
    adjusted
}

/// Hommel's correction (Wright 1992), the strongest here that needs no more than Simes' inequality.
#[must_use]
pub fn hommel(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let sorted: Vec<f64> = order.iter().map(|index| p[*index]).collect();
    let n = sorted.len();
    let simes = |from: usize, count: usize, first_divisor: usize| {
        let terms = sorted[from..].iter().enumerate();
        terms.map(|(i, p)| count as f64 * p / (first_divisor + i) as f64).fold(f64::INFINITY, f64::min)
    };
    let mut adjusted = vec![simes(0, n, 1); n];
    for m in (2..n).rev() {
        let split = n - m + 1;
        let bound = simes(split, m, 2);
        let mut last = 0.0;
        for (i, value) in adjusted.iter_mut().enumerate() {
            if i < split {
                last = (m as f64 * sorted[i]).min(bound);
            }
            *value = value.max(last);
        }
    }
    let mut result = vec![0.0; n];
    for (rank, index) in order.iter().enumerate() {
        result[*index] = adjusted[rank].max(sorted[rank]).min(1.0);
    }
    result
}

/// Benjamini and Hochberg's false discovery rate.
#[must_use]
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    step_up(p, 1.0)
}

/// Benjamini and Yekutieli's false discovery rate under any dependence.
#[must_use]
pub fn benjamini_yekutieli(p: &[f64]) -> Vec<f64> {
    step_up(p, (1..=p.len()).map(|i| 1.0 / i as f64).sum())
}

fn step_up(p: &[f64], factor: f64) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![0.0; p.len()];
    let mut running = 1.0f64;
    for (rank, index) in order.iter().enumerate().rev() {
        running = running.min(p[*index] * factor * p.len() as f64 / (rank + 1) as f64);
        adjusted[*index] = running;
    }
    adjusted
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    order
}
