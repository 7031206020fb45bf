//! An attempt's log: all of it in a file here, its lines in batches to the coordinator, the oldest dropped when they pile up.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use assay_domain::Lease;
use assay_proto::convert::lease_ref;
use assay_proto::v1::{LogBatch, LogItem, worker_message::Body};

use crate::clock::unix_ms;
use crate::config::AgentLimits;
use crate::link::Link;

pub(crate) struct AttemptLog {
    lease: Lease,
    limits: AgentLimits,
    path: PathBuf,
    file: Option<File>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<(u64, String)>,
    dropped: u64,
}

/// Makes the folder of log files, and keeps only the newest.
pub(crate) fn prepare(folder: &Path, files_max: usize) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    let surplus = files.len().saturating_sub(files_max);
    files.into_iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
}

/// The file of an attempt.
pub(crate) fn file_of(folder: &Path, lease: &Lease) -> PathBuf {
    folder.join(format!("{}-{}-{}.log", lease.job.matrix, lease.job.ordinal, lease.fence))
}

impl AttemptLog {
    /// A log that goes on without its file when that cannot be made: a run is worth more than its log.
    pub(crate) fn new(folder: &Path, lease: Lease, limits: AgentLimits) -> Self {
        let path = file_of(folder, &lease);
        let file = File::options().create(true).append(true).open(&path);
        let file =
            file.inspect_err(|error| tracing::warn!(path = %path.display(), %error, "no log file")).ok();
        Self { lease, limits, path, file, waiting: Mutex::default() }
    }

    /// Adds lines. Writes to the page cache and a bounded queue: never waits for anybody.
    pub(crate) fn add(&self, text: &str) {
        let at = unix_ms();
        for line in text.lines() {
            let line = &line[..line.floor_char_boundary(self.limits.log_line_bytes_max)];
            tracing::debug!(job = %self.lease.job, "{line}");
            if let Some(mut file) = self.file.as_ref() {
                // A full disk shows elsewhere, with a failure; here it only costs the line.
                let _ = writeln!(file, "{at} {line}");
            }
            self.lock().push(self.limits.log_lines_max, at, line.to_owned());
        }
    }

    /// Its file, when there are lines in it.
    pub(crate) fn written(&self) -> Option<PathBuf> {
        let bytes = self.file.as_ref()?.metadata().ok()?.len();
        (bytes > 0).then(|| self.path.clone())
    }

    /// Sends batches for as long as it is polled.
    pub(crate) async fn pump(&self, link: &Link) {
        loop {
            tokio::time::sleep(Duration::from_millis(self.limits.log_interval_ms)).await;
            self.send_batch(link).await;
        }
    }

    /// Sends what waits, if somebody listens.
    pub(crate) async fn flush(&self, link: &Link) {
        while self.send_batch(link).await {}
    }

    /// Whether a batch went out.
    async fn send_batch(&self, link: &Link) -> bool {
        let batch = self.lock().take(self.limits.log_batch_lines_max);
        if batch.is_empty() {
            return false;
        }
        let item = |(at, line): &(u64, String)| LogItem {
            lease: Some(lease_ref(&self.lease)),
            at_unix_ms: *at,
            line: line.clone(),
        };
        let items = batch.iter().map(item).collect();
        let sent = link.tell(Body::Logs(LogBatch { items })).await.is_ok();
        if !sent {
            self.lock().put_back(self.limits.log_lines_max, batch);
        }
        sent
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, lines_max: usize, at: u64, line: String) {
        if self.lines.len() >= lines_max.max(1) {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back((at, line));
    }

    fn take(&mut self, lines_max: usize) -> Vec<(u64, String)> {
        let count = self.lines.len().min(lines_max.max(1));
        let mut batch: Vec<_> = self.lines.drain(..count).collect();
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0
            && let Some((at, _)) = batch.first()
        {
            let line = format!("... {dropped} lines left out here; the worker's log file has them");
            batch.insert(0, (*at, line));
        }
        batch
    }

    fn put_back(&mut self, lines_max: usize, batch: Vec<(u64, String)>) {
        for line in batch.into_iter().rev() {
            if self.lines.len() >= lines_max.max(1) {
                self.dropped += 1;
            } else {
                self.lines.push_front(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_go_and_are_counted() {
        let mut waiting = Waiting::default();
        for line in 0..5 {
            waiting.push(3, line, line.to_string());
        }
        let batch = waiting.take(10);
        let lines: Vec<_> = batch.iter().map(|(_, line)| line.as_str()).collect();
        assert_eq!(lines, ["... 2 lines left out here; the worker's log file has them", "2", "3", "4"]);
        waiting.push(3, 5, String::from("5"));
        waiting.put_back(3, batch);
        let lines: Vec<_> = waiting.take(10).into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines[0], "... 2 lines left out here; the worker's log file has them");
        assert_eq!(lines[1..], ["3", "4", "5"]);
    }

    #[test]
    fn only_the_newest_files_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for (name, age) in [("old", 300), ("new", 100), ("older", 400)] {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000 - age)).unwrap();
        }
        prepare(folder.path(), 2).unwrap();
        assert!(!folder.path().join("older").exists() && folder.path().join("old").exists());
    }
}
