//! What a running job may do besides computing: say how far it is, write to the log, hand over a checkpoint, notice a cancel.

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use assay_domain::chain;
use assay_domain::job::{FailureClass, Progress, Usage};

use crate::engine::memory;
use crate::frames::{self, Message};

/// Why a job ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The agent asked for it.
    Cancelled,
    /// It cannot go on.
    Failed { class: FailureClass, reason: String },
}

impl Stop {
    /// Settings or data of the job are wrong: the same on every worker.
    pub(crate) fn bad_input(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Failed { class: FailureClass::BadInput, reason: chain(error) }
    }

    /// The local disk or a file that was verified before.
    pub(crate) fn io(what: impl Display, error: &std::io::Error) -> Self {
        Self::Failed { class: FailureClass::Transient, reason: format!("{what}: {error}") }
    }
}

/// What the agent wants of the running job.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) cancel: AtomicBool,
    pub(crate) save: AtomicBool,
}

/// The running job's side of the frames.
pub(crate) struct Context<'a> {
    stream: &'a mut dyn Write,
    asked: &'a Asked,
    started: Instant,
    phases: Vec<(String, f64)>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(stream: &'a mut dyn Write, asked: &'a Asked) -> Self {
        Self { stream, asked, started: now(), phases: Vec::new() }
    }

    /// To be called between steps.
    pub(crate) fn check_cancelled(&self) -> Result<(), Stop> {
        if self.is_cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.asked.cancel.load(Ordering::SeqCst)
    }

    /// Whether a checkpoint was asked for; asked for once, answered once.
    pub(crate) fn is_asked_to_save(&self) -> bool {
        self.asked.save.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn progress(&mut self, progress: Progress) -> Result<(), Stop> {
        self.send(&Message::Progress(progress))
    }

    pub(crate) fn log(&mut self, line: impl Into<String>) -> Result<(), Stop> {
        self.send(&Message::Log(line.into()))
    }

    pub(crate) fn metric(&mut self, line: String) -> Result<(), Stop> {
        self.send(&Message::Metric(line))
    }

    pub(crate) fn checkpoint(&mut self, step: u64, adapter: PathBuf, resume: PathBuf) -> Result<(), Stop> {
        self.send(&Message::Checkpoint { step, adapter, resume })
    }

    /// Ends a phase: the time since the last one goes to `name`.
    pub(crate) fn phase(&mut self, name: &str) -> f64 {
        let seconds = self.started.elapsed().as_secs_f64();
        self.started = now();
        match self.phases.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += seconds,
            None => self.phases.push((name.to_owned(), seconds)),
        }
        seconds
    }

    /// What the job used, with `tokens` of its main phase in `seconds`.
    pub(crate) fn usage(&mut self, tokens: u64, seconds: f64, environment: String) -> Usage {
        Usage {
            phases: std::mem::take(&mut self.phases),
            tokens,
            tokens_per_s: if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 },
            peak_memory_mib: memory::peak_mib(),
            environment,
            ..Usage::default()
        }
    }

    fn send(&mut self, message: &Message) -> Result<(), Stop> {
        frames::write(&mut self.stream, message).map_err(|error| Stop::io("the agent cannot be told", &error))
    }
}

/// Durations of phases are measured, never decided by.
#[expect(clippy::disallowed_methods, reason = "a shell that measures how long a phase took")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
