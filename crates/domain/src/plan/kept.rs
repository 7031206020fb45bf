//! What a matrix that is submitted again keeps of the first submission: how it will be analysed.

use crate::analysis::AnalysisPlan;
use crate::{PlannedJob, Work};

/// Gives a plan's reports the analysis that was fixed before, whatever this version would do; their keys follow.
///
/// # Errors
/// A value without a JSON form.
pub fn keep_analysis(plan: &mut [PlannedJob], before: &[PlannedJob]) -> Result<(), serde_json::Error> {
    let Some(fixed) = before.iter().find_map(analysis) else { return Ok(()) };
    for place in 0..plan.len() {
        let Work::Report(spec) = &mut plan[place].work else { continue };
        spec.analysis = Some(fixed.clone());
        let earlier = |ordinal: u32| plan.get(ordinal as usize).map(|job| job.key);
        plan[place].key = PlannedJob::key_of(&plan[place].work, &plan[place].inputs, earlier)?;
    }
    Ok(())
}

fn analysis(job: &PlannedJob) -> Option<&AnalysisPlan> {
    match &job.work {
        Work::Report(spec) => spec.analysis.as_ref(),
        Work::Train(_) | Work::Generate(_) | Work::Score(_) | Work::Judge(_) => None,
    }
}
