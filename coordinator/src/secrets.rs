//! Secrets in files of the data folder: made at the first start, readable by their owner only, refused otherwise.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A secret file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Others may read or write it.
    #[error("{path} has mode {mode:o}, so others may read it: run `chmod 600 {path}`, and delete it to get a new one if they did",
        path = path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It does not hold what we wrote.
    #[error("{path} does not hold 64 hexadecimal digits: delete it to get a new one", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The operating system gives no random bytes.
    #[error("cannot draw random bytes")]
    Random {
        /// Why.
        #[source]
        source: getrandom::Error,
    },
}

/// 32 random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SecretError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|source| SecretError::Random { source })?;
    Ok(bytes)
}

/// The 32 bytes that a file holds in hexadecimal; drawn and written at the first start.
pub(crate) fn load_or_create(path: &Path) -> Result<[u8; 32], SecretError> {
    match File::open(path) {
        Ok(file) => load(path, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
        Err(source) => Err(failed("open", path)(source)),
    }
}

fn load(path: &Path, file: File) -> Result<[u8; 32], SecretError> {
    let metadata = file.metadata().map_err(failed("look at", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Mode { path: path.to_path_buf(), mode });
    }
    let content = || SecretError::Content { path: path.to_path_buf() };
    let mut text = String::new();
    file.take(256).read_to_string(&mut text).map_err(|_| content())?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| content())?;
    Ok(bytes)
}

/// Whole or not at all: a temporary file, synced, renamed, and the folder synced.
fn create(path: &Path) -> Result<[u8; 32], SecretError> {
    let bytes = random::<32>()?;
    write_whole(path, format!("{}\n", hex::encode(bytes)).as_bytes(), 0o600)?;
    Ok(bytes)
}

/// Replaces a file with a mode at once.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SecretError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &temporary)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .map_err(failed("create", &temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("rename to", path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of", path))
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> SecretError + 'a {
    move |source| SecretError::Io { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_with_mode_600() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let made = load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&path).unwrap(), made);
    }

    #[test]
    fn a_readable_secret_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let message = load_or_create(&path).unwrap_err().to_string();
        assert!(message.contains("mode 644") && message.contains("chmod 600"), "{message}");
    }

    #[test]
    fn a_damaged_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        write_whole(&path, b"short", 0o600).unwrap();
        assert!(load_or_create(&path).unwrap_err().to_string().contains("64 hexadecimal digits"));
    }
}
