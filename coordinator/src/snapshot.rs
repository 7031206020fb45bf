//! Snapshots: the whole state at a sequence. Written to a temporary file, synced, read back, renamed, folder synced; two
//! are kept, and loading falls back to the older when the newer is bad. Beside them the parts of the history that they list, in
//! files of the same form.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskLock, SyncSite, lock_folder};

mod format;

const SUFFIX: &str = ".snapshot";
const HISTORY_SUFFIX: &str = ".history";
const TEMPORARY_SUFFIX: &str = ".tmp";
const KEPT: usize = 2;

/// Why a snapshot cannot be written or the folder not be read. No such error harms an older snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Another process holds the folder's lock.
    #[error("snapshots {folder} are in use by another process: stop that one first", folder = folder.display())]
    InUse {
        /// The snapshots' folder.
        folder: PathBuf,
    },
    /// The file system refused an operation.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The file system's answer.
        #[source]
        source: io::Error,
    },
    /// What was read back is not what was written.
    #[error("snapshot {path} does not read back as written ({reason}): check the disk", path = path.display())]
    ReadBack {
        /// The temporary file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder could not be synced, now or earlier: a later sync may report success and keep nothing. The process
    /// must stop.
    #[error(
        "snapshots are closed for ever after a failed sync of their folder ({reason}): stop the process, repair the disk, \
         start again"
    )]
    Poisoned {
        /// The file system's answer to the sync.
        reason: String,
    },
    /// A snapshot may only be newer than the newest good one.
    #[error("snapshot at sequence {sequence} is older than the newest good one, at {newest}")]
    NotNewer {
        /// The sequence given.
        sequence: u64,
        /// The newest good snapshot's.
        newest: u64,
    },
}

/// What was found when the folder was opened.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The newest good snapshot.
    pub snapshot: Option<Snapshot>,
    /// Snapshots that could not be used, newest first: to be logged.
    pub bad: Vec<BadSnapshot>,
    /// The highest sequence that a snapshot's name, good or bad, shows to have been durable; 0 if there is none.
    pub proven_sequence: u64,
}

/// A state and the sequence of the last record in it.
#[derive(Debug)]
pub struct Snapshot {
    /// The last record that the state contains.
    pub sequence: u64,
    /// The state's bytes, as written.
    pub state: Vec<u8>,
}

/// A snapshot that could not be used.
#[derive(Debug)]
pub struct BadSnapshot {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// The folder of snapshots; it has one owner.
#[derive(Debug)]
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// Sequences of the newest good snapshots, newest first, at most `KEPT`.
    good: Vec<u64>,
    /// Whether this process has synced the folder: before, a name may be lost again.
    names_durable: bool,
    /// The parts of the history that the snapshot before lists, as far as this process knows.
    listed_before: Option<Vec<u64>>,
    poison: Option<String>,
    _lock: Box<dyn DiskLock>,
}

