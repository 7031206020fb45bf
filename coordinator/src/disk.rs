//! The file layer under journal, snapshots and local objects: as few operations as they need, each with its sync
//! call named, so that the same code runs on a real file system and on the simulated one that loses what was not synced.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

mod crash;
mod real;

pub use crash::{CrashDisk, Fault};
pub use real::RealDisk;

/// One sync call in the code. Every call names its own site, so that a test can leave one out and must then fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncSite {
    /// The parent of a folder that was created.
    FolderEntry,
    /// The segment, after a batch was appended and before it is acknowledged.
    JournalBatch,
    /// A new segment's header, before the segment is used.
    JournalSegmentFile,
    /// The journal's folder, after a segment was created and before it is used.
    JournalSegmentEntry,
    /// The copy of the last segment that recovery goes on with.
    JournalReopenFile,
    /// The journal's folder, after that copy took the segment's name.
    JournalReopenEntry,
    /// A snapshot, before it is read back and takes its name.
    SnapshotFile,
    /// The snapshots' folder, after a snapshot took its name.
    SnapshotEntry,
    /// An uploaded object, before it is linked to its key.
    ObjectFile,
    /// The object's folder, after it was linked to its key.
    ObjectEntry,
    /// The object's folder, before its existence is reported.
    ObjectStatEntry,
}

impl SyncSite {
    /// All sites, for tests that leave out one after the other.
    pub const ALL: [SyncSite; 11] = [
        SyncSite::FolderEntry,
        SyncSite::JournalBatch,
        SyncSite::JournalSegmentFile,
        SyncSite::JournalSegmentEntry,
        SyncSite::JournalReopenFile,
        SyncSite::JournalReopenEntry,
        SyncSite::SnapshotFile,
        SyncSite::SnapshotEntry,
        SyncSite::ObjectFile,
        SyncSite::ObjectEntry,
        SyncSite::ObjectStatEntry,
    ];
}

/// A file system, as narrow as our storage code needs it. Paths are used as given.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Creates a file for appending; fails if the name exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file for reading at offsets.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskRead>>;
    /// A file's size in bytes.
    fn size_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(self.open(path)?.size_bytes())
    }
    /// The names of the files (not the folders) in a folder, sorted.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Whether the path is a folder.
    fn is_folder(&self, path: &Path) -> io::Result<bool>;
    /// Creates one folder; one that exists is success.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a folder durable.
    fn sync_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()>;
    /// Renames within one folder, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name; fails with `AlreadyExists` if that name is taken.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Takes an exclusive lock that ends with the returned guard or the process; `None` if another holds it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>>;

    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let mut bytes = vec![0; usize::try_from(file.size_bytes()).map_err(io::Error::other)?];
        let read = read_full(&*file, 0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// A file open for appending.
pub trait DiskFile: fmt::Debug + Send {
    /// Appends all bytes, or fails with any part of them written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file's data and size durable (its name is made durable by `Disk::sync_folder`).
    fn sync(&mut self, site: SyncSite) -> io::Result<()>;
}

/// A file open for reading; it stays readable when its name goes.
pub trait DiskRead: fmt::Debug + Send + Sync {
    /// The size when it was opened.
    fn size_bytes(&self) -> u64;
    /// Reads up to `buffer.len()` bytes; 0 at the end.
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A held lock; dropping it frees it.
pub trait DiskLock: fmt::Debug + Send + Sync {}

/// Creates a folder durably and takes the lock in it; `None` if another process holds that.
pub fn lock_folder(disk: &dyn Disk, folder: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
    ensure_folder(disk, folder)?;
    disk.try_lock(&folder.join("lock"))
}

/// Reads until `buffer` is full or the file ends; answers how much was read.
pub(crate) fn read_full(file: &dyn DiskRead, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let read = file.read_at(offset_bytes + filled as u64, &mut buffer[filled..])?;
        if read == 0 {
            break;
        }
        filled += read;
    }
    Ok(filled)
}

/// Why a folder could not be made durable.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It could not be created; nothing was changed for the worse.
    #[error("cannot create folder {path}", path = path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// The file system's answer.
        #[source]
        source: io::Error,
    },
    /// Its entry could not be synced; a later sync may report success and keep nothing.
    #[error("cannot sync folder {path}", path = path.display())]
    Sync {
        /// The folder.
        path: PathBuf,
        /// The file system's answer.
        #[source]
        source: io::Error,
    },
}

impl From<FolderError> for io::Error {
    fn from(error: FolderError) -> io::Error {
        match &error {
            FolderError::Create { source, .. } | FolderError::Sync { source, .. } => {
                io::Error::new(source.kind(), error)
            }
        }
    }
}

/// Creates a folder and its missing parents so that all of them survive a power cut.
///
/// A folder is only created once its parent's own entry is durable. So after a crash in the middle, at most the
/// deepest existing folder has an entry that was never synced, and that one is synced here first.
pub fn ensure_folder(disk: &dyn Disk, folder: &Path) -> Result<(), FolderError> {
    let create = |path: &Path, source| FolderError::Create { path: path.to_path_buf(), source };
    let mut chain = vec![folder];
    while let Some(top) = chain.last().copied() {
        match disk.is_folder(top).map_err(|source| create(top, source))? {
            true => break,
            false => match named_parent(top) {
                Some(parent) => chain.push(parent),
                None => break,
            },
        }
    }
    for folder in chain.into_iter().rev() {
        disk.create_folder(folder).map_err(|source| create(folder, source))?;
        let Some(parent) = folder.parent() else { continue };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        disk.sync_folder(parent, SyncSite::FolderEntry)
            .map_err(|source| FolderError::Sync { path: parent.to_path_buf(), source })?;
    }
    Ok(())
}

fn named_parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}
