//! The files of the repository, as git sees them: tracked ones and new ones that are not ignored.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A text file.
pub(crate) struct Text {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) content: String,
}

impl Text {
    /// The part after the last dot of the name; empty without one.
    pub(crate) fn extension(&self) -> &str {
        Path::new(&self.path).extension().and_then(|extension| extension.to_str()).unwrap_or_default()
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// All files that are text; recorded data (`fixtures` folders, JSON lines, lock files) is not ours to judge.
pub(crate) fn texts() -> Vec<Text> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    let texts: Vec<_> =
        names.split('\0').filter(|name| !name.is_empty() && !is_data(name)).filter_map(read).collect();
    assert!(texts.len() > 20, "only {} files found: the list is wrong", texts.len());
    texts
}

fn is_data(name: &str) -> bool {
    name.split('/').any(|part| part == "fixtures") || name.ends_with(".jsonl") || name == "Cargo.lock"
}

/// `None` for a file that is gone from the disk or is not text.
fn read(name: &str) -> Option<Text> {
    let content = std::fs::read_to_string(root().join(name)).ok()?;
    Some(Text { path: name.to_owned(), content })
}
