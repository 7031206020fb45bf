//! Training and generation under a memory limit of their process: each test needs one of its own, as nextest gives it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::path::Path;
use std::process::Command;

use assay_model::Module;
use assay_model::decoder::Decoder;
use assay_model::generate::{GenerateProgress, GenerateSettings, GenerateWatch, Generator, PromptRow};
use assay_model::lora::{Lora, LoraConfig};
use assay_model::sample::SampleSettings;
use assay_model::train::{TrainRow, TrainSettings, Trainer};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tch::{Device, Kind};

/// Rows of the micro-batch, and tokens of each: far beyond the model's window, so that its masks are large.
const ROWS: usize = 4;
const TOKENS: u32 = 1536;
/// Prompts of a batch.
const PROMPTS: usize = 32;
/// Set in a process that trains without a limit and says what it needed: memory once used can be used again, so a
/// process that has trained already is no measure.
const ROOMY: &str = "ASSAY_TEST_ROOMY";

/// Notes how many rows were left of a batch each time that memory was not enough.
#[derive(Default)]
struct Shrunk(Vec<usize>);

impl GenerateWatch for Shrunk {
    fn seconds(&self) -> f64 {
        0.0
    }

    fn progress(&mut self, _: GenerateProgress) {}

    fn smaller_batch(&mut self, rows: usize) {
        self.0.push(rows);
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

#[test]
fn answers_that_do_not_fit_into_memory_together_come_in_smaller_batches() {
    let name = "answers_that_do_not_fit_into_memory_together_come_in_smaller_batches";
    let model = model();
    let mut settings = GenerateSettings::new(SampleSettings { seed: 3, ..SampleSettings::default() }, 3, &[]);
    (settings.batch, settings.prompt_tokens_per_pass) = (PROMPTS, PROMPTS * TOKENS as usize);
    let generator = Generator::new(&model, &[], settings).unwrap();
    let prompts = |length: u32| -> Vec<PromptRow> {
        let ids = |row: u32| (0..length).map(|place| (row * 31 + place * 7) % 250).collect();
        (0..PROMPTS).map(|row| PromptRow { index: row, ids: ids(row as u32), adapter: None }).collect()
    };
    // Threads and workspaces of LibTorch are there from now on.
    generator.run(&prompts(8), &mut Shrunk::default()).unwrap();
    let (data, resident) = (status_bytes("VmData"), status_bytes("VmRSS"));
    let mut watch = Shrunk::default();
    if std::env::var_os(ROOMY).is_some() {
        let answers = generator.run(&prompts(TOKENS), &mut watch).unwrap();
        let ids = answers.iter().flat_map(|answer| answer.ids.clone());
        let sum = ids.fold(0u64, |sum, id| (sum * 257 + u64::from(id)) % 1_000_003);
        say(&format!("roomy {} {sum} 0 {}", watch.0.len(), status_bytes("VmHWM") - resident));
        return;
    }
    let [shrunk, expected, _, needed] = roomy(name);
    assert_eq!(shrunk, 0.0);
    limit(data + needed as u64 / 3);
    let answers = generator.run(&prompts(TOKENS), &mut watch);
    // What fails from here on may take memory to say so.
    limit(u64::MAX);
    let ids = answers.unwrap().into_iter().flat_map(|answer| answer.ids);
    let sum = ids.fold(0u64, |sum, id| (sum * 257 + u64::from(id)) % 1_000_003);
    assert!(watch.0.first() == Some(&(PROMPTS / 2)), "{:?}, {needed} bytes needed", watch.0);
    assert_eq!(sum as f64, expected, "answers are the same in any batch");
}

#[test]
fn a_step_that_does_not_fit_into_memory_goes_on_in_smaller_passes() {
    let model = model();
    // Threads and workspaces of LibTorch are there from now on.
    trainer(&model, ROWS, 8).step().unwrap();
    let (data, resident) = (status_bytes("VmData"), status_bytes("VmRSS"));
    if std::env::var_os(ROOMY).is_some() {
        let report = trainer(&model, ROWS, TOKENS).step().unwrap().unwrap();
        let needed = status_bytes("VmHWM") - resident;
        say(&format!("roomy {} {} {} {needed}", report.fit.rows, report.loss, report.grad_norm));
        return;
    }
    let name = "a_step_that_does_not_fit_into_memory_goes_on_in_smaller_passes";
    let [rows, loss, grad_norm, needed] = roomy(name);
    assert_eq!(rows, ROWS as f64);

    let mut tight = trainer(&model, ROWS, TOKENS);
    limit(data + needed as u64 / 3);
    let steps = [tight.step(), tight.step()];
    // What fails from here on may take memory to say so.
    limit(u64::MAX);
    let [report, next] = steps.map(|step| step.unwrap().unwrap());
    assert!((1..ROWS).contains(&report.fit.rows), "{report:?}, {needed} bytes needed");
    assert!((report.loss - loss).abs() < 1e-5, "{report:?}, not {loss}");
    assert!((report.grad_norm / grad_norm - 1.0).abs() < 1e-5, "{report:?}, not {grad_norm}");
    assert_eq!(next.fit, report.fit, "later steps begin with what fitted");
}

fn model() -> Decoder {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/mistral");
    tch::set_num_threads(2);
    assay_model::oom::panic_quietly();
    Decoder::load(&dir, Device::Cpu, Kind::Float).unwrap()
}

/// What the test of this name says in a process of its own that has no limit: for a step the rows of a pass, loss, norm of the
/// gradient and bytes needed.
fn roomy(name: &str) -> [f64; 4] {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ROOMY, "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split_once("roomy ").map(|(_, rest)| rest));
    let numbers = line.unwrap_or_else(|| panic!("{text}")).split(' ').map(|number| number.parse().unwrap());
    numbers.collect::<Vec<_>>().try_into().unwrap()
}

#[expect(clippy::print_stdout, reason = "what the other process waits for")]
fn say(line: &str) {
    println!("\n{line}");
}

/// One micro-batch of so many rows and tokens is a step; four epochs of it.
fn trainer(model: &Decoder, rows: usize, tokens: u32) -> Trainer<'_> {
    let targets = Module::of(model.config()).iter().map(|sized| sized.module).collect();
    let config = LoraConfig { rank: 4, alpha: 8.0, dropout: 0.1, rslora: false, dora: false, targets };
    let lora = Lora::new(config, model.config(), 7, Device::Cpu).unwrap();
    let row = |row: u32| TrainRow::all((0..tokens).map(|position| (row * 31 + position * 7) % 250).collect());
    let settings =
        TrainSettings { epochs: 4, micro_batch: rows, accumulation: 1, ..TrainSettings::default() };
    let rows = (0..rows as u32).map(row).collect();
    Trainer::new(model, lora, settings, rows, Vec::new()).unwrap()
}

/// A field of this process's status, in bytes.
fn status_bytes(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// From now on this process has no more writable memory of its own than this.
fn limit(bytes: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_DATA).unwrap();
    setrlimit(Resource::RLIMIT_DATA, bytes.min(hard), hard).unwrap();
}
