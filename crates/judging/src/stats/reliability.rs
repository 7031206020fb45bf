//! Agreement of any number of judges: Fleiss' kappa, Krippendorff's alpha, Cochran's Q.

use super::special::chi_squared_sf;

/// Fleiss' kappa from counts per item and category, all items with the same number of verdicts.
/// `None` where it is 0/0, or where counts differ between items.
#[must_use]
pub fn fleiss_kappa(counts: &[Vec<u64>]) -> Option<f64> {
    let (agreement, shares) = fleiss_parts(counts)?;
    chance_corrected(agreement, shares.iter().map(|share| share * share).sum())
}

/// Randolph's free-marginal kappa: chance is 1 / categories.
#[must_use]
pub fn randolph_kappa(counts: &[Vec<u64>]) -> Option<f64> {
    let (agreement, shares) = fleiss_parts(counts)?;
    chance_corrected(agreement, 1.0 / shares.len() as f64)
}

fn chance_corrected(observed: f64, chance: f64) -> Option<f64> {
    (chance < 1.0).then(|| (observed - chance) / (1.0 - chance))
}

/// Mean pairwise agreement within items, and each category's share of all verdicts.
fn fleiss_parts(counts: &[Vec<u64>]) -> Option<(f64, Vec<f64>)> {
    let first = counts.first()?;
    let raters: u64 = first.iter().sum();
    let same = |row: &Vec<u64>| row.len() == first.len() && row.iter().sum::<u64>() == raters;
    if raters < 2 || !counts.iter().all(same) {
        return None;
    }
    let pairs = (raters * (raters - 1)) as f64;
    let of_item =
        |row: &Vec<u64>| row.iter().map(|count| count * count.saturating_sub(1)).sum::<u64>() as f64 / pairs;
    let agreement = counts.iter().map(of_item).sum::<f64>() / counts.len() as f64;
    let total = (raters * counts.len() as u64) as f64;
    let share = |category: usize| counts.iter().map(|row| row[category]).sum::<u64>() as f64 / total;
    Some((agreement, (0..first.len()).map(share).collect()))
}

/// How far apart two values count in Krippendorff's alpha.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Equal or not.
    Nominal,
    /// By the number of values between, both ends counted by half.
    Ordinal,
    /// (a - b)^2.
    Interval,
    /// ((a - b) / (a + b))^2.
    Ratio,
}

/// Krippendorff's alpha of raters x units; missing values allowed. `None` without two values on one unit, or when all
/// values are the same (0/0).
#[must_use]
pub fn krippendorff_alpha(raters: &[Vec<Option<f64>>], metric: Metric) -> Option<f64> {
    let mut values: Vec<f64> = raters.iter().flatten().flatten().copied().collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let coincidences = coincidences(raters, &values);
    let margins: Vec<f64> = coincidences.iter().map(|row| row.iter().sum()).collect();
    let total: f64 = margins.iter().sum();
    let (mut observed, mut expected) = (0.0, 0.0);
    for i in 0..values.len() {
        for j in 0..values.len() {
            let distance = distance(metric, &values, &margins, i, j);
            observed += coincidences[i][j] * distance;
            expected += margins[i] * margins[j] * distance;
        }
    }
    (expected > 0.0).then(|| 1.0 - (total - 1.0) * observed / expected)
}

/// How often two values meet on one unit, each unit weighted by 1 / (its values - 1).
fn coincidences(raters: &[Vec<Option<f64>>], values: &[f64]) -> Vec<Vec<f64>> {
    let mut table = vec![vec![0.0; values.len()]; values.len()];
    let units = raters.iter().map(Vec::len).max().unwrap_or(0);
    for unit in 0..units {
        let mut counts = vec![0.0; values.len()];
        for value in raters.iter().filter_map(|rater| rater.get(unit).copied().flatten()) {
            if let Some(index) = values.iter().position(|known| *known == value) {
                counts[index] += 1.0;
            }
        }
        let present: f64 = counts.iter().sum();
        if present < 2.0 {
            continue;
        }
        for i in 0..values.len() {
            for j in 0..values.len() {
                let own = if i == j { 1.0 } else { 0.0 };
                table[i][j] += counts[i] * (counts[j] - own) / (present - 1.0);
            }
        }
    }
    table
}

fn distance(metric: Metric, values: &[f64], margins: &[f64], i: usize, j: usize) -> f64 {
    if i == j {
        return 0.0;
    }
    match metric {
        Metric::Nominal => 1.0,
        Metric::Ordinal => {
            let (low, high) = (i.min(j), i.max(j));
            let between: f64 = margins[low..=high].iter().sum();
            (between - (margins[low] + margins[high]) / 2.0).powi(2)
        }
        Metric::Interval => (values[i] - values[j]).powi(2),
        Metric::Ratio => {
            let sum = values[i] + values[j];
            if sum == 0.0 { 0.0 } else { ((values[i] - values[j]) / sum).powi(2) }
        }
    }
}

/// Cochran's Q: do judges find wins equally often on the same items?
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CochranQ {
    /// The statistic.
    pub statistic: f64,
    /// Judges less one.
    pub degrees: u64,
    /// p by chi-squared.
    pub p: f64,
}

/// Cochran's Q of items x judges. `None` for fewer than two judges, or when no item divides them (0/0).
#[must_use]
pub fn cochran_q(items: &[Vec<bool>]) -> Option<CochranQ> {
    let judges = items.first()?.len();
    if judges < 2 || items.iter().any(|row| row.len() != judges) {
        return None;
    }
    let k = judges as f64;
    let wins = |row: &Vec<bool>| row.iter().filter(|win| **win).count() as f64;
    let columns: Vec<f64> = (0..judges).map(|j| items.iter().filter(|row| row[j]).count() as f64).collect();
    let total: f64 = columns.iter().sum();
    let divided: f64 = items.iter().map(|row| wins(row) * (k - wins(row))).sum();
    if divided == 0.0 {
        return None;
    }
    let spread: f64 = columns.iter().map(|column| (column - total / k).powi(2)).sum();
    let statistic = k * (k - 1.0) * spread / divided;
    Some(CochranQ { statistic, degrees: judges as u64 - 1, p: chi_squared_sf(statistic, k - 1.0) })
}
