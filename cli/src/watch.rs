//! `assay watch`: follows a matrix until it is finished; survives restarts of the coordinator.

mod bars;
mod lines;

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use assay_proto::v1::{MatrixView, WatchRequest};
use tokio_stream::StreamExt;

use crate::args;
use crate::connect::Coordinator;
use crate::exit::Failed;
use crate::{print, show_report, view};

/// How often the coordinator tells.
const INTERVAL_MS: u32 = 250;
/// Pause before connecting again.
const RECONNECT: Duration = Duration::from_millis(500);
/// Tries to connect again before giving up: two minutes.
const RECONNECTS_MAX: u32 = 240;

/// Something that shows how a matrix goes.
trait Screen {
    /// Shows the newest state.
    fn show(&mut self, matrix: &MatrixView);
    /// Clears what only made sense while it went on.
    fn end(&mut self);
}

/// What is new about the budget that holds a matrix back, or does not any more.
fn news_of_budget(matrix: &MatrixView, known: &mut String) -> Option<String> {
    let held = matrix.summary.as_ref().map(|summary| summary.held.clone()).unwrap_or_default();
    if held == *known {
        return None;
    }
    *known = held.clone();
    Some(if held.is_empty() {
        String::from("goes on: its budget has enough left again")
    } else {
        format!("waits: {held}")
    })
}

/// Runs the command.
pub(crate) async fn run(args: &args::Watch) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let matrix = if args.json {
        follow(&coordinator, &args.matrix, &mut lines::Json).await?
    } else {
        follow(&coordinator, &args.matrix, &mut *screen()).await?
    };
    judge_end(&matrix)
}

/// Follows a matrix, then prints its report and writes it to the data folder.
pub(crate) async fn to_report(
    coordinator: &Coordinator,
    matrix: &str,
    data_dir: &Path,
    json: bool,
) -> anyhow::Result<()> {
    let finished = follow(coordinator, matrix, &mut *screen()).await?;
    judge_end(&finished)?;
    show_report::print_and_write(coordinator, &finished, data_dir, json).await
}

fn screen() -> Box<dyn Screen> {
    if std::io::stderr().is_terminal() {
        Box::new(bars::Bars::new())
    } else {
        Box::new(lines::Lines::default())
    }
}

async fn follow(
    coordinator: &Coordinator,
    matrix: &str,
    screen: &mut dyn Screen,
) -> anyhow::Result<MatrixView> {
    let mut reconnects = 0;
    loop {
        match follow_once(coordinator, matrix, screen, &mut reconnects).await {
            Ok(Some(finished)) => {
                screen.end();
                return Ok(finished);
            }
            Ok(None) => {}
            Err(Failed::Unreachable(_)) if reconnects < RECONNECTS_MAX => {}
            Err(failed) => {
                screen.end();
                return Err(failed.into());
            }
        }
        reconnects += 1;
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn follow_once(
    coordinator: &Coordinator,
    matrix: &str,
    screen: &mut dyn Screen,
    reconnects: &mut u32,
) -> Result<Option<MatrixView>, Failed> {
    let request = WatchRequest { matrix_id: matrix.to_owned(), interval_ms: INTERVAL_MS };
    let failed = |status: tonic::Status| coordinator.failed(&status);
    let mut stream = coordinator.matrices().watch(request).await.map_err(failed)?.into_inner();
    while let Some(told) = stream.next().await {
        let told = told.map_err(failed)?;
        *reconnects = 0;
        let Some(matrix) = told.matrix else { continue };
        screen.show(&matrix);
        if told.finished {
            return Ok(Some(matrix));
        }
    }
    Ok(None)
}

/// An error when something of a finished matrix did not succeed.
fn judge_end(matrix: &MatrixView) -> anyhow::Result<()> {
    let bad: Vec<_> = matrix.jobs.iter().filter(|job| !view::is_good_end(&job.status)).collect();
    let Some(first) = bad.first() else { return Ok(()) };
    let reason = bad.iter().find(|job| !job.reason.is_empty()).unwrap_or(first);
    for job in &bad {
        print::say(format!("{} {}: {} {}", job.job_id, job.label, job.status, job.reason));
    }
    Err(Failed::Matrix(format!(
        "{} of {} jobs did not succeed; first {} ({}): {}; `assay logs {}` shows more",
        bad.len(),
        matrix.jobs.len(),
        reason.job_id,
        reason.label,
        if reason.reason.is_empty() { &reason.status } else { &reason.reason },
        reason.job_id
    ))
    .into())
}
