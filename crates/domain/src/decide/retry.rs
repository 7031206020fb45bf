//! Trying again what a finished matrix lacks: a new submission of the same, whose finished jobs are taken from their keys.

use crate::state::{FinishedJob, Matrix, ReadSet};
use crate::{PlannedJob, Rejection};

/// Refuses what could not help: a matrix in which something can still run, and one that lacks nothing.
pub(super) fn check(matrix: &Matrix, read: &ReadSet) -> Result<(), Rejection> {
    let id = || matrix.submitted.id.clone();
    if !matrix.is_finished() {
        return Err(Rejection::NotFinished { matrix: id() });
    }
    let lacking = |job: &PlannedJob| {
        read.absent.contains(&job.key)
            || matrix.finished_job(job.ordinal).as_ref().is_none_or(FinishedJob::lacks_something)
    };
    if matrix.submitted.plan.iter().any(lacking) {
        return Ok(());
    }
    Err(Rejection::NothingToRetry { matrix: id() })
}
