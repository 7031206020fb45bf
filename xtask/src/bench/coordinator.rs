//! `cargo xtask bench coordinator`: the coordinator under load, and beside it what else hands out work, where its packages can be installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{machine, write};
use crate::{layout, process, ui};

/// Something that hands out no-op tasks too: a script of `benches/baselines`, and what it needs.
struct Peer {
    name: &'static str,
    script: &'static str,
    packages: &'static [&'static str],
    /// A program that no Python package has.
    program: Option<&'static str>,
}

const PEERS: [Peer; 3] = [
    Peer {
        name: "hyperqueue",
        script: "hyperqueue_overhead.py",
        packages: &["hyperqueue==0.27.0"],
        program: None,
    },
    Peer {
        name: "celery",
        script: "celery_overhead.py",
        packages: &["celery[redis]==5.7.0", "psutil==7.2.2"],
        program: Some("redis-server"),
    },
    Peer {
        name: "ray",
        script: "ray_overhead.py",
        packages: &["ray==2.60.0", "psutil==7.2.2"],
        program: None,
    },
];
/// Tasks of a peer's run.
const TASKS: &str = "3000";

/// Runs all, prints the figures and writes `target/bench/coordinator.json`.
pub(super) fn main() -> Result<()> {
    let machine = machine::describe();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(layout::repository());
    cargo.args(["bench", "--package", "assay-coordinator", "--bench", "load"]);
    let ours = last_line(&process::answer(&mut cargo)?).context("the bench printed no figures")?;
    let mut result = json!({ "name": "coordinator", "machine": machine, "assay": ours });
    for peer in &PEERS {
        match run(peer) {
            Ok(figures) => result[peer.name] = figures,
            Err(error) => ui::say(format!("{} is left out: {error:#}", peer.name)),
        }
    }
    let path = write("coordinator", &result)?;
    ui::say(machine);
    ui::result(serde_json::to_string_pretty(&result)?);
    ui::say(format!("written to {}", path.display()));
    Ok(())
}

fn run(peer: &Peer) -> Result<Value> {
    if let Some(program) = peer.program {
        ensure!(
            process::exists(program),
            "`{program}` is not installed: install your system's package of that name"
        );
    }
    let python = environment(&layout::cache()?.join(peer.name), peer.packages)?;
    let script = layout::repository().join("benches/baselines").join(peer.script);
    let answer = process::answer(Command::new(python).arg(script).args(["--tasks", TASKS]))?;
    last_line(&answer).context("it printed no figures")
}

/// A Python environment of its own in the cache; made once.
fn environment(folder: &Path, packages: &[&str]) -> Result<std::path::PathBuf> {
    let (python, whole) = (folder.join("bin/python"), folder.join("whole"));
    if !whole.is_file() {
        process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
        process::run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
        std::fs::write(whole, "")?;
    }
    Ok(python)
}

fn last_line(text: &str) -> Option<Value> {
    text.lines().rev().find_map(|line| serde_json::from_str(line).ok())
}
