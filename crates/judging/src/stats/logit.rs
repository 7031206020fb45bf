//! The length-controlled win rate: what would it be if both responses were equally long?
//!
//! AlpacaEval's `length_controlled_minimal` (arXiv 2404.04475) without its penalty: logit P(win) = b0 + b1 tanh(d / sd(d)).

use super::special::normal_quantile;
use crate::logprob::sigmoid;

/// A fitted length model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthControlled {
    /// Logit of the win rate at equal length.
    pub b0: f64,
    /// Effect of one unit of tanh(length difference / its standard deviation).
    pub b1: f64,
    /// Standard error of `b0`.
    pub b0_se: f64,
    /// Standard error of `b1`.
    pub b1_se: f64,
    /// The log likelihood.
    pub log_likelihood: f64,
}

impl LengthControlled {
    /// The win rate at equal length.
    #[must_use]
    pub fn rate(&self) -> f64 {
        sigmoid(self.b0)
    }

    /// Its interval.
    #[must_use]
    pub fn interval(&self, alpha: f64) -> [f64; 2] {
        let half = normal_quantile(1.0 - alpha / 2.0) * self.b0_se;
        [sigmoid(self.b0 - half), sigmoid(self.b0 + half)]
    }
}

/// Fits scores in [0, 1] on length differences (tuned less base, any unit). `None` for fewer than three items, equal
/// lengths throughout, or separable data.
#[must_use]
pub fn length_controlled(delta_length: &[f64], score: &[f64]) -> Option<LengthControlled> {
    let n = delta_length.len();
    if n < 3 || score.len() != n {
        return None;
    }
    let mean = delta_length.iter().sum::<f64>() / n as f64;
    let sd = (delta_length.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0)).sqrt();
    if sd <= 0.0 {
        return None;
    }
    let x: Vec<f64> = delta_length.iter().map(|d| (d / sd).tanh()).collect();
    let (mut b0, mut b1) = (0.0, 0.0);
    const STEPS_MAX: u32 = 50;
    for _ in 0..STEPS_MAX {
        let fit = Normal::at(&x, score, b0, b1);
        let (step0, step1) = fit.solve()?;
        b0 += step0;
        b1 += step1;
        if step0.abs().max(step1.abs()) < 1e-13 {
            let fit = Normal::at(&x, score, b0, b1);
            let determinant = fit.determinant();
            return Some(LengthControlled {
                b0,
                b1,
                b0_se: (fit.h11 / determinant).sqrt(),
                b1_se: (fit.h00 / determinant).sqrt(),
                log_likelihood: log_likelihood(&x, score, b0, b1),
            });
        }
    }
    None
}

fn log_likelihood(x: &[f64], score: &[f64], b0: f64, b1: f64) -> f64 {
    let item = |(x, y): (&f64, &f64)| {
        let logit = b0 + b1 * x;
        y * -(-logit).exp().ln_1p() + (1.0 - y) * -logit.exp().ln_1p()
    };
    x.iter().zip(score).map(item).sum()
}

/// Gradient and information of the two coefficients.
struct Normal {
    g0: f64,
    g1: f64,
    h00: f64,
    h01: f64,
    h11: f64,
}

impl Normal {
    fn at(x: &[f64], score: &[f64], b0: f64, b1: f64) -> Normal {
        let mut fit = Normal { g0: 0.0, g1: 0.0, h00: 0.0, h01: 0.0, h11: 0.0 };
        for (x, y) in x.iter().zip(score) {
            let p = sigmoid(b0 + b1 * x);
            let weight = p * (1.0 - p);
            fit.g0 += y - p;
            fit.g1 += (y - p) * x;
            fit.h00 += weight;
            fit.h01 += weight * x;
            fit.h11 += weight * x * x;
        }
        fit
    }

    fn determinant(&self) -> f64 {
        self.h00 * self.h11 - self.h01 * self.h01
    }

    fn solve(&self) -> Option<(f64, f64)> {
        let determinant = self.determinant();
        // Separable data drive all weights to 0.
        (determinant > 1e-12).then(|| {
            (
                (self.h11 * self.g0 - self.h01 * self.g1) / determinant,
                (self.h00 * self.g1 - self.h01 * self.g0) / determinant,
            )
        })
    }
}
