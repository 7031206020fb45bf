//! Wheels from PyPI, fetched by pip, pinned by digest, unpacked by us.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::prerequisites;
use crate::{process, ui};

/// A wheel of one version, and the digest of its file.
pub(super) struct Pin {
    pub(super) requirement: &'static str,
    pub(super) sha256: &'static str,
}

/// Whom the wheels are for, in pip's words; given explicitly, so that any local Python fetches the same files.
pub(super) struct Target {
    pub(super) platforms: &'static [&'static str],
    pub(super) python: &'static str,
}

/// Fetches the wheels into `folder` and returns their paths in the order of `pins`.
pub(super) fn fetch(pins: &[Pin], target: &Target, folder: &Path) -> Result<Vec<PathBuf>> {
    prerequisites::check_pip()?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]);
    if pip_resumes() {
        pip.args(["--resume-retries", "10"]);
    }
    pip.args(["--implementation", "cp", "--python-version", target.python]);
    pip.arg("--abi").arg(format!("cp{}", target.python.replace('.', "")));
    for platform in target.platforms {
        pip.args(["--platform", platform]);
    }
    pip.arg("--dest").arg(folder).args(pins.iter().map(|pin| pin.requirement));
    pip.stdout(io::stderr()); // pip's progress is talk, not data
    process::run(&mut pip).context("cannot download: check the network, then run the command again")?;
    let files = digests(folder)?;
    pins.iter().map(|pin| find(pin, &files)).collect()
}

/// pip resumes a broken download since 25.1; before that, the file starts again.
fn pip_resumes() -> bool {
    let version = process::probe("python3", &["-m", "pip", "--version"]).unwrap_or_default();
    let mut numbers = version.split_whitespace().nth(1).unwrap_or_default().split('.');
    let mut next = || numbers.next().and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
    (next(), next()) >= (25, 1)
}

fn find(pin: &Pin, files: &[(String, PathBuf)]) -> Result<PathBuf> {
    if let Some((_, path)) = files.iter().find(|(digest, _)| digest == pin.sha256) {
        return Ok(path.clone());
    }
    let got: Vec<_> = files
        .iter()
        .map(|(digest, path)| format!("{digest} {}", path.file_name().unwrap_or_default().display()))
        .collect();
    bail!(
        "no downloaded file of `{}` has the pinned SHA-256 {}: got\n  {}\nnothing was installed; run the command again, \
         and if it stays so, the package index serves another file",
        pin.requirement,
        pin.sha256,
        got.join("\n  ")
    )
}

fn digests(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    entries
        .map(|entry| {
            let path = entry?.path();
            let digest = sha256(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            Ok((digest, path))
        })
        .collect()
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// Unpacks those files of a wheel that `keep` says yes to.
pub(super) fn unpack(wheel: &Path, into: &Path, keep: impl Fn(&str) -> bool) -> Result<()> {
    let name = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = File::open(wheel).with_context(|| format!("cannot read `{}`", wheel.display()))?;
    let mut archive = ZipArchive::new(file).with_context(|| format!("`{name}` is not a wheel"))?;
    let mut chosen = Vec::new();
    let mut total = 0;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        if !entry.is_dir() && keep(&entry.name()?) {
            chosen.push(index);
            total += entry.size();
        }
    }
    let bar = ui::bytes_bar(&format!("unpacking {}", name.split('-').next().unwrap_or(&name)), total);
    for index in chosen {
        let mut entry = archive.by_index(index)?;
        let Some(path) = entry.enclosed_name() else {
            bail!("`{name}` holds `{}`, which leads out of its folder", entry.name()?);
        };
        write(&mut bar.wrap_read(&mut entry), &into.join(&path))
            .with_context(|| format!("cannot unpack `{}` of `{name}`", path.display()))?;
    }
    bar.finish_and_clear();
    Ok(())
}

fn write(from: &mut impl Read, path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create_new(path)?;
    io::copy(from, &mut file)?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::Path;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::{Pin, digests, find, unpack};

    fn wheel(path: &Path, files: &[&str]) {
        let mut archive = ZipWriter::new(File::create(path).unwrap());
        for name in files {
            archive.start_file(*name, SimpleFileOptions::default()).unwrap();
            archive.write_all(name.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
    }

    #[test]
    fn a_file_of_another_digest_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.whl"), "abc").unwrap();
        let files = digests(folder.path()).unwrap();
        let pin = |sha256| Pin { requirement: "a==1", sha256 };
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(find(&pin(right), &files).unwrap(), folder.path().join("a.whl"));
        let refused = find(&pin("00"), &files).unwrap_err().to_string();
        assert!(
            refused.contains("`a==1`") && refused.contains(right) && refused.contains("a.whl"),
            "{refused}"
        );
    }

    #[test]
    fn only_what_is_kept_is_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a-1.whl");
        wheel(&file, &["a/lib/one.so", "a/two.py"]);
        unpack(&file, &folder.path().join("out"), |name| name.starts_with("a/lib/")).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("out/a/lib/one.so")).unwrap(), "a/lib/one.so");
        assert!(!folder.path().join("out/a/two.py").exists());
    }

    #[test]
    fn a_wheel_cannot_write_outside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a-1.whl");
        wheel(&file, &["../out-of-it"]);
        let refused = unpack(&file, &folder.path().join("out"), |_| true).unwrap_err().to_string();
        assert!(refused.contains("../out-of-it"), "{refused}");
        assert!(!folder.path().join("out-of-it").exists());
    }
}
