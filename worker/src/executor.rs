//! Runs an attempt in the engine process: hands over the inputs, passes progress on, uploads checkpoints while it computes.

use std::path::PathBuf;
use std::time::Duration;

use assay_agent::{AttemptContext, Executor, Failure, Finished};
use assay_domain::Work;
use assay_domain::job::{FailureClass, Usage};
use assay_judging::records::GENERATIONS_FILE;
use assay_telemetry::names;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Mutex;

use crate::frames::{Command, EngineJob, Message};
use crate::process::{EngineConfig, EngineProcess};

/// How long a cancelled engine may take to come to the end of its step before it is killed.
const CANCEL_LIMIT: Duration = Duration::from_secs(60);
/// How long a cancelled run may take to say that the checkpoints on their way are safe; less than an agent's time to drain.
const UPLOADS_LIMIT: Duration = Duration::from_secs(10);

/// Runs one attempt at a time and keeps the engine warm between them.
pub(crate) struct EngineExecutor {
    config: EngineConfig,
    stall_limit: Duration,
    warm: Mutex<Option<EngineProcess>>,
}

/// How a run in the engine ended, before its checkpoints are all uploaded.
enum Ended {
    Done { outputs: Vec<(String, PathBuf)>, usage: Usage },
    Failed(Failure),
    Cancelled,
}

impl EngineExecutor {
    /// Takes an engine that is running already.
    pub(crate) fn new(config: EngineConfig, stall_limit: Duration, engine: EngineProcess) -> Self {
        Self { config, stall_limit, warm: Mutex::new(Some(engine)) }
    }

    async fn engine(&self, warm: Option<EngineProcess>) -> Result<EngineProcess, Failure> {
        if let Some(mut engine) = warm
            && engine.is_alive()
        {
            return Ok(engine);
        }
        EngineProcess::start(&self.config).await.map_err(|error| {
            Failure::new(FailureClass::Crashed, format!("the engine does not start: {error}"))
        })
    }

    async fn drive(&self, engine: &mut EngineProcess, cx: &AttemptContext) -> Result<Ended, Failure> {
        // One upload for each checkpoint of the plan at most; they go on while the engine computes.
        let mut uploads = FuturesUnordered::new();
        let mut phase = Phase::default();
        loop {
            tokio::select! {
                // What the engine says first: a finished job beats a cancel noticed in the same moment.
                biased;
                message = tokio::time::timeout(self.stall_limit, engine.receive()) => {
                    match message {
                        Err(_) => return Ok(Ended::Failed(self.stalled(engine).await)),
                        Ok(None) => return Ok(Ended::Failed(ended(engine).await)),
                        Ok(Some(Message::Checkpoint { step, adapter, resume })) => {
                            uploads.push(upload(cx, step, adapter, resume));
                        }
                        Ok(Some(message)) => if let Some(end) = heard(message, cx, &mut phase) {
                            while let Some(uploaded) = uploads.next().await {
                                uploaded?;
                            }
                            return Ok(end);
                        },
                    }
                }
                Some(uploaded) = uploads.next() => uploaded?,
                () = cx.asked_to_save() => {
                    // An engine that is gone says so itself.
                    let _ = engine.send(&Command::Save).await;
                }
                () = cx.cancelled().cancelled() => {
                    // A drained worker is told to stop before it hears that its checkpoint is safe.
                    let safe = tokio::time::timeout(UPLOADS_LIMIT, uploads.collect::<Vec<_>>());
                    return Ok(tokio::join!(self.cancel(engine), safe).0);
                }
            }
        }
    }

    async fn stalled(&self, engine: &mut EngineProcess) -> Failure {
        engine.end().await;
        let reason = format!("no progress for {} s: the engine was killed", self.stall_limit.as_secs());
        Failure::new(FailureClass::Stalled, reason)
    }

    async fn cancel(&self, engine: &mut EngineProcess) -> Ended {
        let to_its_end = async {
            engine.send(&Command::Cancel).await.ok()?;
            loop {
                match engine.receive().await? {
                    Message::Done { .. } | Message::Failed { .. } | Message::Cancelled => return Some(()),
                    Message::Hello { .. }
                    | Message::Progress(_)
                    | Message::Log(_)
                    | Message::Metric(_)
                    | Message::Checkpoint { .. } => {}
                }
            }
        };
        if tokio::time::timeout(CANCEL_LIMIT, to_its_end).await.ok().flatten().is_none() {
            engine.end().await;
        }
        Ended::Cancelled
    }
}

