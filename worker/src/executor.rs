//! Runs an attempt in the engine process: hands over the inputs, passes progress on, uploads checkpoints while it computes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use assay_agent::{AttemptContext, Executor, Failure, Finished};
use assay_domain::Work;
use assay_domain::job::{FailureClass, GenerateSpec, System};
use assay_judging::records::GENERATIONS_FILE;
use assay_telemetry::names;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Mutex;
use tracing::Instrument as _;

use crate::board::{Board, Waiting};
use crate::frames::{Command, Done, EngineJob, GeneratePart, Message};
use crate::process::{EngineConfig, EngineProcess};

/// How long a cancelled engine may take to come to the end of its step before it is killed.
const CANCEL_LIMIT: Duration = Duration::from_secs(60);
/// How long a cancelled run may take to say that the checkpoints on their way are safe; less than an agent's time to drain.
const UPLOADS_LIMIT: Duration = Duration::from_secs(10);

/// Runs one attempt at a time, or several generate jobs as one, and keeps the engine warm between them. Clones are the same.
#[derive(Clone)]
pub(crate) struct EngineExecutor {
    config: EngineConfig,
    stall_limit: Duration,
    warm: Arc<Mutex<Option<EngineProcess>>>,
    board: Arc<Board>,
}

/// How a run in the engine ended, before its checkpoints are all uploaded.
enum Ended {
    Done(Vec<Done>),
    Failed(Failure),
    Cancelled,
}

impl EngineExecutor {
    /// Takes an engine that is running already.
    pub(crate) fn new(config: EngineConfig, stall_limit: Duration, engine: EngineProcess) -> Self {
        let warm = Arc::new(Mutex::new(Some(engine)));
        Self { config, stall_limit, warm, board: Arc::default() }
    }

    /// Runs a job for the attempts that it is of.
    async fn run_job(
        &self,
        warm: &mut Option<EngineProcess>,
        job: EngineJob,
        attempts: &[AttemptContext],
    ) -> Result<Vec<Done>, Failure> {
        let mut engine = self.engine(warm.take()).await?;
        let sent = engine.send(&Command::Run(Box::new(job))).await;
        let end = match sent {
            Ok(()) => self.drive(&mut engine, attempts).await,
            Err(_) => Ok(Ended::Failed(ended(&mut engine).await)),
        };
        if engine.is_alive() {
            *warm = Some(engine);
        }
        match end? {
            Ended::Done(done) => Ok(done),
            Ended::Failed(failure) => Err(failure),
            Ended::Cancelled => Err(cancelled()),
        }
    }

    /// Waits for those that it was offered with; then the one that first finds the engine free runs them all.
    async fn run_together(&self, cx: &AttemptContext, part: GeneratePart) -> Result<Finished, Failure> {
        let answer = self.board.add(cx.clone(), part);
        let answered = async {
            cx.companions().await;
            // A task of its own: it serves the others even when this attempt ends.
            tokio::spawn(self.clone().run_next_batch().in_current_span());
            let gone = || Failure::new(FailureClass::Crashed, "the batch ended without an answer");
            answer.await.unwrap_or_else(|_| Err(gone()))
        };
        cx.cancelled().run_until_cancelled(answered).await.unwrap_or_else(|| Err(cancelled()))
    }

    async fn run_next_batch(self) {
        let mut warm = self.warm.lock().await;
        let batch = self.board.take_batch();
        if batch.is_empty() {
            return;
        }
        if batch.len() > 1 {
            let line = format!("{} jobs answer their prompts in one batch", batch.len());
            batch.iter().for_each(|waiting| waiting.cx.log(&line));
        }
        let parts = batch.iter().map(|waiting| waiting.part.clone()).collect();
        let attempts: Vec<AttemptContext> = batch.iter().map(|waiting| waiting.cx.clone()).collect();
        let ended = self.run_job(&mut warm, EngineJob::Generate(parts), &attempts).await;
        drop(attempts);
        match ended {
            Ok(done) => batch.into_iter().zip(done).for_each(|(one, done)| one.tell(Ok(finished(done)))),
            Err(failure) if batch.len() == 1 => {
                batch.into_iter().for_each(|one| one.tell(Err(failure.clone())))
            }
            Err(failure) => self.run_one_by_one(&mut warm, batch, &failure).await,
        }
    }

