//! The journal: the one place where an answer becomes durable. Append-only segments of batches, one fdatasync for each
//! batch; a batch is there whole or not at all. After a failed write or sync nothing is ever written again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, DiskLock, SyncSite, lock_folder};

mod error;
mod frame;
mod look;
mod read;
mod recover;
mod tail;

pub use error::{JournalError, Proof};
pub use look::{Look, Seen};
pub use read::{Record, Records};
pub use tail::Tail;

/// The journal's limits.
#[derive(Clone, Copy, Debug)]
pub struct JournalConfig {
    /// A segment that has reached this size gets no more batches; the next batch starts another.
    pub segment_max_bytes: u64,
    /// A larger batch is refused. A segment is read into memory whole, so both limits bound memory.
    pub batch_max_bytes: u32,
    /// So many segments stay, whatever snapshots have: the audit reads them. The one in use always does.
    pub segments_kept: usize,
}

impl Default for JournalConfig {
    fn default() -> JournalConfig {
        JournalConfig { segment_max_bytes: 16 << 20, batch_max_bytes: 64 << 20, segments_kept: 4 }
    }
}

/// A torn tail that was cut when the journal was opened: nobody had got an answer that depended on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// The segment.
    pub path: PathBuf,
    /// Where it was cut.
    pub offset_bytes: u64,
    /// How much was cut.
    pub cut_bytes: u64,
    /// What was wrong there.
    pub reason: String,
}

/// The open journal. One process and one owner write to it.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    config: JournalConfig,
    segments: Vec<Segment>,
    file: Box<dyn DiskFile>,
    file_bytes: u64,
    last_sequence: u64,
    cut: Option<CutTail>,
    poison: Option<Poison>,
    _lock: Box<dyn DiskLock>,
}

#[derive(Clone, Debug)]
struct Segment {
    first_sequence: u64,
    path: PathBuf,
}

