//! Files and folders written so that they survive a power cut, and folders that appear whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::AdminError;

/// A folder in the making beside its target. Until `finish` the target is untouched; dropped before, nothing is left.
pub(super) struct Staged {
    folder: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl Staged {
    /// Refuses a target that holds anything. What an interrupted earlier one left beside it is removed.
    pub(super) fn new(target: &Path) -> Result<Staged, AdminError> {
        if !is_empty(target)? {
            return Err(AdminError::NotEmpty { path: target.to_path_buf() });
        }
        let mut name = target.file_name().unwrap_or_default().to_os_string();
        name.push(".unfinished");
        let folder = target.with_file_name(name);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(AdminError::io("remove", &folder)(error));
            }
            Ok(()) | Err(_) => {}
        }
        if let Some(parent) = named_parent(target) {
            fs::create_dir_all(parent).map_err(AdminError::io("create", parent))?;
        }
        make_folder(&folder)?;
        Ok(Staged { folder, target: target.to_path_buf(), finished: false })
    }

    /// Removes what interrupted ones left in a folder under such a name.
    pub(super) fn remove_unfinished(folder: &Path, prefix: &str) -> Result<(), AdminError> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(AdminError::io("list", folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(AdminError::io("list", folder))?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            if name.starts_with(prefix) && name.ends_with(".unfinished") {
                fs::remove_dir_all(entry.path()).map_err(AdminError::io("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes all of it durable and gives it its name.
    pub(super) fn finish(mut self) -> Result<(), AdminError> {
        sync_folders(&self.folder)?;
        fs::rename(&self.folder, &self.target).map_err(AdminError::io("rename to", &self.target))?;
        self.finished = true;
        let parent = named_parent(&self.target).unwrap_or(Path::new("."));
        sync_folder(parent)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is removed by the next try.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A file in the making: under its name whole or not at all, and never over another.
pub(super) struct Whole {
    temporary: PathBuf,
    target: PathBuf,
    writer: BufWriter<File>,
}

impl Whole {
    /// Refuses a target that exists.
    pub(super) fn create(target: &Path) -> Result<Whole, AdminError> {
        if target.exists() {
            return Err(AdminError::NotEmpty { path: target.to_path_buf() });
        }
        let mut name = target.file_name().unwrap_or_default().to_os_string();
        name.push(".unfinished");
        let temporary = target.with_file_name(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&temporary).map_err(AdminError::io("create", &temporary))?;
        Ok(Whole { temporary, target: target.to_path_buf(), writer: BufWriter::new(file) })
    }

    pub(super) fn writer(&mut self) -> &mut dyn io::Write {
        &mut self.writer
    }

    /// Makes it durable and gives it its name.
    pub(super) fn finish(mut self) -> Result<(), AdminError> {
        self.writer.flush().map_err(AdminError::io("write", &self.temporary))?;
        self.writer.get_ref().sync_all().map_err(AdminError::io("sync", &self.temporary))?;
        fs::rename(&self.temporary, &self.target).map_err(AdminError::io("rename to", &self.target))?;
        sync_folder(named_parent(&self.target).unwrap_or(Path::new(".")))
    }
}

fn named_parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}

fn is_empty(folder: &Path) -> Result<bool, AdminError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(AdminError::io("list", folder)(error)),
    }
}

/// Only its owner reads it: states hold secrets of matrices.
pub(super) fn make_folder(folder: &Path) -> Result<(), AdminError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(AdminError::io("create", folder))
}

/// Writes a new file and syncs it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), AdminError> {
    let mut file = create(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(AdminError::io("write", path))
}

/// A new file, only for its owner.
pub(super) fn create(path: &Path) -> Result<File, AdminError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.map_err(AdminError::io("create", path))
}

/// Copies a file and syncs the copy; its folder is made.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), AdminError> {
    if let Some(folder) = to.parent() {
        make_folder(folder)?;
    }
    fs::copy(from, to).map_err(AdminError::io("copy to", to))?;
    File::open(to).and_then(|file| file.sync_all()).map_err(AdminError::io("sync", to))
}

fn sync_folders(folder: &Path) -> Result<(), AdminError> {
    for entry in fs::read_dir(folder).map_err(AdminError::io("list", folder))? {
        let path = entry.map_err(AdminError::io("list", folder))?.path();
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<(), AdminError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(AdminError::io("sync", folder))
}
