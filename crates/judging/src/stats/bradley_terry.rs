//! Bradley and Terry's model for three systems or more: logit P(i beats j) = b_i - b_j, ties half a win to each.

use super::linear::solve;

/// Why strengths cannot be estimated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BradleyTerryError {
    /// Some group never loses to the others, so the likelihood has no maximum (Ford 1957).
    #[error(
        "strengths are not identifiable: system {0} cannot be reached from system 0 by wins in both directions; add half a win each way, or report counts"
    )]
    Separable(usize),
    /// Not square, or fewer than two systems.
    #[error("a square table of at least two systems is needed")]
    Shape,
}

/// Estimated strengths.
#[derive(Debug, Clone, PartialEq)]
pub struct Strengths {
    /// Log strengths with mean 0.
    pub centred: Vec<f64>,
    /// Log strengths relative to system 0.
    pub relative: Vec<f64>,
    /// Standard errors of `relative` from the inverse Fisher information; 0 for system 0.
    pub relative_se: Vec<f64>,
    /// The log likelihood.
    pub log_likelihood: f64,
}

impl Strengths {
    /// P(i beats j).
    #[must_use]
    pub fn probability(&self, i: usize, j: usize) -> f64 {
        crate::logprob::sigmoid(self.relative[i] - self.relative[j])
    }

    /// Strengths on the Elo scale: 400 points for odds of ten, mean 1000.
    #[must_use]
    pub fn elo(&self) -> Vec<f64> {
        self.centred.iter().map(|b| 1000.0 + 400.0 / std::f64::consts::LN_10 * b).collect()
    }
}

/// Maximum likelihood by Newton's method. `wins[i][j]` is how often i beat j; a tie is half to each. `prior` wins are
/// added each way between every two systems: 0 for none, one half where the data are separable.
///
/// # Errors
/// A table that is not square, or separable data without a prior.
pub fn bradley_terry(wins: &[Vec<f64>], prior: f64) -> Result<Strengths, BradleyTerryError> {
    let count = wins.len();
    if count < 2 || wins.iter().any(|row| row.len() != count) {
        return Err(BradleyTerryError::Shape);
    }
    let add = |i: usize, j: usize| if i == j { 0.0 } else { wins[i][j] + prior };
    let wins: Vec<Vec<f64>> = (0..count).map(|i| (0..count).map(|j| add(i, j)).collect()).collect();
    if let Some(system) = unconnected(&wins) {
        return Err(BradleyTerryError::Separable(system));
    }
    let mut b = vec![0.0; count];
    const STEPS_MAX: u32 = 100;
    for _ in 0..STEPS_MAX {
        let (gradient, information) = derivatives(&wins, &b);
        let step = solve(information, gradient);
        // Far from the maximum a full step may overshoot; halving the long ones keeps it on the way.
        let longest = step.iter().fold(0.0f64, |longest, s| longest.max(s.abs()));
        let scale = if longest > 2.0 { 2.0 / longest } else { 1.0 };
        for (b, step) in b[1..].iter_mut().zip(&step) {
            *b += scale * step;
        }
        if longest < 1e-13 {
            break;
        }
    }
    Ok(strengths(&wins, b))
}

fn strengths(wins: &[Vec<f64>], relative: Vec<f64>) -> Strengths {
    let (_, information) = derivatives(wins, &relative);
    let size = information.len();
    let unit = |k: usize| (0..size).map(|i| if i == k { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
    let variance = |k: usize| solve(information.clone(), unit(k))[k];
    let mean = relative.iter().sum::<f64>() / relative.len() as f64;
    let log_p = |i: usize, j: usize| -(relative[j] - relative[i]).exp().ln_1p();
    let pairs = (0..wins.len()).flat_map(|i| (0..wins.len()).map(move |j| (i, j))).filter(|(i, j)| i != j);
    Strengths {
        centred: relative.iter().map(|b| b - mean).collect(),
        relative_se: std::iter::once(0.0).chain((0..size).map(|k| variance(k).sqrt())).collect(),
        log_likelihood: pairs.map(|(i, j)| wins[i][j] * log_p(i, j)).sum(),
        relative,
    }
}

/// Gradient and Fisher information of all systems but the first, whose strength is fixed at 0.
fn derivatives(wins: &[Vec<f64>], b: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let size = wins.len() - 1;
    let mut gradient = vec![0.0; size];
    let mut information = vec![vec![0.0; size]; size];
    for i in 1..=size {
        for j in (0..=size).filter(|j| *j != i) {
            let games = wins[i][j] + wins[j][i];
            let p = crate::logprob::sigmoid(b[i] - b[j]);
            gradient[i - 1] += wins[i][j] - games * p;
            information[i - 1][i - 1] += games * p * (1.0 - p);
            if j > 0 {
                information[i - 1][j - 1] -= games * p * (1.0 - p);
            }
        }
    }
    (gradient, information)
}

/// A system that system 0 does not reach by wins, or that does not reach it: Ford's condition fails.
fn unconnected(wins: &[Vec<f64>]) -> Option<usize> {
    let reached = |beats: &dyn Fn(usize, usize) -> bool| {
        let mut seen = vec![false; wins.len()];
        let mut open = vec![0];
        while let Some(i) = open.pop() {
            if !std::mem::replace(&mut seen[i], true) {
                open.extend((0..wins.len()).filter(|j| beats(i, *j)));
            }
        }
        seen
    };
    let down = reached(&|i, j| wins[i][j] > 0.0);
    let up = reached(&|i, j| wins[j][i] > 0.0);
    (0..wins.len()).find(|i| !(down[*i] && up[*i]))
}
