//! Full fine-tuning beside Transformers, on tiny models that Python trains anew: losses, gradient norms, and every weight at the
//! end, with weight decay on what Transformers' trainer decays.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::path::Path;
use std::process::Command;

use assay_model::Whole;
use assay_model::adamw::AdamWSettings;
use assay_model::train::{TrainRow, TrainSettings, Trainer};
use assay_tests::{Need, need};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

/// The largest differences of a loss, of a gradient norm (relative), and of a weight.
const LOSS: f64 = 1e-5;
const GRAD_NORM: f64 = 1e-4;
const WEIGHT: f64 = 2e-5;

#[test]
fn losses_gradients_and_all_weights_are_those_of_transformers() {
    let Some(python) = need(Need::Python) else { return };
    tch::set_num_threads(1);
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/make_full.py");
    let output = Command::new(&python)
        .arg(script)
        .arg(dir.path())
        .envs([("HF_HUB_OFFLINE", "1"), ("TOKENIZERS_PARALLELISM", "false")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = String::from_utf8(output.stdout).unwrap();
    assert!(made.lines().count() >= 5, "{made}");
    for name in made.lines() {
        for recompute in [false, true] {
            compare(&dir.path().join(name), recompute);
        }
    }
}

fn compare(folder: &Path, recompute: bool) {
    let golden: Value = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let steps = golden["steps"].as_array().unwrap();
    let row = |row: &Value| TrainRow {
        ids: row["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect(),
        labels: row["labels"].as_array().unwrap().iter().map(|label| label.as_i64().unwrap()).collect(),
    };
    let rows: Vec<TrainRow> = golden["rows"].as_array().unwrap().iter().map(row).collect();
    let settings = TrainSettings {
        epochs: 1,
        micro_batch: 2,
        accumulation: 2,
        learning_rate: 2e-3,
        warmup_steps: 2,
        optimizer: AdamWSettings { weight_decay: 0.1, ..AdamWSettings::default() },
        shuffle: false,
        recompute,
        ..TrainSettings::default()
    };
    let (model, whole) = Whole::load(folder, Device::Cpu).unwrap();
    let mut trainer = Trainer::new(&model, whole, settings, rows, Vec::new()).unwrap();
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    for step in steps {
        let report = trainer.step().unwrap().unwrap();
        let (loss, norm) = (step["loss"].as_f64().unwrap(), step["grad_norm"].as_f64().unwrap());
        assert!((report.loss - loss).abs() < LOSS, "{name}: {report:?}, not {step}");
        assert!((report.grad_norm / norm - 1.0).abs() < GRAD_NORM, "{name}: {report:?}, not {step}");
    }
    assert!(trainer.step().unwrap().is_none());
    let written = folder.join(format!("ours-{recompute}"));
    trainer.save_trained(&written, None).unwrap();
    let ours = Tensor::read_safetensors(written.join("model.safetensors")).unwrap();
    let theirs = Tensor::read_safetensors(folder.join("trained/model.safetensors")).unwrap();
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let start = Tensor::read_safetensors(folder.join("model.safetensors")).unwrap();
    let find = |all: &[(String, Tensor)], wanted: &str| {
        all.iter().find(|(name, _)| name == wanted).unwrap().1.to_kind(Kind::Float)
    };
    let stored = if golden["dtype"] == "bfloat16" { 8e-3 } else { 0.0 };
    for (tensor, ours) in &ours {
        let theirs = find(&theirs, tensor);
        let apart = (ours.to_kind(Kind::Float) - &theirs).abs();
        // A file of two bytes may round to the other neighbour.
        let most = (theirs.abs() * stored + WEIGHT - apart).min().double_value(&[]);
        assert!(most >= 0.0, "{name}: {tensor} is {most} beyond its tolerance");
        let moved = (find(&start, tensor) - theirs).abs().max().double_value(&[]);
        assert!(moved > 10.0 * WEIGHT, "{name}: {tensor} moved by {moved} only");
    }
}
