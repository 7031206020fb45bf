//! `assay admin`: state is read and written by one program only, so the coordinator's binary takes over.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, bail};

/// Becomes `assay-coordinator admin ARGS`; returns only when that cannot be.
pub(crate) fn run(args: &[OsString]) -> anyhow::Result<()> {
    let program = std::env::current_exe()?.with_file_name("assay-coordinator");
    if !program.is_file() {
        bail!("`{}` is missing: build or install all binaries of assay together", program.display());
    }
    let error = Command::new(&program).arg0("assay").arg("admin").args(args).exec();
    Err(error).with_context(|| program.display().to_string())
}
