//! What an attempt writes down while it runs: its log and its metrics, each a file here and parts in the store.

use std::path::Path;
use std::sync::Arc;

use assay_domain::segment::Lines;

use crate::courier::Courier;
use crate::log::{self, AttemptLog};
use crate::segments::Segments;
use crate::stored_lines::StoredLines;

/// Clones are the same record.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) log: Arc<AttemptLog>,
    log_parts: Arc<Segments>,
    metrics: StoredLines,
}

impl Record {
    /// Files in `logs`; parts wait in the attempt's `folder` while they are uploaded.
    pub(crate) fn new(logs: &Path, folder: &Path, courier: &Courier) -> Self {
        let log = Arc::new(AttemptLog::new(logs, courier.lease.clone(), courier.limits));
        let log_parts = Segments::new(Lines::Log, log.clone(), courier.clone(), folder.join("log"));
        let metrics = log::file_of(logs, &courier.lease).with_extension("metrics.jsonl");
        let metrics = StoredLines::new(Lines::Metrics, metrics, folder.join("metrics"), courier);
        Self { log, log_parts: Arc::new(log_parts), metrics }
    }

    /// A line of metrics. A run is worth more than its metrics: a disk that takes none costs the line.
    pub(crate) fn metric(&self, line: &str) {
        if let Err(error) = self.metrics.add(line) {
            tracing::warn!(%error, "a line of metrics was not written");
        }
    }

    /// Uploads what is new every so often, for as long as it is polled.
    pub(crate) async fn keep(&self) {
        tokio::join!(self.log_parts.keep(), self.metrics.keep());
    }

    /// Uploads what is new.
    pub(crate) async fn upload(&self) {
        tokio::join!(self.log_parts.upload(), self.metrics.upload());
    }

    /// Uploads all that is left, if the coordinator takes it in time.
    pub(crate) async fn finish(&self) {
        tokio::join!(self.log_parts.finish(), self.metrics.finish());
    }
}
