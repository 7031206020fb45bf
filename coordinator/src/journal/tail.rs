//! Following a journal that another thread writes: whole batches in order, each byte read once, nothing locked.

use std::io;
use std::path::{Path, PathBuf};

use super::error::Proof;
use super::frame::{self, HEADER_BYTES};
use super::look::Look;
use super::read::Record;
use super::{JournalError, recover};
use crate::disk::{Disk, read_full};

/// Read at once; a longer batch is read whole.
const CHUNK_BYTES: usize = 1 << 20;

/// A place in a journal. It begins with the oldest record that is there; what was removed before it is passed over.
#[derive(Debug)]
pub struct Tail {
    folder: PathBuf,
    next_sequence: u64,
    /// The segment being read and where in it.
    at: Option<(PathBuf, u64)>,
}

impl Tail {
    /// Follows the journal in a folder from its oldest record on.
    pub fn new(folder: &Path) -> Tail {
        Tail { folder: folder.to_path_buf(), next_sequence: 0, at: None }
    }

    /// The next records; none when there are no more now.
    pub fn next(&mut self, disk: &dyn Disk) -> Result<Vec<Record>, JournalError> {
        loop {
            let Some((path, offset)) = self.at.clone() else {
                match self.enter(disk)? {
                    true => continue,
                    false => return Ok(Vec::new()),
                }
            };
            let read = match self.read(disk, &path, offset) {
                // Removed meanwhile: what is left begins later.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.at = None;
                    continue;
                }
                read => read.map_err(recover::io("read", &path))?,
            };
            if !read.is_empty() {
                return Ok(read);
            }
            match self.leave(disk, &path)? {
                Left::Entered => {}
                Left::AtTheEnd => return Ok(Vec::new()),
                Left::Behind(name) => {
                    // With a later segment there, this one is whole by now.
                    let read = self.read(disk, &path, offset).map_err(recover::io("read", &path))?;
                    if read.is_empty() {
                        return Err(self.damaged(path, offset, name));
                    }
                    return Ok(read);
                }
            }
        }
    }

    /// Goes to the segment that holds the next record, or the first later one.
    fn enter(&mut self, disk: &dyn Disk) -> Result<bool, JournalError> {
        let journal = Look::open(disk, &self.folder)?;
        let place = journal.place_of(self.next_sequence);
        let Some((first_sequence, path)) = journal.at(place) else { return Ok(false) };
        self.next_sequence = first_sequence;
        self.at = Some((path.to_path_buf(), HEADER_BYTES as u64));
        Ok(true)
    }

    /// The whole batches at an offset.
    fn read(&mut self, disk: &dyn Disk, path: &Path, offset: u64) -> io::Result<Vec<Record>> {
        let file = disk.open(path)?;
        let left = file.size_bytes().saturating_sub(offset) as usize;
        let mut bytes = vec![0; left.min(CHUNK_BYTES)];
        let filled = read_full(&*file, offset, &mut bytes)?;
        bytes.truncate(filled);
        if let Some(needed) = frame::frame_bytes(&bytes).filter(|needed| (filled + 1..=left).contains(needed))
        {
            bytes.resize(needed, 0);
            let filled = read_full(&*file, offset, &mut bytes)?;
            bytes.truncate(filled);
        }
        let (mut records, mut end) = (Vec::new(), 0);
        while let Ok(frame) = frame::decode_frame(&bytes, end) {
            let mut payload = &bytes[frame.payload.clone()];
            while let Some((record, rest)) = frame::split_record(payload).filter(|_| !payload.is_empty()) {
                records.push(Record { sequence: self.next_sequence, bytes: record.to_vec() });
                self.next_sequence += 1;
                payload = rest;
            }
            end = frame.payload.end;
        }
        self.at = Some((path.to_path_buf(), offset + end as u64));
        Ok(records)
    }

    /// Where no whole batch follows: on to the next segment, if this one is at its end.
    fn leave(&mut self, disk: &dyn Disk, path: &Path) -> Result<Left, JournalError> {
        let journal = Look::open(disk, &self.folder)?;
        let place = journal.place_of(self.next_sequence);
        let Some((first_sequence, later)) = journal.at(place) else { return Ok(Left::AtTheEnd) };
        if later == path {
            return Ok(match journal.at(place + 1) {
                None => Left::AtTheEnd,
                Some((_, after)) => {
                    Left::Behind(after.file_name().unwrap_or_default().to_string_lossy().into_owned())
                }
            });
        }
        self.next_sequence = first_sequence.max(self.next_sequence);
        self.at = Some((later.to_path_buf(), HEADER_BYTES as u64));
        Ok(Left::Entered)
    }

    fn damaged(&self, path: PathBuf, offset_bytes: u64, name: String) -> JournalError {
        JournalError::Damaged {
            path,
            offset_bytes,
            sequence: self.next_sequence,
            reason: String::from("no whole batch is there"),
            proof: Proof::LaterSegment { name },
        }
    }
}

/// How a segment was left.
enum Left {
    /// The next one is being read.
    Entered,
    /// There is no next one.
    AtTheEnd,
    /// There is a next one, of this name, but this one has not ended.
    Behind(String),
}
