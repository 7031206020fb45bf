//! `assay-worker`: the agent that holds leases, the engine that computes, and the checks of the engine's arithmetic.

use std::process::ExitCode;

use clap::Parser;

mod agent;
mod args;
mod bench;
mod board;
mod check;
mod engine;
mod executor;
mod export;
mod frames;
mod offer;
mod openmp;
mod print;
mod process;

fn main() -> ExitCode {
    match run(args::Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: args::Args) -> anyhow::Result<ExitCode> {
    match args.command {
        args::Command::Agent(agent) => agent::run(agent).map(|()| ExitCode::SUCCESS),
        args::Command::Engine(engine) => engine::main(&engine).map(|()| ExitCode::SUCCESS),
        args::Command::Check(check) => check::golden(&check),
        args::Command::CheckTrl(check) => check::trl(&check),
        args::Command::Export(export) => export::run(&export).map(|()| ExitCode::SUCCESS),
        args::Command::BenchTrain(bench) => bench::train(&bench).map(|()| ExitCode::SUCCESS),
        args::Command::BenchGenerate(bench) => bench::generate(&bench).map(|()| ExitCode::SUCCESS),
    }
}

#[expect(clippy::print_stderr, reason = "the one place where an error meets the person")]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
