//! Status of jobs, computed in one pass: inputs come from smaller ordinals only.

use super::{JobState, Phase, Status};
use crate::PlannedJob;

/// The statuses of the jobs up to `last`, in the order of the plan. `job` gives what is known of a job.
pub(super) fn statuses<'a>(
    plan: &[PlannedJob],
    job: impl Fn(u32) -> Option<&'a JobState>,
    last: u32,
) -> Vec<Status> {
    let mut statuses: Vec<Status> = Vec::with_capacity(plan.len());
    for planned in plan.iter().take_while(|planned| planned.ordinal <= last) {
        let status = status(planned, &job, &statuses);
        statuses.push(status);
    }
    statuses
}

/// Whether nothing can run any more; looks no further than the first job that can change.
pub(crate) fn is_finished<'a>(plan: &[PlannedJob], job: impl Fn(u32) -> Option<&'a JobState>) -> bool {
    let mut statuses: Vec<Status> = Vec::with_capacity(plan.len());
    for planned in plan {
        let status = status(planned, &job, &statuses);
        if !status.is_final() {
            return false;
        }
        statuses.push(status);
    }
    true
}

fn status<'a>(
    planned: &PlannedJob,
    job: &impl Fn(u32) -> Option<&'a JobState>,
    earlier: &[Status],
) -> Status {
    let Some(known) = job(planned.ordinal) else { return Status::Blocked };
    if let Some(settled) = known.phase.settled() {
        return settled;
    }
    let mut status = Status::Ready;
    for (needed, name) in planned.needs() {
        if job(needed).is_some_and(|maker| maker.output(name).is_some()) {
            continue;
        }
        match earlier.get(needed as usize) {
            Some(Status::Waiting | Status::Ready | Status::Running | Status::Succeeded | Status::Reused) => {
                status = Status::Waiting;
            }
            Some(Status::Failed | Status::Blocked | Status::Cancelled) | None => return Status::Blocked,
        }
    }
    status
}

impl Phase {
    /// Whether the job has its outputs.
    pub(super) const fn is_success(&self) -> bool {
        matches!(self, Self::Succeeded { .. } | Self::Reused { .. })
    }

    /// The status that the phase alone decides.
    pub(super) const fn settled(&self) -> Option<Status> {
        match self {
            Self::Waiting => None,
            Self::Leased { .. } => Some(Status::Running),
            Self::Succeeded { .. } => Some(Status::Succeeded),
            Self::Reused { .. } => Some(Status::Reused),
            Self::Failed { .. } => Some(Status::Failed),
            Self::Cancelled => Some(Status::Cancelled),
        }
    }
}
