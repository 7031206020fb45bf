//! The demo's model, imported by our own importer: it answers, and adapters trained on it are PEFT's.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::path::Path;
use std::process::Command;

use assay_model::decoder::{Decoder, RowAdapters};
use assay_model::generate::{GenerateSettings, Generator, PromptRow, Unwatched};
use assay_model::lora::{Lora, LoraConfig};
use assay_model::sample::SampleSettings;
use assay_model::train::{TrainRow, TrainSettings, Trainer};
use assay_model::{Module, lora};
use assay_tests::{Need, need, repeats};
use assay_text::chat::{Message, RenderOptions};
use assay_text::folder::ModelFolder;
use assay_text::rows::{ReadLimits, prompt_ids, read_prompts};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

/// The largest difference of a logit between PEFT and us.
const TOLERANCE: f64 = 1e-4;

#[test]
fn the_capital_of_france_is_paris() {
    let Some(dir) = need(Need::Model) else { return };
    let folder = ModelFolder::open(&dir).unwrap();
    let tokenizer = folder.tokenizer().unwrap();
    let template = folder.template(&tokenizer).unwrap();
    let question = [Message::new("user", "What is the capital of France?")];
    let ids = prompt_ids(&question, &template, &tokenizer, &RenderOptions::default()).unwrap();

    let decoder = Decoder::load(&dir, Device::Cpu, Kind::Float).unwrap();
    let greedy = SampleSettings { temperature: 0.0, ..SampleSettings::default() };
    let settings = GenerateSettings::new(greedy, 24, tokenizer.eos_ids());
    let generator = Generator::new(&decoder, &[], settings).unwrap();
    let answers = generator.run(&[PromptRow { index: 0, ids, adapter: None }], &mut Unwatched).unwrap();

    let answer = tokenizer.decode(answers[0].text_ids(), true).unwrap();
    assert!(answer.contains("Paris"), "{answer:?}");
}

/// What batching changes: in float32 no token; in bfloat16, whose sums round by the shapes of products, the answers of some rows.
/// `docs/performance.md` has what was measured; the bounds leave room for other processors, of which some round all shapes alike.
#[test]
fn answers_in_a_batch_are_those_alone_and_in_bfloat16_most_are() {
    let Some(dir) = need(Need::Model) else { return };
    // On a busy machine two threads wait for each other more than they compute.
    tch::set_num_threads(1);
    let rows = repeats(4, 24) as usize;
    let prompts = prompts(&dir, rows);
    for (kind, equal_min, apart_range) in
        [(Kind::Float, rows, 0.0..1e-5), (Kind::BFloat16, rows / 4, 0.0..4e-2)]
    {
        let decoder = Decoder::load(&dir, Device::Cpu, kind).unwrap();
        let greedy = SampleSettings { temperature: 0.0, ..SampleSettings::default() };
        let answers = |batch| {
            let settings = GenerateSettings { batch, ..GenerateSettings::new(greedy, TOKENS, &[]) };
            let generator = Generator::new(&decoder, &[], settings).unwrap();
            generator.run(&prompts, &mut Unwatched).unwrap()
        };
        let (alone, batched) = (answers(1), answers(rows));
        let equal = alone.iter().zip(&batched).filter(|(one, other)| one.ids == other.ids).count();
        let apart = packing_moves_logits_by(&decoder, &prompts);
        say(&format!("{kind:?}: {equal} of {rows} rows equal, logits within {apart:.1e} of the largest"));
        assert!(equal >= equal_min, "{kind:?}: {equal} of {rows} rows are equal");
        assert!(apart_range.contains(&apart), "{kind:?}: {apart} of the largest logit");
    }
}

/// Of each answer in the test of batching.
const TOKENS: usize = 8;

#[expect(clippy::print_stdout, reason = "what was measured")]
fn say(line: &str) {
    println!("{line}");
}

fn prompts(model: &Path, count: usize) -> Vec<PromptRow> {
    let folder = ModelFolder::open(model).unwrap();
    let tokenizer = folder.tokenizer().unwrap();
    let template = folder.template(&tokenizer).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/prompts.jsonl");
    let read = read_prompts(&file, ReadLimits::default()).unwrap();
    let ids = |prompt: &str| {
        prompt_ids(&[Message::new("user", prompt)], &template, &tokenizer, &RenderOptions::default()).unwrap()
    };
    let rows = read.iter().take(count).enumerate();
    rows.map(|(index, one)| PromptRow { index, ids: ids(&one.prompt), adapter: None }).collect()
}

/// The largest difference between the last logits of prompts in one pass and each alone, as a share of the largest logit.
fn packing_moves_logits_by(decoder: &Decoder, prompts: &[PromptRow]) -> f64 {
    let together = last_logits(decoder, prompts);
    let alone: Vec<Tensor> =
        prompts.iter().map(|prompt| last_logits(decoder, std::slice::from_ref(prompt))).collect();
    let apart = (Tensor::cat(&alone, 0) - &together).abs().max();
    f64::try_from(apart / together.abs().max()).unwrap()
}

/// The logits after the last token of each prompt, all in one pass: `[prompts, vocabulary]`.
fn last_logits(decoder: &Decoder, prompts: &[PromptRow]) -> Tensor {
    let ids: Vec<i64> = prompts.iter().flat_map(|prompt| &prompt.ids).map(|id| i64::from(*id)).collect();
    let lengths: Vec<i64> = prompts.iter().map(|prompt| prompt.ids.len() as i64).collect();
    let ends = lengths.iter().scan(0, |end, length| {
        *end += length;
        Some(*end - 1)
    });
    let ends = Tensor::from_slice(&ends.collect::<Vec<i64>>());
    let logits = decoder.sequence_logits(&Tensor::from_slice(&ids), &lengths, &RowAdapters::new()).unwrap();
    logits.index_select(0, &ends).to_kind(Kind::Float)
}

