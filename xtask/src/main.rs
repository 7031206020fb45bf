//! Set-up, demo, test and bench: `cargo xtask NAME`.
//! Each subcommand is one module; what they share is `layout` (where things are), `cache`,
//! `process` and `ui`.

mod assets;
mod bench;
mod cache;
mod demo;
mod gpu_bundle;
mod layout;
mod model;
mod mutants;
mod process;
mod setup;
mod simulate;
mod test;
mod ui;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development commands of Assay.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch what the build and the demo need into the cache; does nothing when all is there.
    Setup(setup::Options),
    /// Check formatting and lints, then run all tests.
    Test(test::Options),
    /// Run the example from nothing to a report.
    Demo(demo::Options),
    /// Measure our speed and memory beside what one would run instead.
    Bench(bench::Options),
    /// Make a folder that runs checks and benches on a GPU machine without Rust, network or compiler.
    GpuBundle(gpu_bundle::Options),
    /// Run the simulation of decisions for many seeds; goes on where it was stopped.
    Simulate(simulate::Options),
    /// Put deliberate faults into a copy of the tree, and see that the tests catch each.
    Mutants(mutants::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup(options) => setup::main(&options),
        Command::Test(options) => test::main(&options),
        Command::Demo(options) => demo::main(&options),
        Command::Bench(options) => bench::main(&options),
        Command::GpuBundle(options) => gpu_bundle::main(&options),
        Command::Simulate(options) => simulate::main(&options),
        Command::Mutants(options) => mutants::main(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::failure(&error);
            ExitCode::FAILURE
        }
    }
}
