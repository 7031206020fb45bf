//! Every family against Transformers and PEFT, on tiny models that Python makes anew: windows, caps, fused projections,
//! partial and stretched rotation, one key head or as many as queries, two targets or all, shards, file types, spellings.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use assay_model::Module;
use assay_model::check::check;
use assay_model::decoder::{Decoder, RowAdapters};
use assay_model::generate::{GenerateSettings, Generator, PromptRow, Unwatched};
use assay_model::lora::{Lora, LoraConfig};
use assay_model::sample::SampleSettings;
use assay_model::train::{TrainRow, TrainSettings, Trainer};
use assay_tests::{Need, need};
use assay_text::safetensors::TensorFiles;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

fn python(python: &Path, script: &str, arguments: &[&Path]) -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let output = Command::new(python)
        .arg(script)
        .args(arguments)
        .envs([("HF_HUB_OFFLINE", "1"), ("TOKENIZERS_PARALLELISM", "false")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn every_family_is_that_of_transformers_and_peft() {
    let Some(interpreter) = need(Need::Python) else { return };
    // More threads than one only wait for each other on tensors this small.
    tch::set_num_threads(1);
    let dir = tempfile::tempdir().unwrap();
    let made = python(&interpreter, "fixtures/make_parity.py", &[dir.path()]);
    let made = String::from_utf8(made).unwrap();
    assert!(made.lines().count() >= 17, "{made}");
    for name in made.lines() {
        let folder = dir.path().join(name);
        let report = check(&folder, Device::Cpu).unwrap();
        assert!(report.passed, "{report}");
        cached_generation_is_that_of_transformers(&folder);
        bfloat16_is_close_to_that_of_transformers(&folder);
    }
    neighbours_of_other_lengths_change_nothing(&dir.path().join("phi3-beyond"));
    for (name, modules, dora) in [
        ("phi3", ["qkv_proj", "down_proj"], false),
        ("gemma2", ["k_proj", "gate_proj"], false),
        ("dora", ["v_proj", "up_proj"], true),
    ] {
        peft_reads_our_adapter(&interpreter, &dir.path().join(name), &modules.map(module), dora);
    }
}

fn module(name: &str) -> Module {
    Module::from_name(name).unwrap()
}

/// Base and adapter beside rows of other lengths, in a batch that is refilled while it runs, far beyond the windows.
fn cached_generation_is_that_of_transformers(folder: &Path) {
    let model = Decoder::load(folder, Device::Cpu, Kind::Float).unwrap();
    let lora = Lora::read(&folder.join("adapter"), model.config(), Device::Cpu).unwrap();
    let row = |index, ids, adapter| PromptRow { index, ids, adapter };
    let short = |length: usize| (0..length as u32).map(|id| id * 7 % 96).collect();
    let mut prompts: Vec<PromptRow> = (1..8).map(|length| row(length, short(length), None)).collect();
    prompts.insert(3, row(98, ids(folder, "prompt_ids"), None));
    prompts.insert(5, row(99, ids(folder, "prompt_ids"), Some(0)));
    let greedy = SampleSettings { temperature: 0.0, ..SampleSettings::default() };
    let settings = GenerateSettings { batch: 3, ..GenerateSettings::new(greedy, 32, &[]) };
    let answers = Generator::new(&model, &[&lora], settings).unwrap().run(&prompts, &mut Unwatched).unwrap();
    for (index, expected) in [(98, "greedy_ids"), (99, "greedy_lora_ids")] {
        let answer = answers.iter().find(|answer| answer.index == index).unwrap();
        assert_eq!(answer.ids, ids(folder, expected), "{} {expected}", folder.display());
    }
}

/// Prompts that begin alike, shorter and longer than the length at which all tokens are turned otherwise, and answers that grow
/// beyond it: each as if it were alone.
fn neighbours_of_other_lengths_change_nothing(folder: &Path) {
    let model = Decoder::load(folder, Device::Cpu, Kind::Float).unwrap();
    let (original, _) = model.config().long_rotary_frequencies().unwrap();
    let prompt = |index: usize| PromptRow {
        index,
        ids: (0..original - 4 + index).map(|id| (id * 7 + id / (original - 5) * index) as u32 % 96).collect(),
        adapter: None,
    };
    let prompts: Vec<PromptRow> = (0..8).map(prompt).collect();
    let greedy = SampleSettings { temperature: 0.0, ..SampleSettings::default() };
    let settings = GenerateSettings { batch: 3, ..GenerateSettings::new(greedy, 12, &[]) };
    let answers = |prompts: &[PromptRow]| {
        let generator = Generator::new(&model, &[], settings.clone()).unwrap();
        generator
            .run(prompts, &mut Unwatched)
            .unwrap()
            .into_iter()
            .map(|answer| answer.ids)
            .collect::<Vec<_>>()
    };
    let alone: Vec<_> = prompts.iter().flat_map(|prompt| answers(std::slice::from_ref(prompt))).collect();
    assert_eq!(answers(&prompts), alone);
}

/// Sums in another order round differently, so no more than close.
fn bfloat16_is_close_to_that_of_transformers(folder: &Path) {
    let model = Decoder::load(folder, Device::Cpu, Kind::BFloat16).unwrap();
    let golden = Tensor::read_safetensors(folder.join("golden.safetensors")).unwrap();
    let golden = |wanted: &str| golden.iter().find(|(name, _)| name == wanted).unwrap().1.shallow_clone();
    let (ids, expected) = (golden("input_ids"), golden("logits_bf16").to_kind(Kind::Float));
    let lengths = vec![ids.size()[1]; ids.size()[0] as usize];
    let ours = model.sequence_logits(&ids.reshape([-1]), &lengths, &RowAdapters::new()).unwrap();
    let difference = (ours.to_kind(Kind::Float).reshape(expected.size()) - &expected).abs().max();
    let share = f64::try_from(difference / expected.abs().max()).unwrap();
    assert!(share < 2e-2, "{}: logits differ by {share} of the largest", folder.display());
}

fn ids(folder: &Path, name: &str) -> Vec<u32> {
    let files = TensorFiles::open_file(&folder.join("golden.safetensors")).unwrap();
    let bytes = files.tensor(name).unwrap().bytes;
    bytes.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as u32).collect()
}

/// An adapter that we made, trained and wrote: PEFT takes it by the names of the family.
fn peft_reads_our_adapter(interpreter: &Path, folder: &Path, targets: &[Module], dora: bool) {
    let model = Decoder::load(folder, Device::Cpu, Kind::Float).unwrap();
    let sequence = ids(folder, "greedy_ids");
    let adapter: PathBuf = folder.join("ours");
    trained(&model, &sequence, targets, dora).write(&adapter, None).unwrap();
    let lora = Lora::read(&adapter, model.config(), Device::Cpu).unwrap();
    let length = sequence.len() as i64;
    let flat = Tensor::from_slice(&sequence.iter().map(|id| i64::from(*id)).collect::<Vec<_>>());
    let adapters = RowAdapters::new().with(0..length, &lora);
    let logits = model.sequence_logits(&flat, &[length], &adapters).unwrap();
    let file = folder.join("ours.safetensors");
    Tensor::write_safetensors(&[("logits.0", logits)], &file).unwrap();

    let asked = json!({ "model": folder, "adapter": adapter, "logits": file, "sequences": [sequence] });
    let path = folder.join("asked.json");
    std::fs::write(&path, asked.to_string()).unwrap();
    let found: Value =
        serde_json::from_slice(&python(interpreter, "peft_logits.py", &[path.as_path()])).unwrap();
    let (base, tuned) = (found["base"].as_f64().unwrap(), found["tuned"].as_f64().unwrap());
    assert!(tuned < 5e-5 && base > 1e-2, "{}: {found}", folder.display());
}

fn trained(model: &Decoder, sequence: &[u32], targets: &[Module], dora: bool) -> Lora {
    let config = LoraConfig {
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        rslora: false,
        dora,
        targets: targets.iter().copied().collect(),
    };
    let lora = Lora::for_model(config, model, 7).unwrap();
    let settings = TrainSettings {
        epochs: 3,
        micro_batch: 1,
        accumulation: 1,
        learning_rate: 2e-2,
        warmup_steps: 0,
        ..TrainSettings::default()
    };
    let rows = vec![TrainRow::all(sequence.to_vec())];
    let mut trainer = Trainer::new(model, lora, settings, rows, Vec::new()).unwrap();
    while trainer.step().unwrap().is_some() {}
    trainer.into_lora().unwrap()
}
