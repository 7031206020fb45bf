//! The backups that a schedule keeps below one prefix.

use object_store::{Error, ObjectStoreExt as _};

use super::super::AdminError;
use super::super::backup::{BACKUP_FILE, Backup};
use super::super::shelf::{time_of, too_many};
use super::bucket::Bucket;

/// One backup more; what interrupted ones left goes before it, and those that are too many after it.
pub(in super::super) fn take(
    shelf: &Bucket,
    name: &str,
    keep: usize,
    backup: impl FnOnce(&Bucket) -> Result<Backup, AdminError>,
) -> Result<Backup, AdminError> {
    for unfinished in folders(shelf)?.into_iter().filter(|found| !found.finished) {
        unfinished.bucket.remove_all()?;
    }
    let made = backup(&shelf.within(name))?;
    for (_, old) in too_many(taken(shelf)?, keep) {
        // First it is no backup any more: nobody restores the half of one.
        old.remove(BACKUP_FILE)?;
    }
    Ok(made)
}

/// When the newest was taken.
pub(in super::super) fn newest(shelf: &Bucket) -> Result<Option<u64>, AdminError> {
    Ok(taken(shelf)?.pop().map(|(at, _)| at))
}

/// Something that has the name of a backup.
struct Found {
    at: u64,
    bucket: Bucket,
    finished: bool,
}

/// Finished ones, oldest first.
fn taken(shelf: &Bucket) -> Result<Vec<(u64, Bucket)>, AdminError> {
    let finished = folders(shelf)?.into_iter().filter(|found| found.finished);
    Ok(finished.map(|found| (found.at, found.bucket)).collect())
}

fn folders(shelf: &Bucket) -> Result<Vec<Found>, AdminError> {
    let listed = shelf.runtime.block_on(shelf.store.list_with_delimiter(Some(&shelf.prefix())));
    let listed = listed.map_err(shelf.refused("list", ""))?.common_prefixes;
    let named = listed.iter().filter_map(|found| found.filename());
    let named = named.filter_map(|name| time_of(name).map(|at| (at, shelf.within(name))));
    let found = named.map(|(at, bucket)| Ok(Found { at, finished: is_finished(&bucket)?, bucket }));
    let mut found: Vec<Found> = found.collect::<Result<_, AdminError>>()?;
    found.sort_unstable_by_key(|found| found.at);
    Ok(found)
}

fn is_finished(bucket: &Bucket) -> Result<bool, AdminError> {
    let key = bucket.key(BACKUP_FILE)?;
    match bucket.runtime.block_on(bucket.store.head(&key)) {
        Ok(_) => Ok(true),
        Err(Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(bucket.refused("read", BACKUP_FILE)(error)),
    }
}
