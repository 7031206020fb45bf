//! `cargo xtask bench [NAME]`: our side and the baseline in turn, on the same machine in the same run.

mod comparison;
mod coordinator;
mod figures;
mod machine;
mod side;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::assets::Assets;
use crate::setup::{self, Ready};
use crate::{layout, process, ui};
use comparison::Comparison;
use figures::Figure;

/// What `bench` may be asked for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure; training and generation, one after the other, when left out.
    #[arg(value_enum)]
    name: Option<Name>,
    /// Pairs of runs; a figure is a ratio of medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=100))]
    pairs: u32,
    /// Threads of each side; 0 takes one for each processor.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Rows of a run: conversations to train on, or prompts to answer.
    #[arg(long)]
    rows: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// LoRA training beside TRL and PEFT.
    Train,
    /// Batched generation beside Transformers; base and adapter in one batch beside two runs of Transformers and PEFT.
    Generate,
    /// The coordinator under load beside HyperQueue.
    Coordinator,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Generate => "generate",
            Self::Coordinator => "coordinator",
        }
    }

    fn comparisons(self, ready: &Ready, model: &Path, threads: usize) -> Result<Vec<Comparison>> {
        match self {
            Self::Train => Ok(vec![comparison::train(ready, model, threads)?]),
            Self::Generate => Ok(vec![
                comparison::generate(ready, model, threads)?,
                comparison::generate_mixed(ready, model, threads)?,
            ]),
            Self::Coordinator => Ok(Vec::new()),
        }
    }

    /// Rows of a run, and of the shorter run that chooses how threads wait.
    fn rows(self, asked: Option<u32>) -> (u32, u32) {
        match self {
            Self::Train => (asked.unwrap_or(32), 8),
            Self::Generate | Self::Coordinator => (asked.unwrap_or(12), asked.unwrap_or(12)),
        }
    }
}

/// The subcommand.
pub(crate) fn main(options: &Options) -> Result<()> {
    match options.name {
        Some(Name::Coordinator) => coordinator::main(),
        Some(name) => beside_baselines(name, options),
        None => {
            [Name::Train, Name::Generate].into_iter().try_for_each(|name| beside_baselines(name, options))
        }
    }
}

fn beside_baselines(name: Name, options: &Options) -> Result<()> {
    let ready = setup::run(&setup::Options::with_python())?;
    process::run(process::cargo(&ready.libtorch).args([
        "build",
        "--package",
        "assay-worker",
        "--package",
        "assay-cli",
    ]))?;
    let assets = Assets::prepare(&ready)?;
    let machine = machine::describe();
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let (rows, probe_rows) = name.rows(options.rows);
    let mut figures = Vec::new();
    let mut comparisons = Vec::new();
    for comparison in name.comparisons(&ready, assets.model(), threads)? {
        let compared = comparison.run([rows, probe_rows], options.pairs)?;
        figures.extend(compared.figures);
        comparisons.push(compared.json);
    }
    let result = json!({
        "name": name.text(),
        "machine": machine,
        "threads": threads,
        "pairs": options.pairs,
        "comparisons": comparisons,
        "figures": figures.iter().map(Figure::json).collect::<Vec<_>>(),
    });
    let path = write(name.text(), &result)?;
    ui::say(format!("{machine}\n{threads} threads, {} pairs; medians:", options.pairs));
    ui::result(figures::table(&figures));
    ui::say(format!("written to {}", path.display()));
    Ok(())
}

fn write(name: &str, result: &Value) -> Result<PathBuf> {
    let path = layout::target().join("bench").join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(result)? + "\n";
    fs::create_dir_all(layout::target().join("bench"))
        .and_then(|()| fs::write(&path, text))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}
