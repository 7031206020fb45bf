//! The Python environment of tests and benches: what a user would run instead of Assay, at pinned versions.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::prerequisites;
use crate::cache::Cache;
use crate::{layout, process, ui};

/// Every package with its version; installed as listed, without following dependencies.
const LOCK: &str = include_str!("../../python.lock");

/// The environment's interpreter; the environment is built where it is missing.
pub(super) fn ensure(cache: &Cache) -> Result<PathBuf> {
    let version = local_version()?;
    let digest = hex::encode(Sha256::digest(LOCK));
    let name = format!("python-{version}-{}", digest.get(..12).unwrap_or(&digest));
    // A link to an interpreter that was since removed leads nowhere.
    let works = |place: &Path| place.join("bin/python").exists();
    let folder = cache.in_place(&name, works, |place| {
        prerequisites::check_venv()?;
        ui::say(
            "installing the Python environment for tests (about 1.7 GB to fetch), once for all checkouts",
        );
        process::run(Command::new("python3").args(["-m", "venv"]).arg(place))?;
        let mut pip = Command::new(place.join("bin/python"));
        pip.args(["-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]);
        pip.arg("--requirement").arg(layout::repository().join("xtask/python.lock"));
        pip.stdout(io::stderr());
        process::run(&mut pip).context("cannot install: check the network, then run the command again")?;
        process::run(
            Command::new(place.join("bin/python")).args(["-c", "import torch, transformers, peft, trl"]),
        )
        .context("the Python environment does not work")
    })?;
    Ok(folder.join("bin/python"))
}

/// Downloads the wheel of a pure-Python package of the lock to a folder.
pub(super) fn download(package: &str, folder: &Path) -> Result<()> {
    let pinned = |line: &&str| line.strip_prefix(package).is_some_and(|rest| rest.starts_with("=="));
    let pin = LOCK.lines().find(pinned);
    let pin = pin.with_context(|| format!("`{package}` is not in xtask/python.lock"))?;
    prerequisites::check_pip()?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]);
    pip.arg("--dest").arg(folder).arg(pin).stdout(io::stderr());
    process::run(&mut pip).context("cannot download: check the network, then run the command again")
}

/// `3.11`, say. The locked packages have no wheels for a Python before 3.11.
fn local_version() -> Result<String> {
    prerequisites::check_python()?;
    let script = "import sys; print('%d.%d' % sys.version_info[:2])";
    let answer = process::answer(Command::new("python3").args(["-c", script]))?;
    let version = answer.trim();
    let minor = version.strip_prefix("3.").and_then(|minor| minor.parse::<u32>().ok());
    match minor {
        Some(11..) => Ok(version.to_owned()),
        _ => bail!(
            "`python3` is Python {version}; the tests' packages need 3.11 or newer: install one and put it first in PATH"
        ),
    }
}
