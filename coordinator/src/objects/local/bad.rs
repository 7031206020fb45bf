//! Objects that are not what was accepted: a disk that forgets, a hand that edits.

use std::fmt;

use super::{Expected, LocalObjects, ObjectError, ObjectKey, lock, read_digest};

/// What lies, or does not lie, where an object should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// Fewer or more bytes.
    Bytes(u64),
    /// As many bytes, but others.
    Digest([u8; 32]),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("is missing"),
            Self::Bytes(bytes) => write!(f, "has {bytes} bytes"),
            Self::Digest(digest) => write!(f, "has sha256 {}", hex::encode(digest)),
        }
    }
}

impl LocalObjects {
    /// Reads an object and deletes it unless it is as expected; answers what was wrong. After a power cut a deleted one may be
    /// back, to be found again.
    ///
    /// # Errors
    /// The disk cannot read it at the moment, which proves nothing, or not delete it.
    pub fn remove_if_bad(&self, key: &ObjectKey, expected: Expected) -> Result<Option<Found>, ObjectError> {
        let _one_at_a_time = lock(&self.shared.repairs);
        let found = match self.open(key) {
            Err(ObjectError::NotFound { .. }) => return Ok(Some(Found::Nothing)),
            Err(error) => return Err(error),
            Ok(reader) if reader.size_bytes() != expected.size_bytes => Found::Bytes(reader.size_bytes()),
            Ok(reader) => match read_digest(&reader)? {
                digest if digest == expected.sha256 => return Ok(None),
                digest => Found::Digest(digest),
            },
        };
        tracing::error!(key = %key, %found, "an object is bad and was deleted: the disk needs a look");
        self.delete(key)?;
        Ok(Some(found))
    }
}
