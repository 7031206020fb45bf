//! Files on this machine, as artifacts see them: paths inside the artifact, lengths, digests.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use assay_domain::{Digest, ObjectKey};
use sha2::{Digest as _, Sha256};

use crate::TransferError;

const READ_BYTES: usize = 1 << 20;

/// A finished file that is part of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// The path inside the artifact, with `/`.
    pub path: String,
    /// Where it lies here.
    pub local: PathBuf,
    /// How many bytes.
    pub bytes: u64,
    /// What they are.
    pub digest: Digest,
}

/// The files of an artifact: the file itself under its own name, or all files below a folder, sorted by path. Reads everything:
/// call it where blocking is fine.
pub fn describe(path: &Path) -> Result<Vec<LocalFile>, TransferError> {
    let metadata = fs::metadata(path).map_err(TransferError::file("read", path))?;
    let mut found = Vec::new();
    if metadata.is_dir() {
        walk(path, "", &mut found)?;
        found.sort();
    } else {
        found.push((file_name(path)?, path.to_owned()));
    }
    if found.is_empty() {
        return Err(TransferError::NotAnArtifact {
            path: path.to_owned(),
            why: String::from("the folder has no files"),
        });
    }
    let describe_one = |(path, local): (String, PathBuf)| {
        let (digest, bytes) = digest_file(&local)?;
        Ok(LocalFile { path, local, bytes, digest })
    };
    found.into_iter().map(describe_one).collect()
}

/// The SHA-256 and length of a file, read in pieces.
pub fn digest_file(path: &Path) -> Result<(Digest, u64), TransferError> {
    let mut file = File::open(path).map_err(TransferError::file("read", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).map_err(TransferError::file("read", path))?;
        if read == 0 {
            return Ok((Digest::from_bytes(hasher.finalize().into()), bytes));
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// The digest of a folder as of an artifact with its files: of the only file, or of the sorted (path, digest) list.
pub fn digest_folder(path: &Path) -> Result<Digest, TransferError> {
    let files = describe(path)?;
    match files.as_slice() {
        [only] => Ok(only.digest),
        files => Ok(Digest::of_folder(files.iter().map(|file| (file.path.as_str(), file.digest)))),
    }
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<(String, PathBuf)>) -> Result<(), TransferError> {
    for entry in fs::read_dir(folder).map_err(TransferError::file("listed", folder))? {
        let local = entry.map_err(TransferError::file("listed", folder))?.path();
        let path = format!("{prefix}{}", file_name(&local)?);
        // Follows links: model folders of the Hugging Face cache are made of them.
        if fs::metadata(&local).map_err(TransferError::file("read", &local))?.is_dir() {
            walk(&local, &format!("{path}/"), found)?;
        } else {
            found.push((path, local));
        }
    }
    Ok(())
}

/// The last segment, which must be able to stand in an object key.
fn file_name(path: &Path) -> Result<String, TransferError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match ObjectKey::parse(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(error) => {
            Err(TransferError::NotAnArtifact { path: path.to_owned(), why: format!("its name: {error}") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_described_by_sorted_paths_and_a_file_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/two"), "2").unwrap();
        fs::write(folder.path().join("one"), "1").unwrap();
        let files = describe(folder.path()).unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["b/two", "one"]);
        assert_eq!(files[1].digest, Digest::of(b"1"));
        let digest = Digest::of_folder([("b/two", Digest::of(b"2")), ("one", Digest::of(b"1"))]);
        assert_eq!(digest_folder(folder.path()).unwrap(), digest);
        let single = describe(&folder.path().join("one")).unwrap();
        assert_eq!((single.len(), single[0].path.as_str(), single[0].bytes), (1, "one", 1));
    }

    #[test]
    fn names_that_no_key_can_hold_and_empty_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let empty = describe(folder.path()).unwrap_err().to_string();
        assert!(empty.contains("has no files"), "{empty}");
        fs::write(folder.path().join("a b"), "").unwrap();
        let spaced = describe(folder.path()).unwrap_err().to_string();
        assert!(spaced.contains("`a b` is not an object key"), "{spaced}");
    }
}
