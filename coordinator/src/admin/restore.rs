//! Restoring: a data folder from a backup, or from what is intact of another data folder. It appears whole or not at all, with
//! its epoch raised durably, so that tokens of the lost history are void.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use assay_domain::{Epoch, Event, UnixMillis};
use serde::Serialize;

use super::backup::{BACKUP_FILE, Backup, write_state};
use super::files::Staged;
use super::store::{Folder, Objects};
use super::stored::{Damage, Stored};
use super::{AdminError, objects};
use crate::disk::RealDisk;
use crate::engine::EngineError;
use crate::journal::{Journal, JournalConfig};

/// What was restored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Restored {
    /// The last record taken over: what came later is not there.
    pub last_sequence: u64,
    /// When the backup was taken; none for a salvage.
    pub taken_at: Option<UnixMillis>,
    /// The new epoch.
    pub epoch: u64,
    /// Matrices, finished or not.
    pub matrices: usize,
    /// Objects copied.
    pub objects: usize,
    /// Objects that the state names and the source did not have as they should be: `KEY (WHOSE) WHAT`.
    pub wrong_objects: Vec<String>,
    /// What a salvage gave up.
    pub given_up: Option<String>,
}

/// Makes a data folder. With `salvage` the source may be damaged, and a data folder as well as a backup.
///
/// # Errors
/// What was wrong with source or target; the target is as it was.
pub fn restore(
    source: &Path,
    data_dir: &Path,
    salvage: bool,
    now: UnixMillis,
) -> Result<Restored, AdminError> {
    let staged = Staged::new(data_dir)?;
    restore_into(staged, source, &Folder::at(source), salvage, now)
}

/// The same with the state and the objects each where they are.
pub(super) fn restore_into(
    staged: Staged,
    source: &Path,
    from: &dyn Objects,
    salvage: bool,
    now: UnixMillis,
) -> Result<Restored, AdminError> {
    let manifest = match salvage {
        true => None,
        false => Some(check(source)?),
    };
    let damage = if salvage { Damage::GivenUp } else { Damage::Refused };
    let stored = Stored::load(&RealDisk, source, damage)?;
    if stored.last_sequence == 0 {
        return Err(AdminError::NoState { path: source.to_path_buf() });
    }
    write_state(&stored, source, &Folder::make(staged.folder())?)?;
    let epoch = raise_epoch(&stored, staged.folder(), now)?;
    let mut restored = Restored {
        last_sequence: stored.last_sequence,
        taken_at: manifest.map(|manifest| manifest.taken_at),
        epoch: epoch.0,
        matrices: stored.matrices().count(),
        objects: 0,
        wrong_objects: Vec::new(),
        given_up: stored.given_up.clone(),
    };
    let named = objects::named(stored.matrices());
    let wrong = from.copy_to(&staged.folder().join("objects"), &objects::files(&named))?;
    for ((key, (_, whose)), wrong) in named.iter().zip(wrong) {
        match wrong {
            Some(wrong) => restored.wrong_objects.push(format!("{key} ({whose}) {wrong}")),
            None => restored.objects += 1,
        }
    }
    staged.finish()?;
    Ok(restored)
}

/// A backup's own description, once every file of its state was seen to be as it was written.
pub(super) fn check(source: &Path) -> Result<Backup, AdminError> {
    let path = source.join(BACKUP_FILE);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(AdminError::NoBackup { path: source.to_path_buf() });
        }
        read => read.map_err(AdminError::io("read", &path))?,
    };
    let backup: Backup =
        serde_json::from_slice(&bytes).map_err(|source| AdminError::Manifest { path, source })?;
    for (name, expected) in &backup.files {
        let path = source.join(name);
        let wrong = match objects::digest(&path) {
            Ok((_, found)) if found == *expected => continue,
            Ok((_, found)) => format!("its sha256 is {found}, not {expected}"),
            Err(error) => error.to_string(),
        };
        return Err(AdminError::BackupDamaged { path, wrong });
    }
    Ok(backup)
}

/// The epoch is the second of the restore, so that two restores of one backup never give out the same tokens.
fn raise_epoch(stored: &Stored, folder: &Path, now: UnixMillis) -> Result<Epoch, AdminError> {
    let epoch = Epoch((stored.state.epoch.0 + 1).max(now.0 / 1000));
    let journal = folder.join("journal");
    let snapshot = stored.snapshot.as_ref().map_or(0, |(sequence, _)| *sequence);
    let config = JournalConfig::default();
    let disk = Arc::new(RealDisk);
    let mut opened = match stored.segments.is_empty() {
        true => Journal::create_after(disk, &journal, config, stored.last_sequence)?,
        false => Journal::open(disk, &journal, config, snapshot, stored.last_sequence)?,
    };
    let event = Event::EpochRaised { epoch };
    let record = serde_json::to_vec(&event).map_err(|source| EngineError::Encode { source })?;
    opened.append(&[record])?;
    Ok(epoch)
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { last_sequence, epoch, matrices, objects, .. } = self;
        writeln!(
            f,
            "restored as of sequence {last_sequence}: {matrices} matrices, {objects} objects; new epoch {epoch}"
        )?;
        if let Some(given_up) = &self.given_up {
            writeln!(f, "given up: {given_up}")?;
        }
        self.wrong_objects.iter().try_for_each(|wrong| writeln!(f, "not there: {wrong}"))?;
        write!(
            f,
            "what was answered after that is lost: submit again what was submitted later (the same submit keys may be used); \
             jobs that finished later run again, attempts that were running are void; the token is a new one"
        )
    }
}
