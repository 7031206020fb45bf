//! `cargo xtask demo`: set-up, build, import the model, run the example from start to report.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{layout, model, process, setup, ui};

/// What `demo` may be asked for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The whole data set, all 57 prompts and 512 new tokens: hours on a small machine.
    #[arg(long)]
    full: bool,
    /// Run every job, even those that an earlier demo has finished.
    #[arg(long)]
    fresh: bool,
}

/// The subcommand.
pub(crate) fn main(options: &Options) -> Result<()> {
    let ready = setup::run(&setup::Options::default())?;
    ui::say("building (minutes the first time: LibTorch's bindings)");
    process::run(process::cargo(&ready.libtorch).arg("build"))?;
    let data_dir = Path::new(".assay");
    model::import(&ready.demo_gguf, &layout::repository().join(data_dir).join("models").join(model::NAME))?;
    let mut run = Command::new(layout::binary("assay"));
    run.current_dir(layout::repository())
        .args(["run", "examples/philosophy.yaml", "--data-dir"])
        .arg(data_dir);
    if options.full {
        run.arg("--full");
    }
    if options.fresh {
        run.arg("--fresh");
    }
    process::become_program(&mut run)
}
