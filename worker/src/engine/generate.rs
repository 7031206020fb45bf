//! Generate jobs: answers of a base model and of what was trained on it to prompt sets, several jobs in one batch.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use assay_domain::job::{FailureClass, GenerateSpec, Progress, Quantization, Usage};
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

use crate::engine::context::{Context, Stop, now};
use crate::engine::model::{Loaded, Warm, environment, render_options, stop};
use crate::frames::{Done, GeneratePart};

mod sampling;

/// One part and what it asks.
struct Asked<'a> {
    part: &'a GeneratePart,
    prompts: Vec<Prompt>,
    rows: Vec<PromptRow>,
}

/// Answers the prompts of all parts in one batch, and says of each part what it made. An answer is the same as alone.
pub(super) fn run(
    parts: &[GeneratePart],
    rows_at_once: Option<usize>,
    models: &mut Warm,
    context: &mut Context<'_>,
) -> Result<Vec<Done>, Stop> {
    let Some(first) = parts.first() else { return Ok(Vec::new()) };
    let device = models.device();
    // What a full fine-tuning made is a model folder itself.
    let whole = first.adapter.as_deref().filter(|dir| !lora::is_adapter(dir));
    let bits = first.spec.quantization.map(|Quantization::Nf4| generation_bits(device));
    let model = models.get(whole.unwrap_or(&first.model), bits, context)?;
    let loras = parts.iter().filter_map(|part| part.adapter.as_deref()).filter(|_| whole.is_none());
    let loras = loras.map(|dir| Lora::read(dir, model.decoder.config(), device).map_err(stop));
    let loras = loras.collect::<Result<Vec<Lora>, Stop>>()?;
    let all = asked(parts, model, whole.is_none())?;
    let drawn = sampling::record(&first.spec, model.folder.generation_config());
    sampling::check(&drawn.effective)?;
    context.log(format!("sampling: {}", serde_json::to_string(&drawn.effective).unwrap_or_default()))?;
    let new_tokens = drawn.effective.max_new_tokens.value as usize;
    let mut settings =
        GenerateSettings::new(sampling::settings(&drawn.effective), new_tokens, model.tokenizer.eos_ids());
    settings.samples = drawn.effective.samples.value;
    let rows: Vec<PromptRow> = all.iter().flat_map(|asked| asked.rows.clone()).collect();
    let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0) + new_tokens;
    settings.batch = rows_at_once.unwrap_or_else(|| generate::rows_that_fit(&model.decoder, longest));
    context.log(format!("at most {} rows at once", settings.batch))?;
    let adapters: Vec<&Lora> = loras.iter().collect();
    let generator = Generator::new(&model.decoder, &adapters, settings).map_err(stop)?;
    let completions = generate_watched(&generator, &rows, context)?;
    context.phase("generate");
    let usage = context.usage(0, 0.0, environment(device));
    finish(&all, &completions, model, &usage)
}

/// What each part asks; its rows are numbered after those of the parts before it, as its adapter is.
fn asked<'a>(parts: &'a [GeneratePart], model: &Loaded, with_adapters: bool) -> Result<Vec<Asked<'a>>, Stop> {
    let (mut before, mut adapters) = (0, 0);
    let one = |part: &'a GeneratePart| {
        let prompts = selected(&part.spec, &part.prompts)?;
        let adapter = (with_adapters && part.adapter.is_some()).then_some(adapters);
        let rows = prompt_rows(&part.spec, &prompts, model, (before, adapter))?;
        before += rows.len();
        adapters += usize::from(adapter.is_some());
        Ok(Asked { part, prompts, rows })
    };
    parts.iter().map(one).collect()
}

fn generate_watched(
    generator: &Generator<'_>,
    rows: &[PromptRow],
    context: &mut Context<'_>,
) -> Result<Vec<Completion>, Stop> {
    let mut watch = Watch { started: now(), context, failed: None };
    let completions = generator.run(rows, &mut watch).map_err(stop)?;
    watch.failed.map_or(Ok(completions), Err)
}

/// Writes what each part made, and gives it its part of the time.
fn finish(
    all: &[Asked<'_>],
    completions: &[Completion],
    model: &Loaded,
    usage: &Usage,
) -> Result<Vec<Done>, Stop> {
    let in_all: f64 = completions.iter().map(|completion| completion.seconds).sum();
    let one = |asked: &Asked<'_>| {
        let first = asked.rows.first().map_or(0, |row| row.index);
        let numbers = first..first + asked.rows.len();
        let own = completions.iter().filter(|completion| numbers.contains(&completion.index));
        let own: Vec<&Completion> = own.collect();
        let drawn = sampling::record(&asked.part.spec, model.folder.generation_config());
        let records = records(asked, &own, model)?;
        // An attempt that was cancelled in the middle of the batch has no folder any more, and gets none.
        let is_wanted = asked.part.out.parent().is_some_and(Path::is_dir);
        let folder =
            is_wanted.then(|| write(&asked.part.out.join("generations"), &records, &drawn)).transpose()?;
        let outputs = folder.map(|folder| (String::from("generations"), folder)).into_iter().collect();
        let seconds: f64 = own.iter().map(|completion| completion.seconds).sum();
        let share = if in_all > 0.0 { seconds / in_all } else { 1.0 / all.len() as f64 };
        let tokens = own.iter().map(|completion| completion.ids.len() as u64).sum();
        Ok(Done { outputs, usage: part_of(usage, tokens, share) })
    };
    all.iter().map(one).collect()
}

/// Of a run that several share, the part of one with so many tokens.
fn part_of(whole: &Usage, tokens: u64, share: f64) -> Usage {
    let phases: Vec<_> = whole.phases.iter().map(|(name, seconds)| (name.clone(), seconds * share)).collect();
    let seconds = phases.iter().find(|(name, _)| name == "generate").map_or(0.0, |(_, seconds)| *seconds);
    let tokens_per_s = if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
    Usage { phases, tokens, tokens_per_s, ..whole.clone() }
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
    (before, adapter): (usize, Option<usize>),
) -> Result<Vec<PromptRow>, Stop> {
    let options = render_options(&spec.model_settings)?;
    let row = |(index, prompt): (usize, &Prompt)| {
        let system = spec.system_prompt.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain([Message::new("user", &prompt.prompt)]).collect();
        let ids = rows::prompt_ids(&messages, &model.template, &model.tokenizer, &options)
            .map_err(|error| Stop::bad_input(&error))?;
        Ok(PromptRow { index: before + index, ids, adapter })
    };
    prompts.iter().enumerate().map(row).collect()
}

fn records(
    asked: &Asked<'_>,
    completions: &[&Completion],
    model: &Loaded,
) -> Result<Vec<GenerationRecord>, Stop> {
    let (spec, first) = (&asked.part.spec, asked.rows.first().map_or(0, |row| row.index));
    let record = |completion: &&Completion| {
        let place = completion.index - first;
        let prompt = &asked.prompts[place];
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
            prompt_tokens: asked.rows[place].ids.len() as u32,
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

    fn smaller_batch(&mut self, rows: usize) {
        let told = self.context.log(format!("memory was not enough: from here at most {rows} rows at once"));
        self.failed = self.failed.take().or(told.err());
    }

    fn is_cancelled(&self) -> bool {
        self.failed.is_some() || self.context.is_cancelled()
    }
}
