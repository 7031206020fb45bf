//! Learning rate over optimizer steps.

use serde::{Deserialize, Serialize};

/// Shape of the schedule after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Down to zero at the last step.
    #[default]
    Linear,
    /// At its peak to the end.
    Constant,
}

impl Schedule {
    /// Learning rate of the next step when `done` of `total` steps are done: `peak * done / warm_up` during the
    /// warm-up (so the first step has rate 0), then `peak * (total - done) / (total - warm_up)`
    /// (`get_linear_schedule_with_warmup` of Transformers).
    pub fn learning_rate(self, peak: f64, warm_up: u64, total: u64, done: u64) -> f64 {
        if done < warm_up {
            return peak * (done as f64 / warm_up as f64);
        }
        match self {
            Self::Constant => peak,
            Self::Linear => {
                let left = total.saturating_sub(done) as f64;
                peak * (left / total.saturating_sub(warm_up).max(1) as f64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The method's own runs logged 9e-5 at step 10 and 7.4e-7 at step 290, with 20 steps of warm-up to 2e-4.
    #[test]
    fn the_linear_schedule_matches_recorded_runs() {
        let rate = |done| Schedule::Linear.learning_rate(2e-4, 20, 290, done);
        assert_eq!(rate(0), 0.0);
        assert!((rate(9) - 9e-5).abs() < 1e-18);
        assert_eq!(rate(20), 2e-4);
        assert!((rate(289) - 2e-4 / 270.0).abs() < 1e-18);
        assert!((Schedule::Linear.learning_rate(2e-4, 20, 304, 303) - 2e-4 / 284.0).abs() < 1e-18);
    }

    /// The eight steps of a run of TRL with 2 steps of warm-up, as it logged them.
    #[test]
    fn the_linear_schedule_is_that_of_a_run_of_trl() {
        let logged = [
            0.0,
            0.0001,
            0.0002,
            0.0001666666666666667,
            0.00013333333333333334,
            0.0001,
            6.666666666666667e-5,
            3.3333333333333335e-5,
        ];
        for (done, logged) in logged.into_iter().enumerate() {
            let rate = Schedule::Linear.learning_rate(2e-4, 2, 8, done as u64);
            assert!((rate - logged).abs() < 1e-18, "step {}: {rate}, not {logged}", done + 1);
        }
    }

    #[test]
    fn a_warm_up_as_long_as_the_run_is_no_division_by_zero() {
        assert_eq!(Schedule::Linear.learning_rate(1.0, 8, 8, 8), 0.0);
        assert_eq!(Schedule::Constant.learning_rate(1.0, 0, 8, 3), 1.0);
    }
}
