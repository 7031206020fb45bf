//! `cargo xtask gpu-bundle`: a folder that runs checks and benches on a GPU machine with Python and torch, but no Rust, network or
//! compiler (`benches/gpu/README.md`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::setup::{self, Ready};
use crate::{layout, process, ui};

/// So that it and a checkout together stay under 60 MB.
const BYTES_MAX: u64 = 36_000_000;

/// What the folder holds beside the worker, golden folders and wheels: from the repository, and as what.
const FILES: [(&str, &str); 7] = [
    ("benches/gpu/run.sh", "run.sh"),
    ("benches/gpu/run.py", "run.py"),
    ("benches/gpu/README.md", "README.md"),
    ("benches/gpu/lengths.json", "lengths.json"),
    ("benches/gpu/qwen2.5-3b/config.json", "qwen2.5-3b/config.json"),
    ("benches/baselines/peft_train.py", "peft_train.py"),
    ("benches/baselines/hf_generate.py", "hf_generate.py"),
];

/// Tiny models with values of Transformers and PEFT.
const GOLDEN: &str = "crates/model/tests/fixtures/parity";

/// Where to.
#[derive(Args)]
pub(crate) struct Options {
    /// The folder to make; made anew where it is one of ours. Default: `gpu-bundle` in the build folder.
    folder: Option<PathBuf>,
}

/// The subcommand.
pub(crate) fn main(options: &Options) -> Result<()> {
    let ready = setup::run(&setup::Options::default())?;
    let folder = options.folder.clone().unwrap_or_else(|| layout::target().join("gpu-bundle"));
    let bytes = make(&ready, &folder)?;
    ui::say(format!(
        "{:.1} MB; on the GPU machine: ./run.sh check|train|generate|baseline",
        bytes as f64 / 1e6
    ));
    ui::result(folder.display().to_string());
    Ok(())
}

/// Makes the folder and answers its size in bytes.
pub(crate) fn make(ready: &Ready, folder: &Path) -> Result<u64> {
    clear(folder)?;
    // As the tests and the demo are built: one set of features.
    process::run(process::cargo(&ready.libtorch).args(["build", "--workspace", "--all-targets"]))?;
    let worker = folder.join("assay-worker");
    let strip = Command::new("strip").arg("-o").arg(&worker).arg(layout::binary("assay-worker")).status();
    ensure!(strip.context("cannot start `strip` (package binutils)")?.success(), "`strip` failed");
    let repository = layout::repository();
    for (from, to) in FILES {
        copy(&repository.join(from), &folder.join(to))?;
    }
    copy_folder(&repository.join(GOLDEN), &folder.join("golden"))?;
    setup::download_wheel("peft", &folder.join("wheels"))?;
    let bytes = size(folder)?;
    ensure!(bytes <= BYTES_MAX, "the bundle has {bytes} bytes, {BYTES_MAX} at most: leave something out");
    Ok(bytes)
}

/// All four commands of a fresh bundle on this machine's processor, with a tiny shape: everything but CUDA.
pub(crate) fn try_on_cpu(ready: &Ready) -> Result<()> {
    let python = ready.python.as_ref().context("the Python environment is missing")?;
    let folder = layout::target().join("gpu-bundle");
    make(ready, &folder)?;
    let tiny =
        ["--device", "cpu", "--shape", "golden/smollm2", "--rows", "16", "--prompts", "4", "--row-by-row"];
    for what in ["check", "train", "generate", "baseline"] {
        let mut command = Command::new(folder.join("run.sh"));
        command
            .arg(what)
            .args(tiny)
            .args(["--max-new-tokens", "16", "--max-length", "128"])
            .env("PYTHON", python);
        process::run(&mut command)?;
        let written = fs::read_to_string(folder.join("results").join(format!("{what}.json")))?;
        ensure!(!written.contains("\"error\""), "`{what}` did not do all its parts: {written}");
    }
    Ok(())
}

/// Only a bundle is removed, never what somebody keeps in a folder of that name.
fn clear(folder: &Path) -> Result<()> {
    let empty = || fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    ensure!(
        folder.join("run.sh").exists() || empty(),
        "`{}` is neither empty nor a bundle: name another folder",
        folder.display()
    );
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let made = to.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::copy(from, to).map(drop))
        .with_context(|| format!("cannot copy `{}` to `{}`", from.display(), to.display()))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read `{}`", from.display()))? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type()?.is_dir() {
            true => copy_folder(&from, &to)?,
            false => copy(&from, &to)?,
        }
    }
    Ok(())
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
