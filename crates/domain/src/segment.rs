//! What of an attempt's log, metrics and ledger lies in the store: parts of whole lines, few however long it runs.

use serde::{Deserialize, Serialize};

use crate::artifact::BadObjectKey;
use crate::{Digest, FileRef, Lease, ObjectKey};

/// What is written line by line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lines {
    /// What an attempt says.
    #[default]
    Log,
    /// What a judge was asked and answered: the next attempt reads it first.
    Ledger,
    /// What a training measured after each step.
    Metrics,
}

impl Lines {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Log, Self::Ledger, Self::Metrics];

    /// The name under which its parts lie, as if it were an artifact of the attempt.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Ledger => "ledger",
            // `metrics` is the artifact of a training that succeeded.
            Self::Metrics => "metric-lines",
        }
    }

    /// What has this name.
    pub fn named(artifact: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lines| lines.as_str() == artifact)
    }

    fn is_log(&self) -> bool {
        *self == Self::Log
    }
}

/// Every so many segments, one takes in those before it.
const FAN: u32 = 8;

/// Segments accepted of an attempt after its end: one that was on its way, and the rest of what it wrote.
pub const LATE_SEGMENTS_MAX: u32 = 2;

/// A stored part of an attempt's log, metrics or ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSegment {
    /// Its place, from 1.
    pub number: u32,
    /// The number of its last line, counted from the attempt's start: later lines are in no segment yet.
    pub last_line: u64,
    /// What its bytes are.
    pub digest: Digest,
    /// How many bytes.
    pub bytes: u64,
    /// Of what.
    #[serde(default, skip_serializing_if = "Lines::is_log")]
    pub of: Lines,
}

impl LogSegment {
    /// How many uploads the one of a number stands for: each eighth holds again what the seven before it hold, each 64th what the
    /// 63 before it hold, and so on. So an attempt has at most seven segments of a size, 73 in all, and each line is uploaded
    /// once for each size.
    pub fn covers(number: u32) -> u32 {
        let (mut covers, mut left) = (1, number);
        while left > 0 && left.is_multiple_of(FAN) {
            covers *= FAN;
            left /= FAN;
        }
        covers
    }

    /// The object that holds it.
    pub fn file(&self, lease: &Lease) -> Result<FileRef, BadObjectKey> {
        let path = self.number.to_string();
        let key = ObjectKey::output(lease, self.of.as_str(), &path)?;
        Ok(FileRef { path, key, digest: self.digest, bytes: self.bytes, origin: None })
    }
}

/// The segments of one attempt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AttemptLog {
    /// In order; those that a later one covers are gone.
    pub segments: Vec<LogSegment>,
    /// How many came after the attempt's end.
    #[serde(default)]
    pub late: u32,
}

impl AttemptLog {
    /// The number of the next segment.
    pub fn next(&self) -> u32 {
        self.segments.last().map_or(0, |last| last.number).saturating_add(1)
    }

    /// The last line that is in the store.
    pub fn last_line(&self) -> u64 {
        self.segments.last().map_or(0, |last| last.last_line)
    }

    /// Whether nothing was stored.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The place among its segments of the one that lies at a key.
    pub(crate) fn part_at(&self, lease: &Lease, key: &ObjectKey) -> Option<usize> {
        let at = |segment: &LogSegment| segment.file(lease).is_ok_and(|file| file.key == *key);
        self.segments.iter().position(at)
    }

    /// What lay at a key is gone.
    pub(crate) fn forget(&mut self, lease: &Lease, key: &ObjectKey) {
        if let Some(place) = self.part_at(lease, key) {
            self.segments.remove(place);
        }
    }

    pub(crate) fn add(&mut self, segment: &LogSegment, after_end: bool) {
        // Said before: a replay over a record that has it already.
        if segment.number < self.next() {
            return;
        }
        let covered = segment.number - LogSegment::covers(segment.number);
        self.segments.retain(|known| known.number <= covered);
        self.segments.push(segment.clone());
        self.late += u32::from(after_end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_there_are_few_are_kept_and_they_hold_everything() {
        let mut log = AttemptLog::default();
        let mut most = 0;
        for number in 1..=32_768 {
            let segment = LogSegment {
                number,
                last_line: number.into(),
                digest: Digest::of(b""),
                bytes: 1,
                of: Lines::Log,
            };
            log.add(&segment, false);
            let held: u32 = log.segments.iter().map(|kept| LogSegment::covers(kept.number)).sum();
            assert_eq!((held, log.next(), log.last_line()), (number, number + 1, number.into()));
            most = most.max(log.segments.len());
        }
        // 77777 in octal is 32767.
        assert_eq!(most, 7 * 5);
        assert_eq!(LogSegment::covers(0), 1);
        assert_eq!(LogSegment::covers(1 << 30), 1 << 30);
    }
}
