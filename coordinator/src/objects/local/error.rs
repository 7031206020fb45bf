//! What can go wrong with a local object, each with its way out.

use std::io;
use std::path::PathBuf;

/// Why an object cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The key is not allowed.
    #[error("object key {key:?} is refused: {rule}")]
    Key {
        /// The key given, shortened to the longest allowed length.
        key: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// No object has this key.
    #[error("no object has the key {key}")]
    NotFound {
        /// The key.
        key: String,
    },
    /// Fewer or more bytes came than were announced. Nothing was stored.
    #[error(
        "object {key} was announced with {expected_bytes} bytes, but {got_bytes} came: send it again whole"
    )]
    Length {
        /// The key.
        key: String,
        /// The length announced.
        expected_bytes: u64,
        /// The length that came; for a longer one, what had come when it was refused.
        got_bytes: u64,
    },
    /// The bytes are not those that were announced. Nothing was stored.
    #[error("object {key} was announced with sha256 {expected}, but the bytes have {got}: send it again")]
    Digest {
        /// The key.
        key: String,
        /// The digest announced, in hexadecimal.
        expected: String,
        /// The digest of the bytes that came.
        got: String,
    },
    /// The key holds other bytes; objects are written once. Nothing was changed.
    #[error(
        "object {key} exists with sha256 {existing}, not {given}: objects are never overwritten, take another key"
    )]
    Conflict {
        /// The key.
        key: String,
        /// The digest of the stored object, in hexadecimal.
        existing: String,
        /// The digest of the new bytes.
        given: String,
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
    /// A folder could not be synced, now or earlier: a later sync may report success and keep nothing. The process must
    /// stop.
    #[error(
        "the object store is closed for ever after a failed sync of a folder ({reason}): stop the process, repair the \
         disk, start again"
    )]
    Poisoned {
        /// The file system's answer to the sync.
        reason: String,
    },
    /// Another process holds the store's lock.
    #[error("objects {folder} are in use by another process: stop that one first", folder = folder.display())]
    InUse {
        /// The store's folder.
        folder: PathBuf,
    },
}
