//! `cargo xtask bench coordinator`: the coordinator under load, and HyperQueue beside it where its package can be installed.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{machine, write};
use crate::{layout, process, ui};

const HYPERQUEUE: &str = "hyperqueue==0.27.0";
/// Tasks of HyperQueue's run; each is a process.
const TASKS: &str = "3000";

/// Runs both, prints the figures and writes `target/bench/coordinator.json`.
pub(super) fn main() -> Result<()> {
    let machine = machine::describe();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(layout::repository());
    cargo.args(["bench", "--profile", "dev", "--package", "assay-coordinator", "--bench", "load"]);
    let ours = last_line(&process::answer(&mut cargo)?).context("the bench printed no figures")?;
    let baseline = hyperqueue();
    if let Err(error) = &baseline {
        ui::say(format!("HyperQueue is left out: {error:#}"));
    }
    let result =
        json!({ "name": "coordinator", "machine": machine, "ours": ours, "hyperqueue": baseline.ok() });
    let path = write("coordinator", &result)?;
    ui::say(machine);
    ui::result(serde_json::to_string_pretty(&result)?);
    ui::say(format!("written to {}", path.display()));
    Ok(())
}

/// In an environment of its own in the cache; made once.
fn hyperqueue() -> Result<Value> {
    let folder = layout::cache()?.join("hyperqueue");
    let python = folder.join("bin/python");
    if !python.is_file() {
        process::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        process::run(Command::new(&python).args(["-m", "pip", "install", "--quiet", HYPERQUEUE]))?;
    }
    let script = layout::repository().join("benches/baselines/hyperqueue_overhead.py");
    let answer = process::answer(Command::new(&python).arg(script).args(["--tasks", TASKS]))?;
    last_line(&answer).context("it printed no figures")
}

fn last_line(text: &str) -> Option<Value> {
    text.lines().rev().find_map(|line| serde_json::from_str(line).ok())
}
