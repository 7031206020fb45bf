//! Compacting a stopped coordinator's folder: forget old history if asked to, write a fresh snapshot, remove objects that nothing
//! names, and let the next start build a small index.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use assay_domain::{Event, UnixMillis};
use serde::Serialize;

use super::{AdminError, objects};
use crate::config::Limits;
use crate::disk::{Disk, RealDisk};
use crate::engine::EngineError;
use crate::engine::recovery::{encode_snapshot, recover};
use crate::index::ProbeCommand;
use crate::objects::local::LocalObjects;

/// What was done.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Compacted {
    /// Finished matrices that are still there.
    pub finished: usize,
    /// Finished matrices that were forgotten.
    pub forgotten: usize,
    /// Objects that nothing named, and their bytes.
    pub objects_removed: usize,
    /// Their bytes.
    pub object_bytes_removed: u64,
}

/// Compacts; `before` forgets matrices that ended before then.
///
/// # Errors
/// A running coordinator, or whatever a start would refuse: then nothing was changed.
pub fn compact(
    data_dir: &Path,
    before: Option<UnixMillis>,
    probe: &ProbeCommand,
    now: UnixMillis,
) -> Result<Compacted, AdminError> {
    if !data_dir.join("journal").is_dir() {
        return Err(AdminError::NoState { path: data_dir.to_path_buf() });
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut opened = recover(&disk, data_dir, probe, Limits::default().journal())?;
    // Its lock says that nobody uploads.
    let _objects = LocalObjects::open_store(disk, &data_dir.join("objects"))
        .map_err(|error| AdminError::io("open", &data_dir.join("objects"))(io::Error::other(error)))?;
    let had = opened.archive.all()?.len();
    if let Some(before) = before.filter(|before| opened.archive.has_older(*before).unwrap_or(false)) {
        let event = Event::HistoryForgotten { before, at: now };
        let record = serde_json::to_vec(&event).map_err(|source| EngineError::Encode { source })?;
        let sequence = opened.journal.append(&[record])?;
        opened.archive.happened(sequence, &event)?;
        opened.history.happened(&event)?;
    }
    let finished = opened.archive.all()?;
    let sequence = opened.journal.last_sequence();
    opened.history.gather(&opened.archive)?;
    opened.history.write(sequence, &mut opened.snapshots)?;
    opened.snapshots.write(sequence, &encode_snapshot(&opened.state, opened.history.parts())?)?;
    opened.history.keep(&mut opened.snapshots)?;
    let named = objects::named(finished.iter().chain(&opened.state.matrices));
    let mut done =
        Compacted { finished: finished.len(), forgotten: had - finished.len(), ..Compacted::default() };
    sweep(&data_dir.join("objects"), "", &named, &mut done)?;
    drop(opened.archive);
    let index = data_dir.join("index");
    fs::remove_dir_all(&index).map_err(AdminError::io("remove", &index))?;
    Ok(done)
}

/// Removes what nothing names below a folder of the store; names that begin with a dot are the store's own.
fn sweep(root: &Path, below: &str, named: &objects::Named, done: &mut Compacted) -> Result<(), AdminError> {
    let folder = root.join(below);
    let listed = AdminError::io("list", &folder);
    let entries: Result<Vec<_>, _> = fs::read_dir(&folder).and_then(Iterator::collect);
    for entry in entries.map_err(listed)? {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let (key, path) = (if below.is_empty() { name } else { format!("{below}/{name}") }, entry.path());
        if path.is_dir() {
            sweep(root, &key, named, done)?;
            // Only one that is empty goes.
            let _ = fs::remove_dir(&path);
        } else if !named.contains_key(&key) {
            let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
            fs::remove_file(&path).map_err(AdminError::io("remove", &path))?;
            done.objects_removed += 1;
            done.object_bytes_removed += bytes;
        }
    }
    Ok(())
}

impl fmt::Display for Compacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { finished, forgotten, objects_removed, object_bytes_removed } = self;
        write!(
            f,
            "{forgotten} finished matrices forgotten, {finished} kept; {objects_removed} objects of {object_bytes_removed} bytes \
             that nothing names removed; the next start builds the index anew"
        )
    }
}
