//! Means over clustered items: standard errors, bootstrap over clusters, paired differences, sign flips.
//!
//! A cluster is a prompt. Standard errors after Miller 2024 (arXiv 2411.00640), with the factor C/(C-1) and Student's t.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::special::student_t_quantile;

/// A mean over clustered items with its standard errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClusteredMean {
    /// Items.
    pub n: usize,
    /// Clusters that hold at least one item.
    pub clusters: usize,
    /// Mean over items.
    pub mean: f64,
    /// Standard error as if items were independent; 0/0 for one item.
    pub se_iid: f64,
    /// sqrt(sum over clusters of (sum of residuals)^2) / n.
    pub se_cr0: f64,
    /// `se_cr0` with the factor sqrt(C / (C - 1)).
    pub se: f64,
}

impl ClusteredMean {
    /// How much more variance clustering brings: `se^2 / se_iid^2`.
    #[must_use]
    pub fn design_effect(&self) -> f64 {
        (self.se / self.se_iid).powi(2)
    }

    /// The t interval with C - 1 degrees of freedom, not clamped; `None` for fewer than two clusters.
    #[must_use]
    pub fn t_interval(&self, alpha: f64) -> Option<[f64; 2]> {
        if self.clusters < 2 {
            return None;
        }
        let t = student_t_quantile(1.0 - alpha / 2.0, (self.clusters - 1) as f64);
        Some([self.mean - t * self.se, self.mean + t * self.se])
    }
}

/// The mean of all items, clustered. Empty clusters are skipped; `None` without items.
#[must_use]
pub fn clustered_mean(clusters: &[Vec<f64>]) -> Option<ClusteredMean> {
    let items = || clusters.iter().flatten().copied();
    let n = items().count();
    if n == 0 {
        return None;
    }
    let count = clusters.iter().filter(|cluster| !cluster.is_empty()).count();
    let mean = items().sum::<f64>() / n as f64;
    let squares: f64 = items().map(|y| (y - mean).powi(2)).sum();
    let between: f64 = clusters.iter().map(|c| c.iter().map(|y| y - mean).sum::<f64>().powi(2)).sum();
    let se_cr0 = between.sqrt() / n as f64;
    Some(ClusteredMean {
        n,
        clusters: count,
        mean,
        se_iid: (squares / (n as f64 - 1.0) / n as f64).sqrt(),
        se_cr0,
        se: se_cr0 * (count as f64 / (count as f64 - 1.0)).sqrt(),
    })
}

/// Per item a - b, in the clusters of both; `None` if their shapes differ.
#[must_use]
pub fn paired_differences(a: &[Vec<f64>], b: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let same = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.len() == b.len());
    let difference = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a - b).collect();
    same.then(|| a.iter().zip(b).map(difference).collect())
}

/// The pooled mean of each resample of whole clusters: no random numbers, the indices are given.
#[must_use]
pub fn bootstrap_means(
    clusters: &[Vec<f64>],
    resamples: impl IntoIterator<Item = impl AsRef<[usize]>>,
) -> Vec<f64> {
    let sums: Vec<(f64, usize)> = clusters.iter().map(|c| (c.iter().sum(), c.len())).collect();
    let mean = |indices: &[usize]| {
        let (sum, n) = indices.iter().fold((0.0, 0), |(sum, n), i| (sum + sums[*i].0, n + sums[*i].1));
        sum / n as f64
    };
    resamples.into_iter().map(|indices| mean(indices.as_ref())).filter(|mean| mean.is_finite()).collect()
}

/// All C^C equally likely resamples of C clusters; `None` above `limit`.
#[must_use]
pub fn all_resamples(clusters: usize, limit: usize) -> Option<Vec<Vec<usize>>> {
    let total = clusters.checked_pow(u32::try_from(clusters).ok()?).filter(|total| *total <= limit)?;
    let digits = |mut number: usize| {
        let digit = |_| {
            let digit = number % clusters;
            number /= clusters;
            digit
        };
        (0..clusters).map(digit).collect()
    };
    Some((0..total).map(digits).collect())
}

/// Seeded resamples of C clusters: ChaCha8 from the seed, so that the same seed gives the same indices everywhere.
#[must_use]
pub fn seeded_resamples(clusters: usize, replicates: u32, seed: u64) -> Vec<Vec<usize>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // The high 64 bits of a 128-bit product: unbiased to 2^-64 * C, with one draw each.
    let mut draw = |_| ((u128::from(rng.next_u64()) * clusters as u128) >> 64) as usize;
    (0..replicates).map(|_| (0..clusters).map(&mut draw).collect()).collect()
}

/// A percentile by linear interpolation (type 7, as numpy); `None` for no values.
#[must_use]
pub fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = share * (sorted.len().checked_sub(1)? as f64);
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64))
}

/// The percentile interval of any statistic of items, by seeded resamples of whole clusters (lists of item numbers). A
/// resample without a value (0/0) is left out; `None` when that is more than half of them, or for one cluster.
#[must_use]
pub fn bootstrap_statistic(
    clusters: &[Vec<usize>],
    replicates: u32,
    seed: u64,
    alpha: f64,
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> Option<[f64; 2]> {
    if clusters.len() < 2 {
        return None;
    }
    let of_resample = |resample: &Vec<usize>| {
        let items: Vec<usize> =
            resample.iter().flat_map(|cluster| clusters[*cluster].iter().copied()).collect();
        statistic(&items)
    };
    let resamples = seeded_resamples(clusters.len(), replicates, seed);
    let values: Vec<f64> = resamples.iter().filter_map(of_resample).collect();
    if values.len() * 2 < resamples.len() {
        return None;
    }
    Some([percentile(&values, alpha / 2.0)?, percentile(&values, 1.0 - alpha / 2.0)?])
}

/// Clusters up to which a sign-flip test enumerates all flips.
pub const EXACT_FLIP_CLUSTERS_MAX: usize = 20;

/// The two-sided sign-flip permutation p of cluster sums of paired differences: exact up to 20 clusters, above that
/// 20,000 seeded flips with the observed one counted. Returns p and the number of flips.
#[must_use]
pub fn sign_flip_test(cluster_sums: &[f64], seed: u64) -> (f64, u64) {
    let observed = cluster_sums.iter().sum::<f64>().abs() - 1e-12;
    let total = |flips: u64| {
        let signed = |(i, sum): (usize, &f64)| if flips >> i & 1 == 1 { -sum } else { *sum };
        cluster_sums.iter().enumerate().map(signed).sum::<f64>().abs()
    };
    if cluster_sums.len() <= EXACT_FLIP_CLUSTERS_MAX {
        let flips = 1u64 << cluster_sums.len();
        let extreme = (0..flips).filter(|flip| total(*flip) >= observed).count();
        return (extreme as f64 / flips as f64, flips);
    }
    const RANDOM_FLIPS: u64 = 20_000;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut random_total = || {
        let signed = |sum: &f64| if rng.next_u32() & 1 == 1 { -sum } else { *sum };
        cluster_sums.iter().map(signed).sum::<f64>().abs()
    };
    let extreme = (0..RANDOM_FLIPS).filter(|_| random_total() >= observed).count() as u64;
    ((extreme + 1) as f64 / (RANDOM_FLIPS + 1) as f64, RANDOM_FLIPS)
}