/// Thirty layers add up in bfloat16 or in float32; products are in bfloat16 in both.
#[test]
fn a_residual_in_float32_brings_bfloat16_nearer_to_float32() {
    let Some(dir) = need(Need::Model) else { return };
    let prompts = prompts(&dir, 8);
    let exact = last_logits(&Decoder::load(&dir, Device::Cpu, Kind::Float).unwrap(), &prompts);
    let mut decoder = Decoder::load(&dir, Device::Cpu, Kind::BFloat16).unwrap();
    let mut apart = |wide: bool| {
        decoder.set_float32_residual(wide).unwrap();
        let difference = last_logits(&decoder, &prompts) - &exact;
        f64::try_from(difference.norm() / exact.norm()).unwrap()
    };
    let (narrow, wide) = (apart(false), apart(true));
    say(&format!("residual in float32: {wide:.2e} from float32's logits instead of {narrow:.2e}"));
    assert!(wide < narrow && wide > 0.0, "{wide} and {narrow}");
}

#[test]
fn peft_loads_a_trained_adapter_and_gives_the_same_logits() {
    let Some(model) = need(Need::Model) else { return };
    let Some(python) = need(Need::Python) else { return };
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter");
    let sequences = sequences(&model);
    let decoder = Decoder::load(&model, Device::Cpu, Kind::Float).unwrap();
    train(&decoder, &sequences).write(&adapter, None).unwrap();

    let read = Lora::read(&adapter, decoder.config(), Device::Cpu).unwrap();
    assert_eq!(lora::base_model_of(&adapter).unwrap(), None);
    let logits = folder.path().join("logits.safetensors");
    write_logits(&decoder, &read, &sequences, &logits);

    let asked = json!({ "model": model, "adapter": adapter, "logits": logits, "sequences": sequences });
    let differences = compare(&python, folder.path(), &asked);
    let (base, tuned) = (differences["base"].as_f64().unwrap(), differences["tuned"].as_f64().unwrap());
    assert!(tuned < TOLERANCE, "PEFT's logits differ by {tuned}");
    // Without the adapter they are far away: it was not an adapter of zeros that agreed.
    assert!(base > 1000.0 * TOLERANCE, "the adapter changes logits by no more than {base}");
}

/// Two sequences of different lengths.
fn sequences(model: &Path) -> Vec<Vec<u32>> {
    let tokenizer = ModelFolder::open(model).unwrap().tokenizer().unwrap();
    let texts = [
        "What is the capital of France? Paris lies on the Seine, and has done so for two thousand years.",
        "Every promise is a small machine for meeting a stranger: the person whom you will be when it falls due.",
    ];
    texts.map(|text| tokenizer.encode(text, false).unwrap()).to_vec()
}

/// An adapter on all seven projections after two real steps: both of its factors are other than zero.
fn train(decoder: &Decoder, sequences: &[Vec<u32>]) -> Lora {
    let targets = Module::of(decoder.config()).iter().map(|sized| sized.module).collect();
    let config = LoraConfig { rank: 8, alpha: 16.0, dropout: 0.0, rslora: false, dora: false, targets };
    let lora = Lora::new(config, decoder.config(), 7, Device::Cpu).unwrap();
    let row =
        |ids: &Vec<u32>| TrainRow { ids: ids.clone(), labels: ids.iter().map(|id| i64::from(*id)).collect() };
    let settings = TrainSettings {
        epochs: 2,
        micro_batch: 2,
        accumulation: 1,
        learning_rate: 2e-3,
        warmup_steps: 0,
        ..TrainSettings::default()
    };
    let rows = sequences.iter().map(row).collect();
    let mut trainer = Trainer::new(decoder, lora, settings, rows, Vec::new()).unwrap();
    let mut losses = Vec::new();
    while let Some(step) = trainer.step().unwrap() {
        losses.push(step.loss);
    }
    assert!(losses.len() == 2 && losses[1] < losses[0], "{losses:?}");
    trainer.into_lora().unwrap()
}

/// Both sequences in one pass, as jobs run them; `logits.N` for each.
fn write_logits(decoder: &Decoder, lora: &Lora, sequences: &[Vec<u32>], path: &Path) {
    let lengths: Vec<i64> = sequences.iter().map(|ids| ids.len() as i64).collect();
    let flat: Vec<i64> = sequences.iter().flatten().map(|id| i64::from(*id)).collect();
    let adapters = RowAdapters::new().with(0..flat.len() as i64, lora);
    let logits = decoder.sequence_logits(&Tensor::from_slice(&flat), &lengths, &adapters).unwrap();
    let parts = logits.split_with_sizes(&lengths, 0);
    let named: Vec<_> = parts
        .iter()
        .enumerate()
        .map(|(number, part)| (format!("logits.{number}"), part.contiguous()))
        .collect();
    Tensor::write_safetensors(&named, path).unwrap();
}

fn compare(python: &Path, folder: &Path, asked: &Value) -> Value {
    let path = folder.join("asked.json");
    std::fs::write(&path, asked.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peft_logits.py");
    let output = Command::new(python)
        .arg(script)
        .arg(&path)
        .envs([("HF_HUB_OFFLINE", "1"), ("TOKENIZERS_PARALLELISM", "false")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
