//! What a worker is handed for an attempt, computed from the state.

use assay_domain::job::AttemptSummary;
use assay_domain::job::{JobSummary, Source};
use assay_domain::segment::Lines;
use assay_domain::state::{AttemptRecord, Matrix, Outcome, Phase};
use assay_domain::{Artifact, Assignment, FileRef, JobId, Lease, PlannedJob, WorkKind};

/// The assignment of a lease; none when its job is not in the matrix.
pub(super) fn assignment(matrix: &Matrix, lease: &Lease, lease_ms: u64) -> Option<Assignment> {
    let ordinal = lease.job.ordinal as usize;
    let planned = matrix.submitted.plan.get(ordinal)?;
    let kind = planned.work.kind();
    let resume = matrix.jobs.get(ordinal)?.resume().map(|(step, artifact)| (step, artifact.clone()));
    let secret = match kind {
        WorkKind::Score | WorkKind::Judge | WorkKind::Report => Some(matrix.submitted.secret),
        WorkKind::Train | WorkKind::Generate => None,
    };
    Some(Assignment {
        lease: lease.clone(),
        job: planned.clone(),
        inputs: inputs(matrix, planned)?,
        resume,
        secret,
        history: if kind == WorkKind::Report { history(matrix) } else { Vec::new() },
        traceparent: assay_proto::convert::traceparent(&matrix.submitted.id),
        lease_ms,
    })
}

/// All files that an attempt of the lease's job reads, as far as they are there.
pub(super) fn input_files(matrix: &Matrix, lease: &Lease) -> Vec<FileRef> {
    let ordinal = lease.job.ordinal as usize;
    let planned = matrix.submitted.plan.get(ordinal);
    let inputs = planned.iter().flat_map(|planned| &planned.inputs).filter_map(|input| match &input.source {
        Source::Upload { artifact } => Some(artifact),
        Source::Output { job, name } => matrix.output(*job, name),
    });
    let resume = matrix.jobs.get(ordinal).and_then(|job| job.resume()).map(|(_, artifact)| artifact);
    inputs.chain(resume).flat_map(|artifact| &artifact.files).cloned().collect()
}

fn inputs(matrix: &Matrix, planned: &PlannedJob) -> Option<Vec<(String, Artifact)>> {
    let artifact_of = |source: &Source| match source {
        Source::Upload { artifact } => Some(artifact.clone()),
        Source::Output { job, name } => matrix.output(*job, name).cloned(),
    };
    let inputs = planned.inputs.iter().map(|input| Some((input.name.clone(), artifact_of(&input.source)?)));
    inputs.chain(ledgers(matrix, planned).into_iter().map(Some)).collect()
}

/// What earlier attempts were answered, as far as it lies in the store: `ledger/ATTEMPT/SEGMENT`.
fn ledgers(matrix: &Matrix, planned: &PlannedJob) -> Vec<(String, Artifact)> {
    let job = JobId { matrix: matrix.submitted.id.clone(), ordinal: planned.ordinal };
    let attempts = matrix.jobs.get(planned.ordinal as usize).map(|job| job.attempts.as_slice());
    let mut found = Vec::new();
    for attempt in attempts.unwrap_or_default() {
        let lease = Lease { job: job.clone(), fence: attempt.fence };
        // A key that cannot be was refused when the segment was said.
        let files = attempt.ledger.segments.iter().filter_map(|segment| segment.file(&lease).ok());
        found.extend(files.map(|file| {
            let name = format!("{}/{}/{}", Lines::Ledger.as_str(), attempt.fence, file.path);
            (name, Artifact { name: Lines::Ledger.as_str().to_owned(), files: vec![file] })
        }));
    }
    found
}

fn history(matrix: &Matrix) -> Vec<JobSummary> {
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
            attempts: job.attempts.iter().map(attempt).collect(),
            usage,
            reused_from,
        }
    })
    .collect()
}

fn attempt(record: &AttemptRecord) -> AttemptSummary {
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
    }
}
