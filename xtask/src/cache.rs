//! The cache that all checkouts share: a folder appears in it complete, by a rename, or not at all.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{layout, ui};

/// The cache's folder; fills what is missing under a lock that other processes respect.
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(crate) fn open() -> Result<Self> {
        Self::at(layout::cache()?)
    }

    fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).with_context(|| {
            format!(
                "cannot create the cache `{}`: set `ASSAY_CACHE` to a folder you can write",
                root.display()
            )
        })?;
        Ok(Self { root })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The folder `name`; where it is not complete, `fill` builds it in a staging folder that is then
    /// renamed into place. `fill` gets an empty folder for the content and one for downloads.
    pub(crate) fn folder(
        &self,
        name: &str,
        complete: impl Fn(&Path) -> bool,
        fill: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let place = self.path(name);
        if complete(&place) {
            return Ok(place);
        }
        let _held = self.lock()?;
        if complete(&place) {
            return Ok(place); // another process filled it while we waited
        }
        let staging = self.path(&format!(".partial-{name}"));
        remove(&staging)?;
        let (content, downloads) = (staging.join("content"), staging.join("downloads"));
        for folder in [&content, &downloads] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        fill(&content, &downloads)?;
        remove(&downloads)?;
        flush(&content);
        remove(&place)?;
        fs::rename(&content, &place).with_context(|| format!("cannot create `{}`", place.display()))?;
        remove(&staging)?;
        Ok(place)
    }

    /// Builds `name` in place, for what cannot be moved (a virtual environment): only its last step,
    /// the marker file, makes it count.
    pub(crate) fn in_place(
        &self,
        name: &str,
        works: impl Fn(&Path) -> bool,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let place = self.path(name);
        let marker = place.join(".complete");
        let complete = || marker.is_file() && works(&place);
        if complete() {
            return Ok(place);
        }
        let _held = self.lock()?;
        if complete() {
            return Ok(place);
        }
        remove(&place)?;
        build(&place)?;
        flush(&place);
        File::create(&marker)
            .and_then(|file| file.sync_all())
            .with_context(|| format!("cannot write `{}`", marker.display()))?;
        Ok(place)
    }

    /// Held until the file is dropped, by the system's own lock: a process that dies lets go of it.
    fn lock(&self) -> Result<File> {
        let path = self.path("lock");
        let file = File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                ui::say("another process is filling the cache: waiting for it");
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock `{}`", path.display()));
            }
        }
        file.lock().with_context(|| format!("cannot lock `{}`", path.display()))?;
        Ok(file)
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Brings thousands of small files to the disk before the rename that declares them whole; one call for
/// the file system, since a sync of each takes minutes. Best effort: the rename order is what we rely on.
fn flush(folder: &Path) {
    if cfg!(target_os = "linux") {
        let _ = Command::new("sync").arg("-f").arg(folder).status();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use anyhow::bail;

    use super::Cache;

    fn complete(folder: &Path) -> bool {
        folder.join("whole").is_file()
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::at(scratch.path().join("cache")).unwrap();
        let broken = cache.folder("thing", complete, |content, _| {
            fs::write(content.join("part"), "")?;
            bail!("the network went away")
        });
        assert!(broken.is_err());
        assert!(!cache.path("thing").exists());

        let filled = cache.folder("thing", complete, |content, downloads| {
            assert_eq!(fs::read_dir(content)?.count(), 0, "the half from before is gone");
            fs::write(downloads.join("wheel"), "")?;
            Ok(fs::write(content.join("whole"), "")?)
        });
        assert!(complete(&filled.unwrap()));
        let names: Vec<_> = fs::read_dir(scratch.path().join("cache"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(names.iter().all(|name| name == "thing" || name == "lock"), "{names:?}");

        cache.folder("thing", complete, |_, _| bail!("filled twice")).unwrap();
    }

    #[test]
    fn a_folder_that_lost_a_file_is_filled_again() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::at(scratch.path().to_path_buf()).unwrap();
        fs::create_dir(cache.path("thing")).unwrap();
        fs::write(cache.path("thing").join("rest"), "").unwrap();
        let filled =
            cache.folder("thing", complete, |content, _| Ok(fs::write(content.join("whole"), "")?)).unwrap();
        assert!(complete(&filled) && !filled.join("rest").exists());
    }

    #[test]
    fn what_is_built_in_place_counts_once_it_is_marked() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::at(scratch.path().to_path_buf()).unwrap();
        let build = |place: &Path| {
            assert!(!place.exists());
            Ok(fs::create_dir(place)?)
        };
        let broken = cache.in_place(
            "environment",
            |_| true,
            |place| {
                build(place)?;
                bail!("interrupted")
            },
        );
        assert!(broken.is_err());
        cache.in_place("environment", |_| true, build).unwrap();
        cache.in_place("environment", |_| true, |_| bail!("built twice")).unwrap();
        cache.in_place("environment", |_| false, build).unwrap();
    }
}
