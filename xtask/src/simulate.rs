//! `cargo xtask simulate`: many seeds of the simulation of decisions, in ranges; a run that is stopped goes on where it was.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{layout, process, ui};

/// Seeds of one range.
const RANGE: u64 = 20_000;

/// How far.
#[derive(Args)]
pub(crate) struct Options {
    /// The first seed that is not run.
    #[arg(long, default_value_t = 1_000_000)]
    to: u64,
}

/// What is done, in `target/simulation.json`.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The compiled simulation's digest: another one begins anew.
    binary: String,
    /// Seeds from 0 on that held.
    seeds: u64,
    seconds: f64,
}

/// Runs what is left, and says after each range how far it is.
pub(crate) fn main(options: &Options) -> Result<()> {
    let binary = build()?;
    let path = layout::target().join("simulation.json");
    let digest = process::answer(Command::new("sha256sum").arg(&binary))?;
    let digest = digest.split_whitespace().next().unwrap_or_default().to_owned();
    let before = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    let mut record = before.filter(|record| record.binary == digest).unwrap_or(Record {
        binary: digest,
        seeds: 0,
        seconds: 0.0,
    });
    while record.seeds < options.to {
        let end = options.to.min(record.seeds + RANGE);
        let mut command = Command::new(&binary);
        command.arg("--nocapture").env("SIMULATION_SEEDS", format!("{}..{end}", record.seeds));
        command.current_dir(layout::repository()).stdout(Stdio::piped());
        let (answer, took) = ui::timed(|| process::answer(&mut command));
        answer.with_context(|| format!("seeds {} to {end}", record.seeds))?;
        record.seeds = end;
        record.seconds += took.as_secs_f64();
        fs::write(&path, serde_json::to_vec_pretty(&record)?)?;
        ui::say(format!("{end} of {} seeds", options.to));
    }
    let took = ui::human(Duration::from_secs_f64(record.seconds));
    ui::result(format!("{} histories held, in {took}", record.seeds));
    Ok(())
}

/// An optimised build, since it runs for long: the path of the test's program.
fn build() -> Result<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(layout::repository()).args(["test", "--release", "--no-run", "--message-format=json"]);
    cargo.args(["--package", "assay-domain", "--test", "simulation"]);
    let answer = process::answer(&mut cargo)?;
    let messages = answer.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut path = messages.filter_map(|message| message["executable"].as_str().map(str::to_owned));
    path.next_back().context("cargo built no program of the simulation")
}
