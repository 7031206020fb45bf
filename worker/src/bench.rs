//! `bench-train` and `bench-generate`: one timed run each; `benches/README.md` has the contract.

use std::path::Path;

use assay_model::Module;
use assay_model::decoder::Decoder;
use assay_model::device;
use assay_model::generate::{GenerateSettings, Generator, PromptRow, Unwatched};
use assay_model::lora::{Lora, LoraConfig};
use assay_model::sample::SampleSettings;
use assay_model::train::{TrainRow, TrainSettings, Trainer};
use assay_text::chat::{ChatTemplate, Message, RenderOptions};
use assay_text::folder::ModelFolder;
use assay_text::rows::{self, LossOn, ReadLimits, RowSettings};
use assay_text::tokenizer::Tokenizer;
use serde::Serialize;

use crate::args;
use crate::engine::memory;
use crate::engine::now;

#[derive(Serialize)]
struct Figures {
    what: &'static str,
    tokens: u64,
    seconds: f64,
    tokens_per_s: f64,
    peak_rss_mib: f64,
    threads: i32,
    losses: Vec<f64>,
}

/// Trains one epoch in the file's order, as `baselines/trl_train.py` does.
pub(crate) fn train(args: &args::BenchTrain) -> anyhow::Result<()> {
    let device = device::open(args.device.name())?;
    let (tokenizer, template) = text(&args.model)?;
    let model = Decoder::load(&args.model, device, device::weights_kind(device))?;
    let settings = RowSettings {
        max_length: args.max_length as usize,
        loss_on: LossOn::All,
        reference_quirks: false,
        render: RenderOptions::default(),
    };
    let conversations = rows::read_conversations(&args.train, ReadLimits::default())?;
    let mut train_rows = Vec::new();
    for conversation in conversations.iter().take(args.examples as usize) {
        train_rows
            .push(TrainRow::all(rows::training_row(conversation, &template, &tokenizer, &settings)?.ids));
    }
    let lora = LoraConfig {
        rank: args.rank as usize,
        alpha: f64::from(2 * args.rank),
        dropout: 0.0,
        rslora: false,
        dora: false,
        targets: Module::of(model.config()).iter().map(|sized| sized.module).collect(),
    };
    let lora = Lora::new(lora, model.config(), 7, device)?;
    let settings = TrainSettings {
        epochs: 1,
        micro_batch: args.micro_batch as usize,
        accumulation: args.accumulate as usize,
        warmup_steps: 2,
        seed: 7,
        shuffle: false,
        ..TrainSettings::default()
    };
    let mut trainer = Trainer::new(&model, lora, settings, train_rows, Vec::new())?;
    let started = now();
    let (mut tokens, mut losses) = (0, Vec::new());
    while let Some(step) = trainer.step()? {
        tokens += step.tokens;
        losses.push(step.loss);
    }
    show("assay train", tokens, started.elapsed().as_secs_f64(), losses)
}

/// Generates a fixed number of tokens for each prompt, as `baselines/hf_generate.py --ignore-eos` does.
pub(crate) fn generate(args: &args::BenchGenerate) -> anyhow::Result<()> {
    let device = device::open(args.device.name())?;
    let (tokenizer, template) = text(&args.model)?;
    let model = Decoder::load(&args.model, device, device::weights_kind(device))?;
    let lora = match &args.adapter {
        Some(dir) => Some(Lora::read(dir, model.config(), device)?),
        None => None,
    };
    let mut prompts = Vec::new();
    let read = rows::read_prompts(&args.prompts, ReadLimits::default())?;
    for prompt in read.iter().take(args.count as usize) {
        let messages = [Message::new("user", &prompt.prompt)];
        let ids = rows::prompt_ids(&messages, &template, &tokenizer, &RenderOptions::default())?;
        if args.mixed || lora.is_none() {
            prompts.push(PromptRow { index: prompts.len(), ids: ids.clone(), adapter: None });
        }
        if lora.is_some() {
            prompts.push(PromptRow { index: prompts.len(), ids, adapter: Some(0) });
        }
    }
    let sample = SampleSettings { temperature: 0.75, seed: 7, ..SampleSettings::default() };
    let mut settings = GenerateSettings::new(sample, args.max_new_tokens as usize, &[]);
    settings.batch = args.batch as usize;
    let generator = Generator::new(&model, &Vec::from_iter(&lora), settings)?;
    let started = now();
    let completions = generator.run(&prompts, &mut Unwatched)?;
    let seconds = started.elapsed().as_secs_f64();
    let tokens = completions.iter().map(|completion| completion.ids.len() as u64).sum();
    show("assay generate", tokens, seconds, Vec::new())
}

fn text(dir: &Path) -> anyhow::Result<(Tokenizer, ChatTemplate)> {
    let folder = ModelFolder::open(dir)?;
    let tokenizer = folder.tokenizer()?;
    let template = folder.template(&tokenizer)?;
    Ok((tokenizer, template))
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn show(what: &'static str, tokens: u64, seconds: f64, losses: Vec<f64>) -> anyhow::Result<()> {
    let figures = Figures {
        what,
        tokens,
        seconds,
        tokens_per_s: tokens as f64 / seconds,
        peak_rss_mib: memory::peak_mib(),
        threads: device::threads(),
        losses,
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
