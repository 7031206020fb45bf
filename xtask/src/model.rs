//! The demo's model as a Hugging Face folder, imported by our own `assay`.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{layout, process};

/// The folder's name, wherever it is put.
pub(crate) const NAME: &str = "smollm2-135m-instruct";

/// Imports the GGUF file; the importer sees for itself whether the folder holds it already.
pub(crate) fn import(gguf: &Path, into: &Path) -> Result<()> {
    if let Some(folder) = into.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    let mut import = Command::new(layout::binary("assay"));
    import.args(["model", "import"]).arg(gguf).arg(into).stdout(io::stderr()); // here it is talk, not our result
    process::run(&mut import)
}
