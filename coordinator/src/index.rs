//! The index: finished matrices and jobs in sled, for queries. It is written, not flushed, before the answer, and carries
//! the sequence it has applied; what a crash takes from it comes back from snapshot and journal. Never `flush_async`: it can hang.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

mod error;
mod layout;
mod page;
mod probe;
mod verify;

use layout::{Entry, META_KEY, Meta};

pub use error::IndexError;
pub use layout::{KEY_MAX_BYTES, VALUE_MAX_BYTES};
pub use page::{Order, PAGE_MAX_BYTES, PAGE_MAX_ENTRIES, Page, PageRequest};
pub use probe::{ProbeCommand, probe_main};

const CACHE_BYTES: u64 = 32 << 20;
/// An index, or other folder, that another process has open is tried so often, with such a pause.
pub(crate) const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Reads the index; clones share it.
#[derive(Clone, Debug)]
pub struct Index {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: sled::Db,
    /// A large value is several stored pairs: readers see all of a batch or nothing of it.
    batches: RwLock<()>,
}

/// Writes the index; there is one.
#[derive(Debug)]
pub struct IndexWriter {
    index: Index,
    meta: Meta,
}

/// One change of a batch.
#[derive(Clone, Debug)]
pub enum Change {
    /// Sets an entry.
    Put {
        /// The tree: letters, digits, `_` and `-`.
        tree: &'static str,
        /// The key, at most `KEY_MAX_BYTES`.
        key: Vec<u8>,
        /// The value, at most `VALUE_MAX_BYTES`.
        value: Vec<u8>,
    },
    /// Removes an entry; one that is not there is no error.
    Delete {
        /// The tree.
        tree: &'static str,
        /// The key.
        key: Vec<u8>,
    },
}

/// How opening ended.
#[derive(Debug)]
pub enum IndexOpen {
    /// The index is whole as of its sequence; a new one has sequence 0. One that is behind the journal, as after every
    /// kill, catches up from the replay; one that is behind the snapshot that the replay starts from must be set aside
    /// and rebuilt from that snapshot.
    Opened {
        /// The only writer; `IndexWriter::reader` gives readers.
        writer: IndexWriter,
        /// The sequence that all entries are as of.
        applied_sequence: u64,
    },
    /// It cannot be used: set it aside with `set_aside`, open again and rebuild.
    Damaged {
        /// What is wrong, to be logged.
        reason: String,
    },
}

impl Index {
    /// Opens the index in `folder`, or begins it. An existing one is first opened and read whole in a child process.
    ///
    /// `Err` says nothing about the index: the child could not be started, the folder not be read, or (`WouldBlock`)
    /// another process has the index open and keeps it: that of one that was just killed soon ends.
    pub fn open(folder: &Path, command: &ProbeCommand) -> io::Result<IndexOpen> {
        for _ in 1..LOCK_TRIES {
            match Self::try_open(folder, command) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => pause_for_lock(),
                opened => return opened,
            }
        }
        Self::try_open(folder, command)
    }

    fn try_open(folder: &Path, command: &ProbeCommand) -> io::Result<IndexOpen> {
        let probed = match has_files(folder)? {
            true => match probe::probe(command, folder)? {
                Ok(meta) => meta,
                Err(reason) => return damaged_or_locked(reason),
            },
            false => Meta::default(),
        };
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let store = open_store(folder)?;
            let meta = read_meta(&store)?;
            Ok::<_, String>((store, meta.unwrap_or_default()))
        }));
        let reason = match opened {
            Ok(Ok((store, meta))) if meta == probed => {
                let index = Index { shared: Arc::new(Shared { store, batches: RwLock::default() }) };
                let writer = IndexWriter { index, meta };
                return Ok(IndexOpen::Opened { writer, applied_sequence: meta.applied_sequence });
            }
            Ok(Ok((_, meta))) => format!("it holds {meta:?} after its check found {probed:?}"),
            Ok(Err(reason)) => reason,
            Err(_) => "opening it panicked".to_owned(),
        };
        damaged_or_locked(reason)
    }

    /// Reads an index whole in a child process: the sequence that it has applied, or what is wrong with it; `None` where there
    /// is none. `WouldBlock`: another process has it open.
    pub fn check(folder: &Path, command: &ProbeCommand) -> io::Result<Option<Result<u64, String>>> {
        if !has_files(folder)? {
            return Ok(None);
        }
        match probe::probe(command, folder)? {
            Ok(meta) => Ok(Some(Ok(meta.applied_sequence))),
            Err(reason) => damaged_or_locked(reason.clone()).map(|_| Some(Err(reason))),
        }
    }

    /// Moves a damaged index aside, to `FOLDER.damaged`, for a person to look at; an older one there is removed.
    /// Answers where it is.
    pub fn set_aside(folder: &Path) -> io::Result<PathBuf> {
        let mut name = folder.file_name().unwrap_or_default().to_os_string();
        name.push(".damaged");
        let aside = folder.with_file_name(name);
        match std::fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        std::fs::rename(folder, &aside)?;
        Ok(aside)
    }

    /// An entry's value.
    pub fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let _reading = self.reading();
        match self.store().get(layout::entry_key(tree, key))? {
            Some(stored) => self.load(tree, key, &stored).map(Some),
            None => Ok(None),
        }
    }

    fn store(&self) -> &sled::Db {
        &self.shared.store
    }

    fn reading(&self) -> RwLockReadGuard<'_, ()> {
        self.shared.batches.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of an entry whose stored value was read.
    fn load(&self, tree: &str, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, IndexError> {
        let damaged = |reason| IndexError::Damaged { tree: tree.to_owned(), key: key.to_vec(), reason };
        let (value_bytes, value_crc) =
            match layout::decode_entry(&layout::entry_key(tree, key), stored).map_err(damaged)? {
                Entry::Whole(value) => return Ok(value.to_vec()),
                Entry::Split { value_bytes, value_crc } => (value_bytes, value_crc),
            };
        let mut value = Vec::new();
        for number in 0..layout::part_count(value_bytes) {
            let part_key = layout::part_key(tree, key, number);
            let part = self.store().get(&part_key)?.ok_or_else(|| damaged("a part is missing"))?;
            value.extend_from_slice(layout::decode_part(&part_key, &part).map_err(damaged)?);
        }
        if value.len() != value_bytes || crc32c::crc32c(&value) != value_crc {
            return Err(damaged("its parts do not belong together"));
        }
        Ok(value)
    }
}

