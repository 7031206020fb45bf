//! The cache of the Hub's files: a quota, repositories that were used longest ago go first, and those in use stay.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Hub, HubError, HubRepo, Listing};
use crate::TransferError;

/// Its time of change is when a repository was last used.
const USED_FILE: &str = "used";

/// Files of a repository at a commit. They stay in the cache as long as this value lives.
#[derive(Debug)]
pub struct Snapshot {
    /// The commit.
    pub commit: String,
    /// All that the repository has at that commit.
    pub listing: Listing,
    /// The folder with the files, under their paths in the repository.
    pub folder: PathBuf,
    /// Paths of the files, relative to the folder.
    pub files: Vec<String>,
    /// Bytes that were fetched for it, now.
    pub fetched_bytes: u64,
    pub(super) _in_use: File,
}

impl Hub {
    /// The folder of a repository, and a lock that keeps anybody from removing it. Others may use it and fetch into it
    /// beside us: each file is locked while it is fetched.
    pub(super) fn claim(&self, repo: &HubRepo) -> Result<(PathBuf, File), HubError> {
        let folder = self.cache.join(repo.folder());
        let lock = open_lock(&self.cache, &repo.folder())?;
        lock.lock_shared().map_err(TransferError::file("locked", &folder))?;
        fs::create_dir_all(&folder).map_err(TransferError::file("created", &folder))?;
        fs::write(folder.join(USED_FILE), "").map_err(TransferError::file("written", &folder))?;
        Ok((folder, lock))
    }

    /// Removes what was used longest ago until `needed_bytes` more fit beside the rest.
    pub(super) fn make_room(&self, repo: &HubRepo, needed_bytes: u64) -> Result<(), HubError> {
        let bytes_max = self.limits.cache_bytes_max;
        let mut others = self.others(repo)?;
        let mut held_bytes = size_of(&self.cache.join(repo.folder()))?;
        let mut total = held_bytes + others.iter().map(|other| other.bytes).sum::<u64>();
        others.sort_by_key(|other| other.used);
        for other in others {
            if total + needed_bytes <= bytes_max {
                return Ok(());
            }
            let lock = open_lock(&self.cache, &other.name)?;
            match lock.try_lock() {
                Ok(()) => {
                    let folder = self.cache.join(&other.name);
                    fs::remove_dir_all(&folder).map_err(TransferError::file("removed", &folder))?;
                    tracing::info!(
                        repository = other.name,
                        bytes = other.bytes,
                        "removed from the Hub cache"
                    );
                    total -= other.bytes;
                }
                Err(TryLockError::WouldBlock) => held_bytes += other.bytes,
                Err(TryLockError::Error(error)) => {
                    return Err(TransferError::file("locked", &self.cache)(error).into());
                }
            }
        }
        match total + needed_bytes <= bytes_max {
            true => Ok(()),
            false => {
                Err(HubError::CacheTooSmall { what: repo.name.clone(), needed_bytes, held_bytes, bytes_max })
            }
        }
    }

    fn others(&self, repo: &HubRepo) -> Result<Vec<Other>, HubError> {
        let mut others = Vec::new();
        let entries = fs::read_dir(&self.cache).map_err(TransferError::file("listed", &self.cache))?;
        for entry in entries {
            let entry = entry.map_err(TransferError::file("listed", &self.cache))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let used = fs::metadata(entry.path().join(USED_FILE)).and_then(|used| used.modified());
            // What has no such file is not of this cache, and not ours to remove.
            if let Some(used) = used.ok().filter(|_| name != repo.folder()) {
                others.push(Other { bytes: size_of(&entry.path())?, name, used });
            }
        }
        Ok(others)
    }
}

struct Other {
    name: String,
    bytes: u64,
    used: SystemTime,
}

fn open_lock(cache: &Path, name: &str) -> Result<File, HubError> {
    let locks = cache.join(".locks");
    fs::create_dir_all(&locks).map_err(TransferError::file("created", &locks))?;
    let path = locks.join(name);
    Ok(File::create(&path).map_err(TransferError::file("created", &path))?)
}

/// Bytes of the files below a folder; links count nothing.
fn size_of(folder: &Path) -> Result<u64, HubError> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(TransferError::file("listed", folder))? {
        let entry = entry.map_err(TransferError::file("listed", folder))?;
        let metadata = entry.metadata().map_err(TransferError::file("read", entry.path()))?;
        bytes += if metadata.is_dir() {
            size_of(&entry.path())?
        } else if metadata.is_file() {
            metadata.len()
        } else {
            0
        };
    }
    Ok(bytes)
}
