//! `cargo xtask test`: formatting, lints, all tests, doc tests; one summary at the end.

mod one_build;
mod skips;
mod steps;

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::assets::Assets;
use crate::{gpu_bundle, process, setup};
use steps::Steps;

/// What `test` may be asked for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run the long forms of the tests that have one (more seeds, more crashes).
    #[arg(long)]
    long: bool,
    /// Run only the tests whose names contain one of these, and neither formatting, lints nor doc tests.
    filters: Vec<String>,
}

/// The subcommand. A step that fails does not stop those that can still tell something.
pub(crate) fn main(options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    if let Some(ready) = steps.step("set-up", || setup::run(&setup::Options::with_python())) {
        let libtorch = ready.libtorch.clone();
        let whole = options.filters.is_empty();
        if whole {
            steps.step("format", || process::run(&mut cargo(&libtorch, "fmt --all --check")));
        }
        // All targets at once, so that binaries and tests share one set of features and compile once.
        let built =
            steps.step("build", || process::run(&mut cargo(&libtorch, "build --workspace --all-targets")));
        if whole {
            let lints = "clippy --workspace --all-targets -- --deny warnings";
            steps.step("lints", || process::run(&mut cargo(&libtorch, lints)));
        }
        if built.is_some() {
            steps.step("one build", || one_build::check(&libtorch));
            // Without them the tests still run, and say what they lack.
            let assets = steps.step("test assets", || Assets::prepare(&ready));
            run_tests(&mut steps, options, &libtorch, assets.as_ref());
            if options.long && whole {
                steps.step("GPU bundle", || gpu_bundle::try_on_cpu(&ready));
            }
        }
    }
    steps.finish()
}

fn run_tests(steps: &mut Steps, options: &Options, libtorch: &Path, assets: Option<&Assets>) {
    let skip_log = skips::fresh_log();
    let mut tests = cargo(libtorch, runner());
    if !options.filters.is_empty() {
        // Both runners take any number of name filters here.
        tests.arg("--").args(&options.filters);
    }
    tests.envs(assets.into_iter().flat_map(Assets::variables)).env(skips::VARIABLE, &skip_log);
    // Tests run side by side: threads that spin while they wait take the processor from the others.
    tests.env("OMP_WAIT_POLICY", "passive").env("GOMP_SPINCOUNT", "0");
    if options.long {
        tests.env("ASSAY_TEST_LONG", "1");
    }
    steps.step("tests", || process::run(&mut tests));
    if options.filters.is_empty() {
        steps.step("doc tests", || process::run(&mut cargo(libtorch, "test --workspace --doc")));
    }
    skips::report(&skip_log);
}

/// nextest where it is installed: it shows times and runs the tests of all packages side by side.
fn runner() -> &'static str {
    match process::probe("cargo", &["nextest", "--version"]) {
        Some(_) => "nextest run --workspace --no-fail-fast",
        None => "test --workspace --all-targets --no-fail-fast",
    }
}

fn cargo(libtorch: &Path, words: &str) -> Command {
    let mut command = process::cargo(libtorch);
    command.args(words.split_whitespace());
    command
}
