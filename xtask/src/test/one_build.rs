//! Whether what the demo and a plain `cargo build` need is what the tests were built with: one set of features.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

/// To be called after everything was built for the tests.
///
/// # Errors
/// Something had to be compiled again, or could not be.
pub(super) fn check(libtorch: &Path) -> Result<()> {
    let mut build = process::cargo(libtorch);
    let told = process::answer(build.args(["build", "--message-format", "json-render-diagnostics"]))?;
    let again = compiled(&told)?;
    if !again.is_empty() {
        bail!(
            "`cargo build` after the tests' build compiled again: {}; features or profiles differ, see the head of \
             [workspace.dependencies]",
            again.join(", ")
        );
    }
    Ok(())
}

/// The packages that cargo did not find fresh.
fn compiled(told: &str) -> Result<Vec<String>> {
    let mut again = Vec::new();
    for line in told.lines() {
        let message: Value = serde_json::from_str(line).context("cargo's messages are not JSON")?;
        if message["reason"] == "compiler-artifact" && message["fresh"] == false {
            again.push(message["package_id"].as_str().unwrap_or("?").to_owned());
        }
    }
    again.dedup();
    Ok(again)
}

#[cfg(test)]
mod tests {
    use super::compiled;

    #[test]
    fn what_was_compiled_again_is_named_and_what_was_fresh_is_not() {
        let told = r#"{"reason":"compiler-artifact","package_id":"a#1.0.0","fresh":true}
{"reason":"compiler-artifact","package_id":"b#2.0.0","fresh":false}
{"reason":"build-script-executed","package_id":"b#2.0.0"}
{"reason":"compiler-artifact","package_id":"b#2.0.0","fresh":false}
{"reason":"build-finished","success":true}"#;
        assert_eq!(compiled(told).unwrap(), ["b#2.0.0"]);
        assert!(compiled("error: no").is_err());
    }
}
