//! What people have judged goes with the state, into a backup and out of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::AdminError;
use super::store::Sink;
pub(super) use crate::annotations::FOLDER;

/// Copies all of it from a data folder or backup; adds names and digests. A verdict whose writing was under way may be there as
/// half a line, which readers leave out: nobody was told that it was kept.
pub(super) fn copy(from: &Path, to: &dyn Sink, copied: &mut Vec<(String, String)>) -> Result<(), AdminError> {
    for matrix in folders(&from.join(FOLDER))? {
        for person in folders(&matrix)? {
            // The session first: without it verdicts are of no use.
            for name in ["session.json", "verdicts.jsonl"] {
                let path = person.join(name);
                let Ok(within) = path.strip_prefix(from) else { continue };
                if path.is_file() {
                    let name = within.display().to_string();
                    let digest = to.copy(&path, &name)?;
                    copied.push((name, digest));
                }
            }
        }
    }
    Ok(())
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, AdminError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(AdminError::io("list", folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(AdminError::io("list", folder))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}