    /// Whose fault it was is not known: each answers for itself.
    async fn run_one_by_one(&self, warm: &mut Option<EngineProcess>, batch: Vec<Waiting>, failure: &Failure) {
        for waiting in batch.into_iter().filter(Waiting::is_wanted) {
            waiting.cx.log(format!("the batch failed, this job runs alone: {failure}"));
            let job = EngineJob::Generate(vec![waiting.part.clone()]);
            let done = self.run_job(warm, job, std::slice::from_ref(&waiting.cx)).await;
            waiting.tell(done.and_then(only));
        }
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

    /// Passes on what the engine says. Only a training has checkpoints, and it is of one attempt.
    async fn drive(&self, engine: &mut EngineProcess, attempts: &[AttemptContext]) -> Result<Ended, Failure> {
        let Some(cx) = attempts.first() else { return Ok(Ended::Cancelled) };
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
                        Ok(Some(message)) => if let Some(end) = heard(message, attempts, &mut phase) {
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
                () = all_cancelled(attempts) => {
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
                    Message::Done(_) | Message::Failed { .. } | Message::Cancelled => return Some(()),
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
        if let Work::Generate(spec) = &cx.assignment().job.work {
            return self.run_together(&cx, generate_part(&cx, spec)?).await;
        }
        let job = job_for(&cx)?;
        let mut warm = self.warm.lock().await;
        self.run_job(&mut warm, job, std::slice::from_ref(&cx)).await.and_then(only)
    }
}

fn cancelled() -> Failure {
    Failure::new(FailureClass::Released, "cancelled")
}

fn finished(Done { outputs, usage }: Done) -> Finished {
    Finished { outputs, usage }
}

fn only(done: Vec<Done>) -> Result<Finished, Failure> {
    let none = || Failure::new(FailureClass::Crashed, "the engine said nothing of what it made");
    done.into_iter().next().map(finished).ok_or_else(none)
}

async fn all_cancelled(attempts: &[AttemptContext]) {
    for cx in attempts {
        cx.cancelled().cancelled().await;
    }
}

/// The phase that the engine is in, as a span of each attempt's; a new phase ends it.
#[derive(Default)]
struct Phase {
    name: String,
    spans: Vec<tracing::Span>,
}

impl Phase {
    fn now(&mut self, name: &str, attempts: &[AttemptContext]) {
        if self.name != name {
            name.clone_into(&mut self.name);
            let span = |cx: &AttemptContext| tracing::info_span!(parent: cx.span(), names::PHASE, assay.phase = name);
            self.spans = attempts.iter().map(span).collect();
        }
    }
}

fn heard(message: Message, attempts: &[AttemptContext], phase: &mut Phase) -> Option<Ended> {
    match message {
        Message::Progress(progress) => {
            phase.now(&progress.phase, attempts);
            attempts.iter().for_each(|cx| cx.progress(progress.clone()));
        }
        Message::Log(line) => attempts.iter().for_each(|cx| cx.log(&line)),
        Message::Metric(line) => attempts.iter().for_each(|cx| cx.metric(&line)),
        Message::Hello { .. } | Message::Checkpoint { .. } => {}
        Message::Done(done) => return Some(Ended::Done(done)),
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
        Work::Generate(spec) => Ok(EngineJob::Generate(vec![generate_part(cx, spec)?])),
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

fn generate_part(cx: &AttemptContext, spec: &GenerateSpec) -> Result<GeneratePart, Failure> {
    let adapter = match &spec.system {
        System::Base => None,
        System::Tuned { .. } => Some(cx.input("adapter")?.to_owned()),
    };
    Ok(GeneratePart {
        spec: spec.clone(),
        model: cx.input("model")?.to_owned(),
        prompts: cx.input("prompts")?.to_owned(),
        adapter,
        out: cx.work_dir().join("out"),
    })
}

fn digest_of(cx: &AttemptContext, role: &str) -> Option<assay_domain::Digest> {
    let inputs = &cx.assignment().inputs;
    inputs.iter().find(|(name, _)| name == role).map(|(_, artifact)| artifact.digest())
}
