//! A skip passes on a person's machine, is listed at the end of `cargo xtask test`, and fails in CI
//! unless `tests/skips.toml` lists it with its reason.
#![expect(clippy::print_stderr, reason = "a test tells why it checked nothing")]

use std::env;
use std::fs::OpenOptions;
use std::io::Write;

const ACCEPTED: &str = include_str!("../skips.toml");

/// Says that the calling test lacks `key` (a table of `tests/skips.toml` where CI lacks it too) and leaves
/// the test unchecked; `why` says what would help.
///
/// # Panics
///
/// With `CI` set, where `tests/skips.toml` does not list `key`.
pub fn skip(key: &str, why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let in_ci = env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    assert!(
        !in_ci || is_accepted(ACCEPTED, key),
        "`{test}` lacks `{key}` and CI skips only what tests/skips.toml lists: {why}"
    );
    let line = format!("{test} lacks {key}: {why}\n");
    eprint!("skipped: {line}");
    if let Some(log) = env::var_os("ASSAY_TEST_SKIP_LOG") {
        // One write of one line: tests of several processes append to the same file.
        let written = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&log)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        assert!(written.is_ok(), "cannot write `{}`: {written:?}", log.display());
    }
}

/// A key counts only with a reason.
fn is_accepted(list: &str, key: &str) -> bool {
    let Ok(table) = list.parse::<toml::Table>() else {
        return false;
    };
    let reason = table.get(key).and_then(|entry| entry.get("reason")).and_then(toml::Value::as_str);
    reason.is_some_and(|reason| !reason.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::{ACCEPTED, is_accepted};

    #[test]
    fn a_skip_is_accepted_with_a_reason_only() {
        assert!(is_accepted("[gpu]\nreason = \"no device\"", "gpu"));
        assert!(!is_accepted("[gpu]\nreason = \" \"", "gpu"));
        assert!(!is_accepted("[gpu]", "gpu"));
        assert!(!is_accepted("[gpu]\nreason = \"no device\"", "python"));
        assert!(!is_accepted("not toml", "gpu"));
    }

    #[test]
    fn every_listed_skip_has_a_reason() {
        let table: toml::Table = ACCEPTED.parse().unwrap();
        assert!(table.keys().all(|key| is_accepted(ACCEPTED, key)));
    }
}
