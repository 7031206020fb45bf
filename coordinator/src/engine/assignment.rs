//! What a worker is handed for an attempt, computed from the state.

use std::collections::{BTreeMap, BTreeSet};

use assay_domain::event::WorkerInfo;
use assay_domain::job::{AttemptSummary, JobSummary, Source};
use assay_domain::segment::Lines;
use assay_domain::state::{AttemptRecord, Matrix, Outcome, Phase};
use assay_domain::{Artifact, Assignment, FileRef, JobId, Lease, PlannedJob, UnixMillis, WorkKind, WorkerId};

/// Inputs that no plan names: what was stored part by part, by role.
pub(super) type Parts = Vec<(String, Artifact)>;

/// All that are registered.
type Workers = BTreeMap<WorkerId, WorkerInfo>;

/// The assignment of a lease; none when its job is not in the matrix. `ledgers` are those that it reads.
pub(super) fn assignment(
    matrix: &Matrix,
    workers: &Workers,
    lease: &Lease,
    ledgers: Parts,
    lease_ms: u64,
) -> Option<Assignment> {
    let ordinal = lease.job.ordinal as usize;
    let planned = matrix.submitted.plan.get(ordinal)?;
    let kind = planned.work.kind();
    let account = matrix.jobs.get(ordinal)?.attempt(lease.fence).map(|attempt| attempt.account);
    let resume = matrix.jobs.get(ordinal)?.resume().map(|(step, artifact)| (step, artifact.clone()));
    let secret = match kind {
        WorkKind::Score | WorkKind::Judge | WorkKind::Report => Some(matrix.submitted.secret),
        WorkKind::Train | WorkKind::Generate => None,
    };
    Some(Assignment {
        lease: lease.clone(),
        job: planned.clone(),
        inputs: inputs(matrix, planned, ledgers)?,
        resume,
        secret,
        history: if kind == WorkKind::Report { history(matrix, workers) } else { Vec::new() },
        fixed_at: (kind == WorkKind::Report).then(|| fixed_at(matrix)),
        traceparent: assay_proto::convert::traceparent(&matrix.submitted.id),
        lease_ms,
        spend_limit: account.filter(|account| account.limited).map(|account| account.reserved),
    })
}

/// All files that an attempt of the lease's job reads, as far as they are there.
pub(super) fn input_files(matrix: &Matrix, lease: &Lease, ledgers: Parts) -> Vec<FileRef> {
    let ordinal = lease.job.ordinal as usize;
    let planned = matrix.submitted.plan.get(ordinal);
    let inputs = planned.iter().flat_map(|planned| &planned.inputs).filter_map(|input| match &input.source {
        Source::Upload { artifact } => Some(artifact),
        Source::Output { job, name } => matrix.output(*job, name),
    });
    let resume = matrix.jobs.get(ordinal).and_then(|job| job.resume()).map(|(_, artifact)| artifact);
    let measured = planned.map(|planned| metric_lines(matrix, planned)).unwrap_or_default();
    let files = inputs.chain(resume).flat_map(|artifact| &artifact.files).cloned();
    files.chain(measured.into_iter().chain(ledgers).flat_map(|(_, artifact)| artifact.files)).collect()
}

fn inputs(matrix: &Matrix, planned: &PlannedJob, ledgers: Parts) -> Option<Parts> {
    let artifact_of = |source: &Source| match source {
        Source::Upload { artifact } => Some(artifact.clone()),
        Source::Output { job, name } => matrix.output(*job, name).cloned(),
    };
    let inputs = planned.inputs.iter().map(|input| Some((input.name.clone(), artifact_of(&input.source)?)));
    inputs.chain(metric_lines(matrix, planned).into_iter().chain(ledgers).map(Some)).collect()
}

/// What the trainings that a report is about measured, where it took more than one attempt: `metric-lines/JOB/ATTEMPT/SEGMENT`.
fn metric_lines(matrix: &Matrix, report: &PlannedJob) -> Parts {
    if report.work.kind() != WorkKind::Report {
        return Vec::new();
    }
    let trainings = report.inputs.iter().filter_map(|input| match &input.source {
        Source::Output { job, .. } => Some(*job),
        Source::Upload { .. } => None,
    });
    let disturbed =
        trainings.filter(|job| matrix.jobs.get(*job as usize).is_some_and(|job| job.attempts.len() > 1));
    let disturbed: BTreeSet<u32> = disturbed.collect();
    disturbed.into_iter().flat_map(|job| metrics_of(matrix, job)).collect()
}

fn metrics_of(matrix: &Matrix, ordinal: u32) -> Parts {
    let job = JobId { matrix: matrix.submitted.id.clone(), ordinal };
    let attempts = matrix.jobs.get(ordinal as usize).map(|job| job.attempts.as_slice());
    let lines = Lines::Metrics;
    let mut found = Vec::new();
    for attempt in attempts.unwrap_or_default() {
        let lease = Lease { job: job.clone(), fence: attempt.fence };
        // A key that cannot be was refused when the segment was said.
        let files = attempt.stored(lines).segments.iter().filter_map(|segment| segment.file(&lease).ok());
        found.extend(files.map(|file| {
            let name = format!("{}/{ordinal}/{}/{}", lines.as_str(), attempt.fence, file.path);
            (name, Artifact { name: lines.as_str().to_owned(), files: vec![file] })
        }));
    }
    found
}

/// When it was said how this matrix would be analysed.
fn fixed_at(matrix: &Matrix) -> UnixMillis {
    matrix.submitted.fixed_at.unwrap_or(matrix.submitted.at)
}

fn history(matrix: &Matrix, workers: &Workers) -> Vec<JobSummary> {
    let jobs = matrix.submitted.plan.iter().zip(&matrix.jobs);
    jobs.map(|(planned, job)| {
        let (usage, reused_from) = match &job.phase {
            Phase::Succeeded { usage, .. } => (Some(usage.clone()), None),
            Phase::Reused { from, usage, .. } => (usage.clone(), Some(from.clone())),
            Phase::Waiting | Phase::Leased { .. } | Phase::Failed { .. } | Phase::Cancelled => (None, None),
        };
        JobSummary {
            job: JobId { matrix: matrix.submitted.id.clone(), ordinal: planned.ordinal },
            label: planned.label.clone(),
            kind: planned.work.kind(),
            attempts: job.attempts.iter().map(|record| attempt(record, workers)).collect(),
            usage,
            reused_from,
        }
    })
    .collect()
}

fn attempt(record: &AttemptRecord, workers: &Workers) -> AttemptSummary {
    let outcome = match &record.outcome {
        Outcome::Running => String::from("running"),
        Outcome::Succeeded => String::from("succeeded"),
        Outcome::Failed { reason, .. } => format!("failed: {reason}"),
        Outcome::Lost => String::from("lost"),
        Outcome::Cancelled => String::from("cancelled"),
        Outcome::Undone { reason } => format!("undone: {reason}"),
    };
    AttemptSummary {
        fence: record.fence,
        worker: record.worker.to_string(),
        started_at: record.started_at.0,
        ended_at: record.ended_at.map(|at| at.0),
        outcome,
        usd_per_hour: workers.get(&record.worker).and_then(|worker| worker.usd_per_hour),
    }
}
