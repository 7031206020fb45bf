//! What a backup is written to and read from, whether it is a folder or a bucket.

use std::fs;
use std::path::{Path, PathBuf};

use assay_domain::FileRef;

use super::{AdminError, files, objects};

/// What is wrong with each of some objects; `None` where nothing is.
pub(super) type Wrong = Vec<Option<String>>;

/// What takes the files of a backup. Names are relative, with `/`.
pub(super) trait Sink {
    /// Stores a copy of a file; answers the SHA-256 of what was stored.
    fn copy(&self, from: &Path, name: &str) -> Result<String, AdminError>;
    /// Stores a file of these bytes.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), AdminError>;
    /// Stores copies of objects of a store's folder. One that is wrong there is left out.
    fn copy_objects(&self, from: &Path, files: &[&FileRef]) -> Result<Wrong, AdminError>;
}

/// Where objects lie.
pub(super) trait Objects {
    /// What is wrong with each. Without `digests` only lengths are looked at.
    fn look(&self, files: &[&FileRef], digests: bool) -> Result<Wrong, AdminError>;
    /// Copies each to a store's folder and reads the copy back. One that is wrong is left out.
    fn copy_to(&self, folder: &Path, files: &[&FileRef]) -> Result<Wrong, AdminError>;
}

/// A data folder, or a backup in a folder.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// One that is there.
    pub(super) fn at(folder: &Path) -> Self {
        Self(folder.to_path_buf())
    }

    /// A new one, laid out.
    pub(super) fn make(folder: &Path) -> Result<Self, AdminError> {
        for inner in ["snapshots", "journal", "objects"] {
            files::make_folder(&folder.join(inner))?;
        }
        Ok(Self::at(folder))
    }
}

impl Sink for Folder {
    fn copy(&self, from: &Path, name: &str) -> Result<String, AdminError> {
        let copy = self.0.join(name);
        files::copy(from, &copy)?;
        Ok(objects::digest(&copy).map_err(AdminError::io("read", &copy))?.1)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), AdminError> {
        files::write(&self.0.join(name), bytes)
    }

    fn copy_objects(&self, from: &Path, files: &[&FileRef]) -> Result<Wrong, AdminError> {
        let to = self.0.join("objects");
        files.iter().map(|file| copy_object(from, &to, file)).collect()
    }
}

impl Objects for Folder {
    fn look(&self, files: &[&FileRef], digests: bool) -> Result<Wrong, AdminError> {
        let folder = self.0.join("objects");
        Ok(files.iter().map(|file| objects::wrong(&folder, file, digests)).collect())
    }

    fn copy_to(&self, folder: &Path, files: &[&FileRef]) -> Result<Wrong, AdminError> {
        let from = self.0.join("objects");
        files.iter().map(|file| copy_object(&from, folder, file)).collect()
    }
}

/// Copies an object and reads the copy back; answers what is wrong with it, and then leaves none.
fn copy_object(from: &Path, to: &Path, file: &FileRef) -> Result<Option<String>, AdminError> {
    if let Some(wrong) = objects::wrong(from, file, false) {
        return Ok(Some(wrong));
    }
    files::copy(&from.join(file.key.as_str()), &to.join(file.key.as_str()))?;
    kept(to, file)
}

/// What is wrong with a copy that was just made; then it is removed.
pub(super) fn kept(folder: &Path, file: &FileRef) -> Result<Option<String>, AdminError> {
    let wrong = objects::wrong(folder, file, true);
    if wrong.is_some() {
        let copy = folder.join(file.key.as_str());
        fs::remove_file(&copy).map_err(AdminError::io("remove", &copy))?;
    }
    Ok(wrong)
}
