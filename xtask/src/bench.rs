//! `cargo xtask bench NAME`: our side and the baseline in turn, on the same machine in the same run.

mod figures;
mod machine;
mod side;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::assets::Assets;
use crate::setup::{self, Ready};
use crate::{layout, process, ui};
use figures::Figure;
use side::{Sample, Side, Waiting};

/// What `bench` may be asked for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure.
    #[arg(value_enum)]
    name: Name,
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
    /// Batched generation beside Transformers.
    Generate,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Generate => "generate",
        }
    }

    /// Rows of a run, and of the shorter run that chooses how threads wait.
    fn rows(self, asked: Option<u32>) -> (u32, u32) {
        match self {
            Self::Train => (asked.unwrap_or(32), 8),
            Self::Generate => (asked.unwrap_or(12), asked.unwrap_or(12)),
        }
    }
}

/// The subcommand.
pub(crate) fn main(options: &Options) -> Result<()> {
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
    let [ours, baseline] = sides(options.name, &ready, assets.model(), threads)?;
    let (rows, probe_rows) = options.name.rows(options.rows);
    let waiting = [choose(&ours, probe_rows)?, choose(&baseline, probe_rows)?];
    let pairs = run_pairs([&ours, &baseline], waiting, rows, options.pairs)?;
    let figures = Figure::compute(options.name.text(), &pairs);
    let result = json!({
        "name": options.name.text(),
        "machine": machine,
        "threads": threads,
        "waiting": { "ours": waiting[0].text(), "baseline": waiting[1].text() },
        "pairs": options.pairs,
        "runs": pairs.iter().map(|[ours, baseline]| json!({ "ours": ours.raw, "baseline": baseline.raw })).collect::<Vec<_>>(),
        "figures": figures.iter().map(Figure::json).collect::<Vec<_>>(),
    });
    let path = write(options.name.text(), &result)?;
    ui::say(format!("{machine}\n{threads} threads, {} pairs; medians:", options.pairs));
    ui::result(figures::table(&figures));
    ui::say(format!("written to {}", path.display()));
    Ok(())
}

/// Our program and theirs, with the same arguments.
fn sides(name: Name, ready: &Ready, model: &Path, threads: usize) -> Result<[Side; 2]> {
    let python = ready.python.clone().context("the Python environment is missing")?;
    let (script, data, rows, arguments) = match name {
        Name::Train => ("trl_train.py", "train.jsonl", "--examples", TRAIN),
        Name::Generate => ("hf_generate.py", "prompts.jsonl", "--prompts", GENERATE),
    };
    let data = layout::repository().join("examples/data").join(data);
    ensure!(data.is_file(), "`{}` does not exist: the benches use the demo's data", data.display());
    let script = layout::repository().join("benches/baselines").join(script);
    let shared = Side::new(threads, rows, &[model, &data], arguments);
    let subcommand = format!("bench-{}", name.text());
    let ours = shared.clone().program("ours", layout::binary("assay-worker"), [subcommand.into()], &[]);
    let extra: &[&str] = if name == Name::Generate { &["--ignore-eos"] } else { &[] };
    Ok([ours, shared.program("baseline", python, [script], extra)])
}

const TRAIN: &[&str] = &["--rank", "16", "--micro-batch", "2", "--accumulate", "4", "--max-length", "512"];
const GENERATE: &[&str] = &["--max-new-tokens", "96", "--batch", "12"];

/// The better way to wait for this side on this machine as busy as it is now.
fn choose(side: &Side, rows: u32) -> Result<Waiting> {
    let spinning = side.run(rows, Waiting::Default)?;
    let passive = side.run(rows, Waiting::Passive)?;
    let better =
        if passive.tokens_per_s > spinning.tokens_per_s { Waiting::Passive } else { Waiting::Default };
    ui::say(format!(
        "{}: {:.1} tokens/s with default waiting, {:.1} passive: takes {}",
        side.label(),
        spinning.tokens_per_s,
        passive.tokens_per_s,
        better.text()
    ));
    Ok(better)
}

/// The runs, `[ours, baseline]` each; every second pair begins with the baseline.
fn run_pairs(sides: [&Side; 2], waiting: [Waiting; 2], rows: u32, pairs: u32) -> Result<Vec<[Sample; 2]>> {
    let [ours, baseline] = sides;
    let [our_waiting, their_waiting] = waiting;
    let run = |pair: u32| {
        let samples = if pair.is_multiple_of(2) {
            let first = ours.run(rows, our_waiting)?;
            [first, baseline.run(rows, their_waiting)?]
        } else {
            let first = baseline.run(rows, their_waiting)?;
            [ours.run(rows, our_waiting)?, first]
        };
        let [mine, theirs] = &samples;
        ui::say(format!(
            "pair {}: {:.1} against {:.1} tokens/s, {:.0} against {:.0} MiB",
            pair + 1,
            mine.tokens_per_s,
            theirs.tokens_per_s,
            mine.peak_rss_mib,
            theirs.peak_rss_mib
        ));
        Ok(samples)
    };
    (0..pairs).map(run).collect()
}

fn write(name: &str, result: &Value) -> Result<PathBuf> {
    let path = layout::target().join("bench").join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(result)? + "\n";
    fs::create_dir_all(layout::target().join("bench"))
        .and_then(|()| fs::write(&path, text))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}
