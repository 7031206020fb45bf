//! `.cargo/local.toml`: ignored by git, included by `.cargo/config.toml`, it tells plain cargo where LibTorch is.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::layout;

/// Whose choice the path is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// Ours: a folder in the cache.
    Cache,
    /// A person's, who set `LIBTORCH` for a set-up.
    Variable,
}

/// What the file says.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct LocalConfig {
    pub(super) libtorch: PathBuf,
    pub(super) source: Source,
}

/// Marks a person's choice, so that a later set-up without the variable keeps it.
const FROM_VARIABLE: &str = "# LIBTORCH was set by hand; remove this file to let set-up choose again.";

impl LocalConfig {
    /// The file as it is; `None` where there is none or it is not ours.
    pub(super) fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string(path()).ok()?)
    }

    /// Replaces the file. Done only when something changes: cargo rebuilds the bindings when the path does.
    pub(super) fn write(&self) -> Result<()> {
        let path = path();
        let staged = path.with_extension(format!("{}.new", std::process::id()));
        fs::write(&staged, self.text())
            .and_then(|()| fs::rename(&staged, &path))
            .with_context(|| format!("cannot write `{}`", path.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let table: toml::Table = text.parse().ok()?;
        let libtorch = table.get("env")?.get("LIBTORCH")?.as_str()?.into();
        let source = if text.contains(FROM_VARIABLE) { Source::Variable } else { Source::Cache };
        Some(Self { libtorch, source })
    }

    fn text(&self) -> String {
        let source = match self.source {
            Source::Cache => "",
            Source::Variable => FROM_VARIABLE,
        };
        let value = toml::Value::from(self.libtorch.display().to_string());
        format!("# Written by `cargo xtask setup`.\n{source}\n[env]\nLIBTORCH = {value}\n")
    }
}

fn path() -> PathBuf {
    layout::repository().join(".cargo/local.toml")
}

#[cfg(test)]
mod tests {
    use super::{LocalConfig, Source};

    #[test]
    fn text_and_value_agree() {
        for source in [Source::Cache, Source::Variable] {
            let config = LocalConfig { libtorch: "a \"quoted\" folder/torch".into(), source };
            assert_eq!(LocalConfig::parse(&config.text()), Some(config));
        }
    }

    #[test]
    fn a_file_of_another_shape_is_not_ours() {
        assert_eq!(LocalConfig::parse("[env]\nOTHER = 1\n"), None);
        assert_eq!(LocalConfig::parse("not toml at all"), None);
    }
}
