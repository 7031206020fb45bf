//! What was fixed when the matrix was submitted, before any response existed, as it was stored then; and what was done
//! otherwise.

use assay_domain::analysis::AnalysisPlan;
use assay_domain::job::{JudgeInfo, ReportSpec};
use serde::{Deserialize, Serialize};

use super::types::Report;

/// The pre-registration block.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Preregistration {
    /// Where it was fixed.
    pub fixed_by: String,
    /// SHA-256 of the stored plan of analysis; none where the matrix was submitted to a version that stored none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The plan of analysis: as it was stored, or else as this version makes it from the stored settings.
    #[serde(flatten)]
    pub plan: AnalysisPlan,
    /// Where the analysis of this report is not the planned one.
    #[serde(default)]
    pub differences: Vec<String>,
}

impl Preregistration {
    /// The plan of analysis that was stored at the submission.
    #[must_use]
    pub fn stored(&self) -> Option<&AnalysisPlan> {
        self.digest.as_ref().map(|_| &self.plan)
    }
}

/// The block of a report that is otherwise complete.
pub(super) fn preregistration(spec: &ReportSpec, report: &Report) -> Preregistration {
    let done = AnalysisPlan::of(&ReportSpec {
        // People judge what was submitted, whenever they come.
        judges: spec.judges.iter().filter(|judge| judge.kind != super::HUMAN).cloned().collect(),
        ..spec.clone()
    });
    let matrix = spec.matrix_digest;
    let stored = spec.analysis.as_ref().and_then(|plan| Some((plan, plan.digest().ok()?)));
    match stored {
        Some((plan, digest)) => Preregistration {
            fixed_by: format!("the submission of the matrix of digest {matrix}, with which it was stored"),
            digest: Some(digest.to_string()),
            differences: differences(plan, &done, report),
            plan: plan.clone(),
        },
        None => Preregistration {
            fixed_by: format!(
                "the matrix of digest {matrix}, when it was submitted; its settings were stored, and these words are this \
                 version's"
            ),
            digest: None,
            plan: done,
            differences: Vec::new(),
        },
    }
}

fn differences(plan: &AnalysisPlan, done: &AnalysisPlan, report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    let texts = [
        ("estimand", &plan.estimand, &done.estimand),
        ("ties", &plan.ties, &done.ties),
        ("intervals", &plan.intervals, &done.intervals),
        ("missing verdicts", &plan.missing, &done.missing),
    ];
    for (what, planned, done) in texts.iter().filter(|(_, planned, done)| planned != done) {
        found.push(format!("{what}: planned was \"{planned}\", done is \"{done}\""));
    }
    lists("test", &plan.tests, &done.tests, &mut found);
    lists("rule", &plan.rules, &done.rules, &mut found);
    lists("comparison", &plan.comparisons, &done.comparisons, &mut found);
    let numbers = [
        ("two-sided level", plan.alpha.to_string(), done.alpha.to_string()),
        ("training seeds", format!("{:?}", plan.training_seeds), format!("{:?}", done.training_seeds)),
        ("bootstrap seed", plan.bootstrap_seed.to_string(), done.bootstrap_seed.to_string()),
        ("resamples", plan.bootstrap_replicates.to_string(), done.bootstrap_replicates.to_string()),
    ];
    for (what, planned, done) in numbers.iter().filter(|(_, planned, done)| planned != done) {
        found.push(format!("{what}: planned was {planned}, done is {done}"));
    }
    judges(plan, done, report, &mut found);
    found
}

fn lists(what: &str, planned: &[String], done: &[String], found: &mut Vec<String>) {
    let not_in = |list: &[String], one: &&String| !list.contains(one);
    found.extend(planned.iter().filter(|one| not_in(done, one)).map(|one| format!("{what} not done: {one}")));
    found.extend(
        done.iter().filter(|one| not_in(planned, one)).map(|one| format!("{what} not planned: {one}")),
    );
}

fn judges(plan: &AnalysisPlan, done: &AnalysisPlan, report: &Report, found: &mut Vec<String>) {
    for judge in &plan.judges {
        let name = &judge.name;
        match done.judges.iter().find(|one| one.name == *name) {
            None => found.push(format!("judge {name} was planned and is not in the report")),
            Some(one) if one != judge => {
                found.push(format!("judge {name}: its model, template or orders changed"))
            }
            Some(_) => {}
        }
        let seen = report.judges.iter().find(|one| one.info.name == *name);
        if judge.unavailable.is_none() && seen.is_some_and(|seen| seen.verdicts == 0) {
            found.push(format!("judge {name} was planned and gave no verdict"));
        }
    }
    let planned = |info: &JudgeInfo| plan.judges.iter().any(|judge| judge.name == info.name);
    for judge in report.judges.iter().filter(|judge| !planned(&judge.info)) {
        let place =
            if report.method.panel.contains(&judge.info.name) { "in the panel" } else { "beside the panel" };
        found.push(format!("judge {} was not planned: {place}", judge.info.name));
    }
}
