//! QLoRA beside PEFT and bitsandbytes, on a tiny model (`fixtures/make_nf4.py`): logits over weights in 4 bits, losses, gradient
//! norms, and the adapter at the end.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::path::{Path, PathBuf};

use assay_model::FourBits;
use assay_model::decoder::{Decoder, RowAdapters};
use assay_model::lora::Lora;
use assay_model::train::{TrainRow, TrainSettings, Trainer};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

/// Rows, tokens, and rows of a micro-batch, micro-batches of a step.
const SHAPE: [usize; 2] = [2, 2];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nf4/model")
}

fn model(bits: FourBits) -> Decoder {
    Decoder::load_in_4_bits(&folder(), Device::Cpu, Kind::Float, bits).unwrap()
}

fn tensors(path: &Path) -> Vec<(String, Tensor)> {
    Tensor::read_safetensors(path).unwrap()
}

fn golden(wanted: &str) -> Tensor {
    let all = tensors(&folder().join("golden.safetensors"));
    all.into_iter().find(|(name, _)| name == wanted).unwrap().1
}

fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

#[test]
fn logits_over_weights_in_4_bits_are_those_of_bitsandbytes_however_they_are_held() {
    tch::set_num_threads(1);
    let ids = golden("input_ids");
    let (rows, length) = ids.size2().unwrap();
    let lengths = vec![length; rows as usize];
    let plain = Decoder::load(&folder(), Device::Cpu, Kind::Float).unwrap();
    let held = model(FourBits::Held);
    let rounded = model(FourBits::Rounded);
    assert!(held.is_in_4_bits() && !rounded.is_in_4_bits() && !plain.is_in_4_bits());
    let lora = Lora::read(&folder().join("adapter"), held.config(), Device::Cpu).unwrap();
    let logits = |model: &Decoder, lora: Option<&Lora>| {
        let adapters = match lora {
            Some(lora) => RowAdapters::new().with(0..rows * length, lora),
            None => RowAdapters::new(),
        };
        model.sequence_logits(&ids.reshape([-1]), &lengths, &adapters).unwrap()
    };
    for (name, lora) in [("logits", None), ("logits_lora", Some(&lora))] {
        let expected = golden(name).reshape([rows * length, -1]);
        for model in [&held, &rounded] {
            let apart = largest(&(logits(model, lora) - &expected));
            assert!(apart < 5e-5, "{name}: {apart}");
        }
        let unrounded = largest(&(logits(&plain, lora) - &expected));
        assert!(unrounded > 1e-2, "4 bits change logits by {unrounded} only");
    }
}

#[test]
fn a_run_has_the_losses_gradients_and_adapter_of_peft_over_bitsandbytes() {
    tch::set_num_threads(1);
    let told: Value = serde_json::from_slice(&std::fs::read(folder().join("golden.json")).unwrap()).unwrap();
    let steps = told["steps"].as_array().unwrap();
    let settings = TrainSettings {
        epochs: 1,
        micro_batch: SHAPE[0],
        accumulation: SHAPE[1],
        learning_rate: 2e-3,
        warmup_steps: 2,
        shuffle: false,
        ..TrainSettings::default()
    };
    let model = model(FourBits::Held);
    let lora = Lora::read(&folder().join("adapter"), model.config(), Device::Cpu).unwrap();
    let mut trainer = Trainer::new(&model, lora, settings, rows(), Vec::new()).unwrap();
    assert!(trainer.fit().recompute, "no two layers are held in float32 at once");
    for step in steps {
        let report = trainer.step().unwrap().unwrap();
        let (loss, norm) = (step["loss"].as_f64().unwrap(), step["grad_norm"].as_f64().unwrap());
        assert!((report.loss - loss).abs() < 1e-5, "{report:?}, not {step}");
        assert!((report.grad_norm / norm - 1.0).abs() < 1e-4, "{report:?}, not {step}");
    }
    assert!(trainer.step().unwrap().is_none());
    let out = tempfile::tempdir().unwrap();
    trainer.save_trained(out.path(), None).unwrap();
    let ours = tensors(&out.path().join("adapter_model.safetensors"));
    let theirs = tensors(&folder().join("adapter_trained/adapter_model.safetensors"));
    assert_eq!(ours.len(), theirs.len());
    for (name, ours) in &ours {
        let theirs = &theirs.iter().find(|(other, _)| other == name).unwrap().1;
        let apart = largest(&(ours - theirs));
        assert!(apart < 5e-6, "{name}: {apart}");
    }
}

fn rows() -> Vec<TrainRow> {
    let [ids, labels, lengths] = ["train_input_ids", "train_labels", "train_lengths"].map(golden);
    let width = *ids.size().last().unwrap();
    let (ids, labels) = (ids.reshape([-1, width]), labels.reshape([-1, width]));
    let lengths: Vec<i64> = Vec::try_from(lengths.reshape([-1])).unwrap();
    let row = |(number, length): (usize, i64)| {
        let of = |tensor: &Tensor| -> Vec<i64> {
            Vec::try_from(tensor.get(number as i64).narrow(0, 0, length)).unwrap()
        };
        TrainRow { ids: of(&ids).into_iter().map(|id| id as u32).collect(), labels: of(&labels) }
    };
    lengths.into_iter().enumerate().map(row).collect()
}
