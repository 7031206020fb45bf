//! Report jobs: the records of a matrix become `report.json`.

use std::collections::BTreeMap;
use std::time::Instant;

use assay_agent::{AttemptContext, Failure, Finished};
use assay_domain::chain;
use assay_domain::job::{ReportSpec, Usage};
use assay_domain::segment::Lines;
use assay_judging::records::MetricRecord;
use assay_judging::report::{ReportInputs, build_report};

use crate::executor::bad_input;
use crate::files;

/// Builds the report.
pub(crate) fn run(spec: &ReportSpec, cx: &AttemptContext) -> Result<Finished, Failure> {
    let started = now();
    let report = build_report(&inputs(spec, cx)?).map_err(|error| bad_input(chain(&error)))?;
    let text = serde_json::to_string_pretty(&report)
        .map_err(|error| bad_input(format!("the report cannot be written: {error}")))?;
    let path = files::write_text(cx, "report.json", &text)?;
    let seconds = started.elapsed().as_secs_f64();
    let usage = Usage { phases: vec![(String::from("report"), seconds)], ..Usage::default() };
    Ok(Finished { outputs: vec![(String::from("report"), path)], usage })
}

fn inputs(spec: &ReportSpec, cx: &AttemptContext) -> Result<ReportInputs, Failure> {
    let assignment = cx.assignment();
    Ok(ReportInputs {
        spec: spec.clone(),
        generations: all(files::each(cx, "generations", files::generations)?),
        samplings: all(files::each(cx, "generations", files::sampling)?),
        verdicts: all(files::each(cx, "verdicts", files::read)?),
        keys: all(files::each(cx, "keys", files::read)?),
        metrics: files::each(cx, "metrics", files::read)?,
        metric_lines: metric_lines(cx)?,
        versions: BTreeMap::from([(String::from("assay"), String::from(env!("CARGO_PKG_VERSION")))]),
        matrix: Some(assignment.lease.job.matrix.clone()),
        fixed_at: assignment.fixed_at,
        history: assignment.history.clone(),
    })
}

/// Of trainings that took several attempts: `metric-lines/JOB/ATTEMPT/SEGMENT`, in any order.
fn metric_lines(cx: &AttemptContext) -> Result<BTreeMap<(u32, String), Vec<MetricRecord>>, Failure> {
    let mut segments = BTreeMap::new();
    for (role, _) in cx.inputs() {
        let parts: Vec<&str> = role.split('/').collect();
        let [of, job, attempt, number] = parts.as_slice() else { continue };
        if *of == Lines::Metrics.as_str()
            && let (Ok(job), Ok(number)) = (job.parse(), number.parse::<u32>())
        {
            segments.insert((job, (*attempt).to_owned(), number), files::read(cx, role)?);
        }
    }
    let mut lines: BTreeMap<(u32, String), Vec<MetricRecord>> = BTreeMap::new();
    for ((job, attempt, _), records) in segments {
        lines.entry((job, attempt)).or_default().extend::<Vec<_>>(records);
    }
    Ok(lines)
}

fn all<T>(lists: BTreeMap<u32, impl IntoIterator<Item = T>>) -> Vec<T> {
    lists.into_values().flatten().collect()
}

#[expect(clippy::disallowed_methods, reason = "a shell that measures how long the report took")]
fn now() -> Instant {
    Instant::now()
}
