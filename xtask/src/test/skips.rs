//! The skips that tests made: each appends a line to a file, since no runner shows what a passing test prints.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{layout, ui};

/// Where tests find the file's path; `assay_tests::skip` writes to it.
pub(super) const VARIABLE: &str = "ASSAY_TEST_SKIP_LOG";

/// The file's path, with the lines of an earlier run removed.
pub(super) fn fresh_log() -> PathBuf {
    let path = layout::target().join("test-assets/skips.log");
    let _ = fs::remove_file(&path); // most often it is not there
    path
}

/// Says each skip once.
pub(super) fn report(log: &Path) {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    for line in &lines {
        ui::say(format!("skipped: {line}"));
    }
}
