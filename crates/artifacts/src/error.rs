//! What can go wrong with an object on its way: one variant for each thing that a caller can do differently.

use std::io;
use std::path::PathBuf;

use assay_domain::{Digest, ObjectKey};

/// No signed request could be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no signed request: {why}")]
pub struct SignError {
    /// What the signer said.
    pub why: String,
    /// Whether asking again later may help.
    pub transient: bool,
}

/// An object that could not be sent or fetched.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A file on this machine.
    #[error("`{}` cannot be {action}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried: `read`, `written`, ...
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A file that an artifact cannot hold.
    #[error("`{}` cannot be part of an artifact: {why}", path.display())]
    NotAnArtifact {
        /// The file.
        path: PathBuf,
        /// The rule.
        why: String,
    },
    /// The key holds other bytes already; objects are written once.
    #[error("object `{key}` exists with other content: objects are written once")]
    Conflict {
        /// The key.
        key: String,
    },
    /// The bytes that came are not the ones asked for.
    #[error("object `{key}` has digest {actual}, not {expected}: it was damaged in the store or on its way")]
    WrongDigest {
        /// The key.
        key: ObjectKey,
        /// What it should have been.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The store has fewer or more bytes than the artifact says.
    #[error("object `{key}` has {actual_bytes} bytes, not {expected_bytes}: it was damaged in the store")]
    WrongSize {
        /// The key.
        key: ObjectKey,
        /// The bytes that it should have.
        expected_bytes: u64,
        /// The bytes that it has.
        actual_bytes: u64,
    },
    /// The store does not have the object.
    #[error("object `{key}` is not in the store")]
    Missing {
        /// The key.
        key: String,
    },
    /// The Hub said no, and would again.
    #[error("the Hub does not give {what} (status {status}): {way_out}")]
    Hub {
        /// Repository, commit and file.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What a person can do.
        way_out: &'static str,
    },
    /// What came from the Hub is not what it lists.
    #[error(
        "{what} has {actual}, and the Hub lists {expected}: it was damaged on its way or there; nothing of it is kept"
    )]
    NotAsListed {
        /// Repository, commit and file.
        what: String,
        /// Size or digest as listed.
        expected: String,
        /// Size or digest that came.
        actual: String,
    },
    /// The store said no, and would again.
    #[error("the store refused {method} {url} with status {status}: {answer}")]
    Refused {
        /// The method.
        method: String,
        /// The address without its query.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The start of the answer.
        answer: String,
    },
    /// The store could not be reached, or broke off, too often.
    #[error("{method} {url} did not work in {tries} tries without progress, the last: {last}")]
    Unreachable {
        /// The method.
        method: String,
        /// The address without its query.
        url: String,
        /// How often it was tried.
        tries: u32,
        /// What happened last.
        last: String,
    },
    /// The cache is too small.
    #[error(
        "{needed_bytes} bytes do not fit into the cache, which may hold {bytes_max} bytes and has {pinned_bytes} in use: raise its limit"
    )]
    CacheTooSmall {
        /// The bytes that had to fit.
        needed_bytes: u64,
        /// The bytes that cannot go now.
        pinned_bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The cache belongs to another process.
    #[error("cache `{}` is in use by another process: give each agent its own folder", path.display())]
    CacheInUse {
        /// The cache's folder.
        path: PathBuf,
    },
    /// No signed request.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl TransferError {
    /// Whether the same transfer may work later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Sign(error) => error.transient,
            Self::File { .. }
            | Self::NotAnArtifact { .. }
            | Self::Conflict { .. }
            | Self::WrongDigest { .. }
            | Self::WrongSize { .. }
            | Self::Missing { .. }
            | Self::Hub { .. }
            | Self::NotAsListed { .. }
            | Self::Refused { .. }
            | Self::CacheTooSmall { .. }
            | Self::CacheInUse { .. } => false,
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> TransferError {
        let path = path.into();
        move |source| Self::File { path, action, source }
    }
}
