//! Two sides that do the same work: how each is run, and runs of both in turn.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::figures::{Figure, Targets};
use super::side::{Sample, Side, Waiting};
use crate::setup::Ready;
use crate::{layout, process, ui};

/// Our program and theirs.
pub(super) struct Comparison {
    name: &'static str,
    targets: Targets,
    sides: [Side; 2],
}

/// What came out.
pub(super) struct Compared {
    pub(super) figures: Vec<Figure>,
    /// How each side waited, and what every run told.
    pub(super) json: Value,
}

const TRAIN: &[&str] = &["--rank", "16", "--micro-batch", "2", "--accumulate", "4", "--max-length", "512"];
const GENERATE: &[&str] = &["--max-new-tokens", "96"];

/// LoRA training beside TRL and PEFT.
pub(super) fn train(ready: &Ready, model: &Path, threads: usize) -> Result<Comparison> {
    let shared = Side::new(threads, "--examples", &[model, &data("train.jsonl")?], TRAIN);
    let ours = ours(&shared, "bench-train", &[vec![]]);
    let sides = [ours, theirs(&shared, ready, "trl_train.py", &[vec![]])?];
    Ok(Comparison { name: "train", targets: Targets { speed: 1.5, memory: 0.6 }, sides })
}

/// Batched generation beside Transformers: 12 rows in a batch on both sides.
pub(super) fn generate(ready: &Ready, model: &Path, threads: usize) -> Result<Comparison> {
    let shared = Side::new(threads, "--prompts", &[model, &data("prompts.jsonl")?], GENERATE);
    let batch = words(&["--batch", "12"]);
    let ours = ours(&shared, "bench-generate", std::slice::from_ref(&batch));
    let baseline = theirs(&shared, ready, "hf_generate.py", &[with(&batch, &["--ignore-eos"])])?;
    Ok(Comparison { name: "generate", targets: Targets { speed: 2.0, memory: 1.0 }, sides: [ours, baseline] })
}

/// Base model and adapter: 24 rows in one batch beside a run of Transformers and one of Transformers and PEFT, 12 rows in
/// a batch each.
pub(super) fn generate_mixed(ready: &Ready, model: &Path, threads: usize) -> Result<Comparison> {
    let shared = Side::new(threads, "--prompts", &[model, &data("prompts.jsonl")?], GENERATE);
    let adapter = with(&words(&["--adapter"]), &[adapter(ready, model)?]);
    let ours = ours(&shared, "bench-generate", &[with(&adapter, &["--mixed", "--batch", "24"])]);
    let base = words(&["--batch", "12", "--ignore-eos"]);
    let tuned = with(&base, &adapter);
    let sides = [ours, theirs(&shared, ready, "hf_generate.py", &[base, tuned])?];
    Ok(Comparison { name: "base + adapter", targets: Targets { speed: 3.0, memory: 1.0 }, sides })
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn with(words: &[OsString], more: &[impl Into<OsString> + Clone]) -> Vec<OsString> {
    words.iter().cloned().chain(more.iter().cloned().map(Into::into)).collect()
}

fn ours(shared: &Side, subcommand: &str, runs: &[Vec<OsString>]) -> Side {
    shared.clone().program("ours", layout::binary("assay-worker"), [subcommand.into()], runs)
}

fn theirs(shared: &Side, ready: &Ready, script: &str, runs: &[Vec<OsString>]) -> Result<Side> {
    Ok(shared.clone().program("baseline", python(ready)?, [baseline(script)], runs))
}

fn python(ready: &Ready) -> Result<PathBuf> {
    ready.python.clone().context("the Python environment is missing")
}

fn baseline(script: &str) -> PathBuf {
    layout::repository().join("benches/baselines").join(script)
}

fn data(name: &str) -> Result<PathBuf> {
    let path = layout::repository().join("examples/data").join(name);
    ensure!(path.is_file(), "`{}` does not exist: the benches use the demo's data", path.display());
    Ok(path)
}

/// A random adapter for the demo's model, made by PEFT once.
fn adapter(ready: &Ready, model: &Path) -> Result<PathBuf> {
    let dir = layout::target().join("bench/adapter-rank-16");
    if !dir.join("adapter_model.safetensors").is_file() {
        let mut command = Command::new(python(ready)?);
        command.arg(baseline("make_adapter.py")).arg(model).arg(&dir).env("HF_HUB_OFFLINE", "1");
        process::run(&mut command)?;
    }
    Ok(dir)
}

impl Comparison {
    /// Probes how each side waits best, then runs pairs; `rows` are those of a run and of a probe.
    pub(super) fn run(&self, [rows, probe_rows]: [u32; 2], pairs: u32) -> Result<Compared> {
        ui::say(format!("{}:", self.name));
        let [ours, baseline] = &self.sides;
        let waiting = [choose(ours, probe_rows)?, choose(baseline, probe_rows)?];
        let pairs = self.pairs(waiting, rows, pairs)?;
        let runs = pairs.iter().map(|[ours, baseline]| json!({ "ours": ours.raw, "baseline": baseline.raw }));
        Ok(Compared {
            figures: Figure::compute(self.name, self.targets, &pairs),
            json: json!({
                "name": self.name,
                "waiting": { "ours": waiting[0].text(), "baseline": waiting[1].text() },
                "runs": runs.collect::<Vec<_>>(),
            }),
        })
    }

    /// The runs, `[ours, baseline]` each; every second pair begins with the baseline.
    fn pairs(&self, waiting: [Waiting; 2], rows: u32, pairs: u32) -> Result<Vec<[Sample; 2]>> {
        let [ours, baseline] = &self.sides;
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
}

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
