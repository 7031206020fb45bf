//! What a report is computed from.

use std::collections::BTreeMap;

use assay_domain::job::{JobSummary, ReportSpec};
use assay_domain::{MatrixId, UnixMillis};

use crate::records::{GenerationRecord, KeyRecord, MetricRecord, RawVerdictRecord, SamplingRecord};

/// All records of a matrix. Lists may come in any order; the report sorts.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportInputs {
    /// The report job's settings: comparisons, judges, digests, bootstrap seed.
    pub spec: ReportSpec,
    /// The lines of all `generations.jsonl`.
    pub generations: Vec<GenerationRecord>,
    /// All `sampling.json`; generations of older builds have none.
    pub samplings: Vec<SamplingRecord>,
    /// The lines of all `verdicts.jsonl`.
    pub verdicts: Vec<RawVerdictRecord>,
    /// The lines of all `keys.jsonl`; two judges' jobs may repeat each other's lines.
    pub keys: Vec<KeyRecord>,
    /// The lines of each train job's `metrics.jsonl`, by the job's ordinal: N of the input `metrics/N`.
    pub metrics: BTreeMap<u32, Vec<MetricRecord>>,
    /// What attempts of trainings measured, by the job's ordinal and the attempt (`e1-a2`): goes to the execution section only.
    pub metric_lines: BTreeMap<(u32, String), Vec<MetricRecord>>,
    /// Versions for the reproducibility block, such as ("assay", "0.1.0").
    pub versions: BTreeMap<String, String>,
    /// When the analysis was fixed; goes to the execution section only.
    pub fixed_at: Option<UnixMillis>,
    /// The matrix as submitted; goes to the execution section only.
    pub matrix: Option<MatrixId>,
    /// The matrix's jobs with their attempts; goes to the execution section only.
    pub history: Vec<JobSummary>,
}
