//! LibTorch, from the `torch` wheel at the version that `tch` expects.

mod pins;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::local_config::{LocalConfig, Source};
use super::wheel;
use crate::cache::Cache;
use crate::ui;
use pins::Platform;

/// LibTorch's root, fetched where it is missing, and written to `.cargo/local.toml`.
pub(super) fn ensure(cache: &Cache, cuda: bool) -> Result<PathBuf> {
    let before = LocalConfig::read();
    let chosen = match given(before.as_ref()) {
        Some(root) => LocalConfig { libtorch: check_given(root)?, source: Source::Variable },
        None => LocalConfig { libtorch: managed(cache, cuda, before.as_ref())?, source: Source::Cache },
    };
    if before.as_ref() != Some(&chosen) {
        chosen.write()?;
    }
    Ok(chosen.libtorch)
}

/// `LIBTORCH` where a person set it. Cargo passes the value of our own `.cargo/local.toml` in the same
/// variable, which is not a wish.
fn given(before: Option<&LocalConfig>) -> Option<PathBuf> {
    let value = PathBuf::from(env::var_os("LIBTORCH").filter(|value| !value.is_empty())?);
    match before {
        Some(config) if config.source == Source::Cache && config.libtorch == value => None,
        _ => Some(value),
    }
}

fn check_given(root: PathBuf) -> Result<PathBuf> {
    let library = root.join("lib").join(format!("libtorch_cpu.{}", env::consts::DLL_EXTENSION));
    if !library.is_file() {
        bail!(
            "`LIBTORCH` is `{}`, but `{}` does not exist: set it to a LibTorch {}, or unset it and let set-up fetch one \
             (and remove `.cargo/local.toml` if it came from there)",
            root.display(),
            library.display(),
            pins::VERSION
        );
    }
    Ok(root)
}

/// The LibTorch in our cache. Once chosen, the one with CUDA stays: changing it rebuilds the bindings.
fn managed(cache: &Cache, cuda: bool, before: Option<&LocalConfig>) -> Result<PathBuf> {
    let platform = pins::platform()?;
    let with_cuda = folder_name(true);
    let kept = before.is_some_and(|config| config.libtorch == cache.path(&with_cuda).join("torch"));
    let cuda = cuda || kept;
    if cuda && platform.cuda.is_empty() {
        bail!("there is no LibTorch with CUDA for this platform: leave out `--cuda`");
    }
    let name = folder_name(cuda);
    let folder = cache.folder(
        &name,
        |folder| is_complete(folder, platform),
        |content, downloads| fill(platform, cuda, content, downloads),
    )?;
    Ok(folder.join("torch"))
}

fn folder_name(cuda: bool) -> String {
    let kind = if cuda { "cuda" } else { "cpu" };
    format!("libtorch-{}-{kind}", pins::VERSION)
}

/// The rename has made a folder whole; this guards against one that lost files since.
fn is_complete(folder: &Path, platform: &Platform) -> bool {
    platform.must_have.iter().all(|file| folder.join(file).is_file())
}

fn fill(platform: &Platform, cuda: bool, content: &Path, downloads: &Path) -> Result<()> {
    let kind = if cuda { "with CUDA" } else { "for the CPU" };
    ui::say(format!("fetching LibTorch {} {kind}, once for all checkouts", pins::VERSION));
    let mut wheels = wheel::fetch(platform.cpu, &platform.target, downloads)?;
    if cuda {
        wheels.extend(wheel::fetch(platform.cuda, &platform.target, downloads)?);
    }
    for file in wheels {
        wheel::unpack(&file, content, |name| cuda || is_for_cpu(name))?;
    }
    Ok(())
}

/// Headers, and the libraries that a program on the CPU loads. `libtorch_cpu` itself wants libcudart and libcupti.
fn is_for_cpu(name: &str) -> bool {
    let unwanted = ["cuda", "nvshmem", "libtorch_python"];
    match name.strip_prefix("torch/lib/") {
        Some(library) => !unwanted.iter().any(|part| library.contains(part)),
        None => {
            name.starts_with("torch/include/")
                || (name.starts_with("nvidia/")
                    && ["/libcudart.so", "/libcupti.so"].iter().any(|part| name.contains(part)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_for_cpu;

    #[test]
    fn only_what_the_cpu_loads_is_kept() {
        for kept in [
            "torch/lib/libtorch_cpu.so",
            "torch/lib/libc10.so",
            "torch/lib/libgomp.so.1",
            "torch/lib/libomp.dylib",
            "torch/include/ATen/ATen.h",
            "torch/include/ATen/cuda/CUDAContext.h",
            "nvidia/cu13/lib/libcudart.so.13",
            "nvidia/cu13/lib/libcupti.so.13",
        ] {
            assert!(is_for_cpu(kept), "{kept}");
        }
        for left_out in [
            "torch/lib/libtorch_cuda.so",
            "torch/lib/libc10_cuda.so",
            "torch/lib/libtorch_nvshmem.so",
            "torch/lib/libtorch_python.so",
            "torch/bin/ptxas",
            "torch/__init__.py",
            "nvidia/cu13/lib/libcudart_static.a",
            "nvidia/cu13/include/cuda.h",
        ] {
            assert!(!is_for_cpu(left_out), "{left_out}");
        }
    }
}
