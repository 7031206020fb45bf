//! `assay logs`: what attempts have stored of their logs, of lost and failed ones too, then the lines that came after that; or of
//! their metrics.

use anyhow::Context as _;
use assay_domain::{Artifact, FileRef};
use assay_proto::v1::{LogsRequest, LogsResponse};
use serde_json::json;
use tokio_stream::StreamExt;

use crate::connect::Coordinator;
use crate::{args, fetch, print};

/// Runs the command.
pub(crate) async fn run(args: &args::Logs) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let (matrix_id, job_id) = match args.what.split_once('/') {
        Some((matrix, _)) => (matrix.to_owned(), args.what.clone()),
        None => (args.what.clone(), String::new()),
    };
    let failed = |status: tonic::Status| coordinator.failed(&status);
    let attempt = args.attempt.unwrap_or(0);
    let request = LogsRequest { matrix_id, job_id, follow: args.follow, attempt, metrics: args.metrics };
    let mut stream = coordinator.matrices().logs(request).await.map_err(failed)?.into_inner();
    let mut silent = true;
    while let Some(told) = stream.next().await {
        let told = told.map_err(failed)?;
        silent = false;
        if told.object_json.is_empty() {
            show(args, &told)?;
            continue;
        }
        let text = fetch::text(&coordinator, &stored(&told)?).await?;
        if args.metrics {
            text.lines().try_for_each(|line| show_metric(&told, line))?;
        } else {
            lines(&told, &text).iter().try_for_each(|line| show(args, line))?;
        }
    }
    if silent && args.metrics {
        print::say(format!(
            "{} has stored no metrics: only trainings measure, and the first part comes within 30 s",
            args.what
        ));
    } else if silent && let Some(attempt) = args.attempt {
        print::say(format!("attempt {attempt} of {} is not there or has logged nothing", args.what));
    }
    Ok(())
}

fn stored(told: &LogsResponse) -> anyhow::Result<Artifact> {
    let file: FileRef = serde_json::from_str(&told.object_json)?;
    Ok(Artifact { name: String::from("log"), files: vec![file] })
}

/// Stored lines: each begins with its time.
fn lines(told: &LogsResponse, text: &str) -> Vec<LogsResponse> {
    let line = |line: &str| {
        let (at, line) = line.split_once(' ').unwrap_or(("", line));
        LogsResponse {
            job_id: told.job_id.clone(),
            fence: told.fence.clone(),
            at_unix_ms: at.parse().unwrap_or(0),
            line: line.to_owned(),
            object_json: String::new(),
        }
    };
    text.lines().map(line).collect()
}

/// A measurement with whose it is in front.
fn show_metric(told: &LogsResponse, line: &str) -> anyhow::Result<()> {
    // Not read and written again: its numbers stay as they were, to the last digit.
    let record = line.strip_prefix('{').context("a stored measurement is not a JSON object")?;
    print::line(format!("{{\"job\":{},\"fence\":{},{record}", json!(told.job_id), json!(told.fence)));
    Ok(())
}

fn show(args: &args::Logs, told: &LogsResponse) -> anyhow::Result<()> {
    if args.json {
        return print::json_line(&json!({
            "job": told.job_id, "fence": told.fence, "at_unix_ms": told.at_unix_ms, "line": told.line,
        }));
    }
    print::line(format!("{} {}  {}", told.job_id, told.fence, told.line));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_lines_have_their_times_and_their_attempt() {
        let told = LogsResponse {
            job_id: String::from("m-1/0"),
            fence: String::from("e1-a2"),
            ..LogsResponse::default()
        };
        let told = lines(&told, "1700 step 1/12 loss 4.1\n1800 step 2/12 loss 4.0\n");
        assert_eq!((told[0].fence.as_str(), told[0].at_unix_ms), ("e1-a2", 1700));
        assert_eq!(told[1].line, "step 2/12 loss 4.0");
    }
}
