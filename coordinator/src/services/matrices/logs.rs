//! The logs of a matrix as its reader gets them: where the stored parts lie, the lines after them, then new ones.

use std::time::Duration;

use assay_domain::segment::Lines;
use assay_domain::{Attempt, MatrixId};
use assay_proto::{convert, v1};
use tokio::sync::mpsc;
use tonic::Status;

use super::MatricesService;
use crate::engine::command::{Command, LogLine, LogPage, StoredLog, WantedLogs};
use crate::services::rejected;

const LOGS_INTERVAL_MS: u64 = 100;

type Sender = mpsc::Sender<Result<v1::LogsResponse, Status>>;

/// Whose logs a request asks for.
pub(super) fn wanted(request: &v1::LogsRequest) -> Result<WantedLogs, Status> {
    let job = match request.job_id.as_str() {
        "" => None,
        job => Some(convert::job_id(job)?),
    };
    let attempt = (request.attempt > 0).then_some(Attempt(request.attempt));
    let of = if request.metrics { Lines::Metrics } else { Lines::Log };
    Ok(WantedLogs { matrix: MatrixId::new(request.matrix_id.clone()), job, attempt, of })
}

impl MatricesService {
    pub(super) async fn log_page(&self, wanted: &WantedLogs, after: Option<u64>) -> Result<LogPage, Status> {
        let wanted = wanted.clone();
        self.engine.ask(|reply| Command::Logs { wanted, after, reply }).await?.map_err(rejected)
    }

    /// Ends early, without an error, when its reader is gone.
    pub(super) async fn tell_logs(
        &self,
        wanted: &WantedLogs,
        first: LogPage,
        follow: bool,
        sender: &Sender,
    ) -> Result<(), Status> {
        let mut changes = self.engine.changes();
        let mut page = first;
        loop {
            let (after, finished) = (page.through, page.finished);
            let messages = page.stored.into_iter().map(object).chain(page.lines.into_iter().map(line));
            for message in messages {
                if sender.send(Ok(message)).await.is_err() {
                    return Ok(());
                }
            }
            if finished || !follow {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(LOGS_INTERVAL_MS)).await;
            changes.changed().await.map_err(|_| crate::engine::Stopped)?;
            page = self.log_page(wanted, Some(after)).await?;
        }
    }
}

fn object(stored: StoredLog) -> v1::LogsResponse {
    v1::LogsResponse {
        job_id: stored.lease.job.to_string(),
        fence: stored.lease.fence.to_string(),
        object_json: convert::to_json(&stored.file),
        ..v1::LogsResponse::default()
    }
}

fn line(line: LogLine) -> v1::LogsResponse {
    let said = line.said;
    v1::LogsResponse {
        job_id: said.lease.job.to_string(),
        fence: said.lease.fence.to_string(),
        at_unix_ms: said.at.0,
        line: said.text,
        object_json: String::new(),
    }
}
