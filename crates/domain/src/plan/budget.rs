//! What a plan's judges cost, against budgets. A panel's is shared out over its judge jobs: together they never spend more, wherever
//! they run.

use crate::job::PlannedJob;

/// Gives each job that calls an API its share of the budget, in proportion to what it is expected to cost.
///
/// # Errors
/// Why the judges do not fit the budget. An unknown price fits none.
pub(super) fn share(jobs: &mut [PlannedJob], budget: f64) -> Result<(), String> {
    let sum = check(jobs, budget)?;
    for job in jobs.iter_mut().filter(|job| job.estimate.api_calls > 0) {
        job.estimate.api_usd_max = job.estimate.api_usd.map(|usd| budget * usd / sum);
    }
    Ok(())
}

/// What the calls of all jobs cost, USD, if a budget allows it.
///
/// # Errors
/// Why the judges do not fit the budget. An unknown price fits none.
pub(super) fn check(jobs: &[PlannedJob], budget: f64) -> Result<f64, String> {
    let mut sum = 0.0;
    for job in jobs.iter().filter(|job| job.estimate.api_calls > 0) {
        match job.estimate.api_usd {
            Some(usd) => sum += usd,
            None => return Err(format!("what `{}` costs is unknown", job.label)),
        }
    }
    if sum > budget {
        return Err(format!("the judges cost about {sum:.2} USD"));
    }
    Ok(sum)
}
