//! Train jobs: rows, steps, checkpoints, validation loss, and the metrics of all of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use assay_domain::Artifact;
use assay_domain::job::{LossOn, Method, Progress, Quantization, TrainSpec};
use assay_judging::records::{MetricRecord, from_jsonl, to_jsonl};
use assay_model::decoder::Decoder;
use assay_model::device;
use assay_model::lora::{Lora, LoraConfig};
use assay_model::train::{
    EarlyStopping, Evaluation, Fit, StepReport, TrainRow, TrainSettings, Trained, Trainer,
};
use assay_model::{FourBits, ModelError, Module};
use assay_text::rows::{self, ReadLimits, RowSettings};

use crate::engine::context::{Context, Stop, now};
use crate::engine::model::{Loaded, Warm, environment, render_options, stop};
use crate::frames::Done;

/// Everything on local disk.
pub(super) struct Files {
    pub(super) model: PathBuf,
    pub(super) train: PathBuf,
    pub(super) valid: Option<PathBuf>,
    pub(super) resume: Option<PathBuf>,
    pub(super) out: PathBuf,
}

/// The metrics so far; they travel with the resume state, so that no attempt loses them.
const METRICS_FILE: &str = "metrics.jsonl";

/// Trains an adapter beside a model that stays warm, or all weights of a model of its own.
pub(super) fn run(
    spec: &TrainSpec,
    files: &Files,
    models: &mut Warm,
    context: &mut Context<'_>,
) -> Result<Done, Stop> {
    match spec.recipe.method {
        Method::Lora => {
            let bits = spec.recipe.quantization.map(|Quantization::Nf4| FourBits::Held);
            let model = models.get_with_residual(&files.model, bits, spec.recipe.residual, context)?;
            let lora = Lora::for_model(lora_config(spec)?, &model.decoder, spec.seed).map_err(stop)?;
            train(spec, files, model, lora.into(), context)
        }
        Method::Full => {
            let (model, whole) = models.trainable(&files.model, context)?;
            train(spec, files, &model, whole.into(), context)
        }
    }
}

fn train(
    spec: &TrainSpec,
    files: &Files,
    model: &Loaded,
    trained: Trained,
    context: &mut Context<'_>,
) -> Result<Done, Stop> {
    let train = rows(spec, &files.train, spec.train_rows, model)?;
    let valid = match &files.valid {
        Some(path) => rows(spec, path, spec.valid_rows, model)?,
        None => Vec::new(),
    };
    let trainer = Trainer::new(&model.decoder, trained, settings(spec), train, valid).map_err(stop)?;
    if trainer.total_steps() != spec.total_steps {
        let planned =
            format!("{} steps were planned, {} come of the rows", spec.total_steps, trainer.total_steps());
        return Err(refused(planned));
    }
    fs::create_dir_all(&files.out).map_err(|error| Stop::io(files.out.display(), &error))?;
    context.log(format!("attention: {}", model.decoder.packing()))?;
    let metrics = Metrics::default();
    let fit = trainer.fit();
    let mut job = Job { spec, files, model, trainer, metrics, fit, tokens: 0, seconds: 0.0 };
    job.start(context)?;
    while let Some(report) = job.step(context)? {
        if spec.checkpoints.contains(&report.step) {
            job.checkpoint(report.step, context)?;
        } else if context.is_asked_to_save() {
            // As it is: nothing is measured, and whoever goes on from here gets the same numbers.
            job.save(report.step, context)?;
        }
    }
    job.checkpoints_left_out(context)?;
    let path = job.metrics.write(&files.out)?;
    let usage = context.usage(job.tokens, job.seconds, trained_on(&model.decoder));
    Ok(Done { outputs: vec![(String::from("metrics"), path)], usage })
}

/// The environment, and where there are two ways of it how attention was computed and gradients added.
fn trained_on(model: &Decoder) -> String {
    let environment = environment(model.device());
    match device::order_of_sums(model.device()) {
        Some(order) => {
            format!("{environment}, attention {}, sums in {order} order", model.packing())
        }
        None => environment,
    }
}

