//! What a check found, for people and as JSON.

use std::fmt;

use serde::Serialize;

use super::{ExpectedStep, StepReport};

/// One kind of value, compared with the reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What was compared.
    pub what: String,
    /// Largest difference found, absolute or relative as `what` says; null in JSON if it is not finite.
    pub largest_difference: f64,
    /// Largest difference allowed; none if it is only reported.
    pub tolerance: Option<f64>,
    /// Whether the difference is within the tolerance.
    pub passed: bool,
}

impl Comparison {
    pub(super) fn new(what: impl Into<String>, largest_difference: f64, tolerance: f64) -> Self {
        // Not a number must fail, so the test is for "within", not for "beyond".
        let passed = largest_difference <= tolerance;
        Self { what: what.into(), largest_difference, tolerance: Some(tolerance), passed }
    }

    /// A difference that is reported but not judged.
    pub(super) fn told(what: impl Into<String>, largest_difference: f64) -> Self {
        Self { what: what.into(), largest_difference, tolerance: None, passed: true }
    }
}

/// One training step beside the reference's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepComparison {
    /// Number of the step, from 1.
    pub step: u64,
    /// Our loss.
    pub loss: f64,
    /// The reference's.
    pub expected_loss: f64,
    /// Our norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The reference's.
    pub expected_grad_norm: f64,
    /// Our learning rate.
    pub learning_rate: f64,
    /// The reference's.
    pub expected_learning_rate: f64,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// The folder of reference values.
    pub reference: String,
    /// Whether every comparison passed.
    pub passed: bool,
    /// The comparisons.
    pub comparisons: Vec<Comparison>,
    /// The training steps.
    pub steps: Vec<StepComparison>,
}

impl CheckReport {
    pub(super) fn new(reference: &std::path::Path, comparisons: Vec<Comparison>, steps: Steps) -> Self {
        let passed = comparisons.iter().all(|comparison| comparison.passed);
        Self { reference: reference.display().to_string(), passed, comparisons, steps: steps.steps }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.reference, verdict(self.passed))?;
        for comparison in &self.comparisons {
            let Comparison { what, largest_difference, tolerance, passed } = comparison;
            match tolerance {
                Some(tolerance) => {
                    let verdict = verdict(*passed);
                    writeln!(f, "  {what:<32} {largest_difference:>10.2e} of {tolerance:.0e}  {verdict}")?;
                }
                None => writeln!(f, "  {what:<32} {largest_difference:>10.2e} (not judged)")?,
            }
        }
        Ok(())
    }
}

fn verdict(passed: bool) -> &'static str {
    if passed { "ok" } else { "FAILED" }
}

/// Steps and their largest differences.
#[derive(Debug)]
pub(super) struct Steps {
    steps: Vec<StepComparison>,
    count_difference: f64,
    token_difference: f64,
}

impl Steps {
    pub(super) fn new(ours: u64, theirs: u64) -> Self {
        Self { steps: Vec::new(), count_difference: ours.abs_diff(theirs) as f64, token_difference: 0.0 }
    }

    pub(super) fn push(&mut self, ours: &StepReport, theirs: &ExpectedStep) {
        let tokens = theirs.trained_tokens.unwrap_or(ours.predicted_tokens);
        self.token_difference = self.token_difference.max(ours.predicted_tokens.abs_diff(tokens) as f64);
        self.steps.push(StepComparison {
            step: ours.step,
            loss: ours.loss,
            expected_loss: theirs.loss,
            grad_norm: ours.grad_norm,
            expected_grad_norm: theirs.grad_norm,
            learning_rate: ours.learning_rate,
            expected_learning_rate: theirs.learning_rate,
        });
    }

    /// Comparisons over all steps.
    pub(super) fn comparisons(&self, loss_abs: f64, grad_norm_rel: f64) -> Vec<Comparison> {
        let largest =
            |difference: &dyn Fn(&StepComparison) -> f64| self.steps.iter().map(difference).fold(0.0, worse);
        let relative =
            |ours: f64, theirs: f64| if ours == theirs { 0.0 } else { ((ours - theirs) / theirs).abs() };
        vec![
            Comparison::new("number of steps", self.count_difference, 0.0),
            Comparison::new("trained tokens", self.token_difference, 0.0),
            Comparison::new("loss (absolute)", largest(&|s| (s.loss - s.expected_loss).abs()), loss_abs),
            Comparison::new(
                "gradient norm (relative)",
                largest(&|s| relative(s.grad_norm, s.expected_grad_norm)),
                grad_norm_rel,
            ),
            Comparison::new(
                "learning rate (relative)",
                largest(&|s| relative(s.learning_rate, s.expected_learning_rate)),
                1e-6,
            ),
        ]
    }
}

/// The larger of two differences, where not a number is the worst.
fn worse(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() { f64::INFINITY } else { left.max(right) }
}
