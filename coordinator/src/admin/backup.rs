//! A backup: newest good snapshot, the journal after it and every object they name, in a folder laid out as a data folder,
//! with `backup.json` written last. The state is read first: all it names was stored before, so that a running coordinator
//! does no harm.

use std::fmt;
use std::path::Path;

use assay_domain::UnixMillis;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::files::{self, Staged};
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
        files: write_state(&stored, data_dir, staged.folder())?,
    };
    if with_objects {
        copy_objects(&stored, data_dir, staged.folder(), &mut made)?;
    }
    files::write(&staged.folder().join(BACKUP_FILE), &json(&made))?;
    staged.finish()?;
    Ok(made)
}

/// Writes the snapshot, the journal after it and what people have judged; answers their names and digests.
pub(super) fn write_state(
    stored: &Stored,
    from: &Path,
    to: &Path,
) -> Result<Vec<(String, String)>, AdminError> {
    let mut files = Vec::new();
    for folder in ["snapshots", "journal", "objects"] {
        files::make_folder(&to.join(folder))?;
    }
    let snapshot = stored.snapshot.iter().map(|(_, name)| (name, true));
    for (name, whole) in snapshot.chain(stored.history.iter().map(|(name, whole)| (name, *whole))) {
        let name = format!("snapshots/{name}");
        let copy = to.join(&name);
        match whole {
            true => files::copy(&from.join(&name), &copy)?,
            // What the snapshot lists has to be there, also where nothing is left of it.
            false => files::write(&copy, &snapshot::empty(&copy))?,
        }
        let digest = objects::digest(&copy).map_err(AdminError::io("read", &copy))?.1;
        files.push((name, digest));
    }
    for (name, bytes) in &stored.segments {
        let name = format!("journal/{name}");
        files::write(&to.join(&name), bytes)?;
        files.push((name, hex::encode(Sha256::digest(bytes))));
    }
    annotations::copy(from, to, &mut files)?;
    Ok(files)
}

fn copy_objects(stored: &Stored, from: &Path, to: &Path, made: &mut Backup) -> Result<(), AdminError> {
    let (from, to) = (from.join("objects"), to.join("objects"));
    for (key, (file, whose)) in objects::named(stored.matrices()) {
        if let Some(wrong) = copy_object(&from, &to, &file)? {
            made.wrong_objects.push(format!("{key} ({whose}) {wrong}"));
        } else {
            made.objects += 1;
            made.object_bytes += file.bytes;
        }
    }
    Ok(())
}

/// Copies an object and reads the copy back; answers what is wrong with it, and then leaves none.
pub(super) fn copy_object(
    from: &Path,
    to: &Path,
    file: &assay_domain::FileRef,
) -> Result<Option<String>, AdminError> {
    if let Some(wrong) = objects::wrong(from, file, false) {
        return Ok(Some(wrong));
    }
    let copy = to.join(file.key.as_str());
    files::copy(&from.join(file.key.as_str()), &copy)?;
    let wrong = objects::wrong(to, file, true);
    if wrong.is_some() {
        std::fs::remove_file(&copy).map_err(AdminError::io("remove", &copy))?;
    }
    Ok(wrong)
}

fn json(backup: &Backup) -> Vec<u8> {
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
