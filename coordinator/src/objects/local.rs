//! The embedded object store: write-once objects in a folder. An object appears under its key whole, verified and durable,
//! or not at all. Calls block; HTTP is elsewhere.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::disk::{Disk, DiskLock, DiskRead, FolderError, SyncSite, ensure_folder, lock_folder};

mod bad;
mod durable;
mod error;
mod key;
mod upload;

use durable::Durable;

pub use bad::Found;
pub use error::ObjectError;
pub use key::{KEY_MAX_BYTES, KEY_PART_MAX_BYTES, ObjectKey};
pub use upload::Upload;

/// Uploads in progress; keys cannot begin with a dot. In the same file system, since hard links need that.
const UPLOADS: &str = ".uploads";
/// How many folders are remembered as durable before the memory starts afresh.
const FOLDERS_REMEMBERED_MAX: usize = 4096;
const READ_BLOCK_BYTES: usize = 256 << 10;

/// What an uploader announced.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The length.
    pub size_bytes: u64,
    /// The SHA-256 of the bytes.
    pub sha256: [u8; 32],
}

/// How an upload ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The object is new.
    Created,
    /// The key already held the same bytes.
    AlreadyThere,
}

/// The store; clones share it.
#[derive(Clone, Debug)]
pub struct LocalObjects {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    next_upload: AtomicU64,
    /// Folders that this process has made durable.
    folders: Mutex<BTreeSet<PathBuf>>,
    /// Objects that this process has made durable.
    durable: Durable,
    poison: Mutex<Option<String>>,
    /// Held while a bad object goes, so that a good one that takes its place does not.
    repairs: Mutex<()>,
    _lock: Box<dyn DiskLock>,
}

impl LocalObjects {
    /// Opens the store in `root`, or creates it. What earlier uploads left unfinished is removed.
    pub fn open_store(disk: Arc<dyn Disk>, root: &Path) -> Result<LocalObjects, ObjectError> {
        let uploads = root.join(UPLOADS);
        let lock = lock_folder(&*disk, &uploads).map_err(io_error("create and lock", &uploads))?;
        let lock = lock.ok_or_else(|| ObjectError::InUse { folder: root.to_path_buf() })?;
        for name in disk.list(&uploads).map_err(io_error("list", &uploads))? {
            if name.ends_with(".part") {
                let path = uploads.join(name);
                disk.remove(&path).map_err(io_error("remove", &path))?;
            }
        }
        let shared = Shared {
            disk,
            root: root.to_path_buf(),
            next_upload: AtomicU64::new(0),
            folders: Mutex::default(),
            durable: Durable::default(),
            poison: Mutex::default(),
            repairs: Mutex::default(),
            _lock: lock,
        };
        Ok(LocalObjects { shared: Arc::new(shared) })
    }

    /// Starts an upload.
    pub fn upload(&self, key: &ObjectKey, expected: Expected) -> Result<Upload, ObjectError> {
        self.check_poison()?;
        let number = self.shared.next_upload.fetch_add(1, Ordering::Relaxed);
        let path = self.shared.root.join(UPLOADS).join(format!("{number:020}.part"));
        let file = self.disk().create(&path).map_err(io_error("create", &path))?;
        Ok(Upload::new(self.clone(), key.clone(), expected, path, file))
    }

    /// Opens an object for reading; it stays readable when it is deleted meanwhile.
    pub fn open(&self, key: &ObjectKey) -> Result<ObjectReader, ObjectError> {
        let path = self.path(key);
        match self.disk().open(&path) {
            Ok(file) => Ok(ObjectReader { file, path }),
            Err(error) if is_absent(&error) => Err(ObjectError::NotFound { key: key.to_string() }),
            Err(source) => Err(io_error("open", &path)(source)),
        }
    }

    /// The object's size in bytes, if it exists. What this reports survives a power cut, so a job's completion may
    /// depend on it.
    pub fn stat(&self, key: &ObjectKey) -> Result<Option<u64>, ObjectError> {
        self.check_poison()?;
        let path = self.path(key);
        let size_bytes = match self.disk().size_bytes(&path) {
            Ok(size_bytes) => size_bytes,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(source) => return Err(io_error("look at", &path)(source)),
        };
        if !self.shared.durable.has(key) {
            // Whoever linked it may have died, or not come to sync it yet.
            self.sync_folder(path.parent().unwrap_or(&self.shared.root), SyncSite::ObjectStatEntry)?;
        }
        Ok(Some(size_bytes))
    }

    /// Deletes an object; answers whether it existed. After a power cut it may be back.
    pub fn delete(&self, key: &ObjectKey) -> Result<bool, ObjectError> {
        let path = self.path(key);
        let removed = self.shared.durable.without(key, || self.disk().remove(&path));
        match removed {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(source) => Err(io_error("delete", &path)(source)),
        }
    }

    fn disk(&self) -> &dyn Disk {
        &*self.shared.disk
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.shared.root.join(key.as_str())
    }

    /// Creates the folder of an object's file durably, once in a process.
    fn ensure_folder_of(&self, file: &Path) -> Result<PathBuf, ObjectError> {
        let folder = file.parent().unwrap_or(&self.shared.root).to_path_buf();
        if lock(&self.shared.folders).contains(&folder) {
            return Ok(folder);
        }
        ensure_folder(self.disk(), &folder).map_err(|error| match error {
            FolderError::Create { path, source } => io_error("create folder", &path)(source),
            FolderError::Sync { source, .. } => self.poisoned(&source),
        })?;
        let mut folders = lock(&self.shared.folders);
        if folders.len() >= FOLDERS_REMEMBERED_MAX {
            folders.clear();
        }
        folders.insert(folder.clone());
        Ok(folder)
    }

    fn sync_folder(&self, folder: &Path, site: SyncSite) -> Result<(), ObjectError> {
        self.check_poison()?;
        self.disk().sync_folder(folder, site).map_err(|error| self.poisoned(&error))
    }

    fn check_poison(&self) -> Result<(), ObjectError> {
        match lock(&self.shared.poison).clone() {
            Some(reason) => Err(ObjectError::Poisoned { reason }),
            None => Ok(()),
        }
    }

    fn poisoned(&self, error: &io::Error) -> ObjectError {
        let reason = lock(&self.shared.poison).get_or_insert(error.to_string()).clone();
        ObjectError::Poisoned { reason }
    }
}

/// An open object.
#[derive(Debug)]
pub struct ObjectReader {
    file: Box<dyn DiskRead>,
    path: PathBuf,
}

impl ObjectReader {
    /// The object's size.
    pub fn size_bytes(&self) -> u64 {
        self.file.size_bytes()
    }

    /// Reads up to `buffer.len()` bytes from an offset; 0 at the end.
    pub fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<usize, ObjectError> {
        self.file.read_at(offset_bytes, buffer).map_err(io_error("read", &self.path))
    }
}

fn read_digest(object: &ObjectReader) -> Result<[u8; 32], ObjectError> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; READ_BLOCK_BYTES];
    let mut offset_bytes = 0;
    loop {
        let read = object.read_at(offset_bytes, &mut block)?;
        if read == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&block[..read]);
        offset_bytes += read as u64;
    }
}

/// A part of the key may also be an object where a folder would have to be.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ObjectError + 'a {
    move |source| ObjectError::Io { action, path: path.to_path_buf(), source }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
