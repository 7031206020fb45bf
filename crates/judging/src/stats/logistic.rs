//! Logistic regression of scores in [0, 1] with standard errors clustered by prompt.
//!
//! Newton's method; covariance by the sandwich H^-1 (sum over clusters of g g') H^-1 with the factor C/(C-1) (Liang and
//! Zeger 1986), where g is a cluster's gradient.

use super::linear::solve;
use super::special::student_t_quantile;
use crate::logprob::sigmoid;

/// Fitted coefficients.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    /// One for each covariate.
    pub coefficients: Vec<f64>,
    /// Standard errors, clustered.
    pub standard_errors: Vec<f64>,
    /// Clusters.
    pub clusters: usize,
}

impl Logistic {
    /// P at the first covariate alone (an intercept) with all others at 0.
    #[must_use]
    pub fn base_rate(&self) -> f64 {
        sigmoid(self.coefficients[0])
    }

    /// The t interval of [`Logistic::base_rate`], made on the logit scale.
    #[must_use]
    pub fn base_interval(&self, alpha: f64) -> [f64; 2] {
        let t = student_t_quantile(1.0 - alpha / 2.0, self.clusters as f64 - 1.0);
        let half = t * self.standard_errors[0];
        [sigmoid(self.coefficients[0] - half), sigmoid(self.coefficients[0] + half)]
    }
}

/// An item: its covariates, its score in [0, 1] and the number of its cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Covariates, as many for each item; the first is 1 for an intercept.
    pub x: Vec<f64>,
    /// The score.
    pub y: f64,
    /// The cluster, from 0.
    pub cluster: usize,
}

/// Fits. `None` for fewer clusters than covariates and two, collinear covariates, or separable data.
#[must_use]
pub fn clustered_logistic(items: &[Item]) -> Option<Logistic> {
    let size = items.first()?.x.len();
    let clusters = items.iter().map(|item| item.cluster + 1).max()?;
    if clusters < size + 2 || items.iter().any(|item| item.x.len() != size) {
        return None;
    }
    let mut b = vec![0.0; size];
    const STEPS_MAX: u32 = 50;
    /// Beyond this the data are as good as separable.
    const LOGIT_MAX: f64 = 15.0;
    for _ in 0..STEPS_MAX {
        let (gradients, information) = derivatives(items, &b, clusters);
        let total: Vec<f64> = (0..size).map(|k| gradients.iter().map(|g| g[k]).sum()).collect();
        let step = solve(information, total);
        if step.iter().any(|s| !s.is_finite()) {
            return None;
        }
        b.iter_mut().zip(&step).for_each(|(b, step)| *b += step);
        if b.iter().any(|b| b.abs() > LOGIT_MAX) {
            return None;
        }
        if step.iter().all(|step| step.abs() < 1e-12) {
            let standard_errors = standard_errors(items, &b, clusters)?;
            return Some(Logistic { coefficients: b, standard_errors, clusters });
        }
    }
    None
}

/// Each cluster's gradient, and the information of all items.
fn derivatives(items: &[Item], b: &[f64], clusters: usize) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let size = b.len();
    let mut gradients = vec![vec![0.0; size]; clusters];
    let mut information = vec![vec![0.0; size]; size];
    for Item { x, y, cluster } in items {
        let p = sigmoid(x.iter().zip(b).map(|(x, b)| x * b).sum());
        for i in 0..size {
            gradients[*cluster][i] += (y - p) * x[i];
            for j in 0..size {
                information[i][j] += p * (1.0 - p) * x[i] * x[j];
            }
        }
    }
    (gradients, information)
}

fn standard_errors(items: &[Item], b: &[f64], clusters: usize) -> Option<Vec<f64>> {
    let (gradients, information) = derivatives(items, b, clusters);
    let influence: Vec<Vec<f64>> = gradients.into_iter().map(|g| solve(information.clone(), g)).collect();
    let factor = clusters as f64 / (clusters as f64 - 1.0);
    let variance = |k: usize| factor * influence.iter().map(|v| v[k].powi(2)).sum::<f64>();
    let errors: Vec<f64> = (0..b.len()).map(|k| variance(k).sqrt()).collect();
    errors.iter().all(|se| se.is_finite()).then_some(errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::logit::length_controlled;

    fn item(x: &[f64], y: f64, cluster: usize) -> Item {
        Item { x: x.to_vec(), y, cluster }
    }

    #[test]
    fn an_intercept_alone_is_the_rate_with_its_clustered_error() {
        let scores = [1.0, 1.0, 0.0, 1.0, 0.5, 1.0, 0.0, 1.0];
        let items: Vec<Item> = scores.iter().enumerate().map(|(i, y)| item(&[1.0], *y, i / 2)).collect();
        let fit = clustered_logistic(&items).unwrap();
        let rate = scores.iter().sum::<f64>() / 8.0;
        assert!((fit.base_rate() - rate).abs() < 1e-12);
        // By the delta method: the clustered error of the mean over p (1 - p).
        let clusters: Vec<Vec<f64>> = scores.chunks(2).map(<[f64]>::to_vec).collect();
        let of_mean = crate::stats::cluster::clustered_mean(&clusters).unwrap().se;
        assert!((fit.standard_errors[0] - of_mean / (rate * (1.0 - rate))).abs() < 1e-10);
    }

    #[test]
    fn one_covariate_is_the_length_model() {
        let delta = [120.0, -40.0, 300.0, 15.0, -220.0, 60.0, -10.0, 90.0, -150.0, 45.0];
        let score = [1.0, 0.0, 1.0, 1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 1.0];
        let known = length_controlled(&delta, &score).unwrap();
        let mean = delta.iter().sum::<f64>() / 10.0;
        let sd = (delta.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 9.0).sqrt();
        let items: Vec<Item> = (0..10).map(|i| item(&[1.0, (delta[i] / sd).tanh()], score[i], i)).collect();
        let fit = clustered_logistic(&items).unwrap();
        assert!((fit.coefficients[0] - known.b0).abs() < 1e-9);
        assert!((fit.coefficients[1] - known.b1).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_estimated_is_refused() {
        let separable: Vec<Item> = (0..8)
            .map(|i| item(&[1.0, f64::from(i) - 3.5], f64::from(u8::from(i > 3)), i as usize))
            .collect();
        assert_eq!(clustered_logistic(&separable), None);
        let collinear: Vec<Item> =
            (0..8).map(|i| item(&[1.0, 2.0], f64::from(u8::from(i % 3 == 0)), i as usize)).collect();
        assert_eq!(clustered_logistic(&collinear), None);
        assert_eq!(clustered_logistic(&[item(&[1.0], 1.0, 0), item(&[1.0], 0.0, 1)]), None);
    }
}
