//! `bench-train` and `bench-generate`: one timed run each; `benches/README.md` has the contract.

use std::path::Path;

use assay_model::decoder::{Decoder, Packing};
use assay_model::device::{self, Device};
use assay_model::generate::{GenerateSettings, Generator, PromptRow, Unwatched};
use assay_model::lora::{Lora, LoraConfig};
use assay_model::sample::SampleSettings;
use assay_model::train::{TrainRow, TrainSettings, Trainer};
use assay_model::{FourBits, Module};
use assay_text::chat::{ChatTemplate, Message, RenderOptions};
use assay_text::folder::ModelFolder;
use assay_text::rows::{self, LossOn, ReadLimits, RowSettings};
use assay_text::tokenizer::Tokenizer;
use serde::Serialize;

use crate::args;
use crate::engine::memory;
use crate::engine::now;
use crate::print;

/// Of everything that is drawn.
const SEED: u64 = 7;
/// As `baselines/hf_generate.py` has it.
const RANDOM_PROMPT_TOKENS: u32 = 32;

#[derive(Serialize)]
struct Figures {
    what: &'static str,
    tokens: u64,
    seconds: f64,
    tokens_per_s: f64,
    peak_rss_mib: f64,
    threads: i32,
    losses: Vec<f64>,
    /// How training computed attention over the rows of a pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    attention: Option<String>,
}

