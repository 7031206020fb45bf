//! The history: what became of finished matrices, in files beside the snapshots. Each snapshot adds one with what happened since the
//! one before, so that its cost does not grow with the past.

use std::ops::Range;
use std::path::{Path, PathBuf};

use assay_domain::state::Matrix;
use assay_domain::{Event, UnixMillis};
use serde::{Deserialize, Serialize};

use super::archive::Archive;
use super::{Engine, EngineError};
use crate::disk::Disk;
use crate::snapshot::{self, SnapshotError, Snapshots};

/// A part of the history, as a snapshot lists it. Fields are added with a serde default, never renamed or reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Of its file: the last record that is told in it.
    pub(crate) sequence: u64,
    /// Nothing in this part or an older one ended later.
    pub(crate) newest_end: UnixMillis,
}

/// A line of a part, as JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// A matrix, as it was when it left the state.
    Finished(Box<Matrix>),
    /// What happened to such matrices later: lines of their logs, and that they were forgotten.
    Happened(Box<Event>),
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineRef<'a> {
    Finished(&'a Matrix),
    Happened(&'a Event),
}

/// What is written of the history, and what is not yet.
#[derive(Debug)]
pub(crate) struct History {
    /// Oldest first.
    parts: Vec<Part>,
    unwritten: Vec<u8>,
    newest_end: UnixMillis,
    /// An earlier build wrote all of it into its snapshot: the next part tells it again.
    inline: bool,
}

impl History {
    pub(crate) fn new(parts: Vec<Part>, inline: bool) -> Self {
        let newest_end = parts.last().map_or(UnixMillis(0), |part| part.newest_end);
        Self { parts, unwritten: Vec::new(), newest_end, inline }
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(crate) fn finished(&mut self, matrix: &Matrix) -> Result<(), EngineError> {
        let end = matrix.finished_at().unwrap_or(matrix.submitted.at);
        self.add(&LineRef::Finished(matrix), end)
    }

    /// Parts of which nothing is remembered any more are listed no more.
    pub(crate) fn happened(&mut self, event: &Event) -> Result<(), EngineError> {
        if let Event::HistoryForgotten { before, .. } = event {
            self.parts.retain(|part| part.newest_end >= *before);
        }
        self.add(&LineRef::Happened(event), UnixMillis(0))
    }

    fn add(&mut self, line: &LineRef<'_>, end: UnixMillis) -> Result<(), EngineError> {
        self.newest_end = self.newest_end.max(end);
        serde_json::to_writer(&mut self.unwritten, line).map_err(|source| EngineError::Encode { source })?;
        self.unwritten.push(b'\n');
        Ok(())
    }

    /// What an earlier build wrote elsewhere is to be written with the rest.
    pub(crate) fn gather(&mut self, archive: &Archive) -> Result<(), EngineError> {
        if std::mem::take(&mut self.inline) {
            self.unwritten.clear();
            archive.all()?.iter().try_for_each(|matrix| self.finished(matrix))?;
        }
        Ok(())
    }

    /// Makes durable what is not written yet, as of a sequence. After an error it still is to be written.
    pub(crate) fn write(&mut self, sequence: u64, snapshots: &mut Snapshots) -> Result<(), SnapshotError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        snapshots.write_history(sequence, &self.unwritten)?;
        self.parts.push(Part { sequence, newest_end: self.newest_end });
        self.unwritten = Vec::new();
        Ok(())
    }

    /// After a snapshot that lists all parts.
    pub(crate) fn keep(&self, snapshots: &mut Snapshots) -> Result<(), SnapshotError> {
        let listed: Vec<u64> = self.parts.iter().map(|part| part.sequence).collect();
        snapshots.keep_history(&listed)
    }
}

/// Visits the lines of a part in order.
pub(crate) fn each_line(
    disk: &dyn Disk,
    folder: &Path,
    part: &Part,
    visit: impl FnMut(Line) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let text = Text::read(disk, folder, part)?;
    text.each(0..text.lines.len(), visit)
}

/// A part as read.
pub(super) struct Text {
    path: PathBuf,
    /// Each ends with a line feed.
    pub(super) lines: Vec<u8>,
}

impl Text {
    pub(super) fn read(disk: &dyn Disk, folder: &Path, part: &Part) -> Result<Self, EngineError> {
        let path = snapshot::history_path(folder, part.sequence);
        match snapshot::read(disk, &path, part.sequence) {
            Ok(lines) => Ok(Self { path, lines }),
            Err(reason) => Err(EngineError::HistoryPart { path, reason }),
        }
    }

    /// Visits some of the lines in order.
    pub(super) fn each(
        &self,
        lines: Range<usize>,
        mut visit: impl FnMut(Line) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let damaged = |error: serde_json::Error| EngineError::HistoryPart {
            path: self.path.clone(),
            reason: error.to_string(),
        };
        for line in self.lines[lines].split_inclusive(|byte| *byte == b'\n') {
            visit(serde_json::from_slice(line).map_err(damaged)?)?;
        }
        Ok(())
    }
}

impl Engine {
    /// Called when a snapshot is due, so that what has left is not in it.
    pub(super) fn forget_history(&mut self) -> Result<(), EngineError> {
        let at = self.clock.unix();
        let before = UnixMillis(at.0.saturating_sub(self.limits.history_ms));
        if self.limits.history_ms == 0 || !self.archive.has_older(before)? {
            return Ok(());
        }
        self.record(Event::HistoryForgotten { before, at })?;
        self.commit()
    }
}
