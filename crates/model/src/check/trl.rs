//! A recorded run of TRL on a real model: the same tokens, loss and gradient norm step by step.

mod tokens;

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use tch::{Device, Kind};

use super::{CheckReport, Comparison, ExpectedStep};
use super::{compare_steps, largest_difference, read_json, refused};
use crate::Result;
use crate::adamw::AdamWSettings;
use crate::decoder::Decoder;
use crate::lora::Lora;
use crate::schedule::Schedule;
use crate::train::{TrainRow, TrainSettings, Trainer};

/// Largest difference of a step's loss from the recorded one.
const LOSS_ABS: f64 = 2e-4;
/// Largest difference of a step's gradient norm, as a share of the recorded one.
const GRAD_NORM_REL: f64 = 2e-3;

/// `trace.json`.
#[derive(Debug, Deserialize)]
struct Trace {
    input_ids: Vec<Vec<u32>>,
    #[serde(default)]
    examples: Vec<String>,
    max_length: Option<usize>,
    #[serde(default = "one")]
    epochs: u64,
    micro_batch: usize,
    grad_accumulation: usize,
    lr: f64,
    #[serde(default)]
    schedule: Schedule,
    warmup_steps: u64,
    max_grad_norm: f64,
    #[serde(default)]
    weight_decay: f64,
    rank: Option<usize>,
    alpha: Option<f64>,
    targets: Option<Vec<String>>,
    tokens: Option<u64>,
    steps: Vec<ExpectedStep>,
}

fn one() -> u64 {
    1
}

/// Repeats a recorded run of TRL with the model of `model_dir`. The recorded tokens must be those that our tokenizer
/// and chat template make of the data (`data`, or `train.jsonl` and `valid.jsonl` found near `dir`); rows that no data
/// is found for must survive decoding and encoding.
pub fn check_trl(dir: &Path, model_dir: &Path, data: Option<&Path>, device: Device) -> Result<CheckReport> {
    let trace: Trace = read_json(&dir.join("trace.json"))?;
    let tokens = tokens::compare(dir, model_dir, data, &trace)?;
    let model = Decoder::load(model_dir, device, Kind::Float)?;
    let lora = Lora::read(&dir.join("adapter_initial"), model.config(), device)?;
    check_adapter(dir, &trace, &lora)?;
    let rows = trace.input_ids.iter().cloned().map(TrainRow::all).collect();
    let mut trainer = Trainer::new(&model, lora, settings(&trace), rows, Vec::new())?;
    let steps = compare_steps(&mut trainer, &trace.steps)?;
    let mut comparisons = vec![tokens];
    if let Some(expected) = trace.tokens {
        let ours: u64 = trace.input_ids.iter().map(|row| row.len() as u64).sum();
        comparisons.push(Comparison::new("number of tokens", ours.abs_diff(expected) as f64, 0.0));
    }
    comparisons.extend(steps.comparisons(LOSS_ABS, GRAD_NORM_REL));
    let trained = dir.join("adapter_trained");
    if trained.is_dir() {
        let expected = Lora::read(&trained, model.config(), device)?;
        let difference = largest_difference(trainer.trained().flat(), expected.flat())?;
        comparisons.push(Comparison::told("trained adapter (absolute)", difference));
    }
    Ok(CheckReport::new(dir, comparisons, steps))
}

fn settings(trace: &Trace) -> TrainSettings {
    TrainSettings {
        epochs: trace.epochs,
        micro_batch: trace.micro_batch,
        accumulation: trace.grad_accumulation,
        learning_rate: trace.lr,
        warmup_steps: trace.warmup_steps,
        schedule: trace.schedule,
        max_grad_norm: trace.max_grad_norm,
        optimizer: AdamWSettings { weight_decay: trace.weight_decay, ..AdamWSettings::default() },
        shuffle: false,
        ..TrainSettings::default()
    }
}

/// What the trace says of the adapter must be what its folder says.
fn check_adapter(dir: &Path, trace: &Trace, lora: &Lora) -> Result<()> {
    let config = lora.config();
    let path = dir.join("adapter_initial");
    if trace.rank.is_some_and(|rank| rank != config.rank) {
        return Err(refused(&path, format!("rank {} is not that of trace.json", config.rank)));
    }
    if trace.alpha.is_some_and(|alpha| alpha != config.alpha) {
        return Err(refused(&path, format!("alpha {} is not that of trace.json", config.alpha)));
    }
    let names: BTreeSet<&str> = config.targets.iter().map(|module| module.name()).collect();
    match &trace.targets {
        Some(targets) if targets.iter().map(String::as_str).collect::<BTreeSet<_>>() != names => {
            Err(refused(&path, format!("targets {names:?} are not those of trace.json")))
        }
        _ => Ok(()),
    }
}
