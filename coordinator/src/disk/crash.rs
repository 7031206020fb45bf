//! A simulated disk in memory. It keeps apart what is durable and what is only in the cache, and at a power cut loses
//! any subset of the writes, renames and entries not yet synced. It is stricter than real file systems on purpose:
//! syncing a file does not sync its name, and a failed sync loses the data that a later sync then claims to have kept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, DiskLock, DiskRead, SyncSite};

mod state;

use state::State;

/// The simulated disk, as seen by one process; clones are the same process.
#[derive(Clone, Debug)]
pub struct CrashDisk {
    state: Arc<Mutex<State>>,
    process: u64,
}

/// Something that goes wrong. Faults stay set until `kill` or `power_cut`, except left-out syncs, which stay for ever.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The `n`th append from now (0 is the next) writes half of its bytes and fails.
    Write {
        /// How many appends succeed before.
        after: u64,
        /// What it fails with.
        kind: io::ErrorKind,
    },
    /// The `n`th sync from now (0 is the next) fails, and what it should have kept is never durable.
    Sync {
        /// How many syncs succeed before.
        after: u64,
        /// What it fails with.
        kind: io::ErrorKind,
    },
    /// The process stops in the `n`th changing operation from now; all that it does then fails.
    Stop {
        /// How many changing operations succeed before.
        after: u64,
    },
    /// Syncs at this site do nothing and report success.
    LeaveOut(SyncSite),
}

impl CrashDisk {
    /// An empty disk with a durable root folder.
    #[expect(clippy::new_without_default, reason = "a disk is made on purpose, never as a default")]
    pub fn new() -> CrashDisk {
        CrashDisk { state: Arc::new(Mutex::new(State::new())), process: 0 }
    }

    /// Arranges for something to go wrong.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.inject(fault);
    }

    /// Changing operations so far, over all processes: the range for `Fault::Stop`.
    pub fn changes(&self) -> u64 {
        self.lock().faults.changes
    }

    /// The process dies (kill -9): the cache stays, handles and locks go. Answers the next process's view.
    pub fn kill(&self) -> CrashDisk {
        let process = self.lock().next_process();
        CrashDisk { state: Arc::clone(&self.state), process }
    }

    /// The power goes: what was not synced survives or not, as the seed says. Answers the next process's view.
    pub fn power_cut(&self, seed: u64) -> CrashDisk {
        let mut state = self.lock();
        state.lose_unsynced(seed);
        let process = state.next_process();
        CrashDisk { state: Arc::clone(&self.state), process }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for as long as the process lives.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.process != self.process || state.faults.stopped {
            return Err(io::Error::other("the process has stopped"));
        }
        Ok(state)
    }
}

impl Disk for CrashDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.alive()?;
        state.faults.change()?;
        let file = state.create_file(path)?;
        Ok(Box::new(CrashFile { disk: self.clone(), file }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskRead>> {
        let state = self.alive()?;
        let file = state.find_file(path)?;
        let size_bytes = state.content(file).len() as u64;
        Ok(Box::new(CrashRead { disk: self.clone(), file, size_bytes }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.alive()?.list(folder)
    }

    fn is_folder(&self, path: &Path) -> io::Result<bool> {
        Ok(self.alive()?.find_folder(path).is_ok())
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.faults.change()?;
        state.create_folder(path)
    }

    fn sync_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        let mut state = self.alive()?;
        state.faults.change()?;
        let folder = state.find_folder(folder)?;
        if !state.faults.left_out(site) {
            state.faults.sync()?;
            state.sync_folder(folder);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.faults.change()?;
        state.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.faults.change()?;
        state.hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.faults.change()?;
        state.remove(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut state = self.alive()?;
        if !state.locks.insert(path.to_path_buf()) {
            return Ok(None);
        }
        Ok(Some(Box::new(CrashLock { disk: self.clone(), path: path.to_path_buf() })))
    }
}

#[derive(Debug)]
struct CrashFile {
    disk: CrashDisk,
    file: usize,
}

impl DiskFile for CrashFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.alive()?;
        let outcome = state.faults.change().and_then(|()| state.faults.write());
        let written = if outcome.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        state.append(self.file, written);
        outcome
    }

    fn sync(&mut self, site: SyncSite) -> io::Result<()> {
        let mut state = self.disk.alive()?;
        state.faults.change()?;
        if state.faults.left_out(site) {
            return Ok(());
        }
        let outcome = state.faults.sync();
        state.sync_file(self.file, outcome.is_ok());
        outcome
    }
}

#[derive(Debug)]
struct CrashRead {
    disk: CrashDisk,
    file: usize,
    size_bytes: u64,
}

impl DiskRead for CrashRead {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.alive()?;
        let content = state.content(self.file);
        let start = usize::try_from(offset_bytes).map_err(io::Error::other)?.min(content.len());
        let count = buffer.len().min(content.len() - start);
        buffer[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }
}

#[derive(Debug)]
struct CrashLock {
    disk: CrashDisk,
    path: PathBuf,
}

impl DiskLock for CrashLock {}

impl Drop for CrashLock {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if state.process == self.disk.process {
            state.locks.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
