//! Reading records back, one segment in memory at a time.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::Proof;
use super::frame::{self, HEADER_BYTES};
use super::recover::{check_header, io};
use super::{JournalError, Segment};
use crate::disk::Disk;

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its sequence; the first record ever has 1.
    pub sequence: u64,
    /// Its bytes, as appended.
    pub bytes: Vec<u8>,
}

/// The records from a sequence on, oldest first. It ends after the first error.
#[derive(Debug)]
pub struct Records {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    segments: VecDeque<Segment>,
    first_wanted: u64,
    /// The sequence that must come next.
    next_sequence: u64,
    bytes: Vec<u8>,
    /// The segment that `bytes` are of.
    path: PathBuf,
    /// The frame being read: what is left of its payload.
    payload: Range<usize>,
    failed: bool,
}

impl Records {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf, all: &[Segment], first_wanted: u64) -> Records {
        let first_wanted = first_wanted.max(1);
        let older = all.iter().rposition(|segment| segment.first_sequence <= first_wanted).unwrap_or(0);
        let segments: VecDeque<Segment> = all[older..].iter().cloned().collect();
        let next_sequence = match segments.front() {
            Some(front) => front.first_sequence.min(first_wanted),
            None => first_wanted,
        };
        let (bytes, path) = (Vec::new(), PathBuf::new());
        Records {
            disk,
            folder,
            segments,
            first_wanted,
            next_sequence,
            bytes,
            path,
            payload: 0..0,
            failed: false,
        }
    }

    fn next_record(&mut self) -> Result<Option<Record>, JournalError> {
        loop {
            if !self.payload.is_empty() {
                let record = self.take_record()?;
                if record.sequence >= self.first_wanted {
                    return Ok(Some(record));
                }
            } else if self.payload.end < self.bytes.len() {
                self.enter_frame()?;
            } else if !self.enter_segment()? {
                return Ok(None);
            }
        }
    }

    fn enter_segment(&mut self) -> Result<bool, JournalError> {
        let Some(segment) = self.segments.pop_front() else { return Ok(false) };
        if segment.first_sequence != self.next_sequence {
            let (sequence, next_sequence) = (self.next_sequence, segment.first_sequence);
            let folder = self.folder.clone();
            return Err(JournalError::Missing { folder, sequence, next_sequence });
        }
        self.bytes = self.disk.read(&segment.path).map_err(io("read", &segment.path))?;
        self.payload = HEADER_BYTES..HEADER_BYTES;
        self.path.clone_from(&segment.path);
        match check_header(&segment, &self.bytes)? {
            Some(()) => Ok(true),
            None => Err(self.damaged(0, "the header is not intact")),
        }
    }

    fn enter_frame(&mut self) -> Result<(), JournalError> {
        let start = self.payload.end;
        match frame::decode_frame(&self.bytes, start) {
            Ok(frame) if frame.first_sequence == self.next_sequence => {
                self.payload = frame.payload;
                Ok(())
            }
            Ok(_) => Err(self.damaged(start, "another sequence is there")),
            Err(reason) => Err(self.damaged(start, reason)),
        }
    }

    fn take_record(&mut self) -> Result<Record, JournalError> {
        match frame::split_record(&self.bytes[self.payload.clone()]) {
            Some((record, rest)) => {
                let record = Record { sequence: self.next_sequence, bytes: record.to_vec() };
                self.payload.start = self.payload.end - rest.len();
                self.next_sequence += 1;
                Ok(record)
            }
            None => Err(self.damaged(self.payload.start, "the records' lengths do not add up")),
        }
    }

    fn damaged(&self, offset: usize, reason: &str) -> JournalError {
        let sequence = self.next_sequence;
        let proof = match self.segments.front() {
            Some(later) => Proof::LaterSegment { name: later.name() },
            // The last segment was intact when the journal was opened.
            None => Proof::Known { sequence },
        };
        JournalError::Damaged {
            path: self.path.clone(),
            offset_bytes: offset as u64,
            sequence,
            reason: reason.to_owned(),
            proof,
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_record().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}
