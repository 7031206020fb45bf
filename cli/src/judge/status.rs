//! `assay judge status`: calls done, missing, refused, under way, and what was spent, by judge.

use std::collections::BTreeMap;

use assay_domain::job::Work;
use assay_domain::{Artifact, FileRef, PlannedJob};
use assay_judging::records::VerdictStatus;
use assay_judging::tally::{Tally, tally};
use assay_proto::v1::JobView;
use serde::Serialize;

use crate::connect::Coordinator;
use crate::plan::new_table;
use crate::records::{self, get};
use crate::{args, fetch, print, view};

/// One judge job.
#[derive(Debug, Serialize)]
struct Row {
    judge: String,
    job: String,
    label: String,
    status: String,
    /// Verdicts that were planned.
    planned: u64,
    /// The job whose verdicts were taken.
    #[serde(skip_serializing_if = "String::is_empty")]
    taken_from: String,
    /// What the job may spend, USD.
    usd_max: Option<f64>,
    tally: Tally,
}

/// One judge, all its jobs together.
#[derive(Debug, Default)]
struct Sum {
    jobs: u64,
    planned: u64,
    statuses: BTreeMap<VerdictStatus, u64>,
    batches_open: u64,
    usd: Option<f64>,
    usd_open: f64,
    usd_max: Option<f64>,
}

/// Runs the command.
pub(crate) async fn run(args: &args::JudgeStatus) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let matrix = get(&coordinator, &args.matrix).await?;
    let plan = records::plan_of(&matrix)?;
    let mut rows = Vec::new();
    for (job, planned) in matrix.jobs.iter().zip(&plan) {
        if let Work::Judge(spec) = &planned.work {
            rows.push(row(&coordinator, job, planned, &spec.judge).await?);
        }
    }
    if args.json {
        return print::json(&rows);
    }
    if rows.is_empty() {
        print::say("no judge of this matrix is asked through an API");
        return Ok(());
    }
    print::line(table(&rows));
    for row in &rows {
        if let Some((class, why)) = &row.tally.stopped {
            print::line(format!("{} stopped ({class}): {why}", row.label));
        }
    }
    if rows.iter().any(|row| row.usd_open() > 0.0) {
        print::line(
            "open: calls and batches under way, and calls that were cut off and may have to be paid, at their dearest",
        );
    }
    Ok(())
}

impl Row {
    fn usd_open(&self) -> f64 {
        self.tally.usd_open
    }
}

async fn row(
    coordinator: &Coordinator,
    job: &JobView,
    planned: &PlannedJob,
    judge: &str,
) -> anyhow::Result<Row> {
    let mut parts = Vec::new();
    let files: Vec<FileRef> = serde_json::from_str(&job.ledger_json).unwrap_or_default();
    for file in files {
        let part = Artifact { name: String::from("ledger"), files: vec![file] };
        parts.push(fetch::text(coordinator, &part).await?);
    }
    let calls = planned.estimate.api_calls;
    let mut tally = tally(parts.iter().map(String::as_str));
    if !job.reused_from.is_empty() {
        let missing = view::usage(job).map_or(0, |usage| usage.missing);
        tally.statuses.insert(VerdictStatus::Ok, calls.saturating_sub(missing));
    }
    Ok(Row {
        judge: judge.to_owned(),
        job: job.job_id.clone(),
        label: job.label.clone(),
        status: job.status.clone(),
        planned: calls,
        taken_from: job.reused_from.clone(),
        usd_max: planned.estimate.api_usd_max,
        tally,
    })
}

fn table(rows: &[Row]) -> comfy_table::Table {
    let mut judges: BTreeMap<&str, Sum> = BTreeMap::new();
    for row in rows {
        let sum = judges.entry(&row.judge).or_insert_with(|| Sum { usd: Some(0.0), ..Sum::default() });
        sum.jobs += 1;
        sum.planned += row.planned;
        for (status, count) in &row.tally.statuses {
            *sum.statuses.entry(*status).or_default() += count;
        }
        sum.batches_open += row.tally.batches_open;
        sum.usd = sum.usd.zip(row.tally.usd).map(|(sum, usd)| sum + usd);
        sum.usd_open += row.tally.usd_open;
        sum.usd_max = row.usd_max.map_or(sum.usd_max, |most| Some(sum.usd_max.unwrap_or_default() + most));
    }
    let statuses = VerdictStatus::ALL.map(VerdictStatus::name);
    let mut columns = vec!["judge", "jobs", "planned"];
    columns.extend(statuses);
    columns.extend(["not asked", "batches", "spent USD", "open USD", "budget USD"]);
    let numbers: Vec<usize> = (1..columns.len()).collect();
    let mut table = new_table(&columns, &numbers);
    for (judge, sum) in judges {
        let count = |status: VerdictStatus| sum.statuses.get(&status).copied().unwrap_or(0);
        let seen: u64 = VerdictStatus::ALL.into_iter().map(count).sum();
        let mut cells = vec![judge.to_owned(), sum.jobs.to_string(), sum.planned.to_string()];
        cells.extend(VerdictStatus::ALL.into_iter().map(|status| count(status).to_string()));
        cells.push(sum.planned.saturating_sub(seen).to_string());
        cells.push(sum.batches_open.to_string());
        cells.push(sum.usd.map_or_else(|| String::from("unknown"), usd));
        cells.push(usd(sum.usd_open));
        cells.push(sum.usd_max.map_or_else(|| String::from("none"), usd));
        table.add_row(cells);
    }
    table
}

fn usd(usd: f64) -> String {
    format!("{usd:.4}")
}
