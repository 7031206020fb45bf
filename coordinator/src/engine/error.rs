//! Why the engine cannot start or go on. All of these stop the process: nothing is answered after one.

use std::path::PathBuf;

use crate::index::IndexError;
use crate::journal::JournalError;
use crate::snapshot::SnapshotError;

/// What stops the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal cannot be opened, read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The snapshots' folder cannot be opened, or must not be used any more.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The index cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index's folder cannot be opened.
    #[error("cannot open the index {folder}", folder = folder.display())]
    IndexFolder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A value of ours cannot be written as JSON.
    #[error("cannot encode a record")]
    Encode {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A record of the index is not one of ours.
    #[error(
        "a record of the index cannot be read: move the folder `index` aside and start again, which rebuilds it"
    )]
    IndexRecord {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A text of the index is not one.
    #[error(
        "a text of the index cannot be read: move the folder `index` aside and start again, which rebuilds it"
    )]
    IndexText {
        /// Why.
        #[source]
        source: std::string::FromUtf8Error,
    },
    /// A record of the index cannot be compressed, or is not what was.
    #[error(
        "a record of the index cannot be packed or unpacked: move the folder `index` aside and start again, which rebuilds it"
    )]
    IndexPacked {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A record of the journal is not an event that this program knows.
    #[error(
        "record {sequence} of the journal is not an event that this program knows: use the program that wrote it"
    )]
    JournalRecord {
        /// Its sequence.
        sequence: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A snapshot is whole but not a state that this program knows.
    #[error(
        "the snapshot at {sequence} is not a state that this program knows: use the program that wrote it"
    )]
    SnapshotRecord {
        /// Its sequence.
        sequence: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A part of the history, which the index cannot be rebuilt without.
    #[error(
        "{path}, a part of the history of finished matrices, cannot be read ({reason}): restore a backup with `assay admin restore`, \
         or what is intact of this folder with `assay admin restore --salvage`",
        path = path.display()
    )]
    HistoryPart {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A snapshot of another version.
    #[error(
        "the snapshot has version {given}, this program reads up to {supported}: use the program that wrote it"
    )]
    SnapshotVersion {
        /// The snapshot's.
        given: u32,
        /// Ours.
        supported: u32,
    },
    /// The engine's thread could not be started.
    #[error("cannot start the engine's thread")]
    Thread {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The engine's thread panicked.
    #[error("the engine panicked: this is a bug; what was answered is durable")]
    Panicked,
}