impl Snapshots {
    /// Opens the folder, or creates it, and loads the newest good snapshot.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path) -> Result<(Snapshots, Loaded), SnapshotError> {
        let mut snapshots = Self::lock(disk, folder)?;
        let loaded = snapshots.load()?;
        Ok((snapshots, loaded))
    }

    /// The folder, made if it is not there, for this process alone. Nothing of it is known before `load`.
    pub(crate) fn lock(disk: Arc<dyn Disk>, folder: &Path) -> Result<Snapshots, SnapshotError> {
        let lock = lock_folder(&*disk, folder).map_err(io("create and lock", folder))?;
        let lock = lock.ok_or_else(|| SnapshotError::InUse { folder: folder.to_path_buf() })?;
        Ok(Snapshots {
            disk,
            folder: folder.to_path_buf(),
            good: Vec::new(),
            names_durable: false,
            listed_before: None,
            poison: None,
            _lock: lock,
        })
    }

    /// Loads the newest good snapshot.
    pub(crate) fn load(&mut self) -> Result<Loaded, SnapshotError> {
        let found = self.list()?;
        let mut loaded = Loaded { proven_sequence: found.first().copied().unwrap_or(0), ..Loaded::default() };
        for sequence in found {
            let path = self.path(sequence);
            match read(&*self.disk, &path, sequence) {
                Ok(state) => {
                    loaded.snapshot.get_or_insert(Snapshot { sequence, state });
                    self.good.push(sequence);
                }
                Err(reason) => loaded.bad.push(BadSnapshot { path, reason }),
            }
            if self.good.len() == KEPT {
                break;
            }
        }
        Ok(loaded)
    }

    /// Writes the state as it is after the record `sequence`, then removes all but the newest two good snapshots.
    /// A sequence that already has a good snapshot is success.
    ///
    /// Only after `Poisoned` must the process stop: any other error leaves what was there, and a later try is sound.
    pub fn write(&mut self, sequence: u64, state: &[u8]) -> Result<(), SnapshotError> {
        self.check_poison()?;
        match self.good.first().copied() {
            Some(newest) if newest == sequence => return Ok(()),
            Some(newest) if newest > sequence => return Err(SnapshotError::NotNewer { sequence, newest }),
            Some(_) | None => {}
        }
        self.put(self.path(sequence), sequence, state)?;
        self.names_durable = true;
        self.good.insert(0, sequence);
        self.good.truncate(KEPT);
        self.remove_others()
    }

    /// Writes a part of the history; durable before a snapshot lists it. Errors are as those of `write`.
    pub fn write_history(&mut self, sequence: u64, lines: &[u8]) -> Result<(), SnapshotError> {
        self.put(history_path(&self.folder, sequence), sequence, lines)
    }

    /// After a snapshot that lists these parts of the history: removes the others, but for those that the snapshot before lists.
    pub fn keep_history(&mut self, listed: &[u64]) -> Result<(), SnapshotError> {
        let before = self.listed_before.replace(listed.to_vec());
        // Of a snapshot that another process wrote, all may be needed.
        let Some(before) = before else { return Ok(()) };
        for name in self.disk.list(&self.folder).map_err(io("list", &self.folder))? {
            let sequence = sequence_of(&name, HISTORY_SUFFIX);
            if sequence.is_some_and(|sequence| !listed.contains(&sequence) && !before.contains(&sequence)) {
                let path = self.folder.join(name);
                self.disk.remove(&path).map_err(io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn check_poison(&self) -> Result<(), SnapshotError> {
        match self.poison.clone() {
            Some(reason) => Err(SnapshotError::Poisoned { reason }),
            None => Ok(()),
        }
    }

    /// A file appears under its name whole and durably, or not at all.
    fn put(&mut self, path: PathBuf, sequence: u64, content: &[u8]) -> Result<(), SnapshotError> {
        self.check_poison()?;
        let mut temporary = path.clone().into_os_string();
        temporary.push(TEMPORARY_SUFFIX);
        let temporary = PathBuf::from(temporary);
        if let Err(error) = self.write_temporary(&temporary, sequence, content) {
            // Frees the space on a full disk. What cannot be removed now goes at the next start.
            let _ = self.disk.remove(&temporary);
            return Err(error);
        }
        self.disk.rename(&temporary, &path).map_err(io("rename to", &path))?;
        self.disk.sync_folder(&self.folder, SyncSite::SnapshotEntry).map_err(|source| {
            let reason = source.to_string();
            self.poison = Some(reason.clone());
            SnapshotError::Poisoned { reason }
        })
    }

    /// Journal records up to this sequence are in both kept snapshots. `None` until this process has written one: before
    /// that, the names found may not be durable.
    pub fn removable_through(&self) -> Option<u64> {
        if !self.names_durable || self.good.len() < KEPT {
            return None;
        }
        self.good.last().copied()
    }

    fn write_temporary(&self, path: &Path, sequence: u64, state: &[u8]) -> Result<(), SnapshotError> {
        let mut file = self.disk.create(path).map_err(io("create", path))?;
        format::encode(sequence, state, |part| file.append(part)).map_err(io("write", path))?;
        file.sync(SyncSite::SnapshotFile).map_err(io("sync", path))?;
        let read_back = match read(&*self.disk, path, sequence) {
            Ok(read) if read == state => return Ok(()),
            Ok(_) => "the state differs".to_owned(),
            Err(reason) => reason,
        };
        Err(SnapshotError::ReadBack { path: path.to_path_buf(), reason: read_back })
    }

    /// The sequences of the snapshots in the folder, newest first. Left-over temporary files are removed.
    fn list(&self) -> Result<Vec<u64>, SnapshotError> {
        let mut found = Vec::new();
        for name in self.disk.list(&self.folder).map_err(io("list", &self.folder))? {
            if name.ends_with(TEMPORARY_SUFFIX) {
                let path = self.folder.join(name);
                self.disk.remove(&path).map_err(io("remove", &path))?;
            } else {
                found.extend(sequence_of(&name, SUFFIX));
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    fn remove_others(&self) -> Result<(), SnapshotError> {
        for sequence in self.list()? {
            if !self.good.contains(&sequence) {
                let path = self.path(sequence);
                self.disk.remove(&path).map_err(io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn path(&self, sequence: u64) -> PathBuf {
        self.folder.join(format!("{sequence:020}{SUFFIX}"))
    }
}

/// The snapshots in a folder, newest first, by sequence and file; without a lock, for those who only look.
pub fn look(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let names = disk.list(folder)?;
    let mut found: Vec<_> =
        names.iter().filter_map(|name| Some((sequence_of(name, SUFFIX)?, folder.join(name)))).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// What a file of the folder holds, or what is wrong with it.
pub fn read(disk: &dyn Disk, path: &Path, sequence: u64) -> Result<Vec<u8>, String> {
    let bytes = disk.read(path).map_err(|error| format!("cannot be read: {error}"))?;
    format::decode(&bytes, sequence)
}

/// Where a part of the history is, in the snapshots' folder; read as a snapshot is.
pub fn history_path(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("{sequence:020}{HISTORY_SUFFIX}"))
}

/// The bytes of a part of the history in which nothing is told, for the name of its file.
pub fn empty(path: &Path) -> Vec<u8> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut bytes = Vec::new();
    let sequence = sequence_of(&name, HISTORY_SUFFIX).unwrap_or_default();
    let _infallible = format::encode(sequence, &[], |part| {
        bytes.extend_from_slice(part);
        Ok::<_, std::convert::Infallible>(())
    });
    bytes
}

fn sequence_of(name: &str, suffix: &str) -> Option<u64> {
    name.strip_suffix(suffix).filter(|number| number.len() == 20)?.parse().ok()
}

fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> SnapshotError + 'a {
    move |source| SnapshotError::Io { action, path: path.to_path_buf(), source }
}
