//! `assay-worker check` as a process: its exit code is the verdict, whoever reads what it prints.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Values of Transformers and PEFT for a tiny model, with this tolerance of logits in place of its own.
fn folder(dir: &Path, tolerance: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/model/tests/fixtures/parity/dora");
    let to = dir.join(format!("dora{tolerance}"));
    copy(&from, &to);
    let golden = to.join("golden.json");
    let text = fs::read_to_string(&golden).unwrap();
    let changed = text.replace("\"logits_abs\": 5e-05", &format!("\"logits_abs\": {tolerance}"));
    assert_ne!(changed, text);
    fs::write(golden, changed).unwrap();
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn the_exit_code_is_the_verdict_even_where_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    for (tolerance, code, says) in [("1e-4", 0, ": ok"), ("1e-12", 1, "FAILED")] {
        let folder = folder(dir.path(), tolerance);
        for is_read in [true, false] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_assay-worker"));
            command.arg("check").arg(&folder).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut stdout = child.stdout.take().unwrap();
            let mut printed = String::new();
            if is_read {
                stdout.read_to_string(&mut printed).unwrap();
                assert!(printed.contains(says), "{printed}");
            }
            drop(stdout);
            let ended = child.wait_with_output().unwrap();
            assert_eq!(ended.status.code(), Some(code), "{tolerance}, read: {is_read}");
            assert!(
                !String::from_utf8_lossy(&ended.stderr).contains("panicked"),
                "{tolerance}, read: {is_read}"
            );
        }
    }
}
