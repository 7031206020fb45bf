//! Losses of training runs.

use std::collections::BTreeMap;

use assay_domain::job::{Comparison, Training};

use super::build::ReportError;
use super::inputs::ReportInputs;
use super::types::{EvalPoint, LossPoint, Moved, SmallerPasses, TrainingEnd, TrainingReport};
use crate::records::MetricRecord;

/// One report per training that has metrics, as the settings list them. Of several lines about a step the last counts:
/// a resumed attempt repeats steps.
pub(super) fn runs(inputs: &ReportInputs) -> Result<Vec<TrainingReport>, ReportError> {
    let trainings = &inputs.spec.trainings;
    for job in inputs.metrics.keys() {
        if !trainings.iter().any(|training| training.job == *job) {
            let known =
                trainings.iter().map(|training| training.job.to_string()).collect::<Vec<_>>().join(", ");
            return Err(ReportError::UnknownTraining { job: *job, known });
        }
    }
    let run = |training: &Training| {
        let records = inputs.metrics.get(&training.job)?;
        Some(report(training, records, &inputs.spec.comparisons))
    };
    Ok(trainings.iter().filter_map(run).collect())
}

fn report(training: &Training, records: &[MetricRecord], comparisons: &[Comparison]) -> TrainingReport {
    let mut steps: BTreeMap<u64, LossPoint> = BTreeMap::new();
    let mut evals: BTreeMap<u64, EvalPoint> = BTreeMap::new();
    let (mut smaller_passes, mut moved, mut end) = (Vec::new(), Vec::new(), None);
    for record in records {
        match record {
            MetricRecord::Step { step, epoch, loss, grad_norm, learning_rate, tokens, seconds: _ } => {
                let point = LossPoint {
                    step: *step,
                    epoch: *epoch,
                    loss: *loss,
                    grad_norm: *grad_norm,
                    learning_rate: *learning_rate,
                    tokens: *tokens,
                };
                steps.insert(*step, point);
            }
            MetricRecord::Eval { step, epoch, loss, tokens } => {
                let point = EvalPoint {
                    checkpoint: checkpoint_name(training, *step, comparisons),
                    step: *step,
                    epoch: *epoch,
                    loss: *loss,
                    tokens: *tokens,
                };
                evals.insert(*step, point);
            }
            MetricRecord::Memory { step, rows, recompute } => {
                smaller_passes.push(SmallerPasses { step: *step, rows: *rows, recompute: *recompute });
            }
            MetricRecord::Moved { step, changes } => {
                moved.push(Moved { step: *step, changes: changes.clone() });
            }
            MetricRecord::End { step, kept } => end = Some(TrainingEnd { step: *step, kept: *kept }),
        }
    }
    TrainingReport {
        training: training.clone(),
        evals: evals.into_values().collect(),
        steps: steps.into_values().collect(),
        smaller_passes,
        moved,
        end,
    }
}

/// The name that comparisons of this run give a step.
fn checkpoint_name(training: &Training, step: u64, comparisons: &[Comparison]) -> String {
    // The end of a run that keeps its best is another adapter than the one whose loss was computed there.
    let same = |c: &&Comparison| {
        c.model == training.model
            && c.data == training.data
            && c.recipe == training.recipe.name
            && c.seed == training.seed
            && c.step == step
            && c.checkpoint != assay_domain::plan::BEST
    };
    match comparisons.iter().find(same) {
        _ if step == 0 => "base".to_owned(),
        Some(comparison) => comparison.checkpoint.clone(),
        None if step.is_multiple_of(training.steps_per_epoch.max(1)) => {
            format!("epoch {}", step / training.steps_per_epoch.max(1))
        }
        None => format!("step {step}"),
    }
}

#[cfg(test)]
mod tests;
