//! A folder with a tiny model, adapters, and values of Transformers and PEFT.

use std::path::Path;

use assay_text::safetensors::TensorFiles;
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use super::report::Steps;
use super::{CheckReport, Comparison, ExpectedStep, answers, rows_together};
use super::{compare_steps, largest_difference, read_json, refused, tensor};
use crate::adamw::AdamWSettings;
use crate::decoder::{Adapters, Decoder, RowAdapters};
use crate::lora::Lora;
use crate::train::{TrainRow, TrainSettings, Trainer};
use crate::{ModelError, Result};

/// `golden.json`.
#[derive(Debug, Deserialize)]
struct Golden {
    optimizer: Optimizer,
    steps: Vec<ExpectedStep>,
    tolerance: Tolerance,
}

#[derive(Debug, Deserialize)]
struct Optimizer {
    lr: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    warmup_steps: u64,
    total_steps: Option<u64>,
    #[serde(default)]
    schedule: crate::schedule::Schedule,
    max_grad_norm: f64,
    #[serde(default = "one")]
    lora_plus_ratio: f64,
    neftune: Option<Neftune>,
}

/// Noise on the embeddings, from the seeds that this project draws with.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Neftune {
    alpha: f64,
    seed: u64,
}

fn one() -> f64 {
    1.0
}

#[derive(Debug, Deserialize)]
struct Tolerance {
    logits_abs: f64,
    loss_abs: f64,
    grad_norm_rel: f64,
    adapter_abs: f64,
}

/// Sums of a GPU come in another order: how much wider than a CPU's its tolerances in float32 are.
const GPU_FACTOR: f64 = 10.0;
/// Largest difference of a logit in bfloat16, as a share of the largest logit.
const BFLOAT16_LOGITS: f64 = 2e-2;
/// Largest share of places where the most likely token in bfloat16 is another one.
const BFLOAT16_TOP_1: f64 = 1e-2;
/// Logits nearer to the best than this share of the largest are as good as the best: models of random weights have many such.
const BFLOAT16_TIE: f64 = 1e-2;

/// Compares logits, greedy continuation and all training steps with the values of a folder, within the tolerances
/// that it gives; on a GPU within ten times them, and logits in bfloat16 as well, which jobs there compute in.
pub fn check(dir: &Path, device: Device) -> Result<CheckReport> {
    let mut golden: Golden = read_json(&dir.join("golden.json"))?;
    if device != Device::Cpu {
        golden.tolerance.widen(GPU_FACTOR);
    }
    let files = TensorFiles::open_file(&dir.join("golden.safetensors"))?;
    let model = Decoder::load(dir, device, Kind::Float)?;
    // Logits and greedy tokens are those of generation, training is LibTorch's own.
    model.pack()?;
    let lora = Lora::read(&dir.join("adapter"), model.config(), device)?;
    let tolerance = golden.tolerance.logits_abs;
    let mut comparisons = vec![
        Comparison::new("logits (absolute)", logits(&model, &files, "logits", None)?, tolerance),
        Comparison::new(
            "logits with adapter (absolute)",
            logits(&model, &files, "logits_lora", Some(&lora))?,
            tolerance,
        ),
        Comparison::new("greedy tokens that differ", greedy(&model, &files)?, 0.0),
        Comparison::new("greedy tokens that differ, generated", generated(&model, &files)?, 0.0),
        answers::together(&model, &lora, &rows(&files, false)?.0)?,
    ];
    let (steps, trained) = train(&model, lora, &golden, &files)?;
    comparisons.extend(steps.comparisons(golden.tolerance.loss_abs, golden.tolerance.grad_norm_rel));
    let expected = Lora::read(&dir.join("adapter_trained"), model.config(), device)?;
    let difference = largest_difference(&trained, expected.flat())?;
    comparisons.push(Comparison::new("trained adapter (absolute)", difference, golden.tolerance.adapter_abs));
    if device != Device::Cpu {
        comparisons.extend(bfloat16(dir, device, &files)?);
        let narrow = Decoder::load(dir, device, Kind::BFloat16)?;
        let (rows, _) = rows(&files, false)?;
        let lora = Lora::read(&dir.join("adapter"), narrow.config(), device)?;
        comparisons.push(answers::together(&narrow, &lora, &rows)?);
        comparisons.extend(rows_together(narrow, rows)?);
    }
    Ok(CheckReport::new(dir, comparisons, steps))
}

