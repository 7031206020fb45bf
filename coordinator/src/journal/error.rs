//! What can go wrong with the journal, each with its way out.

use std::io;
use std::path::PathBuf;

/// Why the journal cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process holds the journal's lock.
    #[error("journal {folder} is in use by another process: stop that one first", folder = folder.display())]
    InUse {
        /// The journal's folder.
        folder: PathBuf,
    },
    /// The file system refused an operation while opening or reading.
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
    /// A write or sync failed, now or earlier: nothing is written any more. The process must stop.
    #[error(
        "journal is closed for ever after a failed {action} ({reason}): whether the batch is durable is unknown; \
         stop the process, repair or free the disk, start again"
    )]
    Poisoned {
        /// What failed.
        action: &'static str,
        /// The file system's answer to it.
        reason: String,
    },
    /// The batch is over its limit. Nothing was written.
    #[error("batch of {bytes} bytes is over batch_max_bytes = {limit_bytes}: split it or raise the limit")]
    TooLarge {
        /// The batch's size.
        bytes: u64,
        /// The limit.
        limit_bytes: u32,
    },
    /// Bytes are wrong at a place that was durable once.
    #[error(
        "journal {path} is damaged at byte {offset_bytes}, sequence {sequence} ({reason}), and this is no torn tail: \
         {proof}; restore the file from a copy, or a backup with `assay admin restore`, or what is intact, which gives up \
         what came later, with `assay admin restore --salvage`",
        path = path.display()
    )]
    Damaged {
        /// The damaged segment.
        path: PathBuf,
        /// Where in it.
        offset_bytes: u64,
        /// The sequence expected there.
        sequence: u64,
        /// What is wrong with the bytes.
        reason: String,
        /// What shows that this place was durable.
        proof: Proof,
    },
    /// The journal's records end before a sequence that was durable.
    #[error(
        "journal {folder} ends at sequence {last_sequence}, but {proof}; restore a backup with \
         `assay admin restore`, or what is intact, which gives up what came later, with `assay admin restore --salvage`",
        folder = folder.display()
    )]
    EndsEarly {
        /// The journal's folder.
        folder: PathBuf,
        /// The last sequence found.
        last_sequence: u64,
        /// What shows that there were more.
        proof: Proof,
    },
    /// Records between the snapshot and the rest of the journal are not there.
    #[error(
        "journal {folder} has no sequence {sequence}: the next one it has is {next_sequence}; restore the missing \
         segment or a snapshot at {needed} or later from a copy, or a backup with `assay admin restore`",
        folder = folder.display(), needed = next_sequence - 1
    )]
    Missing {
        /// The journal's folder.
        folder: PathBuf,
        /// The first missing sequence.
        sequence: u64,
        /// The next one that exists.
        next_sequence: u64,
    },
    /// The segment was written by another version.
    #[error("journal {path} has format version {version}; this program reads {supported}: use the program that wrote it",
        path = path.display(), supported = super::frame::FORMAT_VERSION)]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// `create_after` was asked for a folder that holds segments.
    #[error("journal {folder} already holds segments: move the folder aside first", folder = folder.display())]
    NotEmpty {
        /// The journal's folder.
        folder: PathBuf,
    },
}

/// What shows that a sequence was durable once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A later segment exists; one is only created when all before it is durable.
    LaterSegment {
        /// Its file name.
        name: String,
    },
    /// An intact later batch follows in the same segment; it is only written when all before it is durable.
    LaterBatch {
        /// The batch's first sequence.
        sequence: u64,
    },
    /// The segment's header is intact, but names another sequence than its file name.
    IntactHeader {
        /// The sequence that the header names.
        sequence: u64,
    },
    /// The caller knows it, from a snapshot or the index.
    Known {
        /// The sequence that was durable.
        sequence: u64,
    },
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Proof::LaterSegment { name } => write!(f, "the later segment {name} exists"),
            Proof::LaterBatch { sequence } => {
                write!(f, "an intact batch from sequence {sequence} follows it")
            }
            Proof::IntactHeader { sequence } => {
                write!(f, "its header is intact and says that it begins at sequence {sequence}")
            }
            Proof::Known { sequence } => {
                write!(f, "a snapshot or the index shows that sequence {sequence} was durable")
            }
        }
    }
}