struct Job<'a> {
    spec: &'a TrainSpec,
    files: &'a Files,
    model: &'a Loaded,
    trainer: Trainer<'a>,
    metrics: Metrics,
    /// How passes fitted into memory when it was last said.
    fit: Fit,
    tokens: u64,
    seconds: f64,
}

impl Job<'_> {
    fn start(&mut self, context: &mut Context<'_>) -> Result<(), Stop> {
        if let Some(dir) = &self.files.resume {
            self.metrics = Metrics::read(&dir.join(METRICS_FILE))?;
            let resumed = self.trainer.load_resume(dir).map_err(stop)?;
            self.fit = self.trainer.fit();
            context.log(format!("goes on after step {}", resumed.steps_done))?;
            let (step, changes) = (resumed.steps_done, resumed.environment_changes);
            for change in &changes {
                context.log(format!("not bit for bit the same from here: {change}"))?;
            }
            if !changes.is_empty() {
                self.metrics.add(MetricRecord::Moved { step, changes }, context)?;
            }
            return Ok(());
        }
        self.progress("evaluate", None, context)?;
        let base = self.trainer.evaluate_base();
        self.fitted(0, context)?;
        if let Some(base) = base.map_err(stop)? {
            self.evaluated(base, context)?;
        }
        context.phase("evaluate");
        Ok(())
    }

    fn step(&mut self, context: &mut Context<'_>) -> Result<Option<StepReport>, Stop> {
        context.check_cancelled()?;
        let started: Instant = now();
        let before = self.trainer.steps_done();
        let stepped = self.trainer.step();
        self.fitted(before, context)?;
        let report = match stepped {
            Ok(Some(report)) => report,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.write_out(&error, context)?;
                return Err(stop(error));
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        context.phase("train");
        self.tokens += report.tokens;
        self.seconds += seconds;
        let record = MetricRecord::Step {
            step: report.step,
            epoch: self.trainer.epochs_done(),
            loss: report.loss,
            grad_norm: report.grad_norm,
            learning_rate: report.learning_rate,
            tokens: report.predicted_tokens,
            seconds,
        };
        self.metrics.add(record, context)?;
        context.log(format!(
            "step {}/{} loss {:.4} gradient norm {:.4} learning rate {:.3e} {} tokens {seconds:.2} s",
            report.step,
            self.spec.total_steps,
            report.loss,
            report.grad_norm,
            report.learning_rate,
            report.tokens
        ))?;
        self.progress("train", Some(report.loss), context)?;
        Ok(Some(report))
    }

    fn checkpoint(&mut self, step: u64, context: &mut Context<'_>) -> Result<(), Stop> {
        self.progress("evaluate", None, context)?;
        let evaluation = self.trainer.evaluate();
        self.fitted(step, context)?;
        if let Some(evaluation) = evaluation.map_err(stop)? {
            self.evaluated(evaluation, context)?;
        }
        context.phase("evaluate");
        if step == self.spec.total_steps {
            self.end(context)?;
        }
        self.save(step, context)
    }

    /// Whether what goes to others is what was trained.
    fn check(&self, adapter: &Path, context: &mut Context<'_>) -> Result<(), Stop> {
        match self.trainer.check_saved(adapter).map_err(stop)? {
            Some(0.0) => {
                context.log("the adapter changes nothing: its answers will be those of the base model")
            }
            Some(changes) => context.log(format!(
                "the adapter as written is the one that was trained: it changes logits by up to {changes:.3}"
            )),
            None => Ok(()),
        }
    }

    /// An early end leaves checkpoints out, which the plan counts on: they are what training came to.
    fn checkpoints_left_out(&mut self, context: &mut Context<'_>) -> Result<(), Stop> {
        let done = self.trainer.steps_done();
        if done == self.spec.total_steps {
            return Ok(());
        }
        self.end(context)?;
        for step in self.spec.checkpoints.iter().filter(|step| **step > done) {
            self.save(*step, context)?;
        }
        Ok(())
    }

    /// The best adapter takes the last one's place where the recipe says so, and what became of the run is told.
    fn end(&mut self, context: &mut Context<'_>) -> Result<(), Stop> {
        let step = self.trainer.steps_done();
        let kept = if self.spec.recipe.keep_best { self.trainer.restore_best().map_err(stop)? } else { step };
        if (step, kept) == (self.spec.total_steps, step) {
            return Ok(());
        }
        self.metrics.add(MetricRecord::End { step, kept }, context)?;
        context.log(format!("training ends after step {step}; what it kept is that of step {kept}"))
    }

    fn save(&mut self, step: u64, context: &mut Context<'_>) -> Result<(), Stop> {
        let adapter = self.files.out.join(Artifact::adapter_name(step));
        let resume = self.files.out.join(Artifact::resume_name(step));
        // PEFT finds a base of the Hub by this name; that of a folder is only told.
        let base = self.spec.model_settings.hub.as_ref().map_or(&self.spec.model, |hub| &hub.repo);
        self.trainer.save_trained(&adapter, Some(base)).map_err(stop)?;
        if step == self.spec.total_steps {
            self.check(&adapter, context)?;
        }
        fs::create_dir_all(&resume).map_err(|error| Stop::io(resume.display(), &error))?;
        self.metrics.write(&resume)?;
        self.trainer.save_resume(&resume).map_err(stop)?;
        context.phase("checkpoint");
        context.checkpoint(step, adapter, resume)
    }

    fn evaluated(&mut self, evaluation: Evaluation, context: &mut Context<'_>) -> Result<(), Stop> {
        let Evaluation { step, loss, predicted_tokens } = evaluation;
        let epoch = self.trainer.epochs_done();
        let record = MetricRecord::Eval { step, epoch, loss, tokens: predicted_tokens };
        self.metrics.add(record, context)?;
        context.log(format!("validation loss after step {step}: {loss:.4} over {predicted_tokens} tokens"))
    }

    /// Says when memory has made passes smaller than they were after so many steps.
    fn fitted(&mut self, step: u64, context: &mut Context<'_>) -> Result<(), Stop> {
        let fit = self.trainer.fit();
        if fit == self.fit {
            return Ok(());
        }
        self.fit = fit;
        let Fit { rows, recompute } = fit;
        self.metrics.add(MetricRecord::Memory { step, rows: rows as u64, recompute }, context)?;
        let twice = if recompute { ", activations computed twice" } else { "" };
        context.log(format!(
            "memory was not enough: from here {rows} rows a pass{twice}, at the same {} rows a step",
            self.spec.recipe.micro_batch * self.spec.recipe.accumulate
        ))
    }

    /// The rows of a pass that ended in a number that is none, as the model read them.
    fn write_out(&self, error: &ModelError, context: &mut Context<'_>) -> Result<(), Stop> {
        let ModelError::NotFinite { rows, .. } = error else { return Ok(()) };
        for number in rows.iter().flatten() {
            let Some(row) = self.trainer.row(*number) else { continue };
            // Ids that are no text must not hide what went wrong.
            let decoded = self.model.tokenizer.decode(&row.ids, false);
            let text = decoded.map_or_else(|_| format!("ids {:?}", row.ids), |text| format!("{text:?}"));
            context.log(format!("row {number}, {} tokens: {text}", row.ids.len()))?;
        }
        Ok(())
    }

    fn progress(&self, phase: &str, loss: Option<f64>, context: &mut Context<'_>) -> Result<(), Stop> {
        let (done, total) = (self.trainer.steps_done(), self.spec.total_steps);
        let speed = (self.seconds > 0.0).then(|| self.tokens as f64 / self.seconds);
        // Steps of this attempt only: those before a resume took no time here.
        let here = self.metrics.steps_here(done);
        let left = (here > 0).then(|| self.seconds / here as f64 * (total - done) as f64);
        context.progress(Progress {
            phase: phase.to_owned(),
            done,
            total,
            tokens_per_s: speed,
            loss,
            seconds_left: left,
        })
    }
}

