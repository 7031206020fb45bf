//! The records of a finished matrix, fetched: what a report is computed from.

use std::collections::BTreeMap;

use anyhow::Context as _;
use assay_domain::job::{ReportSpec, Work};
use assay_domain::matrix::ResolvedMatrix;
use assay_domain::{PlannedJob, WorkKind, plan};
use assay_judging::records::{GENERATIONS_FILE, SAMPLING_FILE, from_jsonl};
use assay_judging::report::{Report, ReportInputs};
use assay_proto::v1::{GetMatrixRequest, JobView, MatrixView};
use serde::de::DeserializeOwned;

use crate::connect::Coordinator;
use crate::exit::Failed;
use crate::{fetch, view};

/// A matrix with its jobs.
pub(crate) async fn get(coordinator: &Coordinator, matrix: &str) -> Result<MatrixView, Failed> {
    let request = GetMatrixRequest { matrix_id: matrix.to_owned() };
    let answer = coordinator.matrices().get(request).await.map_err(|status| coordinator.failed(&status))?;
    Ok(answer.into_inner().matrix.unwrap_or_default())
}

/// The plan of a stored matrix, made again: it must have the jobs that the coordinator has.
pub(crate) fn plan_of(matrix: &MatrixView) -> anyhow::Result<Vec<PlannedJob>> {
    let resolved: ResolvedMatrix = serde_json::from_str(&matrix.resolved_json)
        .context("the matrix was stored by another version of assay")?;
    let plan = plan::plan(&resolved).ok();
    let same = |plan: &Vec<PlannedJob>| {
        // A report's key is of the analysis as well, which another version may have fixed.
        let same = |(planned, job): (&PlannedJob, &JobView)| {
            planned.work.kind() == WorkKind::Report || planned.key.to_string() == job.job_key
        };
        plan.len() == matrix.jobs.len() && plan.iter().zip(&matrix.jobs).all(same)
    };
    let why = "the matrix was planned by another version of assay: use that one, or submit the matrix again";
    Ok(plan.filter(same).ok_or_else(|| Failed::Input(String::from(why)))?)
}

/// What a finished matrix's report was computed from.
pub(crate) async fn inputs(
    coordinator: &Coordinator,
    matrix: &MatrixView,
    report: &Report,
) -> anyhow::Result<ReportInputs> {
    let plan = plan_of(matrix)?;
    let mut inputs = ReportInputs {
        // The stored report has the analysis as it was fixed; this version might plan another.
        spec: ReportSpec { analysis: report.preregistration.stored().cloned(), ..spec(&plan)? },
        generations: Vec::new(),
        samplings: Vec::new(),
        verdicts: Vec::new(),
        keys: Vec::new(),
        metrics: BTreeMap::new(),
        // What they say of attempts is in the report already.
        metric_lines: BTreeMap::new(),
        versions: report.reproducibility.versions.clone(),
        matrix: report.execution.matrix.clone(),
        fixed_at: report.execution.fixed_at,
        history: report.execution.jobs.clone(),
    };
    for (job, planned) in matrix.jobs.iter().zip(&plan) {
        for artifact in view::outputs(job) {
            let wanted = ["generations", "verdicts", "keys", "metrics"];
            if !wanted.contains(&artifact.name.as_str()) {
                continue;
            }
            let files = fetch::files(coordinator, &artifact).await?;
            let whole: String = files.values().cloned().collect();
            match artifact.name.as_str() {
                "generations" => {
                    let text = files.get(GENERATIONS_FILE).unwrap_or(&whole);
                    inputs.generations.extend(lines(&job.job_id, text)?);
                    if let Some(text) = files.get(SAMPLING_FILE) {
                        inputs.samplings.push(serde_json::from_str(text)?);
                    }
                }
                "verdicts" => inputs.verdicts.extend(lines(&job.job_id, &whole)?),
                "keys" => inputs.keys.extend(lines(&job.job_id, &whole)?),
                _ => {
                    inputs.metrics.insert(planned.ordinal, lines(&job.job_id, &whole)?);
                }
            }
        }
    }
    Ok(inputs)
}

fn lines<T: DeserializeOwned>(job: &str, text: &str) -> anyhow::Result<Vec<T>> {
    Ok(from_jsonl(job, text)?)
}

fn spec(plan: &[PlannedJob]) -> Result<ReportSpec, Failed> {
    let specs = plan.iter().find_map(|job| match &job.work {
        Work::Report(spec) => Some(spec.clone()),
        Work::Train(_) | Work::Generate(_) | Work::Score(_) | Work::Judge(_) => None,
    });
    specs.ok_or_else(|| Failed::Input(String::from("the matrix has no report job")))
}
