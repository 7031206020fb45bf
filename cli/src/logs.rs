//! `assay logs`: of finished jobs from the log that lies with their outputs, of others from the coordinator's live tail.

use std::collections::BTreeSet;

use assay_domain::Artifact;
use assay_proto::v1::{GetMatrixRequest, LogsRequest, LogsResponse};
use serde_json::json;
use tokio_stream::StreamExt;

use crate::connect::Coordinator;
use crate::{args, fetch, print, view};

/// Runs the command.
pub(crate) async fn run(args: &args::Logs) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let (matrix_id, job_id) = match args.what.split_once('/') {
        Some((matrix, _)) => (matrix.to_owned(), args.what.clone()),
        None => (args.what.clone(), String::new()),
    };
    let failed = |status: tonic::Status| coordinator.failed(&status);
    // Asked for first: the coordinator says what is wrong with an id.
    let request = LogsRequest { matrix_id: matrix_id.clone(), job_id: job_id.clone(), follow: args.follow };
    let mut stream = coordinator.matrices().logs(request).await.map_err(failed)?.into_inner();
    let request = GetMatrixRequest { matrix_id };
    let matrix = coordinator.matrices().get(request).await.map_err(failed)?.into_inner().matrix;
    let mut stored = BTreeSet::new();
    for job in matrix.iter().flat_map(|matrix| &matrix.jobs) {
        let log = view::outputs(job).into_iter().find(|artifact| artifact.name == "log");
        let Some(log) = log.filter(|_| job_id.is_empty() || job.job_id == job_id) else { continue };
        for line in lines(&job.job_id, &log, &fetch::text(&coordinator, &log).await?) {
            show(args, &line)?;
        }
        stored.insert(job.job_id.clone());
    }
    while let Some(told) = stream.next().await {
        let told = told.map_err(failed)?;
        if !stored.contains(&told.job_id) {
            show(args, &told)?;
        }
    }
    Ok(())
}

/// A stored log: each line begins with its time. The attempt is part of the object's key.
fn lines(job_id: &str, log: &Artifact, text: &str) -> Vec<LogsResponse> {
    let key = log.files.first().map(|file| file.key.as_str()).unwrap_or_default();
    let fence = key.split('/').nth(3).unwrap_or_default();
    let line = |line: &str| {
        let (at, line) = line.split_once(' ').unwrap_or(("", line));
        LogsResponse {
            job_id: job_id.to_owned(),
            fence: fence.to_owned(),
            at_unix_ms: at.parse().unwrap_or(0),
            line: line.to_owned(),
        }
    };
    text.lines().map(line).collect()
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
    use assay_domain::{Digest, FileRef, ObjectKey};

    use super::*;

    #[test]
    fn a_stored_log_has_its_times_and_its_attempt() {
        let key = ObjectKey::parse("jobs/m-1/0/e1-a2/log/m-1-0-e1-a2.log").unwrap();
        let file = FileRef { path: String::from("x.log"), key, digest: Digest::of(b""), bytes: 0 };
        let log = Artifact { name: String::from("log"), files: vec![file] };
        let told = lines("m-1/0", &log, "1700 step 1/12 loss 4.1\n1800 step 2/12 loss 4.0\n");
        assert_eq!((told[0].fence.as_str(), told[0].at_unix_ms), ("e1-a2", 1700));
        assert_eq!(told[1].line, "step 2/12 loss 4.0");
    }
}