#[derive(Default)]
struct Metrics {
    records: Vec<MetricRecord>,
    steps_before: u64,
}

impl Metrics {
    fn read(path: &Path) -> Result<Self, Stop> {
        let text = fs::read_to_string(path).map_err(|error| Stop::io(path.display(), &error))?;
        let records: Vec<MetricRecord> =
            from_jsonl(METRICS_FILE, &text).map_err(|error| Stop::bad_input(&error))?;
        let steps = records.iter().filter(|record| matches!(record, MetricRecord::Step { .. })).count();
        Ok(Self { records, steps_before: steps as u64 })
    }

    /// Also for whoever asks before the job is done, or if it never is.
    fn add(&mut self, record: MetricRecord, context: &mut Context<'_>) -> Result<(), Stop> {
        let line = serde_json::to_string(&record).map_err(|error| Stop::bad_input(&error))?;
        self.records.push(record);
        context.metric(line)
    }

    fn steps_here(&self, done: u64) -> u64 {
        done.saturating_sub(self.steps_before)
    }

    fn write(&self, dir: &Path) -> Result<PathBuf, Stop> {
        let text = to_jsonl(&self.records).map_err(|error| Stop::bad_input(&error))?;
        let path = dir.join(METRICS_FILE);
        fs::write(&path, text).map_err(|error| Stop::io(path.display(), &error))?;
        Ok(path)
    }
}