impl Tolerance {
    fn widen(&mut self, factor: f64) {
        for tolerance in
            [&mut self.logits_abs, &mut self.loss_abs, &mut self.grad_norm_rel, &mut self.adapter_abs]
        {
            *tolerance *= factor;
        }
    }
}

/// The model in bfloat16 beside values of float32.
pub(super) fn bfloat16(dir: &Path, device: Device, files: &TensorFiles) -> Result<[Comparison; 3]> {
    let mut model = Decoder::load(dir, device, Kind::BFloat16)?;
    let expected = tensor(files, "logits")?;
    let ours = |model: &Decoder| -> Result<Tensor> {
        let ours = computed(model, files, None)?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
        Ok(ours.f_reshape(expected.size())?)
    };
    let largest = expected.f_abs()?.f_max()?.f_double_value(&[])?;
    model.set_float32_residual(true)?;
    let residual = largest_difference(&ours(&model)?, &expected)? / largest;
    model.set_float32_residual(false)?;
    let ours = ours(&model)?;
    let difference = largest_difference(&ours, &expected)? / largest;
    let chosen = expected.f_gather(-1, &ours.f_argmax(-1, true)?, false)?;
    let given_up = expected.f_amax([-1i64].as_slice(), true)?.f_sub(&chosen)?;
    let others = given_up.f_gt(BFLOAT16_TIE * largest)?;
    let share = others.f_to_kind(Kind::Double)?.f_mean(None)?.f_double_value(&[])?;
    Ok([
        Comparison::new("bfloat16 logits (share of the largest)", difference, BFLOAT16_LOGITS),
        Comparison::new("bfloat16 top-1 that differ (share)", share, BFLOAT16_TOP_1),
        Comparison::new(
            "bfloat16 logits, residual in float32 (share of the largest)",
            residual,
            BFLOAT16_LOGITS,
        ),
    ])
}

fn logits(model: &Decoder, files: &TensorFiles, name: &str, lora: Option<&Lora>) -> Result<f64> {
    let expected = tensor(files, name)?;
    largest_difference(&computed(model, files, lora)?.f_reshape(expected.size())?, &expected)
}

/// The logits of all positions, one below the other.
fn computed(model: &Decoder, files: &TensorFiles, lora: Option<&Lora>) -> Result<Tensor> {
    let ids = tensor(files, "input_ids")?;
    let (rows, length) = ids.size2()?;
    let adapters = match lora {
        Some(lora) => RowAdapters::new().with(0..rows * length, lora),
        None => RowAdapters::new(),
    };
    let flat = ids.f_reshape([-1])?.f_to_device(model.device())?;
    model.sequence_logits(&flat, &vec![length; rows as usize], &adapters)
}

/// Number of tokens of the greedy continuation that differ, each computed from the whole text before it.
fn greedy(model: &Decoder, files: &TensorFiles) -> Result<f64> {
    let expected = Vec::<i64>::try_from(tensor(files, "greedy_ids")?.f_reshape([-1])?)?;
    let mut ids = Vec::<i64>::try_from(tensor(files, "prompt_ids")?.f_reshape([-1])?)?;
    let mut differing = 0;
    for expected in expected {
        let next = next_token(model, &ids, &RowAdapters::new())?;
        differing += u32::from(next != expected);
        ids.push(next);
    }
    Ok(f64::from(differing))
}

