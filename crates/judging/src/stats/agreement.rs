//! Agreement of two judges on the same items: kappa and the coefficients that do not share its prevalence paradox.

use super::binomial::sign_test;
use super::special::{chi_squared_sf, normal_quantile};

/// Agreement computed from a square table of counts, rows by one judge and columns by the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Items.
    pub n: u64,
    /// Share of equal verdicts.
    pub observed: f64,
    /// Share expected by chance from both judges' own frequencies.
    pub expected: f64,
    /// Cohen's kappa; `None` when chance agreement is certain, where it is 0/0.
    pub kappa: Option<f64>,
    /// Its standard error (Fleiss, Cohen and Everitt 1969).
    pub kappa_se: Option<f64>,
    /// Its standard error if the truth were 0.
    pub kappa_se_null: Option<f64>,
    /// Gwet's AC1.
    pub ac1: Option<f64>,
    /// Scott's pi.
    pub scott_pi: Option<f64>,
    /// Prevalence-adjusted bias-adjusted kappa, (q * observed - 1) / (q - 1).
    pub pabak: f64,
}

impl Agreement {
    /// The normal interval of kappa, not clamped.
    #[must_use]
    pub fn kappa_interval(&self, alpha: f64) -> Option<[f64; 2]> {
        let half = normal_quantile(1.0 - alpha / 2.0) * self.kappa_se?;
        self.kappa.map(|kappa| [kappa - half, kappa + half])
    }
}

/// Shares of a square table with its margins.
struct Shares {
    n: u64,
    cells: Vec<Vec<f64>>,
    rows: Vec<f64>,
    columns: Vec<f64>,
}

impl Shares {
    /// `None` for an empty table, one that is not square, or one category.
    fn of(table: &[impl AsRef<[u64]>]) -> Option<Shares> {
        let n: u64 = table.iter().flat_map(|row| row.as_ref()).sum();
        if n == 0 || table.len() < 2 || table.iter().any(|row| row.as_ref().len() != table.len()) {
            return None;
        }
        let share = |count: &u64| *count as f64 / n as f64;
        let cells: Vec<Vec<f64>> = table.iter().map(|row| row.as_ref().iter().map(share).collect()).collect();
        let rows = cells.iter().map(|row| row.iter().sum()).collect();
        let columns = (0..table.len()).map(|j| cells.iter().map(|row| row[j]).sum()).collect();
        Some(Shares { n, cells, rows, columns })
    }

    fn categories(&self) -> std::ops::Range<usize> {
        0..self.cells.len()
    }
}

/// All coefficients of a table of counts. `None` for an empty table or fewer than two categories.
#[must_use]
pub fn agreement(table: &[impl AsRef<[u64]>]) -> Option<Agreement> {
    let shares = Shares::of(table)?;
    let q = shares.cells.len() as f64;
    let observed: f64 = shares.categories().map(|i| shares.cells[i][i]).sum();
    let expected: f64 = shares.categories().map(|i| shares.rows[i] * shares.columns[i]).sum();
    let beyond_chance = |chance: f64| (chance < 1.0).then(|| (observed - chance) / (1.0 - chance));
    let pooled = |i: usize| (shares.rows[i] + shares.columns[i]) / 2.0;
    let kappa = beyond_chance(expected);
    Some(Agreement {
        n: shares.n,
        observed,
        expected,
        kappa,
        kappa_se: kappa.map(|kappa| kappa_se(&shares, kappa, expected)),
        kappa_se_null: kappa.map(|_| kappa_se_null(&shares, expected)),
        ac1: beyond_chance(
            shares.categories().map(|i| pooled(i) * (1.0 - pooled(i))).sum::<f64>() / (q - 1.0),
        ),
        scott_pi: beyond_chance(shares.categories().map(|i| pooled(i).powi(2)).sum()),
        pabak: (q * observed - 1.0) / (q - 1.0),
    })
}

fn kappa_se(shares: &Shares, kappa: f64, expected: f64) -> f64 {
    let mut variance = -(kappa - expected * (1.0 - kappa)).powi(2);
    for i in shares.categories() {
        for j in shares.categories() {
            let cell = shares.cells[i][j];
            let margin = shares.columns[i] + shares.rows[j];
            variance += if i == j {
                cell * (1.0 - margin * (1.0 - kappa)).powi(2)
            } else {
                cell * (margin * (1.0 - kappa)).powi(2)
            };
        }
    }
    (variance.max(0.0) / shares.n as f64).sqrt() / (1.0 - expected)
}

fn kappa_se_null(shares: &Shares, expected: f64) -> f64 {
    let margins = |i: usize| shares.rows[i] * shares.columns[i] * (shares.rows[i] + shares.columns[i]);
    let variance = expected + expected * expected - shares.categories().map(margins).sum::<f64>();
    (variance.max(0.0) / shares.n as f64).sqrt() / (1.0 - expected)
}

/// How far apart two categories of an ordered scale count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// |i - j|.
    Linear,
    /// (i - j)^2.
    Quadratic,
}

/// Weighted kappa of an ordered scale. `None` where it is 0/0 or the table is empty.
#[must_use]
pub fn weighted_kappa(table: &[impl AsRef<[u64]>], weights: Weights) -> Option<f64> {
    let shares = Shares::of(table)?;
    let weight = |i: usize, j: usize| match weights {
        Weights::Linear => i.abs_diff(j) as f64,
        Weights::Quadratic => (i.abs_diff(j) as f64).powi(2),
    };
    let (mut observed, mut expected) = (0.0, 0.0);
    for i in shares.categories() {
        for j in shares.categories() {
            observed += weight(i, j) * shares.cells[i][j];
            expected += weight(i, j) * shares.rows[i] * shares.columns[j];
        }
    }
    (expected > 0.0).then(|| 1.0 - observed / expected)
}

/// McNemar's tests on the discordant pairs of two judges: do they find wins equally often?
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct McNemar {
    /// Exact two-sided p; 1 without discordant pairs.
    pub exact: f64,
    /// Exact p less half the probability of the table seen; `None` without discordant pairs.
    pub mid: Option<f64>,
    /// Chi-squared with and without continuity correction, each with its p; `None` without discordant pairs.
    pub chi_squared: Option<ChiSquared>,
}

/// Chi-squared of McNemar's test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquared {
    /// (b - c)^2 / (b + c).
    pub statistic: f64,
    /// Its p.
    pub p: f64,
    /// (|b - c| - 1)^2 / (b + c).
    pub corrected: f64,
    /// Its p.
    pub corrected_p: f64,
}

/// Compares `b` items that only the one judge gave to tuned with `c` that only the other did.
#[must_use]
pub fn mcnemar(b: u64, c: u64) -> McNemar {
    let n = b + c;
    if n == 0 {
        return McNemar { exact: 1.0, mid: None, chi_squared: None };
    }
    let exact = sign_test(b, c);
    let tail = super::binomial::binomial_test(b.min(c), n, 0.5);
    let mass = tail.less + tail.greater - 1.0;
    let gap = b.abs_diff(c) as f64;
    let statistic = gap * gap / n as f64;
    let corrected = (gap - 1.0).powi(2) / n as f64;
    McNemar {
        exact,
        mid: Some((2.0 * tail.less - mass).min(1.0)),
        chi_squared: Some(ChiSquared {
            statistic,
            p: chi_squared_sf(statistic, 1.0),
            corrected,
            corrected_p: chi_squared_sf(corrected, 1.0),
        }),
    }
}
