//! Training attempts that did not finish: how much of them was kept, and whether what was computed twice came out the same.

use std::collections::BTreeMap;

use assay_domain::job::{AttemptSummary, JobSummary};

use super::inputs::ReportInputs;
use super::types::UnfinishedTraining;
use crate::records::MetricRecord;

/// One for each attempt that had stored steps and is not the one that succeeded, in the order of the matrix.
pub(super) fn trainings(inputs: &ReportInputs) -> Vec<UnfinishedTraining> {
    let mut jobs: Vec<&JobSummary> = inputs.history.iter().collect();
    jobs.sort_by_key(|job| job.job.ordinal);
    let mut found = Vec::new();
    for job in jobs {
        let last = steps(inputs.metrics.get(&job.job.ordinal));
        let others = job.attempts.iter().filter(|attempt| attempt.outcome != "succeeded");
        found.extend(others.filter_map(|attempt| unfinished(job, attempt, inputs, &last)));
    }
    found
}

fn unfinished(
    job: &JobSummary,
    attempt: &AttemptSummary,
    inputs: &ReportInputs,
    last: &BTreeMap<u64, &MetricRecord>,
) -> Option<UnfinishedTraining> {
    let key = (job.job.ordinal, attempt.fence.to_string());
    let here = steps(inputs.metric_lines.get(&key));
    let (first_step, last_step) = (*here.keys().next()?, *here.keys().next_back()?);
    let both = here.iter().filter_map(|(step, record)| Some((*record, *last.get(step)?)));
    // A record of a kept step came with the resume state, its wall time included; nobody takes exactly as long twice.
    let (kept, again): (Vec<_>, Vec<_>) = both.partition(|(here, last)| here == last);
    let difference = again.iter().map(|(here, last)| difference(here, last)).reduce(f64::max);
    Some(UnfinishedTraining {
        job: job.label.clone(),
        fence: attempt.fence,
        outcome: attempt.outcome.clone(),
        first_step,
        last_step,
        kept: kept.len() as u64,
        again: again.len() as u64,
        largest_difference: difference,
    })
}

/// Of several lines about a step the last counts.
fn steps(records: Option<&Vec<MetricRecord>>) -> BTreeMap<u64, &MetricRecord> {
    let step = |record| match record {
        &MetricRecord::Step { step, .. } => Some((step, record)),
        MetricRecord::Eval { .. }
        | MetricRecord::Memory { .. }
        | MetricRecord::Moved { .. }
        | MetricRecord::End { .. } => None,
    };
    records.into_iter().flatten().filter_map(step).collect()
}

/// Of loss and gradient norm, the larger one; 0 means equal to the last bit.
fn difference(one: &MetricRecord, other: &MetricRecord) -> f64 {
    match (one, other) {
        (
            MetricRecord::Step { loss: a, grad_norm: x, .. },
            MetricRecord::Step { loss: b, grad_norm: y, .. },
        ) => (a - b).abs().max((x - y).abs()),
        _ => 0.0,
    }
}