impl Segment {
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// What failed, and the file system's answer.
type Failure = (&'static str, io::Error);

#[derive(Clone, Debug)]
struct Poison {
    action: &'static str,
    reason: String,
}

impl Journal {
    /// Opens the journal in `folder`, or begins it where there is none.
    ///
    /// `snapshot_sequence` is that of the snapshot that the state starts from (0: none). `known_durable` is the
    /// highest sequence that anything else shows to have been durable (snapshots good or bad, the index; 0: nothing):
    /// a journal that ends before it is refused, and a bad tail is cut only behind it.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        config: JournalConfig,
        snapshot_sequence: u64,
        known_durable: u64,
    ) -> Result<Journal, JournalError> {
        let lock = prepare(&*disk, folder)?;
        let segments = recover::list_segments(&*disk, folder)?;
        let known_durable = known_durable.max(snapshot_sequence);
        let Some(last) = segments.last() else {
            if known_durable > 0 {
                let (folder, proof) = (folder.to_path_buf(), Proof::Known { sequence: known_durable });
                return Err(JournalError::EndsEarly { folder, last_sequence: 0, proof });
            }
            return Journal::begin(disk, folder, config, 0, lock);
        };
        check_complete(folder, &segments, snapshot_sequence + 1)?;
        let last = recover::recover_last(&*disk, folder, last, known_durable)?;
        Ok(Journal {
            folder: folder.to_path_buf(),
            config,
            segments,
            file: last.file,
            file_bytes: last.size_bytes,
            last_sequence: last.last_sequence,
            cut: last.cut,
            poison: None,
            _lock: lock,
            disk,
        })
    }

    /// Begins a journal after `sequence` in a folder without segments: for restoring from a snapshot alone, which
    /// gives up all that came after it.
    pub fn create_after(
        disk: Arc<dyn Disk>,
        folder: &Path,
        config: JournalConfig,
        sequence: u64,
    ) -> Result<Journal, JournalError> {
        let lock = prepare(&*disk, folder)?;
        if !recover::list_segments(&*disk, folder)?.is_empty() {
            return Err(JournalError::NotEmpty { folder: folder.to_path_buf() });
        }
        Journal::begin(disk, folder, config, sequence, lock)
    }

    fn begin(
        disk: Arc<dyn Disk>,
        folder: &Path,
        config: JournalConfig,
        sequence: u64,
        lock: Box<dyn DiskLock>,
    ) -> Result<Journal, JournalError> {
        let segment =
            Segment { first_sequence: sequence + 1, path: recover::segment_path(folder, sequence + 1) };
        let (file, file_bytes) = create_segment(&*disk, folder, &segment)
            .map_err(|(_, source)| recover::io("create", &segment.path)(source))?;
        Ok(Journal {
            folder: folder.to_path_buf(),
            config,
            segments: vec![segment],
            file,
            file_bytes,
            last_sequence: sequence,
            cut: None,
            poison: None,
            _lock: lock,
            disk,
        })
    }

    /// Appends a batch and makes it durable; answers the sequence of its last record. An empty batch writes nothing.
    ///
    /// After an error other than `TooLarge` the process must stop: whether the batch is durable is unknown, and every
    /// later call fails too.
    pub fn append(&mut self, records: &[Vec<u8>]) -> Result<u64, JournalError> {
        if let Some(Poison { action, reason }) = self.poison.clone() {
            return Err(JournalError::Poisoned { action, reason });
        }
        let bytes = frame::payload_bytes(records);
        if bytes > u64::from(self.config.batch_max_bytes) {
            return Err(JournalError::TooLarge { bytes, limit_bytes: self.config.batch_max_bytes });
        }
        if records.is_empty() {
            return Ok(self.last_sequence);
        }
        self.write(records).map_err(|(action, source)| {
            let reason = source.to_string();
            self.poison = Some(Poison { action, reason: reason.clone() });
            JournalError::Poisoned { action, reason }
        })
    }

    fn write(&mut self, records: &[Vec<u8>]) -> Result<u64, Failure> {
        let first_sequence = self.last_sequence + 1;
        if self.file_bytes >= self.config.segment_max_bytes {
            let path = recover::segment_path(&self.folder, first_sequence);
            let segment = Segment { first_sequence, path };
            (self.file, self.file_bytes) = create_segment(&*self.disk, &self.folder, &segment)?;
            self.segments.push(segment);
        }
        let frame = frame::encode_frame(first_sequence, records);
        self.file.append(&frame).map_err(|source| ("write of a batch", source))?;
        self.file.sync(SyncSite::JournalBatch).map_err(|source| ("sync of a batch", source))?;
        self.file_bytes += frame.len() as u64;
        self.last_sequence += records.len() as u64;
        Ok(self.last_sequence)
    }

    /// The records with this sequence and later ones, oldest first.
    pub fn read_from(&self, sequence: u64) -> Records {
        Records::new(Arc::clone(&self.disk), self.folder.clone(), &self.segments, sequence)
    }

    /// The last durable sequence; 0 if there was never a record.
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// What was cut when this journal was opened, to be logged.
    pub fn cut_tail(&self) -> Option<&CutTail> {
        self.cut.as_ref()
    }

    /// Removes the segments that hold no sequence after `sequence`; answers how many. Pass at most
    /// `Snapshots::removable_through`, and what a configured backup has. The segment in use always stays.
    pub fn remove_through(&mut self, sequence: u64) -> Result<usize, JournalError> {
        let unneeded =
            self.segments.windows(2).take_while(|pair| pair[1].first_sequence <= sequence + 1).count();
        let unneeded = unneeded.min(self.segments.len().saturating_sub(self.config.segments_kept));
        for segment in self.segments.drain(..unneeded) {
            // No sync: a segment that comes back after a crash is removed again, and a gap before the snapshot that
            // the state starts from does no harm.
            self.disk.remove(&segment.path).map_err(recover::io("remove", &segment.path))?;
        }
        Ok(unneeded)
    }
}

fn prepare(disk: &dyn Disk, folder: &Path) -> Result<Box<dyn DiskLock>, JournalError> {
    let lock = lock_folder(disk, folder).map_err(recover::io("create and lock", folder))?;
    lock.ok_or_else(|| JournalError::InUse { folder: folder.to_path_buf() })
}

/// From the first sequence needed on, no segment may be missing before the last one. What lies inside them is checked
/// when it is read.
fn check_complete(folder: &Path, segments: &[Segment], first_needed: u64) -> Result<(), JournalError> {
    let oldest = segments.first().map_or(u64::MAX, |segment| segment.first_sequence);
    if oldest > first_needed {
        let folder = folder.to_path_buf();
        return Err(JournalError::Missing { folder, sequence: first_needed, next_sequence: oldest });
    }
    Ok(())
}

/// The header and the name are durable before the segment is used: an intact batch behind a lost header would look
/// like damage, and a lost name would take acknowledged batches with it.
fn create_segment(
    disk: &dyn Disk,
    folder: &Path,
    segment: &Segment,
) -> Result<(Box<dyn DiskFile>, u64), Failure> {
    let header = frame::encode_header(segment.first_sequence);
    let mut file = disk.create(&segment.path).map_err(|source| ("creation of a segment", source))?;
    file.append(&header).map_err(|source| ("write of a segment's header", source))?;
    file.sync(SyncSite::JournalSegmentFile).map_err(|source| ("sync of a segment's header", source))?;
    disk.sync_folder(folder, SyncSite::JournalSegmentEntry)
        .map_err(|source| ("sync of the journal's folder", source))?;
    Ok((file, header.len() as u64))
}
