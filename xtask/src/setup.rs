//! `cargo xtask setup`: LibTorch, the demo's model and, for tests and benches, a Python environment.
//! Idempotent; when all is there it only looks.

mod demo_model;
mod libtorch;
mod local_config;
mod prerequisites;
mod python;
mod wheel;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cache::Cache;
use crate::ui;

/// What `setup` may be asked for.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Keep LibTorch's CUDA libraries and fetch those it needs (about 3 GB more).
    #[arg(long)]
    cuda: bool,
    /// Also build the Python environment that tests and benches compare with (about 4 GB).
    #[arg(long)]
    python: bool,
}

impl Options {
    /// What tests and benches need.
    pub(crate) fn with_python() -> Self {
        Self { cuda: false, python: true }
    }
}

/// What set-up leaves behind, for the commands that follow.
pub(crate) struct Ready {
    /// LibTorch's root: the folder with `lib` and `include`.
    pub(crate) libtorch: PathBuf,
    /// The demo's model as it was published: one GGUF file.
    pub(crate) demo_gguf: PathBuf,
    /// The interpreter of the Python environment, where it was asked for.
    pub(crate) python: Option<PathBuf>,
}

/// The subcommand.
pub(crate) fn main(options: &Options) -> Result<()> {
    let (ready, time) = ui::timed(|| run(options));
    let ready = ready?;
    ui::say(format!("LibTorch    {}", ready.libtorch.display()));
    ui::say(format!("demo model  {}", ready.demo_gguf.display()));
    if let Some(python) = &ready.python {
        ui::say(format!("Python      {}", python.display()));
    }
    ui::say(format!("set-up done in {}", ui::human(time)));
    Ok(())
}

/// Downloads the wheel of a pure-Python package, at the version that tests use, to a folder.
pub(crate) fn download_wheel(package: &str, folder: &Path) -> Result<()> {
    python::download(package, folder)
}

/// Makes everything ready that `options` ask for.
pub(crate) fn run(options: &Options) -> Result<Ready> {
    prerequisites::check_build()?;
    let cache = Cache::open()?;
    let libtorch = libtorch::ensure(&cache, options.cuda)?;
    let demo_gguf = demo_model::ensure(&cache)?;
    let python = options.python.then(|| python::ensure(&cache)).transpose()?;
    Ok(Ready { libtorch, demo_gguf, python })
}
