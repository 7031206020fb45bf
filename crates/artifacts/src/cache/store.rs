//! What lies in the cache folder, and what must go when more is to come.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use assay_domain::Digest;

use crate::TransferError;

pub(super) struct Store {
    folder: PathBuf,
    bytes_max: u64,
    entries: Mutex<Entries>,
    // Held, not read: another process that opens the folder finds it locked.
    _lock: File,
}

#[derive(Default)]
struct Entries {
    by_digest: HashMap<Digest, Entry>,
    uses: u64,
}

struct Entry {
    /// Counted against the limit: all of it, even while only a part is there.
    bytes: u64,
    present: bool,
    pins: u32,
    /// The larger, the later it was used.
    used: u64,
}

impl Store {
    pub(super) fn open(folder: PathBuf, bytes_max: u64) -> Result<Self, TransferError> {
        for name in ["objects", "partial"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(TransferError::file("created", &path))?;
        }
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(TransferError::file("created", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(TransferError::CacheInUse { path: folder }),
            Err(TryLockError::Error(error)) => return Err(TransferError::file("locked", &path)(error)),
        }
        let entries = Mutex::new(found(&folder)?);
        Ok(Self { folder, bytes_max, entries, _lock: lock })
    }

    /// Makes room for an object and keeps it from going until the pin is dropped.
    pub(super) fn pin(self: &Arc<Self>, digest: Digest, bytes: u64) -> Result<Pin, TransferError> {
        let mut entries = self.lock();
        if !entries.by_digest.get(&digest).is_some_and(|entry| entry.present) {
            entries.make_room(self, digest, bytes)?;
        }
        entries.uses += 1;
        let used = entries.uses;
        let entry = entries.by_digest.entry(digest).or_insert(Entry { bytes, present: false, pins: 0, used });
        entry.pins += 1;
        entry.used = used;
        drop(entries);
        Ok(Pin { store: self.clone(), digest, bytes })
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, digest: Digest) -> PathBuf {
        self.folder.join("objects").join(digest.to_string())
    }

    fn partial(&self, digest: Digest) -> PathBuf {
        self.folder.join("partial").join(digest.to_string())
    }
}

impl Entries {
    fn make_room(&mut self, store: &Store, digest: Digest, bytes: u64) -> Result<(), TransferError> {
        loop {
            let others = self.by_digest.iter().filter(|(other, _)| **other != digest);
            let in_use: u64 = others.clone().map(|(_, entry)| entry.bytes).sum();
            if in_use.saturating_add(bytes) <= store.bytes_max {
                return Ok(());
            }
            let oldest = others.filter(|(_, entry)| entry.pins == 0).min_by_key(|(_, entry)| entry.used);
            let Some((oldest, entry)) = oldest else {
                let bytes_max = store.bytes_max;
                return Err(TransferError::CacheTooSmall {
                    needed_bytes: bytes,
                    pinned_bytes: in_use,
                    bytes_max,
                });
            };
            let oldest = *oldest;
            let path = if entry.present { store.object(oldest) } else { store.partial(oldest) };
            match fs::remove_file(&path) {
                Ok(()) => tracing::debug!(object = %path.display(), "left the cache"),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(TransferError::file("removed", path)(error)),
            }
            self.by_digest.remove(&oldest);
        }
    }
}

/// What an earlier process left behind, oldest first.
fn found(folder: &Path) -> Result<Entries, TransferError> {
    let mut files: Vec<(SystemTime, Digest, u64, bool)> = Vec::new();
    for (name, present) in [("objects", true), ("partial", false)] {
        let path = folder.join(name);
        for entry in fs::read_dir(&path).map_err(TransferError::file("listed", &path))? {
            let entry = entry.map_err(TransferError::file("listed", &path))?;
            let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let metadata = entry.metadata().map_err(TransferError::file("read", entry.path()))?;
            files.push((
                metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                digest,
                metadata.len(),
                present,
            ));
        }
    }
    files.sort();
    let mut entries = Entries::default();
    for (_, digest, bytes, present) in files {
        entries.uses += 1;
        let used = entries.uses;
        let known = entries.by_digest.entry(digest).or_insert(Entry { bytes, present, pins: 0, used });
        known.present |= present;
    }
    Ok(entries)
}

/// The right to one object of the cache.
pub(super) struct Pin {
    store: Arc<Store>,
    digest: Digest,
    bytes: u64,
}

impl Pin {
    pub(super) fn path(&self) -> PathBuf {
        self.store.object(self.digest)
    }

    pub(super) fn partial_path(&self) -> PathBuf {
        self.store.partial(self.digest)
    }

    /// Whether the object is there; one that somebody removed or cut is fetched again.
    pub(super) fn is_present(&self) -> bool {
        let present = self.store.lock().by_digest.get(&self.digest).is_some_and(|entry| entry.present);
        let path = self.path();
        let whole = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == self.bytes);
        if !present || !whole {
            return false;
        }
        touch(&path);
        true
    }

    /// The partial file is whole and verified: it becomes the object.
    pub(super) fn publish(&self) -> Result<(), TransferError> {
        let (partial, path) = (self.partial_path(), self.path());
        let mut permissions =
            fs::metadata(&partial).map_err(TransferError::file("read", &partial))?.permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&partial, permissions)
            .map_err(TransferError::file("made read-only", &partial))?;
        fs::rename(&partial, &path).map_err(TransferError::file("renamed", &partial))?;
        if let Some(entry) = self.store.lock().by_digest.get_mut(&self.digest) {
            entry.present = true;
        }
        Ok(())
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(entry) = self.store.lock().by_digest.get_mut(&self.digest) {
            entry.pins -= 1;
        }
    }
}

/// Remembers for the next process when an object was used; the owner may set times of a read-only file.
#[expect(
    clippy::disallowed_methods,
    reason = "only orders what goes first after a restart; decides nothing else"
)]
fn touch(path: &Path) {
    let touched = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(%error, "time of use not kept");
    }
}
