//! Backups in a bucket of S3, Google Cloud Storage or Azure: the files of a backup's folder under a prefix, with `backup.json` last, and
//! here only once all the others were read back. Calls block, on a small runtime of their own: not for async tasks.

use std::path::Path;

use assay_domain::UnixMillis;
use tempfile::TempDir;

use super::backup::{BACKUP_FILE, Backup, fill, json};
use super::files::Staged;
use super::restore::{Restored, restore_into};
use super::store::Objects;
use super::verify::{Verified, verify_with};
use super::{AdminError, annotations, files};
use crate::index::ProbeCommand;

mod bucket;
mod shelf;
mod transfer;
mod url;

pub(super) use bucket::Bucket;
pub(super) use shelf::{newest, take};
pub use url::{BadBucketUrl, BucketUrl};

/// Writes a backup, reads all of it back, and only then makes it one. Whatever fails, what was written is removed.
pub(super) fn backup(
    bucket: &Bucket,
    data_dir: &Path,
    with_objects: bool,
    probe: &ProbeCommand,
    now: UnixMillis,
) -> Result<Backup, AdminError> {
    if bucket.holds_anything()? {
        return Err(AdminError::NotEmpty { path: bucket.url().into() });
    }
    let made = fill(data_dir, bucket, with_objects, now)
        .and_then(|made| read_back(bucket, &made, probe).map(|()| made));
    if made.is_err() {
        // What cannot be removed now is no backup, and the next scheduled one removes it.
        let _ = bucket.remove_all();
    }
    made
}

/// The description last: it makes a backup of what stands up to all checks.
fn read_back(bucket: &Bucket, made: &Backup, probe: &ProbeCommand) -> Result<(), AdminError> {
    let state = scratch()?;
    fetch_state(bucket, state.path())?;
    files::write(&state.path().join(BACKUP_FILE), &json(made))?;
    let objects = (!made.without_objects).then_some(bucket as &dyn Objects);
    let found = verify_state(bucket, state.path(), objects, true, probe)?;
    // What the data folder itself lacks is told, and is no reason to have no backup of all else.
    if found.wrong.len() > made.wrong_objects.len() {
        let wrong = found.wrong.join("; ");
        return Err(AdminError::ReadBack { place: bucket.url(), wrong });
    }
    bucket.put(BACKUP_FILE, &json(made))?;
    if bucket.get(BACKUP_FILE)?.is_none_or(|read| read != json(made)) {
        let wrong = format!("{BACKUP_FILE} is another");
        return Err(AdminError::ReadBack { place: bucket.url(), wrong });
    }
    Ok(())
}

/// Downloads and checks all of a backup.
pub(super) fn verify(bucket: &Bucket, digests: bool, probe: &ProbeCommand) -> Result<Verified, AdminError> {
    let state = scratch()?;
    fetch_backup(bucket, state.path())?;
    verify_state(bucket, state.path(), Some(bucket), digests, probe)
}

/// Looks at a state that was fetched, and tells what is wrong by the names in the bucket.
fn verify_state(
    bucket: &Bucket,
    state: &Path,
    objects: Option<&dyn Objects>,
    digests: bool,
    probe: &ProbeCommand,
) -> Result<Verified, AdminError> {
    let mut found = verify_with(state, objects, digests, probe)?;
    let (fetched, url) = (state.display().to_string(), bucket.url());
    for line in found.good.iter_mut().chain(&mut found.wrong) {
        *line = line.replace(&fetched, &url);
    }
    Ok(found)
}

/// Makes a data folder of a backup.
pub(super) fn restore(
    bucket: &Bucket,
    data_dir: &Path,
    salvage: bool,
    now: UnixMillis,
) -> Result<Restored, AdminError> {
    let staged = Staged::new(data_dir)?;
    let state = scratch()?;
    match fetch_backup(bucket, state.path()) {
        // Without its description it is not whole, but there may be much of it.
        Err(AdminError::NoBackup { .. }) if salvage => {}
        fetched => fetched?,
    }
    restore_into(staged, state.path(), bucket, salvage, now)
        .map_err(|error| error.moved(state.path(), bucket.url()))
}

/// For the state only: objects are looked at on their way.
fn scratch() -> Result<TempDir, AdminError> {
    tempfile::Builder::new()
        .prefix("assay-backup-")
        .tempdir()
        .map_err(AdminError::io("create a folder in", &std::env::temp_dir()))
}

fn fetch_backup(bucket: &Bucket, folder: &Path) -> Result<(), AdminError> {
    fetch_state(bucket, folder)?;
    let Some(description) = bucket.get(BACKUP_FILE)? else {
        return Err(AdminError::NoBackup { path: bucket.url().into() });
    };
    files::write(&folder.join(BACKUP_FILE), &description)
}

/// All but the objects and the description.
fn fetch_state(bucket: &Bucket, folder: &Path) -> Result<(), AdminError> {
    for inner in ["journal", "snapshots", annotations::FOLDER] {
        files::make_folder(&folder.join(inner))?;
        bucket.fetch(&bucket.list(inner)?, folder)?;
    }
    Ok(())
}
