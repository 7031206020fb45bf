//! What people see of a matrix, computed from the state.

use std::collections::BTreeMap;

use assay_domain::decide::Balance;
use assay_domain::job::Usage;
use assay_domain::state::{AttemptRecord, JobState, Matrix, Outcome, Phase, Status};
use assay_domain::{Artifact, FileRef, JobId, Lease, Progress, Work};

use super::to_json;
use crate::v1;

/// A matrix in a list.
pub fn matrix_summary(matrix: &Matrix) -> v1::MatrixSummary {
    let mut jobs = BTreeMap::<Status, u32>::new();
    for status in matrix.statuses() {
        *jobs.entry(status).or_default() += 1;
    }
    let finished = if matrix.is_finished() { matrix.finished_at() } else { None };
    v1::MatrixSummary {
        matrix_id: matrix.submitted.id.to_string(),
        name: matrix.submitted.name.clone(),
        submitted_at_unix_ms: matrix.submitted.at.0,
        // A matrix without jobs, or cancelled before any began, finished when that happened.
        finished_at_unix_ms: finished.or_else(|| ended_without_jobs(matrix)).map_or(0, |at| at.0),
        cancelled: matrix.cancelled_at.is_some(),
        paused: matrix.paused_at.is_some(),
        held: held(matrix),
        jobs: jobs.into_iter().map(|(status, count)| (status.as_str().to_owned(), count)).collect(),
    }
}

fn held(matrix: &Matrix) -> String {
    let scope = matrix.held_by.as_ref().filter(|_| !matrix.is_finished());
    scope.map(|scope| format!("the budget of {scope} is used up: {}", scope.remedy())).unwrap_or_default()
}

fn ended_without_jobs(matrix: &Matrix) -> Option<assay_domain::UnixMillis> {
    matrix.is_finished().then(|| matrix.cancelled_at.unwrap_or(matrix.submitted.at))
}

/// A matrix with its jobs; `progress` answers with what a running attempt last said.
pub fn matrix_view(
    matrix: &Matrix,
    progress: impl Fn(u32) -> Option<Progress>,
    with_resolved: bool,
) -> v1::MatrixView {
    let jobs = (0..).zip(matrix.statuses()).filter_map(|(ordinal, status)| {
        let view = job_view(matrix, ordinal, status, progress(ordinal))?;
        let ledger_json = if with_resolved { to_json(&ledger(matrix, ordinal)) } else { String::new() };
        Some(v1::JobView { ledger_json, ..view })
    });
    v1::MatrixView {
        summary: Some(matrix_summary(matrix)),
        jobs: jobs.collect(),
        balance_json: to_json(&Balance::of(matrix)),
        resolved_json: if with_resolved { matrix.submitted.spec_json.clone() } else { String::new() },
    }
}

fn job_view(
    matrix: &Matrix,
    ordinal: u32,
    status: Status,
    progress: Option<Progress>,
) -> Option<v1::JobView> {
    let planned = matrix.submitted.plan.get(ordinal as usize)?;
    let job = matrix.jobs.get(ordinal as usize)?;
    let (reason, reused_from, usage) = ending(&job.phase);
    let mut needs: Vec<u32> = planned.needs().map(|(needed, _)| needed).collect();
    needs.sort_unstable();
    needs.dedup();
    Some(v1::JobView {
        job_id: JobId { matrix: matrix.submitted.id.clone(), ordinal }.to_string(),
        label: planned.label.clone(),
        kind: planned.work.kind().as_str().to_owned(),
        status: status.as_str().to_owned(),
        attempts: job.attempts.iter().map(attempt_view).collect(),
        progress_json: progress.map(|progress| to_json(&progress)).unwrap_or_default(),
        reason,
        reused_from,
        outputs_json: to_json(&outputs(job)),
        usage_json: usage.map(to_json).unwrap_or_default(),
        needs,
        job_key: planned.key.to_string(),
        ledger_json: String::new(),
        steps: match &planned.work {
            Work::Train(spec) => spec.total_steps,
            Work::Generate(_) | Work::Score(_) | Work::Judge(_) | Work::Report(_) => 0,
        },
    })
}

/// What is stored of a job's ledger, of all its attempts.
fn ledger(matrix: &Matrix, ordinal: u32) -> Vec<FileRef> {
    let attempts = matrix.jobs.get(ordinal as usize).map(|job| job.attempts.as_slice());
    let parts = attempts.unwrap_or_default().iter().flat_map(|attempt| {
        let job = JobId { matrix: matrix.submitted.id.clone(), ordinal };
        let lease = Lease { job, fence: attempt.fence };
        attempt.ledger.segments.iter().filter_map(move |segment| segment.file(&lease).ok())
    });
    parts.collect()
}

fn ending(phase: &Phase) -> (String, String, Option<&Usage>) {
    match phase {
        Phase::Waiting | Phase::Leased { .. } | Phase::Cancelled => (String::new(), String::new(), None),
        Phase::Succeeded { usage, .. } => (String::new(), String::new(), Some(usage)),
        Phase::Reused { from, usage, .. } => (String::new(), from.to_string(), usage.as_ref()),
        Phase::Failed { reason } => (reason.clone(), String::new(), None),
    }
}

fn outputs(job: &JobState) -> Vec<&Artifact> {
    match &job.phase {
        Phase::Succeeded { outputs, .. } | Phase::Reused { outputs, .. } => outputs.iter().collect(),
        Phase::Waiting | Phase::Leased { .. } | Phase::Failed { .. } | Phase::Cancelled => {
            job.adapters().collect()
        }
    }
}

fn attempt_view(attempt: &AttemptRecord) -> v1::AttemptView {
    let (outcome, reason) = match &attempt.outcome {
        Outcome::Running => ("running", String::new()),
        Outcome::Succeeded => ("succeeded", String::new()),
        Outcome::Failed { reason, .. } => ("failed", reason.clone()),
        Outcome::Lost => ("lost", String::new()),
        Outcome::Cancelled => ("cancelled", String::new()),
        Outcome::Undone { reason } => ("undone", reason.clone()),
    };
    v1::AttemptView {
        fence: attempt.fence.to_string(),
        worker_id: attempt.worker.to_string(),
        started_at_unix_ms: attempt.started_at.0,
        ended_at_unix_ms: attempt.ended_at.map_or(0, |at| at.0),
        outcome: outcome.to_owned(),
        reason,
        account_json: to_json(&attempt.account),
        resumed_from: attempt.resumed_from.unwrap_or(0),
    }
}
