//! An attempt's log: all of it in a file here, which `segments` uploads part by part; its lines in batches to the coordinator for
//! live views, the oldest dropped when they pile up.

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
use crate::segments::Growing;

pub(crate) struct AttemptLog {
    lease: Lease,
    limits: AgentLimits,
    path: PathBuf,
    file: Option<File>,
    lines: Mutex<Lines>,
}

/// How much is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    /// The number of the last line, from 1.
    pub(crate) lines: u64,
}

#[derive(Default)]
struct Lines {
    /// Lines added, written or not.
    count: u64,
    written: Written,
    full: bool,
    waiting: Waiting,
}

/// Lines for live views.
#[derive(Default)]
struct Waiting {
    lines: VecDeque<Line>,
    dropped: u64,
}

#[derive(Debug, Clone)]
struct Line {
    /// Counted from the attempt's start, from 1.
    number: u64,
    at: u64,
    text: String,
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
        let file = File::create(&path);
        let file =
            file.inspect_err(|error| tracing::warn!(path = %path.display(), %error, "no log file")).ok();
        Self { lease, limits, path, file, lines: Mutex::default() }
    }

    /// Adds lines. Writes to the page cache and a bounded queue: never waits for anybody.
    pub(crate) fn add(&self, text: &str) {
        let at = unix_ms();
        for line in text.lines() {
            let line = &line[..line.floor_char_boundary(self.limits.log_line_bytes_max)];
            tracing::debug!(job = %self.lease.job, "{line}");
            let mut lines = self.lock();
            lines.count += 1;
            self.write(&mut lines, at, line);
            let line = Line { number: lines.count, at, text: line.to_owned() };
            lines.waiting.push(self.limits.log_lines_max, line);
        }
    }

    fn write(&self, lines: &mut Lines, at: u64, line: &str) {
        let Some(mut file) = self.file.as_ref().filter(|_| !lines.full) else { return };
        let mut text = format!("{at} {line}\n");
        if lines.written.bytes + text.len() as u64 > self.limits.log_bytes_max {
            text = format!("{at} ... the log is full with {} bytes: it ends here\n", lines.written.bytes);
            lines.full = true;
        }
        match file.write_all(text.as_bytes()) {
            Ok(()) => {
                lines.written =
                    Written { bytes: lines.written.bytes + text.len() as u64, lines: lines.count };
            }
            // A full disk shows elsewhere, with a failure; here it only costs the line.
            Err(_) => lines.written.bytes = file.metadata().map_or(lines.written.bytes, |file| file.len()),
        }
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
        let batch = self.lock().waiting.take(self.limits.log_batch_lines_max);
        if batch.is_empty() {
            return false;
        }
        let item = |line: &Line| LogItem {
            lease: Some(lease_ref(&self.lease)),
            at_unix_ms: line.at,
            line: line.text.clone(),
            number: line.number,
        };
        let items = batch.iter().map(item).collect();
        let sent = link.tell(Body::Logs(LogBatch { items })).await.is_ok();
        if !sent {
            self.lock().waiting.put_back(self.limits.log_lines_max, batch);
        }
        sent
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Growing for AttemptLog {
    fn path(&self) -> &Path {
        &self.path
    }

    fn written(&self) -> Written {
        self.lock().written
    }
}

impl Waiting {
    fn push(&mut self, lines_max: usize, line: Line) {
        if self.lines.len() >= lines_max.max(1) {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(line);
    }

    fn take(&mut self, lines_max: usize) -> Vec<Line> {
        let count = self.lines.len().min(lines_max.max(1));
        let mut batch: Vec<_> = self.lines.drain(..count).collect();
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0
            && let Some(first) = batch.first()
        {
            let text = format!("... {dropped} lines left out here: the stored log has them");
            // In the place of the last of them: once that one is stored, this line is not shown any more.
            let line = Line { number: first.number.saturating_sub(1), at: first.at, text };
            batch.insert(0, line);
        }
        batch
    }

    fn put_back(&mut self, lines_max: usize, batch: Vec<Line>) {
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
        let line = |number: u64| Line { number, at: 7, text: number.to_string() };
        for number in 1..=5 {
            waiting.push(3, line(number));
        }
        let batch = waiting.take(10);
        let lines: Vec<_> = batch.iter().map(|line| (line.number, line.text.as_str())).collect();
        let left_out = "... 2 lines left out here: the stored log has them";
        assert_eq!(lines, [(2, left_out), (3, "3"), (4, "4"), (5, "5")]);
        waiting.push(3, line(6));
        waiting.put_back(3, batch);
        let lines: Vec<_> = waiting.take(10).into_iter().map(|line| line.text).collect();
        assert_eq!(lines[0], left_out);
        assert_eq!(lines[1..], ["4", "5", "6"]);
    }

    #[test]
    fn a_full_log_says_so_and_goes_on_live() {
        let folder = tempfile::tempdir().unwrap();
        let job = assay_domain::JobId { matrix: assay_domain::MatrixId::new("m-1"), ordinal: 0 };
        let fence = assay_domain::Fence { epoch: assay_domain::Epoch(1), attempt: assay_domain::Attempt(1) };
        let limits = AgentLimits { log_bytes_max: 60, ..AgentLimits::default() };
        let log = AttemptLog::new(folder.path(), Lease { job, fence }, limits);
        (0..10).for_each(|number| log.add(&format!("a line with the number {number}")));
        let text = fs::read_to_string(log.path()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.ends_with("bytes: it ends here\n"), "{text}");
        let written = log.written();
        assert_eq!((written.lines, written.bytes), (2, text.len() as u64));
        assert_eq!(log.lock().waiting.take(100).len(), 10);
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
