//! Reading a journal without owning it: nothing is locked, removed or repaired, so that a coordinator which appends to it
//! meanwhile is not disturbed.

use std::io;
use std::path::{Path, PathBuf};

use super::error::Proof;
use super::frame::{self, HEADER_BYTES};
use super::read::Record;
use super::{CutTail, JournalError, Segment, recover};
use crate::disk::Disk;

/// The segments that were there at one moment, oldest first. Since then some may be gone and the last may have grown.
#[derive(Debug)]
pub struct Look {
    segments: Vec<Segment>,
}

/// A segment as it lies there: its header and whole batches.
#[derive(Debug)]
pub struct Seen {
    /// The file.
    pub path: PathBuf,
    /// The sequence that it begins with.
    pub first_sequence: u64,
    /// The last one in it; one less than the first when it is empty.
    pub last_sequence: u64,
    /// Its bytes up to the end of the last whole batch.
    pub bytes: Vec<u8>,
    /// What follows them: a batch that is being written, or one that was torn by a crash.
    pub torn: Option<CutTail>,
}

impl Look {
    /// Lists the segments in a journal's folder; one that is not there has none.
    pub fn open(disk: &dyn Disk, folder: &Path) -> Result<Look, JournalError> {
        let names = match disk.list(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(recover::io("list", folder))?,
        };
        let mut segments: Vec<_> = names.iter().filter_map(|name| recover::named(folder, name)).collect();
        segments.sort_by_key(|segment| segment.first_sequence);
        Ok(Look { segments })
    }

    /// How many segments there are.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The sequence that the first segment begins with; 0 when there is none.
    pub fn first_sequence(&self) -> u64 {
        self.segments.first().map_or(0, |segment| segment.first_sequence)
    }

    /// The first sequence and the file of the segment at a place.
    pub(super) fn at(&self, place: usize) -> Option<(u64, &Path)> {
        self.segments.get(place).map(|segment| (segment.first_sequence, segment.path.as_path()))
    }

    /// The place of the segment that holds a sequence, or would.
    pub fn place_of(&self, sequence: u64) -> usize {
        self.segments.partition_point(|segment| segment.first_sequence <= sequence).saturating_sub(1)
    }

    /// Reads the segment at a place and checks every batch of it. Only the last may end in a torn one.
    pub fn segment(&self, disk: &dyn Disk, place: usize) -> Result<Option<Seen>, JournalError> {
        let Some(segment) = self.segments.get(place) else { return Ok(None) };
        let mut bytes = disk.read(&segment.path).map_err(recover::io("read", &segment.path))?;
        let end = recover::find_end(segment, &bytes, 0)?;
        if let (Some(cut), Some(later)) = (&end.cut, self.segments.get(place + 1)) {
            return Err(JournalError::Damaged {
                path: segment.path.clone(),
                offset_bytes: cut.offset_bytes,
                sequence: end.last_sequence + 1,
                reason: cut.reason.clone(),
                proof: Proof::LaterSegment { name: later.name() },
            });
        }
        bytes.truncate(end.good_bytes);
        Ok(Some(Seen::new(segment, end.last_sequence, bytes, end.cut)))
    }

    /// The batches of a damaged segment before the damage; none where the header is damaged already.
    pub fn before_damage(&self, disk: &dyn Disk, place: usize) -> Result<Option<Seen>, JournalError> {
        let offset = match self.segment(disk, place) {
            Err(JournalError::Damaged { offset_bytes, .. }) => offset_bytes as usize,
            whole => return whole,
        };
        let Some(segment) = self.segments.get(place).filter(|_| offset >= HEADER_BYTES) else {
            return Ok(None);
        };
        let mut bytes = disk.read(&segment.path).map_err(recover::io("read", &segment.path))?;
        bytes.truncate(offset);
        let end = recover::find_end(segment, &bytes, 0)?;
        Ok(Some(Seen::new(segment, end.last_sequence, bytes, None)))
    }
}

impl Seen {
    fn new(segment: &Segment, last_sequence: u64, bytes: Vec<u8>, torn: Option<CutTail>) -> Seen {
        let (path, first_sequence) = (segment.path.clone(), segment.first_sequence);
        Seen { path, first_sequence, last_sequence, bytes, torn }
    }

    /// The file's name.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Its records, oldest first.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let mut sequence = self.first_sequence;
        let mut offset = HEADER_BYTES;
        let mut payload: &[u8] = &[];
        std::iter::from_fn(move || {
            if payload.is_empty() {
                // All batches were checked when the segment was read.
                let frame = frame::decode_frame(&self.bytes, offset).ok()?;
                offset = frame.payload.end;
                payload = &self.bytes[frame.payload];
            }
            let (record, rest) = frame::split_record(payload)?;
            payload = rest;
            sequence += 1;
            Some(Record { sequence: sequence - 1, bytes: record.to_vec() })
        })
    }
}
