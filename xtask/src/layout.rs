//! Where things are: the repository, its build folder, and the cache that all checkouts share.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The root of the repository that this command was built from.
pub(crate) fn repository() -> PathBuf {
    // `cargo run` sets the variable; the built-in value serves a binary that is started by path.
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// The folder that cargo builds into.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), |dir| repository().join(dir))
}

/// A binary of the workspace, as `cargo build` leaves it.
pub(crate) fn binary(name: &str) -> PathBuf {
    target().join("debug").join(name)
}

/// The cache outside the tree: `ASSAY_CACHE`, else the platform's folder for caches.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(given) = env::var_os("ASSAY_CACHE").filter(|value| !value.is_empty()) {
        return env::current_dir()
            .map(|here| here.join(given))
            .context("cannot tell the current folder, which `ASSAY_CACHE` is relative to");
    }
    if cfg!(target_os = "macos") {
        return Ok(home()?.join("Library/Caches/assay"));
    }
    match env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(folder) => Ok(folder.join("assay")),
        None => Ok(home()?.join(".cache/assay")),
    }
}

fn home() -> Result<PathBuf> {
    match env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(home) => Ok(home),
        None => {
            bail!("`HOME` is not set to an absolute path: set it, or `ASSAY_CACHE` to a folder for downloads")
        }
    }
}
