//! A backup: newest good snapshot, the journal after it and every object they name, in a folder laid out as a data folder,
//! with `backup.json` written last. The state is read first: all it names was stored before, so that a running coordinator
//! does no harm.

use std::fmt;
use std::path::Path;

use assay_domain::UnixMillis;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::files::Staged;
use super::store::{Folder, Sink};
use super::stored::{Damage, Stored};
use super::{AdminError, annotations, objects};
use crate::disk::RealDisk;
use crate::snapshot;

/// What makes a folder a backup. A coordinator does not serve a folder that has it.
pub const BACKUP_FILE: &str = "backup.json";

const FORMAT: u32 = 1;

/// What a backup is of. Fields are added with a serde default, never renamed or reused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// The version of this description.
    pub format: u32,
    /// When it was begun: everything answered before is in it.
    pub taken_at: UnixMillis,
    /// The last record in it.
    pub last_sequence: u64,
    /// The epoch of its state.
    pub epoch: u64,
    /// Matrices in it, finished or not.
    pub matrices: usize,
    /// Objects in it, and their bytes.
    pub objects: usize,
    /// The objects' bytes.
    pub object_bytes: u64,
    /// Objects that its state names and the store did not have as they should be: `KEY (WHOSE) WHAT`.
    pub wrong_objects: Vec<String>,
    /// Whether objects were left out on request.
    pub without_objects: bool,
    /// Files of snapshot, journal and people's judging, with their SHA-256.
    pub files: Vec<(String, String)>,
}

/// Writes a backup of a data folder to a folder that does not exist or is empty; it appears whole or not at all.
///
/// # Errors
/// What was wrong with source or target; the target is as it was.
pub fn backup(
    data_dir: &Path,
    target: &Path,
    with_objects: bool,
    now: UnixMillis,
) -> Result<Backup, AdminError> {
    let staged = Staged::new(target)?;
    let folder = Folder::make(staged.folder())?;
    let made = fill(data_dir, &folder, with_objects, now)?;
    folder.write(BACKUP_FILE, &json(&made))?;
    staged.finish()?;
    Ok(made)
}

/// Writes all of a backup but its description, which it answers.
pub(super) fn fill(
    data_dir: &Path,
    to: &dyn Sink,
    with_objects: bool,
    now: UnixMillis,
) -> Result<Backup, AdminError> {
    let stored = Stored::load(&RealDisk, data_dir, Damage::Refused)?;
    if stored.last_sequence == 0 {
        return Err(AdminError::NoState { path: data_dir.to_path_buf() });
    }
    let mut made = Backup {
        format: FORMAT,
        taken_at: now,
        last_sequence: stored.last_sequence,
        epoch: stored.state.epoch.0,
        matrices: stored.matrices().count(),
        objects: 0,
        object_bytes: 0,
        wrong_objects: Vec::new(),
        without_objects: !with_objects,
        files: write_state(&stored, data_dir, to)?,
    };
    if with_objects {
        copy_objects(&stored, data_dir, to, &mut made)?;
    }
    Ok(made)
}

/// Writes the snapshot, the journal after it and what people have judged; answers their names and digests.
pub(super) fn write_state(
    stored: &Stored,
    from: &Path,
    to: &dyn Sink,
) -> Result<Vec<(String, String)>, AdminError> {
    let mut files = Vec::new();
    let snapshot = stored.snapshot.iter().map(|(_, name)| (name, true));
    for (name, whole) in snapshot.chain(stored.history.iter().map(|(name, whole)| (name, *whole))) {
        let name = format!("snapshots/{name}");
        let digest = match whole {
            true => to.copy(&from.join(&name), &name)?,
            // What the snapshot lists has to be there, also where nothing is left of it.
            false => write(to, &name, &snapshot::empty(name.as_ref()))?,
        };
        files.push((name, digest));
    }
    for (name, bytes) in &stored.segments {
        let name = format!("journal/{name}");
        let digest = write(to, &name, bytes)?;
        files.push((name, digest));
    }
    annotations::copy(from, to, &mut files)?;
    Ok(files)
}

fn write(to: &dyn Sink, name: &str, bytes: &[u8]) -> Result<String, AdminError> {
    to.write(name, bytes)?;
    Ok(hex::encode(Sha256::digest(bytes)))
}

fn copy_objects(stored: &Stored, from: &Path, to: &dyn Sink, made: &mut Backup) -> Result<(), AdminError> {
    let named = objects::named(stored.matrices());
    let wrong = to.copy_objects(&from.join("objects"), &objects::files(&named))?;
    for ((key, (file, whose)), wrong) in named.iter().zip(wrong) {
        if let Some(wrong) = wrong {
            made.wrong_objects.push(format!("{key} ({whose}) {wrong}"));
        } else {
            made.objects += 1;
            made.object_bytes += file.bytes;
        }
    }
    Ok(())
}

/// The description, as it is stored.
pub(super) fn json(backup: &Backup) -> Vec<u8> {
    // Strings and numbers always have a JSON form.
    let mut text = serde_json::to_string_pretty(backup).unwrap_or_default();
    text.push('\n');
    text.into_bytes()
}

impl fmt::Display for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { last_sequence, epoch, matrices, objects, object_bytes, .. } = self;
        write!(f, "state as of sequence {last_sequence}, epoch {epoch}: {matrices} matrices, ")?;
        match self.without_objects {
            true => write!(f, "without their objects"),
            false => write!(f, "{objects} objects of {object_bytes} bytes"),
        }?;
        self.wrong_objects.iter().try_for_each(|wrong| write!(f, "\nnot in it: {wrong}"))
    }
}
