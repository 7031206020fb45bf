//! One object on its way in: a temporary file that becomes the object at once or not at all.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Expected, LocalObjects, ObjectError, ObjectKey, Stored, io_error, read_digest};
use crate::disk::{DiskFile, SyncSite};

/// An upload. Dropping it before `finish` leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    objects: LocalObjects,
    key: ObjectKey,
    expected: Expected,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    hasher: Sha256,
    got_bytes: u64,
}

impl Upload {
    pub(super) fn new(
        objects: LocalObjects,
        key: ObjectKey,
        expected: Expected,
        path: PathBuf,
        file: Box<dyn DiskFile>,
    ) -> Upload {
        Upload { objects, key, expected, path, file, hasher: Sha256::new(), got_bytes: 0 }
    }

    /// Adds bytes; refuses at once what is longer than announced.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ObjectError> {
        self.got_bytes += bytes.len() as u64;
        if self.got_bytes > self.expected.size_bytes {
            return Err(self.wrong_length());
        }
        self.hasher.update(bytes);
        self.file.append(bytes).map_err(io_error("write", &self.path))
    }

    /// Checks length and digest and stores the object durably.
    pub fn finish(mut self) -> Result<Stored, ObjectError> {
        if self.got_bytes != self.expected.size_bytes {
            return Err(self.wrong_length());
        }
        let got: [u8; 32] = self.hasher.finalize_reset().into();
        if got != self.expected.sha256 {
            let expected = hex::encode(self.expected.sha256);
            return Err(ObjectError::Digest { key: self.key.to_string(), expected, got: hex::encode(got) });
        }
        self.file.sync(SyncSite::ObjectFile).map_err(io_error("sync", &self.path))?;
        let target = self.objects.path(&self.key);
        let folder = self.objects.ensure_folder_of(&target)?;
        let before = self.objects.shared.durable.look();
        let stored = match self.objects.disk().hard_link(&self.path, &target) {
            Ok(()) => Stored::Created,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.compare(&target)?,
            Err(source) => return Err(io_error("link the upload to", &target)(source)),
        };
        // Also where it existed: whoever linked it may not have come to sync it yet.
        self.objects.sync_folder(&folder, SyncSite::ObjectEntry)?;
        self.objects.shared.durable.add(&self.key, before);
        Ok(stored)
    }

    /// The key is taken: the same bytes are a repeat, others a conflict, unless the key itself says that they are wrong.
    fn compare(&self, target: &Path) -> Result<Stored, ObjectError> {
        let existing = read_digest(&self.objects.open(&self.key)?)?;
        if existing == self.expected.sha256 {
            return Ok(Stored::AlreadyThere);
        }
        let digest = assay_domain::Digest::from_bytes(self.expected.sha256);
        if self.key.as_str() == assay_domain::ObjectKey::upload(digest).as_str() {
            self.objects.remove_if_bad(&self.key, self.expected)?;
            return match self.objects.disk().hard_link(&self.path, target) {
                Ok(()) => Ok(Stored::Created),
                // Another upload of the same bytes was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Stored::AlreadyThere),
                Err(source) => Err(io_error("link the upload to", target)(source)),
            };
        }
        let (existing, given) = (hex::encode(existing), hex::encode(self.expected.sha256));
        Err(ObjectError::Conflict { key: self.key.to_string(), existing, given })
    }

    fn wrong_length(&self) -> ObjectError {
        ObjectError::Length {
            key: self.key.to_string(),
            expected_bytes: self.expected.size_bytes,
            got_bytes: self.got_bytes,
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // The object, if it was linked, has its own name. A name that stays is removed at the next start.
        let _ = self.objects.disk().remove(&self.path);
    }
}
