//! Opening a journal: find the end of its last segment, cut a torn tail or refuse, and go on in a fresh copy of it.

use std::path::{Path, PathBuf};

use super::error::Proof;
use super::frame::{self, FRAME_HEAD_BYTES, HEADER_BYTES, Header};
use super::{CutTail, JournalError, Segment};
use crate::disk::{Disk, DiskFile, SyncSite};

const SUFFIX: &str = ".journal";
const TEMPORARY_SUFFIX: &str = ".journal.tmp";

/// The last segment, ready for appending.
pub(super) struct Recovered {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) size_bytes: u64,
    pub(super) last_sequence: u64,
    pub(super) cut: Option<CutTail>,
}

pub(super) fn segment_path(folder: &Path, first_sequence: u64) -> PathBuf {
    folder.join(format!("{first_sequence:020}{SUFFIX}"))
}

/// The segments in the folder, oldest first. Left-over temporary files are removed.
pub(super) fn list_segments(disk: &dyn Disk, folder: &Path) -> Result<Vec<Segment>, JournalError> {
    let names = disk.list(folder).map_err(io("list", folder))?;
    let mut segments = Vec::new();
    for name in names {
        if name.ends_with(TEMPORARY_SUFFIX) {
            let path = folder.join(name);
            disk.remove(&path).map_err(io("remove", &path))?;
            continue;
        }
        segments.extend(named(folder, &name));
    }
    segments.sort_by_key(|segment| segment.first_sequence);
    Ok(segments)
}

/// The segment that a file name says.
pub(super) fn named(folder: &Path, name: &str) -> Option<Segment> {
    let number = name.strip_suffix(SUFFIX).filter(|number| number.len() == 20)?;
    Some(Segment { first_sequence: number.parse().ok()?, path: folder.join(name) })
}

pub(super) fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> JournalError + 'a {
    move |source| JournalError::Io { action, path: path.to_path_buf(), source }
}

/// Recovers the last segment.
///
/// Its good bytes are copied to a new file which takes its name. Syncing the old file would not do: where an earlier
/// process died of a failed sync, the cache shows a batch that a second sync would falsely report as kept.
pub(super) fn recover_last(
    disk: &dyn Disk,
    folder: &Path,
    segment: &Segment,
    known_durable: u64,
) -> Result<Recovered, JournalError> {
    let bytes = disk.read(&segment.path).map_err(io("read", &segment.path))?;
    let end = find_end(segment, &bytes, known_durable)?;
    if end.last_sequence < known_durable {
        let proof = Proof::Known { sequence: known_durable };
        let folder = folder.to_path_buf();
        return Err(JournalError::EndsEarly { folder, last_sequence: end.last_sequence, proof });
    }
    let header = frame::encode_header(segment.first_sequence);
    let good = if end.good_bytes == 0 { &header } else { &bytes[..end.good_bytes] };
    let file = replace(disk, folder, segment, good)?;
    Ok(Recovered { file, size_bytes: good.len() as u64, last_sequence: end.last_sequence, cut: end.cut })
}

fn replace(
    disk: &dyn Disk,
    folder: &Path,
    segment: &Segment,
    good: &[u8],
) -> Result<Box<dyn DiskFile>, JournalError> {
    let temporary = folder.join(format!("{:020}{TEMPORARY_SUFFIX}", segment.first_sequence));
    let mut file = disk.create(&temporary).map_err(io("create", &temporary))?;
    file.append(good).map_err(io("write", &temporary))?;
    file.sync(SyncSite::JournalReopenFile).map_err(io("sync", &temporary))?;
    disk.rename(&temporary, &segment.path).map_err(io("rename to", &segment.path))?;
    disk.sync_folder(folder, SyncSite::JournalReopenEntry).map_err(io("sync", folder))?;
    Ok(file)
}

pub(super) struct End {
    pub(super) good_bytes: usize,
    pub(super) last_sequence: u64,
    pub(super) cut: Option<CutTail>,
}

pub(super) fn find_end(segment: &Segment, bytes: &[u8], known_durable: u64) -> Result<End, JournalError> {
    let mut sequence = segment.first_sequence;
    let mut offset = match check_header(segment, bytes)? {
        Some(()) => HEADER_BYTES,
        None => return cut(segment, bytes, 0, sequence, "the header is not intact", known_durable),
    };
    while offset < bytes.len() {
        match frame::decode_frame(bytes, offset) {
            Ok(frame) if frame.first_sequence == sequence => {
                sequence = frame.last_sequence.saturating_add(1);
                offset = frame.payload.end;
            }
            Ok(_) => {
                return cut(segment, bytes, offset, sequence, "another sequence is there", known_durable);
            }
            Err(reason) => return cut(segment, bytes, offset, sequence, reason, known_durable),
        }
    }
    Ok(End { good_bytes: offset, last_sequence: sequence - 1, cut: None })
}

/// `None` if the header is not intact, as after a crash while the segment was created.
pub(super) fn check_header(segment: &Segment, bytes: &[u8]) -> Result<Option<()>, JournalError> {
    match frame::decode_header(bytes) {
        Header::Good { first_sequence } if first_sequence == segment.first_sequence => Ok(Some(())),
        Header::Good { first_sequence } => Err(JournalError::Damaged {
            path: segment.path.clone(),
            offset_bytes: 0,
            sequence: segment.first_sequence,
            reason: "its name and its header disagree".to_owned(),
            proof: Proof::IntactHeader { sequence: first_sequence },
        }),
        Header::OtherVersion { version } => {
            Err(JournalError::Version { path: segment.path.clone(), version })
        }
        Header::Bad => Ok(None),
    }
}

/// Cuts at `offset`, unless something shows that `sequence` was durable.
fn cut(
    segment: &Segment,
    bytes: &[u8],
    offset: usize,
    sequence: u64,
    reason: &str,
    known_durable: u64,
) -> Result<End, JournalError> {
    let later = find_later_frame(bytes, offset, sequence).map(|sequence| Proof::LaterBatch { sequence });
    let known = (known_durable >= sequence).then_some(Proof::Known { sequence: known_durable });
    if let Some(proof) = known.or(later) {
        return Err(JournalError::Damaged {
            path: segment.path.clone(),
            offset_bytes: offset as u64,
            sequence,
            reason: reason.to_owned(),
            proof,
        });
    }
    let tail = CutTail {
        path: segment.path.clone(),
        offset_bytes: offset as u64,
        cut_bytes: (bytes.len() - offset) as u64,
        reason: reason.to_owned(),
    };
    Ok(End { good_bytes: offset, last_sequence: sequence - 1, cut: Some(tail) })
}

/// An intact frame with a later sequence behind a bad place. Each batch is durable before the next is written, so a
/// crash can tear only the last one: whatever lies before an intact frame was durable.
fn find_later_frame(bytes: &[u8], offset: usize, sequence: u64) -> Option<u64> {
    let last_start = bytes.len().checked_sub(FRAME_HEAD_BYTES)?;
    let frames = (offset + 1..=last_start).filter_map(|start| frame::decode_frame(bytes, start).ok());
    frames.map(|frame| frame.first_sequence).find(|found| *found >= sequence)
}
