//! What an operator does with a data folder beside the coordinator: verify, back up, restore, export, compact.
//!
//! Reading needs no lock and works while a coordinator runs; what changes a folder needs it stopped. See `docs/operations.md`.

use std::io;
use std::path::{Path, PathBuf};

use crate::engine::EngineError;
use crate::journal::JournalError;
use crate::secrets::SecretError;
use crate::snapshot::SnapshotError;

mod annotations;
mod backup;
mod command;
mod compact;
mod export;
mod files;
mod objects;
mod place;
mod remote;
mod restore;
pub(crate) mod schedule;
mod shelf;
mod store;
mod stored;
mod verify;

pub use backup::{BACKUP_FILE, Backup, backup};
pub use command::AdminArgs;
pub use compact::{Compacted, compact};
pub use export::{Exported, export};
pub use place::BackupPlace;
pub use remote::{BadBucketUrl, BucketUrl};
pub use restore::{Restored, restore};
pub use schedule::BackupSchedule;
pub use verify::{Verified, verify};

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The target holds something.
    #[error("{path} is not empty, and nothing is ever overwritten: name a folder that does not exist yet, or an empty one",
        path = path.display())]
    NotEmpty {
        /// The target.
        path: PathBuf,
    },
    /// The source holds nothing of ours.
    #[error("{path} holds no state of a coordinator: neither snapshots nor a journal", path = path.display())]
    NoState {
        /// The source.
        path: PathBuf,
    },
    /// The folder to restore from is no backup.
    #[error(
        "{path} has no {BACKUP_FILE}, so it is no finished backup: take another one; the intact part of a data folder is \
         restored with --salvage",
        path = path.display()
    )]
    NoBackup {
        /// The source.
        path: PathBuf,
    },
    /// A file of a backup is not as it was written.
    #[error("{path} is not as it was backed up: {wrong}; restore another backup, or what is intact of it with --salvage",
        path = path.display())]
    BackupDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        wrong: String,
    },
    /// A backup's list of files cannot be read.
    #[error("{path} cannot be read: use the program that wrote it, or another backup", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The records end before a sequence that was durable.
    #[error(
        "the state in {folder} ends at sequence {last}, but a file's name shows that sequence {proven} was durable: restore a \
         backup with `assay admin restore`",
        folder = folder.display()
    )]
    EndsEarly {
        /// The folder.
        folder: PathBuf,
        /// The last sequence found.
        last: u64,
        /// The one that was durable.
        proven: u64,
    },
    /// A backup was not what was written.
    #[error("what was written to {place} is not what was read: {wrong}")]
    ReadBack {
        /// The backup.
        place: String,
        /// All that was wrong.
        wrong: String,
    },
    /// The object store refused, or could not be reached.
    #[error("cannot {action} {url}: {reason}; {advice}")]
    Remote {
        /// What was tried.
        action: &'static str,
        /// On what.
        url: String,
        /// What the store or the way to it said.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// The file system refused.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The journal cannot be read, or is in use.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The snapshots are in use, or cannot be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A record or a snapshot is not one of ours.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file could not be written whole.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl AdminError {
    fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> AdminError + 'a {
        move |source| AdminError::Io { action, path: path.to_path_buf(), source }
    }

    /// The same about a place that was copied to a folder.
    fn moved(self, folder: &Path, place: String) -> AdminError {
        if let Self::BackupDamaged { path, wrong } = self {
            let within = path.strip_prefix(folder).unwrap_or(&path);
            return Self::BackupDamaged { path: Path::new(&place).join(within), wrong };
        }
        if let Self::NoState { .. } = self {
            return Self::NoState { path: place.into() };
        }
        self
    }

    /// Whether a running coordinator may have removed a file between listing and reading it.
    fn was_replaced(&self) -> bool {
        let (Self::Journal(JournalError::Io { source, .. }) | Self::Io { source, .. }) = self else {
            return false;
        };
        source.kind() == io::ErrorKind::NotFound
    }

    /// Whether the request was refused before anything was looked at: exit code 4.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::NotEmpty { .. } | Self::Journal(JournalError::InUse { .. }))
            || matches!(self, Self::Snapshot(SnapshotError::InUse { .. }))
            || matches!(self, Self::Engine(EngineError::Snapshot(SnapshotError::InUse { .. })))
    }
}
