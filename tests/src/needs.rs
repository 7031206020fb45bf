//! Things that a test needs and cannot make: programs, the demo's model, Python.

use std::env;
use std::path::{Path, PathBuf};

use crate::skip;

/// Something that `cargo xtask test` prepares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// The demo's model as a Hugging Face folder, imported by `assay model import`.
    Model,
    /// The demo's model as it was published, one GGUF file.
    Gguf,
    /// A Python interpreter with torch, transformers, peft and trl.
    Python,
    /// Chromium, for the report's page.
    Browser,
}

impl Need {
    fn variable(self) -> &'static str {
        match self {
            Self::Model => "ASSAY_TEST_MODEL",
            Self::Gguf => "ASSAY_TEST_GGUF",
            Self::Python => "ASSAY_TEST_PYTHON",
            Self::Browser => "ASSAY_TEST_BROWSER",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Gguf => "gguf",
            Self::Python => "python",
            Self::Browser => "browser",
        }
    }
}

/// The path of what is needed, or a skip: `let Some(model) = need(Need::Model) else { return };`.
///
/// # Panics
///
/// Where the variable names nothing that exists, and like [`skip`].
pub fn need(need: Need) -> Option<PathBuf> {
    let Some(path) = env::var_os(need.variable()).map(PathBuf::from) else {
        skip(need.key(), &format!("`{}` is not set; `cargo xtask test` sets it", need.variable()));
        return None;
    };
    assert!(path.exists(), "`{}` is `{}`, which does not exist", need.variable(), path.display());
    Some(path)
}

/// A binary of the workspace, `assay-worker` say: in `ASSAY_TEST_BIN_DIR`, else where this test was built.
///
/// # Panics
///
/// Where it was not built.
pub fn binary(name: &str) -> PathBuf {
    let folder = env::var_os("ASSAY_TEST_BIN_DIR").map_or_else(beside_this_test, PathBuf::from);
    let path = folder.join(name);
    assert!(path.is_file(), "`{}` does not exist: run `cargo build --workspace`", path.display());
    path
}

/// Cargo puts a test into `debug/deps` and binaries into `debug`.
fn beside_this_test() -> PathBuf {
    let this = env::current_exe().unwrap_or_default();
    this.parent().and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default()
}

/// How often a test repeats: `short`, or `long` where the full tier was asked for (`cargo xtask test --long`).
pub fn repeats(short: u64, long: u64) -> u64 {
    if env::var_os("ASSAY_TEST_LONG").is_some() { long } else { short }
}
