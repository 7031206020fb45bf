//! Writes the path of LibTorch into the binaries (rpath), so that they start by path with no variables set.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    match env::var("LIBTORCH").map(|root| Path::new(&root).join("lib")) {
        Ok(lib) if lib.is_dir() => println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display()),
        Ok(lib) => println!("cargo::error=LibTorch is not at `{}`: run `cargo xtask setup`", lib.display()),
        Err(_) => {
            println!("cargo::error=LIBTORCH is not set: run `cargo xtask setup`, which fetches LibTorch")
        }
    }
}