/// The same, as generate jobs make them.
fn generated(model: &Decoder, files: &TensorFiles) -> Result<f64> {
    let ids = |name| -> Result<Vec<u32>> {
        let ids = Vec::<i64>::try_from(tensor(files, name)?.f_reshape([-1])?)?;
        Ok(ids.into_iter().map(|id| u32::try_from(id).unwrap_or(u32::MAX)).collect())
    };
    answers::greedy(model, &ids("prompt_ids")?, &ids("greedy_ids")?)
}

fn next_token(model: &Decoder, ids: &[i64], adapters: &dyn Adapters) -> Result<i64> {
    let flat = Tensor::f_from_slice(ids)?.f_to_device(model.device())?;
    let logits = model.sequence_logits(&flat, &[ids.len() as i64], adapters)?;
    Ok(logits.f_select(0, -1)?.f_argmax(-1, false)?.f_int64_value(&[])?)
}

fn train(model: &Decoder, lora: Lora, golden: &Golden, files: &TensorFiles) -> Result<(Steps, Tensor)> {
    let (rows, [steps, accumulation, micro_batch]) = rows(files, model.short_text_max().is_some())?;
    if steps == 0 || golden.steps.is_empty() || !golden.steps.len().is_multiple_of(steps) {
        let listed = golden.steps.len();
        return Err(refused(
            files.path(),
            format!("it has batches of {steps} steps, but {listed} are listed"),
        ));
    }
    let optimizer = &golden.optimizer;
    let settings = TrainSettings {
        epochs: (golden.steps.len() / steps) as u64,
        micro_batch,
        accumulation,
        learning_rate: optimizer.lr,
        warmup_steps: optimizer.warmup_steps,
        schedule: optimizer.schedule,
        schedule_steps: optimizer.total_steps,
        max_grad_norm: optimizer.max_grad_norm,
        optimizer: AdamWSettings {
            beta1: optimizer.betas[0],
            beta2: optimizer.betas[1],
            epsilon: optimizer.eps,
            weight_decay: optimizer.weight_decay,
        },
        lora_plus_ratio: optimizer.lora_plus_ratio,
        neftune_alpha: optimizer.neftune.map_or(0.0, |neftune| neftune.alpha),
        seed: optimizer.neftune.map_or(0, |neftune| neftune.seed),
        shuffle: false,
        ..TrainSettings::default()
    };
    let mut trainer = Trainer::new(model, lora, settings, rows, Vec::new())?;
    let steps = compare_steps(&mut trainer, &golden.steps)?;
    Ok((steps, trainer.trained().flat().shallow_clone()))
}

/// All rows in order, and the numbers of steps, micro-batches of a step, and rows of a micro-batch. `padded` leaves rows as
/// long as they are in the file: Transformers counts padding in where a text's length decides how its tokens are turned.
fn rows(files: &TensorFiles, padded: bool) -> Result<(Vec<TrainRow>, [usize; 3])> {
    let flat = |name| Ok::<_, ModelError>(Vec::<i64>::try_from(tensor(files, name)?.f_reshape([-1])?)?);
    let shape = tensor(files, "train_input_ids")?.size();
    let [steps, accumulation, micro_batch, width] = shape[..] else {
        return Err(refused(
            files.path(),
            format!("`train_input_ids` has shape {shape:?}, not four dimensions"),
        ));
    };
    let (ids, labels, lengths) = (flat("train_input_ids")?, flat("train_labels")?, flat("train_lengths")?);
    if ids.len() != labels.len() || ids.len() != lengths.len() * width as usize {
        return Err(refused(
            files.path(),
            "`train_labels` or `train_lengths` does not fit `train_input_ids`",
        ));
    }
    let width = width as usize;
    let rows = ids.chunks(width).zip(labels.chunks(width)).zip(lengths);
    let rows = rows.map(|((ids, labels), length)| {
        let length = if padded { width } else { usize::try_from(length).unwrap_or(0).min(width) };
        let ids = ids[..length].iter().map(|id| u32::try_from(*id).unwrap_or(u32::MAX)).collect();
        TrainRow { ids, labels: labels[..length].to_vec() }
    });
    Ok((rows.collect(), [steps as usize, accumulation as usize, micro_batch as usize]))
}
