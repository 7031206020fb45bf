//! What the tests find through variables: the demo's model, imported by our own `assay`, and Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::Ready;
use crate::{layout, process};

/// Variables and their values.
#[derive(Default)]
pub(super) struct Assets {
    variables: Vec<(&'static str, PathBuf)>,
}

impl Assets {
    /// Imports the model anew each time, so that the tests see what today's importer writes.
    pub(super) fn prepare(ready: &Ready) -> Result<Self> {
        let model = layout::target().join("test-assets/smollm2-135m-instruct");
        if model.exists() {
            fs::remove_dir_all(&model).with_context(|| format!("cannot remove `{}`", model.display()))?;
        }
        import(&ready.demo_gguf, &model)?;
        let mut variables = vec![
            ("ASSAY_TEST_BIN_DIR", layout::target().join("debug")),
            ("ASSAY_TEST_GGUF", ready.demo_gguf.clone()),
            ("ASSAY_TEST_MODEL", model),
        ];
        variables.extend(ready.python.clone().map(|python| ("ASSAY_TEST_PYTHON", python)));
        Ok(Self { variables })
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.variables.iter().map(|(name, path)| (*name, path.as_path()))
    }
}

fn import(gguf: &Path, into: &Path) -> Result<()> {
    if let Some(folder) = into.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    process::run(Command::new(layout::binary("assay")).args(["model", "import"]).arg(gguf).arg(into))
}