/// Trains one epoch in the file's order, as `baselines/trl_train.py` does.
pub(crate) fn train(args: &args::BenchTrain) -> anyhow::Result<()> {
    let device = device::open(args.device.name())?;
    let mut model = match args.nf4 {
        true => Decoder::load_in_4_bits(&args.model, device, device::weights_kind(device), FourBits::Held)?,
        false => decoder(&args.model, device, args.random_weights)?,
    };
    if args.row_by_row {
        model.set_packing(Packing::RowByRow(String::from("asked for")));
    }
    let train_rows = match args.random_weights {
        true => random_rows(args, &model)?,
        false => read_rows(args)?,
    };
    let lora = Lora::new(lora_config(args.rank, &model), model.config(), SEED, device)?;
    let settings = TrainSettings {
        epochs: args.epochs.into(),
        micro_batch: args.micro_batch as usize,
        accumulation: args.accumulate as usize,
        warmup_steps: 2,
        seed: SEED,
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
    let seconds = started.elapsed().as_secs_f64();
    show(Figures {
        losses,
        attention: Some(model.packing().to_string()),
        ..figures("assay train", tokens, seconds)
    })
}

/// Generates a fixed number of tokens for each prompt, as `baselines/hf_generate.py --ignore-eos` does.
pub(crate) fn generate(args: &args::BenchGenerate) -> anyhow::Result<()> {
    let device = device::open(args.device.name())?;
    let model = decoder(&args.model, device, args.random_weights)?;
    let lora = match &args.adapter {
        Some(dir) => Some(Lora::read(dir, model.config(), device)?),
        None if args.mixed && args.random_weights => {
            Some(Lora::new(lora_config(16, &model), model.config(), SEED, device)?)
        }
        None if args.mixed => anyhow::bail!("--mixed needs --adapter, or --random-weights"),
        None => None,
    };
    let read = match args.random_weights {
        true => {
            let mut random = fastrand::Rng::with_seed(SEED);
            (0..args.count).map(|_| random_ids(&mut random, RANDOM_PROMPT_TOKENS, &model)).collect()
        }
        false => read_prompts(args)?,
    };
    let mut prompts = Vec::new();
    for ids in read {
        if args.mixed || lora.is_none() {
            prompts.push(PromptRow { index: prompts.len(), ids: ids.clone(), adapter: None });
        }
        if lora.is_some() {
            prompts.push(PromptRow { index: prompts.len(), ids, adapter: Some(0) });
        }
    }
    let sample = SampleSettings { temperature: 0.75, seed: SEED, ..SampleSettings::default() };
    let mut settings = GenerateSettings::new(sample, args.max_new_tokens as usize, &[]);
    settings.batch = args.batch as usize;
    let generator = Generator::new(&model, &Vec::from_iter(&lora), settings)?;
    let started = now();
    let completions = generator.run(&prompts, &mut Unwatched)?;
    let seconds = started.elapsed().as_secs_f64();
    let tokens = completions.iter().map(|completion| completion.ids.len() as u64).sum();
    show(figures("assay generate", tokens, seconds))
}

fn decoder(dir: &Path, device: Device, random: bool) -> anyhow::Result<Decoder> {
    let kind = device::weights_kind(device);
    Ok(if random { Decoder::random(dir, device, kind, SEED)? } else { Decoder::load(dir, device, kind)? })
}

fn lora_config(rank: u32, model: &Decoder) -> LoraConfig {
    LoraConfig {
        rank: rank as usize,
        alpha: f64::from(2 * rank),
        dropout: 0.0,
        rslora: false,
        dora: false,
        targets: Module::of(model.config()).iter().map(|sized| sized.module).collect(),
    }
}

fn read_rows(args: &args::BenchTrain) -> anyhow::Result<Vec<TrainRow>> {
    let (tokenizer, template) = text(&args.model)?;
    let settings = RowSettings {
        max_length: args.max_length as usize,
        loss_on: LossOn::All,
        reference_quirks: false,
        render: RenderOptions::default(),
    };
    let conversations = rows::read_conversations(&args.train, ReadLimits::default())?;
    let row = |conversation| {
        Ok(TrainRow::all(rows::training_row(conversation, &template, &tokenizer, &settings)?.ids))
    };
    conversations.iter().take(args.examples as usize).map(row).collect()
}

/// Rows of the lengths of a file, as the baseline makes them.
fn random_rows(args: &args::BenchTrain, model: &Decoder) -> anyhow::Result<Vec<TrainRow>> {
    let lengths: Vec<u32> = serde_json::from_slice(&std::fs::read(&args.train)?)?;
    let mut random = fastrand::Rng::with_seed(SEED);
    let row = |length: &u32| TrainRow::all(random_ids(&mut random, (*length).min(args.max_length), model));
    Ok(lengths.iter().take(args.examples as usize).map(row).collect())
}

fn random_ids(random: &mut fastrand::Rng, length: u32, model: &Decoder) -> Vec<u32> {
    // Below 3 are control tokens in most vocabularies.
    (0..length).map(|_| random.u32(3..model.config().vocab_size as u32)).collect()
}

fn read_prompts(args: &args::BenchGenerate) -> anyhow::Result<Vec<Vec<u32>>> {
    let (tokenizer, template) = text(&args.model)?;
    let read = rows::read_prompts(&args.prompts, ReadLimits::default())?;
    let ids = |prompt: &rows::Prompt| {
        let messages = [Message::new("user", &prompt.prompt)];
        Ok(rows::prompt_ids(&messages, &template, &tokenizer, &RenderOptions::default())?)
    };
    read.iter().take(args.count as usize).map(ids).collect()
}

fn text(dir: &Path) -> anyhow::Result<(Tokenizer, ChatTemplate)> {
    let folder = ModelFolder::open(dir)?;
    let tokenizer = folder.tokenizer()?;
    let template = folder.template(&tokenizer)?;
    Ok((tokenizer, template))
}

fn figures(what: &'static str, tokens: u64, seconds: f64) -> Figures {
    Figures {
        what,
        tokens,
        seconds,
        tokens_per_s: tokens as f64 / seconds,
        peak_rss_mib: memory::peak_mib(),
        threads: device::threads(),
        losses: Vec::new(),
        attention: None,
    }
}

fn show(figures: Figures) -> anyhow::Result<()> {
    print::line(serde_json::to_string(&figures)?);
    Ok(())
}
