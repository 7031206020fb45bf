//! The backups that a schedule keeps in one place: each under the name of its time, the newest found again, the oldest removed.

use std::path::{Path, PathBuf};

use assay_domain::UnixMillis;

use super::files::Staged;
use super::remote::{self, Bucket};
use super::{AdminError, BACKUP_FILE, Backup, BackupPlace, backup, verify};
use crate::index::ProbeCommand;

/// Their names begin so; the rest is the time, so that names sort by it.
const PREFIX: &str = "backup-";

/// One backup more, read back whole; then those that are more than `keep` go. Answers its name.
pub(super) fn take(
    place: &BackupPlace,
    keep: usize,
    data_dir: &Path,
    probe: &ProbeCommand,
    now: UnixMillis,
) -> Result<(String, Backup), AdminError> {
    let name = format!("{PREFIX}{:013}", now.0);
    let made = match place {
        BackupPlace::Folder(folder) => take_to_folder(folder, &name, keep, data_dir, probe, now),
        BackupPlace::Bucket(url) => remote::take(&Bucket::open(url)?, &name, keep, |target| {
            remote::backup(target, data_dir, true, probe, now)
        }),
    };
    Ok((name, made?))
}

/// When the newest was taken.
pub(super) fn newest(place: &BackupPlace) -> Result<Option<u64>, AdminError> {
    Ok(match place {
        BackupPlace::Folder(folder) => taken(folder).pop().map(|(at, _)| at),
        BackupPlace::Bucket(url) => remote::newest(&Bucket::open(url)?)?,
    })
}

/// When a backup of this name was taken; none if it is the name of none.
pub(super) fn time_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// Those that are too many, of some that are sorted by their time.
pub(super) fn too_many<T>(mut sorted: Vec<(u64, T)>, keep: usize) -> Vec<(u64, T)> {
    sorted.truncate(sorted.len().saturating_sub(keep.max(1)));
    sorted
}

fn take_to_folder(
    folder: &Path,
    name: &str,
    keep: usize,
    data_dir: &Path,
    probe: &ProbeCommand,
    now: UnixMillis,
) -> Result<Backup, AdminError> {
    Staged::remove_unfinished(folder, PREFIX)?;
    let target = folder.join(name);
    let made = backup(data_dir, &target, true, now)?;
    let found = verify(&target, true, probe)?;
    // What the store itself lacks is told, and is no reason to have no backup of all else.
    if found.wrong.len() > made.wrong_objects.len() {
        std::fs::remove_dir_all(&target).map_err(AdminError::io("remove", &target))?;
        return Err(AdminError::ReadBack {
            place: target.display().to_string(),
            wrong: found.wrong.join("; "),
        });
    }
    for (_, old) in too_many(taken(folder), keep) {
        // First it is no backup any more: nobody restores the half of one.
        let listed = old.join(BACKUP_FILE);
        std::fs::remove_file(&listed).map_err(AdminError::io("remove", &listed))?;
        std::fs::remove_dir_all(&old).map_err(AdminError::io("remove", &old))?;
    }
    Ok(made)
}

/// The backups in a folder, oldest first.
fn taken(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let at = time_of(entry.file_name().to_str()?)?;
        entry.path().join(BACKUP_FILE).is_file().then(|| (at, entry.path()))
    });
    let mut taken: Vec<(u64, PathBuf)> = named.collect();
    taken.sort();
    taken
}
