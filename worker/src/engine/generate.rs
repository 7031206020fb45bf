//! Generate jobs: answers of a base or tuned model to a prompt set.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use assay_domain::job::{FailureClass, GenerateSpec, Progress, Quantization};
use assay_judging::records::{
    FinishReason, GENERATIONS_FILE, GenerationRecord, SAMPLING_FILE, SamplingRecord, to_jsonl,
};
use assay_model::FourBits;
use assay_model::device::Device;
use assay_model::generate::{
    self, Completion, GenerateProgress, GenerateSettings, GenerateWatch, Generator, PromptRow,
};
use assay_model::lora::{self, Lora};
use assay_text::chat::Message;
use assay_text::rows::{self, Prompt, ReadLimits};

use crate::engine::context::{Context, Finished, Stop, now};
use crate::engine::model::{Loaded, Warm, environment, render_options, stop};

mod sampling;

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
    // What a full fine-tuning made is a model folder itself.
    let whole = files.adapter.as_deref().filter(|dir| !lora::is_adapter(dir));
    let bits = spec.quantization.map(|Quantization::Nf4| generation_bits(device));
    let model = models.get(whole.unwrap_or(&files.model), bits, context)?;
    let prompts = selected(spec, &files.prompts)?;
    let lora = match files.adapter.as_deref().filter(|_| whole.is_none()) {
        Some(dir) => Some(Lora::read(dir, model.decoder.config(), device).map_err(stop)?),
        None => None,
    };
    let adapters = Vec::from_iter(&lora);
    let rows = prompt_rows(spec, &prompts, model, lora.as_ref().map(|_| 0))?;
    let drawn = sampling::record(spec, model.folder.generation_config());
    sampling::check(&drawn.effective)?;
    context.log(format!("sampling: {}", serde_json::to_string(&drawn.effective).unwrap_or_default()))?;
    let new_tokens = drawn.effective.max_new_tokens.value as usize;
    let mut settings =
        GenerateSettings::new(sampling::settings(&drawn.effective), new_tokens, model.tokenizer.eos_ids());
    settings.samples = drawn.effective.samples.value;
    let generator = Generator::new(&model.decoder, &adapters, settings).map_err(stop)?;
    let mut watch = Watch { started: now(), context, failed: None };
    let completions = generator.run(&rows, &mut watch).map_err(stop)?;
    if let Some(failed) = watch.failed {
        return Err(failed);
    }
    let seconds = context.phase("generate");
    let records = records(spec, &prompts, &rows, &completions, model)?;
    let tokens = completions.iter().map(|completion| completion.ids.len() as u64).sum();
    let folder = write(&files.out.join("generations"), &records, &drawn)?;
    let usage = context.usage(tokens, seconds, environment(device));
    Ok(Finished { outputs: vec![(String::from("generations"), folder)], usage })
}

/// On a processor speed, on a GPU room: the numbers are the same.
fn generation_bits(device: Device) -> FourBits {
    match device {
        Device::Cpu | Device::Vulkan => FourBits::Rounded,
        Device::Cuda(_) | Device::Mps => FourBits::Held,
    }
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
    let options = render_options(&spec.model_settings)?;
    let row = |(index, prompt): (usize, &Prompt)| {
        let system = spec.system_prompt.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain([Message::new("user", &prompt.prompt)]).collect();
        let ids = rows::prompt_ids(&messages, &model.template, &model.tokenizer, &options)
            .map_err(|error| Stop::bad_input(&error))?;
        Ok(PromptRow { index, ids, adapter })
    };
    prompts.iter().enumerate().map(row).collect()
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
            system: spec.system_name(),
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

/// The folder of the artifact: the answers, and how they were drawn.
fn write(folder: &Path, records: &[GenerationRecord], drawn: &SamplingRecord) -> Result<PathBuf, Stop> {
    let answers = to_jsonl(records).map_err(|error| Stop::bad_input(&error))?;
    let drawn = serde_json::to_string_pretty(drawn).map_err(|error| Stop::bad_input(&error))?;
    fs::create_dir_all(folder).map_err(|error| Stop::io(folder.display(), &error))?;
    for (name, text) in [(GENERATIONS_FILE, answers), (SAMPLING_FILE, drawn)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| Stop::io(path.display(), &error))?;
    }
    Ok(folder.to_owned())
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