impl IndexWriter {
    /// A reader of the same index.
    pub fn reader(&self) -> Index {
        self.index.clone()
    }

    /// The sequence that all entries are as of.
    pub fn applied_sequence(&self) -> u64 {
        self.meta.applied_sequence
    }

    /// Applies changes and the sequence they bring the index to, all or nothing; of several changes of one key the last
    /// counts. The sequence may stay but not go back. A rebuild in several batches passes 0 with all but the last, so
    /// that one that was interrupted is seen to be behind.
    pub fn apply(&mut self, applied_sequence: u64, changes: Vec<Change>) -> Result<(), IndexError> {
        let applied = self.meta.applied_sequence;
        if applied_sequence < applied {
            return Err(IndexError::GoesBack { applied, given: applied_sequence });
        }
        let mut batch = sled::Batch::default();
        let mut meta = Meta { applied_sequence, ..self.meta };
        for ((tree, key), value) in last_changes(changes) {
            layout::check_sizes(tree, &key, value.as_ref().map_or(0, Vec::len))?;
            self.stage(&mut batch, &mut meta, tree, &key, value)?;
        }
        batch.insert(META_KEY, layout::encode_meta(meta));
        let _writing = self.index.shared.batches.write().unwrap_or_else(PoisonError::into_inner);
        self.index.store().apply_batch(batch)?;
        self.meta = meta;
        Ok(())
    }

    /// Hands everything written to the operating system. Call it before a snapshot is written, so that a kill leaves
    /// the index behind the journal but not behind the snapshot.
    pub fn flush(&self) -> Result<(), IndexError> {
        self.index.store().flush()?;
        Ok(())
    }

    /// Adds the stored pairs of an entry to the batch, and what they change to the index's own record. What is new costs one look.
    fn stage(
        &self,
        batch: &mut sled::Batch,
        meta: &mut Meta,
        tree: &str,
        key: &[u8],
        value: Option<Vec<u8>>,
    ) -> Result<(), IndexError> {
        let pairs = value.map(|value| layout::encode_entry(tree, key, &value)).unwrap_or_default();
        for (stored_key, old) in self.stored_pairs(tree, key)? {
            meta.pairs = meta.pairs.saturating_sub(1);
            meta.hash_sum = meta.hash_sum.wrapping_sub(layout::pair_hash(&stored_key, &old));
            if pairs.iter().all(|(kept, _)| *kept != stored_key) {
                batch.remove(stored_key);
            }
        }
        for (stored_key, stored) in pairs {
            meta.pairs += 1;
            meta.hash_sum = meta.hash_sum.wrapping_add(layout::pair_hash(&stored_key, &stored));
            batch.insert(stored_key, stored);
        }
        Ok(())
    }

    /// The stored pairs that an entry has now.
    fn stored_pairs(&self, tree: &str, key: &[u8]) -> Result<Vec<(Vec<u8>, sled::IVec)>, IndexError> {
        let entry_key = layout::entry_key(tree, key);
        let store = self.index.store();
        let Some(stored) = store.get(&entry_key)? else { return Ok(Vec::new()) };
        let damaged = |reason| IndexError::Damaged { tree: tree.to_owned(), key: key.to_vec(), reason };
        let parts = match layout::decode_entry(&entry_key, &stored).map_err(damaged)? {
            Entry::Whole(_) => 0,
            Entry::Split { value_bytes, .. } => layout::part_count(value_bytes),
        };
        let mut pairs = vec![(entry_key, stored)];
        for number in 0..parts {
            let part_key = layout::part_key(tree, key, number);
            if let Some(part) = store.get(&part_key)? {
                pairs.push((part_key, part));
            }
        }
        Ok(pairs)
    }
}

type LastChanges = BTreeMap<(&'static str, Vec<u8>), Option<Vec<u8>>>;

fn last_changes(changes: Vec<Change>) -> LastChanges {
    let mut last = BTreeMap::new();
    for change in changes {
        match change {
            Change::Put { tree, key, value } => last.insert((tree, key), Some(value)),
            Change::Delete { tree, key } => last.insert((tree, key), None),
        };
    }
    last
}

/// An index in use must not be taken for a damaged one and moved away from under its owner.
fn damaged_or_locked(reason: String) -> io::Result<IndexOpen> {
    if reason.contains("could not acquire lock") {
        let message = format!("the index is in use by another process, stop that one first ({reason})");
        return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
    }
    Ok(IndexOpen::Damaged { reason })
}

fn has_files(folder: &Path) -> io::Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[expect(clippy::disallowed_methods, reason = "back-off: a lock of another process has no event to wait for")]
pub(crate) fn pause_for_lock() {
    std::thread::sleep(LOCK_PAUSE);
}

fn open_store(folder: &Path) -> Result<sled::Db, String> {
    sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).open().map_err(|error| error.to_string())
}

fn read_meta(store: &sled::Db) -> Result<Option<Meta>, String> {
    let stored = store.get(META_KEY).map_err(|error| error.to_string())?;
    Ok(stored.map(|stored| layout::decode_meta(&stored)).transpose()?)
}
