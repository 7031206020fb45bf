//! Generate jobs: answers of a base or tuned model to a prompt set.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use assay_domain::job::{FailureClass, GenerateSpec, Progress, Sampling, SamplingDefaults};
use assay_judging::records::{FinishReason, GenerationRecord, to_jsonl};
use assay_model::generate::{
    self, Completion, GenerateProgress, GenerateSettings, GenerateWatch, Generator, PromptRow,
};
use assay_model::lora::Lora;
use assay_model::sample::SampleSettings;
use assay_text::chat::{Message, RenderOptions};
use assay_text::rows::{self, Prompt, ReadLimits};

use crate::engine::context::{Context, Finished, Stop, now};
use crate::engine::model::{Loaded, Warm, environment, stop};

/// Everything on local disk.
pub(super) struct Files {
    pub(super) model: PathBuf,
    pub(super) prompts: PathBuf,
    pub(super) adapter: Option<PathBuf>,
    pub(super) out: PathBuf,
}

/// Answers the prompts.
pub(super) fn run(
    spec: &GenerateSpec,
    files: &Files,
    models: &mut Warm,
    context: &mut Context<'_>,
) -> Result<Finished, Stop> {
    let device = models.device();
    let model = models.get(&files.model, context)?;
    let prompts = selected(spec, &files.prompts)?;
    let lora = match &files.adapter {
        Some(dir) => Some(Lora::read(dir, model.decoder.config(), device).map_err(stop)?),
        None => None,
    };
    let adapters = Vec::from_iter(&lora);
    let rows = prompt_rows(spec, &prompts, model, lora.as_ref().map(|_| 0))?;
    let sample = sample_settings(&spec.sampling, model);
    context.log(format!("sampling: {}", serde_json::to_string(&sample).unwrap_or_default()))?;
    let mut settings =
        GenerateSettings::new(sample, spec.sampling.max_new_tokens as usize, model.tokenizer.eos_ids());
    settings.samples = spec.sampling.samples;
    let generator = Generator::new(&model.decoder, &adapters, settings).map_err(stop)?;
    let mut watch = Watch { started: now(), context, failed: None };
    let completions = generator.run(&rows, &mut watch).map_err(stop)?;
    if let Some(failed) = watch.failed {
        return Err(failed);
    }
    let seconds = context.phase("generate");
    let records = records(spec, &prompts, &rows, &completions, model)?;
    let tokens = completions.iter().map(|completion| completion.ids.len() as u64).sum();
    let path = write(&files.out, &records)?;
    let usage = context.usage(tokens, seconds, environment(device));
    Ok(Finished { outputs: vec![(String::from("generations"), path)], usage })
}

fn selected(spec: &GenerateSpec, path: &Path) -> Result<Vec<Prompt>, Stop> {
    let prompts = rows::read_prompts(path, ReadLimits::default()).map_err(|error| Stop::bad_input(&error))?;
    let mut by_id: BTreeMap<String, Prompt> =
        prompts.into_iter().map(|prompt| (prompt.id.clone(), prompt)).collect();
    let take = |id: &String| {
        by_id.remove(id).ok_or_else(|| Stop::Failed {
            class: FailureClass::BadInput,
            reason: format!("prompt `{id}` of the plan is not in the prompt file"),
        })
    };
    spec.prompt_ids.iter().map(take).collect()
}

fn prompt_rows(
    spec: &GenerateSpec,
    prompts: &[Prompt],
    model: &Loaded,
    adapter: Option<usize>,
) -> Result<Vec<PromptRow>, Stop> {
    let row = |(index, prompt): (usize, &Prompt)| {
        let system = spec.system_prompt.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain([Message::new("user", &prompt.prompt)]).collect();
        let ids = rows::prompt_ids(&messages, &model.template, &model.tokenizer, &RenderOptions::default())
            .map_err(|error| Stop::bad_input(&error))?;
        Ok(PromptRow { index, ids, adapter })
    };
    prompts.iter().enumerate().map(row).collect()
}

/// What the matrix says; what it leaves to the model comes from `generation_config.json`, and is off when that is silent.
fn sample_settings(sampling: &Sampling, model: &Loaded) -> SampleSettings {
    let defaults = match sampling.defaults {
        SamplingDefaults::Matrix => &serde_json::Value::Null,
        SamplingDefaults::Model => model.folder.generation_config(),
    };
    let number = |given: Option<f64>, name: &str, off: f64| given.or(defaults[name].as_f64()).unwrap_or(off);
    let top_k = sampling.top_k.or_else(|| defaults["top_k"].as_u64().and_then(|top_k| top_k.try_into().ok()));
    SampleSettings {
        temperature: number(sampling.temperature, "temperature", 1.0),
        top_p: number(sampling.top_p, "top_p", 1.0),
        top_k: top_k.unwrap_or(0),
        min_p: number(sampling.min_p, "min_p", 0.0),
        repetition_penalty: number(sampling.repetition_penalty, "repetition_penalty", 1.0),
        seed: sampling.seed,
    }
}

fn records(
    spec: &GenerateSpec,
    prompts: &[Prompt],
    rows: &[PromptRow],
    completions: &[Completion],
    model: &Loaded,
) -> Result<Vec<GenerationRecord>, Stop> {
    let record = |completion: &Completion| {
        let prompt = &prompts[completion.index];
        let text = model.tokenizer.decode(completion.text_ids(), true);
        Ok(GenerationRecord {
            model: spec.model.clone(),
            prompts: spec.prompts.clone(),
            sampling: spec.sampling.name.clone(),
            prompt_id: prompt.id.clone(),
            domain: prompt.domain.clone().unwrap_or_else(|| String::from("all")),
            split: prompt.split.clone().unwrap_or_else(|| String::from("all")),
            prompt: prompt.prompt.clone(),
            sample: completion.sample,
            system: spec.system.name(),
            text: text.map_err(|error| Stop::bad_input(&error))?,
            finish_reason: match completion.finish_reason {
                generate::FinishReason::Stop => FinishReason::Stop,
                generate::FinishReason::Length => FinishReason::Length,
            },
            prompt_tokens: rows[completion.index].ids.len() as u32,
            new_tokens: completion.ids.len() as u32,
            seconds: completion.seconds,
        })
    };
    completions.iter().map(record).collect()
}

fn write(out: &Path, records: &[GenerationRecord]) -> Result<PathBuf, Stop> {
    let path = out.join("generations.jsonl");
    let text = to_jsonl(records).map_err(|error| Stop::bad_input(&error))?;
    let written = fs::create_dir_all(out).and_then(|()| fs::write(&path, text));
    written.map_err(|error| Stop::io(path.display(), &error))?;
    Ok(path)
}

struct Watch<'a, 'b> {
    started: Instant,
    context: &'a mut Context<'b>,
    failed: Option<Stop>,
}

impl GenerateWatch for Watch<'_, '_> {
    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn progress(&mut self, progress: GenerateProgress) {
        let seconds = self.seconds();
        let speed = (seconds > 0.0).then(|| progress.new_tokens as f64 / seconds);
        let told = self.context.progress(Progress {
            phase: String::from("generate"),
            done: progress.finished as u64,
            total: progress.total as u64,
            tokens_per_s: speed,
            ..Progress::default()
        });
        self.failed = self.failed.take().or(told.err());
    }

    fn is_cancelled(&self) -> bool {
        self.failed.is_some() || self.context.is_cancelled()
    }
}
