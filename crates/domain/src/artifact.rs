//! Artifacts: named, write-once sets of files with digests, and the keys under which objects lie.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, Lease, Origin};

/// Where an object lies in the store: a relative path of safe segments.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

/// A text that is not an object key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not an object key: relative segments of letters, digits, `.`, `_`, `@`, `-` are needed, none of them `.` or `..`, 512 bytes at most"
)]
pub struct BadObjectKey {
    /// What was given.
    pub given: String,
}

/// The longest key, in bytes.
pub const OBJECT_KEY_BYTES_MAX: usize = 512;

impl ObjectKey {
    /// Checks a key.
    pub fn parse(text: impl Into<String>) -> Result<Self, BadObjectKey> {
        let text = text.into();
        let safe = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b))
        };
        if text.len() > OBJECT_KEY_BYTES_MAX || !text.split('/').all(safe) {
            return Err(BadObjectKey { given: text });
        }
        Ok(Self(text))
    }

    /// The key of a file that a person uploaded: by its digest.
    pub fn upload(digest: Digest) -> Self {
        Self(format!("sha256/{digest}"))
    }

    /// The key of an output file: job, epoch and attempt are part of it, so that no two attempts meet.
    pub fn output(lease: &Lease, artifact: &str, path: &str) -> Result<Self, BadObjectKey> {
        Self::parse(format!(
            "jobs/{}/{}/{}/{artifact}/{path}",
            lease.job.matrix, lease.job.ordinal, lease.fence
        ))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = BadObjectKey;

    fn try_from(text: String) -> Result<Self, BadObjectKey> {
        Self::parse(text)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// The path inside the artifact, such as `adapter_config.json`.
    pub path: String,
    /// Where its bytes lie.
    pub key: ObjectKey,
    /// What its bytes are.
    pub digest: Digest,
    /// How many bytes.
    pub bytes: u64,
    /// Where else its bytes are, if not only in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl FileRef {
    /// Where whoever needs it may fetch it if the store lacks it. Only what a person submits has such a place: what a worker
    /// made lies in the store or nowhere, whatever the worker says.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref().filter(|_| self.key == ObjectKey::upload(self.digest))
    }
}

/// A named, write-once set of files: a data set, a model, `adapter@6`, `generations`, `report`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The name within its job or upload.
    pub name: String,
    /// The files, sorted by path.
    pub files: Vec<FileRef>,
}

/// An object that was found bad where it lies: other bytes than were accepted, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostObject {
    /// The file as it should be.
    pub file: FileRef,
    /// What is there instead, after "it": `is missing`, `has sha256 ...`.
    pub found: String,
}

impl Artifact {
    /// The digest of the whole: of the one file, or of the folder.
    pub fn digest(&self) -> Digest {
        match self.files.as_slice() {
            [only] => only.digest,
            files => Digest::of_folder(files.iter().map(|file| (file.path.as_str(), file.digest))),
        }
    }

    /// Whether one of its files lies under a key.
    pub fn has(&self, key: &ObjectKey) -> bool {
        self.files.iter().any(|file| file.key == *key)
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Names of the artifacts of a checkpoint.
    pub fn adapter_name(step: u64) -> String {
        format!("adapter@{step}")
    }

    /// The name of the resume state of a step.
    pub fn resume_name(step: u64) -> String {
        format!("resume@{step}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_refuse_what_could_leave_the_folder() {
        for bad in ["", "/a", "a//b", "../a", "a/..", "a/./b", "a b", "a\\b", "a/\u{e9}", "a\0"] {
            assert!(ObjectKey::parse(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(ObjectKey::parse("jobs/m-1/0/e1-a1/adapter@6/adapter_config.json").is_ok());
    }
}
