//! What can go wrong with the Hub, and what to do about it.

use crate::TransferError;

/// Why a repository's files could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not a repository's name.
    #[error("`{given}` names no repository of the Hub: write `organisation/name`")]
    Name {
        /// What was given.
        given: String,
    },
    /// No client could be made.
    #[error("no client for the Hub: {why}")]
    Client {
        /// Why not.
        why: String,
    },
    /// 401 or 403.
    #[error(
        "the Hub does not give {what} ({status}): it is gated, private or not there; accept its terms on its page and set HF_TOKEN to a token that may read it"
    )]
    Denied {
        /// Repository and file.
        what: String,
        /// The HTTP status.
        status: u16,
    },
    /// 404.
    #[error("the Hub has no {what}: check name and revision")]
    NotFound {
        /// Repository, revision and file.
        what: String,
    },
    /// Another answer that will not change.
    #[error("the Hub refused {what} with status {status}")]
    Refused {
        /// Repository and file.
        what: String,
        /// The HTTP status.
        status: u16,
    },
    /// No answer, or none that helps, however often.
    #[error("{what} could not be had from the Hub in {tries} tries without progress, the last: {last}")]
    Unreachable {
        /// Repository and file.
        what: String,
        /// How often it was tried.
        tries: u32,
        /// What happened last.
        last: String,
    },
    /// The listing is not what a Hub sends.
    #[error("the Hub's listing of {what} {problem}")]
    Listing {
        /// The repository.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// A file that is needed is not in the repository.
    #[error("{what} has no file {file}")]
    NoFile {
        /// The repository and its commit.
        what: String,
        /// The file.
        file: String,
    },
    /// The bytes are not those that the Hub lists. They were deleted.
    #[error(
        "{what} has {actual}, and the Hub lists {expected}: it was damaged on its way or there; nothing of it is kept"
    )]
    Damaged {
        /// Repository and file.
        what: String,
        /// Size or digest that the Hub lists.
        expected: String,
        /// Size or digest that came.
        actual: String,
    },
    /// The cache's limit.
    #[error(
        "{what} needs {needed_bytes} bytes in the Hub cache, which may hold {bytes_max} and has {held_bytes} that cannot go now: raise ASSAY_HUB_CACHE_BYTES"
    )]
    CacheTooSmall {
        /// The repository.
        what: String,
        /// What has to fit.
        needed_bytes: u64,
        /// What is in use or belongs to the same repository.
        held_bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A file on this machine.
    #[error(transparent)]
    Disk(#[from] TransferError),
}

/// What one try came to when it did not work.
pub(super) enum Trouble {
    /// Try again after a pause, which the Hub may have named (in seconds).
    Again(String, Option<u64>),
    /// Never.
    Final(HubError),
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// Sorts an HTTP status that is no success.
pub(super) fn of_status(what: &str, status: u16, retry_after_s: Option<u64>) -> Trouble {
    let what = what.to_owned();
    match status {
        401 | 403 => Trouble::Final(HubError::Denied { what, status }),
        404 => Trouble::Final(HubError::NotFound { what }),
        408 | 425 | 429 | 500..=599 => Trouble::Again(format!("status {status}"), retry_after_s),
        _ => Trouble::Final(HubError::Refused { what, status }),
    }
}
