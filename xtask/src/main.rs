//! Set-up, demo, test and bench: `cargo xtask NAME`.
//! Each subcommand is one module; what they share is `layout` (where things are), `cache` and `process`.

mod cache;
mod layout;
mod process;
mod setup;
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
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup(options) => setup::main(&options),
        Command::Test(options) => test::main(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::failure(&error);
            ExitCode::FAILURE
        }
    }
}
