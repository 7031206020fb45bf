//! What tests and benches find on disk: the demo's model, imported by our own `assay`, and Python.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::setup::Ready;
use crate::{layout, model};

/// The model's folder, and the variables that tell tests of everything.
pub(crate) struct Assets {
    model: PathBuf,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Assets {
    /// Imports the model anew each time, so that the tests see what today's importer writes.
    pub(crate) fn prepare(ready: &Ready) -> Result<Self> {
        let model = layout::target().join("test-assets").join(model::NAME);
        if model.exists() {
            fs::remove_dir_all(&model).with_context(|| format!("cannot remove `{}`", model.display()))?;
        }
        model::import(&ready.demo_gguf, &model)?;
        let mut variables = vec![
            ("ASSAY_TEST_BIN_DIR", layout::target().join("debug")),
            ("ASSAY_TEST_GGUF", ready.demo_gguf.clone()),
            ("ASSAY_TEST_MODEL", model.clone()),
        ];
        variables.extend(ready.python.clone().map(|python| ("ASSAY_TEST_PYTHON", python)));
        variables.extend(browser().map(|browser| ("ASSAY_TEST_BROWSER", browser)));
        Ok(Self { model, variables })
    }

    /// The model as a Hugging Face folder.
    pub(crate) fn model(&self) -> &Path {
        &self.model
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.variables.iter().map(|(name, path)| (*name, path.as_path()))
    }
}

/// A Chromium of this machine, under any of its names; its tests say so where there is none.
fn browser() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&paths).flat_map(|folder| names.map(|name| folder.join(name)));
    found.into_iter().find(|path| path.is_file())
}