impl Executor for EngineExecutor {
    async fn run(&self, cx: AttemptContext) -> Result<Finished, Failure> {
        let job = job_for(&cx)?;
        let mut warm = self.warm.lock().await;
        let mut engine = self.engine(warm.take()).await?;
        let sent = engine.send(&Command::Run(Box::new(job))).await;
        let end = match sent {
            Ok(()) => self.drive(&mut engine, &cx).await,
            Err(_) => Ok(Ended::Failed(ended(&mut engine).await)),
        };
        if engine.is_alive() {
            *warm = Some(engine);
        }
        match end? {
            Ended::Done { outputs, usage } => Ok(Finished { outputs, usage }),
            Ended::Failed(failure) => Err(failure),
            Ended::Cancelled => Err(Failure::new(FailureClass::Released, "cancelled")),
        }
    }
}

/// The span of the phase that the engine is in; a new phase ends it.
#[derive(Default)]
struct Phase {
    name: String,
    span: Option<tracing::Span>,
}

impl Phase {
    fn now(&mut self, name: &str) {
        if self.name != name {
            name.clone_into(&mut self.name);
            self.span = Some(tracing::info_span!(names::PHASE, assay.phase = name));
        }
    }
}

fn heard(message: Message, cx: &AttemptContext, phase: &mut Phase) -> Option<Ended> {
    match message {
        Message::Progress(progress) => {
            phase.now(&progress.phase);
            cx.progress(progress);
        }
        Message::Log(line) => cx.log(line),
        Message::Metric(line) => cx.metric(&line),
        Message::Hello { .. } | Message::Checkpoint { .. } => {}
        Message::Done { outputs, usage } => return Some(Ended::Done { outputs, usage }),
        Message::Failed { class, reason } => return Some(Ended::Failed(Failure::new(class, reason))),
        Message::Cancelled => return Some(Ended::Cancelled),
    }
    None
}

async fn ended(engine: &mut EngineProcess) -> Failure {
    let (class, reason) = engine.end().await;
    Failure::new(class, reason)
}

async fn upload(cx: &AttemptContext, step: u64, adapter: PathBuf, resume: PathBuf) -> Result<(), Failure> {
    cx.checkpoint(step, &adapter, &resume).await?;
    cx.log(format!("the checkpoint of step {step} is safe"));
    // The coordinator has it; three moments of every factor would only fill the worker's disk.
    tokio::fs::remove_dir_all(&resume).await.map_err(|error| {
        Failure::new(FailureClass::Transient, format!("{} cannot be removed: {error}", resume.display()))
    })
}

fn job_for(cx: &AttemptContext) -> Result<EngineJob, Failure> {
    let out = cx.work_dir().join("out");
    let wrong = |reason: String| Failure::new(FailureClass::BadInput, reason);
    match &cx.assignment().job.work {
        Work::Train(spec) => Ok(EngineJob::Train {
            spec: spec.clone(),
            model: cx.input("model")?.to_owned(),
            train: cx.input("train")?.to_owned(),
            valid: if spec.valid_rows > 0 { Some(cx.input("valid")?.to_owned()) } else { None },
            resume: cx.resume().map(|(_, path)| path.to_owned()),
            out,
        }),
        Work::Generate(spec) => Ok(EngineJob::Generate {
            spec: spec.clone(),
            model: cx.input("model")?.to_owned(),
            prompts: cx.input("prompts")?.to_owned(),
            adapter: match &spec.system {
                assay_domain::job::System::Base => None,
                assay_domain::job::System::Tuned { .. } => Some(cx.input("adapter")?.to_owned()),
            },
            out,
        }),
        Work::Score(spec) => Ok(EngineJob::Score {
            spec: spec.clone(),
            model: cx.input("model")?.to_owned(),
            model_digest: digest_of(cx, "model").ok_or_else(|| wrong(String::from("no judge model")))?,
            base: cx.input_file("base", GENERATIONS_FILE)?,
            tuned: cx.input_file("tuned", GENERATIONS_FILE)?,
            secret: cx
                .assignment()
                .secret
                .ok_or_else(|| wrong(String::from("no blinding secret came along")))?,
            out,
        }),
        Work::Judge(_) | Work::Report(_) => {
            Err(wrong(format!("a worker does not run `{}`", cx.assignment().job.work.kind().as_str())))
        }
    }
}

fn digest_of(cx: &AttemptContext, role: &str) -> Option<assay_domain::Digest> {
    let inputs = &cx.assignment().inputs;
    inputs.iter().find(|(name, _)| name == role).map(|(_, artifact)| artifact.digest())
}