fn rows(spec: &TrainSpec, path: &Path, take: u32, model: &Loaded) -> Result<Vec<TrainRow>, Stop> {
    let conversations =
        rows::read_conversations(path, ReadLimits::default()).map_err(|error| Stop::bad_input(&error))?;
    let settings = RowSettings {
        max_length: spec.recipe.max_length as usize,
        loss_on: match spec.recipe.loss_on {
            LossOn::All => rows::LossOn::All,
            LossOn::Assistant => rows::LossOn::Assistant,
        },
        reference_quirks: spec.recipe.reference_quirks,
        render: render_options(&spec.model_settings)?,
    };
    let row = |conversation| {
        let row = rows::training_row(conversation, &model.template, &model.tokenizer, &settings);
        let row = row.map_err(|error| Stop::bad_input(&error))?;
        Ok(TrainRow { labels: row.labels(), ids: row.ids })
    };
    conversations.iter().take(take as usize).map(row).collect()
}

fn lora_config(spec: &TrainSpec) -> Result<LoraConfig, Stop> {
    let recipe = &spec.recipe;
    let module = |name: &String| {
        Module::from_name(name).ok_or_else(|| refused(format!("`{name}` is not a projection of this model")))
    };
    Ok(LoraConfig {
        rank: recipe.rank as usize,
        alpha: recipe.alpha,
        dropout: recipe.dropout,
        rslora: recipe.rslora,
        dora: recipe.dora,
        targets: recipe.targets.iter().map(module).collect::<Result<_, _>>()?,
    })
}

fn settings(spec: &TrainSpec) -> TrainSettings {
    let recipe = &spec.recipe;
    let mut settings = TrainSettings {
        epochs: recipe.epochs.into(),
        micro_batch: recipe.micro_batch as usize,
        accumulation: recipe.accumulate as usize,
        learning_rate: recipe.learning_rate,
        warmup_steps: recipe.warmup_steps.into(),
        max_grad_norm: recipe.max_grad_norm,
        seed: spec.seed,
        reference_quirks: recipe.reference_quirks,
        lora_plus_ratio: recipe.lora_plus_ratio,
        neftune_alpha: recipe.neftune_alpha,
        keep_best: recipe.keep_best,
        early_stopping: recipe.early_stopping.map(|stopping| EarlyStopping {
            patience: stopping.patience.into(),
            min_delta: stopping.min_delta,
        }),
        ..TrainSettings::default()
    };
    settings.optimizer.weight_decay = recipe.weight_decay;
    settings
}

fn refused(reason: String) -> Stop {
    Stop::Failed { class: assay_domain::job::FailureClass::BadInput, reason }
}
