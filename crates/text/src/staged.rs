//! A folder that appears whole or not at all: written beside its place, synced, renamed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Removed again unless it was placed.
#[derive(Debug)]
pub(crate) struct StagedFolder {
    staging: PathBuf,
    target: PathBuf,
}

/// How placing went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    New,
    /// The target held the same files with the same bytes.
    Identical,
    /// The target exists and differs; the text names the first difference.
    Differs(String),
}

impl StagedFolder {
    /// Makes an empty folder next to `target`. One process at a time: a leftover of a killed one is replaced.
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let name = target
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no folder"))?;
        let parent = parent_of(target);
        fs::create_dir_all(&parent)?;
        let mut staging_name = std::ffi::OsString::from(".");
        staging_name.push(name);
        staging_name.push(format!(".partial-{}", std::process::id()));
        let staging = parent.join(staging_name);
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&staging)?,
        }
        Ok(Self { staging, target: target.to_path_buf() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.staging
    }

    /// Writes and syncs one file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create_new(self.staging.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Renames the folder into place, unless something is there.
    pub(crate) fn place(self) -> io::Result<Placed> {
        if fs::symlink_metadata(&self.target).is_ok() {
            return Ok(match first_difference(&self.staging, &self.target)? {
                None => Placed::Identical,
                Some(difference) => Placed::Differs(difference),
            });
        }
        File::open(&self.staging)?.sync_all()?;
        fs::rename(&self.staging, &self.target)?;
        File::open(parent_of(&self.target))?.sync_all()?;
        Ok(Placed::New)
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        // After the rename there is nothing to remove; a failure leaves a folder that the next run replaces.
        let _ = fs::remove_dir_all(&self.staging);
    }
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn first_difference(ours: &Path, theirs: &Path) -> io::Result<Option<String>> {
    if !fs::metadata(theirs)?.is_dir() {
        return Ok(Some("it is not a folder".to_owned()));
    }
    let (ours, theirs) = (names(ours)?, names(theirs)?);
    for (name, path) in &ours {
        let Some(other) = theirs.get(name) else {
            return Ok(Some(format!("{name} is missing there")));
        };
        if sha256(path)? != sha256(other)? {
            return Ok(Some(format!("{name} differs")));
        }
    }
    Ok(theirs.keys().find(|name| !ours.contains_key(*name)).map(|name| format!("it also holds {name}")))
}

fn names(folder: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        names.insert(entry.file_name().to_string_lossy().into_owned(), entry.path());
    }
    Ok(names)
}

/// SHA-256 of a file's bytes, in hexadecimal, and its length.
pub(crate) fn sha256(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hex::encode(hasher.finalize()), length));
        }
        length += read as u64;
        hasher.update(&buffer[..read]);
    }
}
