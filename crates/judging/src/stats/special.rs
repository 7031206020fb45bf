//! Quantiles and tails of the distributions used here, from statrs where it is exact enough.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::{beta::beta_reg, gamma::gamma_ur};

/// The quantile of the standard normal distribution; not a number outside (0, 1).
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

/// The upper tail of the standard normal distribution.
pub(super) fn normal_sf(x: f64) -> f64 {
    Normal::standard().sf(x)
}

/// The quantile of Student's t; not a number for no degrees of freedom.
#[must_use]
pub fn student_t_quantile(p: f64, degrees: f64) -> f64 {
    let Ok(t) = StudentsT::new(0.0, 1.0, degrees) else { return f64::NAN };
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p < 0.5 {
        return -student_t_quantile(1.0 - p, degrees);
    }
    let mut high = 1.0;
    while t.cdf(high) < p && high < 1e300 {
        high *= 2.0;
    }
    bisect(0.0, high, |x| t.cdf(x) < p)
}

/// The upper tail of chi-squared.
pub(super) fn chi_squared_sf(x: f64, degrees: f64) -> f64 {
    if x <= 0.0 { 1.0 } else { gamma_ur(degrees / 2.0, x / 2.0) }
}

/// The quantile of Beta(a, b), for positive a and b.
pub(super) fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    bisect(0.0, 1.0, |x| beta_reg(a, b, x) < p)
}

/// The point where `below` turns from true to false, to the last bit that halving can reach.
fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    const HALVINGS_MAX: u32 = 200;
    for _ in 0..HALVINGS_MAX {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low + (high - low) / 2.0
}
