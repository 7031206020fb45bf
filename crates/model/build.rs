//! Compiles what is C++, and writes the path of LibTorch into the tests (rpath), so that they run with no variables set.
//! `worker/build.rs` does so for the binaries.

use std::env;
use std::path::{Path, PathBuf};

/// The calls that tch has no functions for.
const SHIMS: [&str; 2] = ["src/varlen/shim.cpp", "src/device/shim.cpp"];
/// A kernel for processors, which only this package's integration tests link.
const KERNEL: &str = "tests/varlen/kernel.cpp";

fn main() {
    for file in SHIMS.into_iter().chain(["build.rs", KERNEL]) {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    match env::var("LIBTORCH").map(PathBuf::from) {
        Ok(root) if root.join("lib").is_dir() => build(&root),
        Ok(root) => println!(
            "cargo::error=LibTorch is not at `{}`: run `cargo xtask setup`",
            root.join("lib").display()
        ),
        Err(_) => {
            println!("cargo::error=LIBTORCH is not set: run `cargo xtask setup`, which fetches LibTorch")
        }
    }
}

fn build(root: &Path) {
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", root.join("lib").display());
    compiler(root).files(SHIMS).compile("assay_shims");
    compiler(root).file(KERNEL).cargo_metadata(false).compile("assay_varlen_kernel");
    let out = env::var("OUT_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg-tests={out}/libassay_varlen_kernel.a");
}

/// As torch-sys compiles its own, whose tensors these are.
fn compiler(root: &Path) -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").pic(true).warnings(false).opt_level(0).debug(false);
    build.include(root.join("include")).define("_GLIBCXX_USE_CXX11_ABI", "1");
    build
}
