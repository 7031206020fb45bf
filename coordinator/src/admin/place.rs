//! Where a backup lies, as an operator names it: a folder, or a prefix of a bucket.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use assay_domain::UnixMillis;

use super::remote::{self, Bucket, BucketUrl};
use super::{AdminError, Backup, Restored, Verified, backup, restore, verify};
use crate::index::ProbeCommand;

/// A folder, or a prefix of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupPlace {
    /// A folder of this machine.
    Folder(PathBuf),
    /// `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`.
    Bucket(BucketUrl),
}

impl BackupPlace {
    /// Writes a backup there; nothing may be there yet, and it appears whole or not at all. In a bucket it was read back before
    /// it appears.
    ///
    /// # Errors
    /// What was wrong with source or target; the target is as it was.
    pub fn backup(
        &self,
        data_dir: &Path,
        with_objects: bool,
        probe: &ProbeCommand,
        now: UnixMillis,
    ) -> Result<Backup, AdminError> {
        match self {
            Self::Folder(target) => backup(data_dir, target, with_objects, now),
            Self::Bucket(url) => remote::backup(&Bucket::open(url)?, data_dir, with_objects, probe, now),
        }
    }

    /// Looks at the backup there: see [`verify`].
    ///
    /// # Errors
    /// Only when it cannot be read at all: damage is an answer.
    pub fn verify(&self, digests: bool, probe: &ProbeCommand) -> Result<Verified, AdminError> {
        match self {
            Self::Folder(folder) => verify(folder, digests, probe),
            Self::Bucket(url) => remote::verify(&Bucket::open(url)?, digests, probe),
        }
    }

    /// Makes a data folder of the backup there: see [`restore`].
    ///
    /// # Errors
    /// What was wrong with source or target; the target is as it was.
    pub fn restore(&self, data_dir: &Path, salvage: bool, now: UnixMillis) -> Result<Restored, AdminError> {
        match self {
            Self::Folder(source) => restore(source, data_dir, salvage, now),
            Self::Bucket(url) => remote::restore(&Bucket::open(url)?, data_dir, salvage, now),
        }
    }
}

impl FromStr for BackupPlace {
    type Err = remote::BadBucketUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.contains("://") {
            true => Ok(Self::Bucket(text.parse()?)),
            false => Ok(Self::Folder(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for BackupPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Bucket(url) => write!(f, "{url}"),
        }
    }
}
