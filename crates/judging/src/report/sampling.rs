//! How responses were drawn: what the matrix said and what was in effect, base and tuned side by side.

use std::collections::BTreeMap;

use assay_domain::job::Sampling;
use serde::{Deserialize, Serialize};

use super::inputs::ReportInputs;
use super::types::GenerationReport;
use crate::records::{EffectiveSampling, SamplingRecord};

/// One model's responses to one prompt set under one sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SamplingReport {
    /// The model's name.
    pub model: String,
    /// The prompt set's name.
    pub prompts: String,
    /// The sampling's name.
    pub sampling: String,
    /// What the matrix says; absent where no generations recorded it.
    pub matrix: Option<Sampling>,
    /// What was in effect for each system, the base first.
    pub systems: Vec<SystemSampling>,
    /// Names of settings in which the systems differ: their win rates compare settings as well.
    pub differing: Vec<String>,
}

/// What was in effect for one system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemSampling {
    /// `base`, or the tuned system's name.
    pub system: String,
    /// Absent for generations of a build that did not record it.
    pub effective: Option<EffectiveSampling>,
    /// What the model's `generation_config.json` says about drawing, was asked for and was not followed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_followed: BTreeMap<String, serde_json::Value>,
}

/// One for each model, prompt set and sampling that has responses, in the order of `generations`.
pub(super) fn samplings(inputs: &ReportInputs, generations: &[GenerationReport]) -> Vec<SamplingReport> {
    let mut reports: Vec<SamplingReport> = Vec::new();
    for set in generations {
        let record = inputs.samplings.iter().find(|record| is_of(record, set));
        let system = SystemSampling {
            system: set.system.clone(),
            effective: record.map(|record| record.effective.clone()),
            not_followed: record.map(|record| record.not_followed.clone()).unwrap_or_default(),
        };
        let same = |report: &&mut SamplingReport| {
            (&report.model, &report.prompts, &report.sampling) == (&set.model, &set.prompts, &set.sampling)
        };
        match reports.iter_mut().find(same) {
            Some(report) => {
                report.systems.push(system);
                report.matrix = report.matrix.take().or_else(|| record.map(|record| record.matrix.clone()));
            }
            None => reports.push(SamplingReport {
                model: set.model.clone(),
                prompts: set.prompts.clone(),
                sampling: set.sampling.clone(),
                matrix: record.map(|record| record.matrix.clone()),
                systems: vec![system],
                differing: Vec::new(),
            }),
        }
    }
    for report in &mut reports {
        report.differing = differing(&report.systems);
    }
    reports
}

fn is_of(record: &SamplingRecord, set: &GenerationReport) -> bool {
    (&record.model, &record.prompts, &record.matrix.name, &record.system)
        == (&set.model, &set.prompts, &set.sampling, &set.system)
}

/// A setting that differs only in who set it draws the same tokens, but is told all the same: it should not happen.
fn differing(systems: &[SystemSampling]) -> Vec<String> {
    let known: Vec<[String; 8]> =
        systems.iter().filter_map(|system| system.effective.as_ref()).map(EffectiveSampling::texts).collect();
    let differs = |place: usize| known.iter().any(|texts| texts[place] != known[0][place]);
    let names = EffectiveSampling::NAMES.iter().enumerate();
    names.filter(|(place, _)| differs(*place)).map(|(_, name)| (*name).to_owned()).collect()
}

/// What a reader should know first.
pub(super) fn warnings(samplings: &[SamplingReport]) -> Vec<String> {
    let mut warnings = Vec::new();
    for report in samplings {
        let name = format!("{} {}, {}", report.model, report.prompts, report.sampling);
        if !report.differing.is_empty() {
            warnings.push(format!(
                "{name}: base and tuned responses were drawn with different {}: win rates compare settings, not only \
                 models",
                report.differing.join(", ")
            ));
        }
        let unknown = report.systems.iter().filter(|system| system.effective.is_none()).count();
        if unknown > 0 {
            warnings.push(format!(
                "{name}: the sampling in effect was not recorded for {unknown} of {} systems (answers of an older \
                 build): whether base and tuned were drawn alike is not known",
                report.systems.len()
            ));
        }
        let mut ignored = BTreeMap::new();
        for system in &report.systems {
            ignored.extend(&system.not_followed);
        }
        for (setting, value) in ignored {
            warnings.push(format!(
                "{name}: the model's generation_config.json says {setting} = {value}, which was not followed"
            ));
        }
    }
    warnings
}
