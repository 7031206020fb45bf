//! What the wire says of matrices and jobs, in the words of tables and JSON.

use assay_domain::decide::Balance;
use assay_domain::job::Usage;
use assay_domain::{Artifact, Progress};
use assay_proto::v1::{JobView, MatrixSummary, MatrixView};
use serde_json::{Value, json};

use crate::print;

/// Whether a job's status is an end that people hoped for.
pub(crate) fn is_good_end(status: &str) -> bool {
    matches!(status, "succeeded" | "reused")
}

/// How far a job is.
pub(crate) fn progress(job: &JobView) -> Option<Progress> {
    serde_json::from_str(&job.progress_json).ok()
}

/// What a job used.
pub(crate) fn usage(job: &JobView) -> Option<Usage> {
    serde_json::from_str(&job.usage_json).ok()
}

/// What a matrix may cost, and did.
pub(crate) fn balance(matrix: &MatrixView) -> Option<Balance> {
    serde_json::from_str(&matrix.balance_json).ok()
}

/// The artifacts of a job.
pub(crate) fn outputs(job: &JobView) -> Vec<Artifact> {
    serde_json::from_str(&job.outputs_json).unwrap_or_default()
}

/// One line about a job.
pub(crate) fn job_line(job: &JobView) -> String {
    let mut line = format!("{:<10} {} {}", job.status, job.job_id, job.label);
    if !job.reused_from.is_empty() {
        line.push_str(&format!(" (from {})", job.reused_from));
    }
    if job.attempts.len() > 1 {
        line.push_str(&format!(", attempt {}{}", job.attempts.len(), kept(job)));
    }
    if let Some(usage) = usage(job).filter(|_| job.status == "succeeded") {
        let seconds: f64 = usage.phases.iter().map(|(_, seconds)| seconds).sum();
        line.push_str(&format!(", {}", print::seconds(seconds)));
        if usage.tokens_per_s > 0.0 {
            line.push_str(&format!(", {:.0} tokens/s", usage.tokens_per_s));
        }
    }
    if !job.reason.is_empty() {
        line.push_str(&format!(": {}", job.reason));
    }
    line
}

/// What was kept of the attempts before: ` from step 6 of 12 (50 % kept)`.
pub(crate) fn kept(job: &JobView) -> String {
    match job.attempts.last().map(|attempt| attempt.resumed_from) {
        None | Some(0) => String::new(),
        Some(step) => {
            let percent = step * 100 / job.steps.max(1);
            format!(" from step {step} of {} ({percent} % kept)", job.steps)
        }
    }
}

/// A matrix as JSON, nested values as values.
pub(crate) fn matrix_json(matrix: &MatrixView) -> Value {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    let jobs: Vec<Value> = matrix.jobs.iter().map(|job| job_json(job, parse)).collect();
    let balance = parse(&matrix.balance_json);
    json!({ "summary": matrix.summary.as_ref().map(summary_json), "jobs": jobs, "balance": balance })
}

/// A matrix's summary as JSON.
pub(crate) fn summary_json(summary: &MatrixSummary) -> Value {
    json!({
        "matrix": summary.matrix_id,
        "name": summary.name,
        "submitted_at_unix_ms": summary.submitted_at_unix_ms,
        "finished_at_unix_ms": summary.finished_at_unix_ms,
        "cancelled": summary.cancelled,
        "paused": summary.paused,
        "held": summary.held,
        "jobs": summary.jobs,
    })
}

fn job_json(job: &JobView, parse: impl Fn(&str) -> Value) -> Value {
    let attempts: Vec<Value> = job
        .attempts
        .iter()
        .map(|attempt| {
            json!({
                "fence": attempt.fence,
                "worker": attempt.worker_id,
                "started_at_unix_ms": attempt.started_at_unix_ms,
                "ended_at_unix_ms": attempt.ended_at_unix_ms,
                "outcome": attempt.outcome,
                "reason": attempt.reason,
                "account": parse(&attempt.account_json),
                "resumed_from": attempt.resumed_from,
            })
        })
        .collect();
    json!({
        "job": job.job_id,
        "label": job.label,
        "kind": job.kind,
        "status": job.status,
        "reason": job.reason,
        "needs": job.needs,
        "steps": job.steps,
        "job_key": job.job_key,
        "reused_from": job.reused_from,
        "attempts": attempts,
        "progress": parse(&job.progress_json),
        "usage": parse(&job.usage_json),
        "outputs": parse(&job.outputs_json),
    })
}

#[cfg(test)]
mod tests {
    use assay_proto::v1::AttemptView;

    use super::*;

    #[test]
    fn a_training_that_goes_on_says_from_where_and_how_much_was_kept() {
        let attempt = |resumed_from| AttemptView { resumed_from, ..Default::default() };
        let mut job = JobView {
            job_id: String::from("m-1/0"),
            label: String::from("train a"),
            status: String::from("running"),
            steps: 12,
            attempts: vec![attempt(0)],
            ..Default::default()
        };
        assert_eq!(job_line(&job), "running    m-1/0 train a");
        job.attempts.push(attempt(7));
        assert_eq!(job_line(&job), "running    m-1/0 train a, attempt 2 from step 7 of 12 (58 % kept)");
        job.attempts.push(attempt(0));
        assert_eq!(job_line(&job), "running    m-1/0 train a, attempt 3");
    }
}
