//! Keys of the labs: from the environment or from a file that only its owner can read, and never in anything written.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use assay_domain::job::key_in_file;

/// What stands in place of a key.
const REDACTED: &str = "[redacted]";
/// A shorter text is no key: to take it out would damage what is written.
const KEY_BYTES_MIN: usize = 4;

/// Where keys are looked for: the environment first, then a file of `NAME=VALUE` lines.
#[derive(Debug, Clone)]
pub(crate) struct KeyRing {
    file: Option<PathBuf>,
}

/// A key; shown as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

/// Why there is no key. Never quotes a file's text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// Nothing has that name.
    #[error("neither the environment nor {file} has a key `{name}`: set it on the judge-runner's host")]
    Missing { name: String, file: String },
    /// Others can read the file.
    #[error("{path} has mode {mode:o}: keys need a file that only its owner can read (chmod 600)")]
    Open { path: String, mode: u32 },
    /// It cannot be read.
    #[error("{path} cannot be read")]
    File { path: String, source: io::Error },
    /// It cannot stand in a header.
    #[error("the key `{name}` has characters that no header can carry: copy it again")]
    Unusable { name: String },
}

impl KeyRing {
    /// Keys of the environment, and of `file` if it exists.
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// The key of a name.
    pub(crate) fn get(&self, name: &str) -> Result<Key, KeyError> {
        let key = match std::env::var(name) {
            Ok(key) if !key.trim().is_empty() => Some(key),
            Ok(_) | Err(_) => self.in_file(name)?,
        };
        let shown =
            || self.file.as_deref().map_or(String::from("a keys file"), |path| path.display().to_string());
        let key = key.ok_or_else(|| KeyError::Missing { name: name.to_owned(), file: shown() })?;
        let key = key.trim().to_owned();
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::Unusable { name: name.to_owned() });
        }
        Ok(Key(key))
    }

    fn in_file(&self, name: &str) -> Result<Option<String>, KeyError> {
        let Some(path) = &self.file else { return Ok(None) };
        let file = |source| KeyError::File { path: path.display().to_string(), source };
        let text = match read_private(path) {
            Ok(text) => text,
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(ReadError::Io(error)) => return Err(file(error)),
            Err(ReadError::Mode(mode)) => {
                return Err(KeyError::Open { path: path.display().to_string(), mode });
            }
        };
        Ok(key_in_file(&text, name).map(str::to_owned))
    }
}

enum ReadError {
    Io(io::Error),
    Mode(u32),
}

/// Mode and text of one open file, so that nothing can change between the two looks.
fn read_private(path: &Path) -> Result<String, ReadError> {
    let mut file = fs::File::open(path).map_err(ReadError::Io)?;
    let mode = file.metadata().map_err(ReadError::Io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(ReadError::Mode(mode));
    }
    io::read_to_string(&mut file).map_err(ReadError::Io)
}

impl Key {
    /// The key itself, for a request's header.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// A text without the key: servers quote what they were sent.
    pub(crate) fn redact(&self, text: String) -> String {
        if self.0.len() < KEY_BYTES_MIN || !text.contains(&self.0) {
            return text;
        }
        text.replace(&self.0, REDACTED)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(mode: u32) -> (tempfile::TempDir, KeyRing) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.env");
        fs::write(
            &path,
            "# keys\nASSAY_TEST_PLANTED=sk-planted\nexport ASSAY_TEST_QUOTED=\"sk-quoted\"\nEMPTY=\n",
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, KeyRing::new(Some(path)))
    }

    #[test]
    fn a_private_file_gives_keys_by_name() {
        let (_dir, ring) = ring(0o600);
        assert_eq!(ring.get("ASSAY_TEST_PLANTED").unwrap().secret(), "sk-planted");
        assert_eq!(ring.get("ASSAY_TEST_QUOTED").unwrap().secret(), "sk-quoted");
        let missing = ring.get("EMPTY").unwrap_err().to_string();
        assert!(missing.contains("`EMPTY`") && missing.contains("keys.env"), "{missing}");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o644, 0o640, 0o604, 0o660] {
            let (_dir, ring) = ring(mode);
            let refused = ring.get("ASSAY_TEST_PLANTED").unwrap_err().to_string();
            assert!(refused.contains("chmod 600") && !refused.contains("sk-"), "{refused}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let (_dir, ring) = ring(0o600);
        let key = ring.get("ASSAY_TEST_PLANTED").unwrap();
        assert_eq!(format!("{key:?}"), "[redacted]");
        assert_eq!(key.redact(String::from("bad key sk-planted!")), "bad key [redacted]!");
    }
}
