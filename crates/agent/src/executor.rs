//! What runs a job: the [`Executor`] and what it is given for one attempt.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_domain::job::{FailureClass, Usage};
use assay_domain::segment::Lines;
use assay_domain::{Artifact, Assignment, Progress, Rejection};
use assay_proto::convert::{lease_ref, to_json};
use assay_proto::v1::{CheckpointedBatch, CheckpointedItem, worker_message::Body};
use assay_telemetry::names;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::courier::Courier;
use crate::lease::Lost;
use crate::link::Refusal;
use crate::party::Seat;
use crate::record::Record;
use crate::spending::Spending;
use crate::stop::Stop;
use crate::stored_lines::StoredLines;

/// Why the coordinator stops an attempt whose job a person cancelled.
const CANCELLED: &str = "cancelled";

/// Runs jobs. One executor serves all slots and seats of an agent.
pub trait Executor: Send + Sync + 'static {
    /// Runs one attempt to its end. After [`AttemptContext::cancelled`] it must return soon, with whatever it likes: nothing of it
    /// is used. It is awaited even then, so that the next attempt finds a free device; dropped mid-way it must free the device too.
    fn run(&self, cx: AttemptContext) -> impl Future<Output = Result<Finished, Failure>> + Send;
}

/// A finished run: files on this machine, which the agent uploads before it completes.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// (artifact name, file or folder). A single file keeps its name inside the artifact.
    pub outputs: Vec<(String, PathBuf)>,
    /// What the run used. The agent adds its own phases: `download` in front, `upload` behind.
    pub usage: Usage,
}

/// A failed run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Decides what happens next.
    pub class: FailureClass,
    /// The chain of reasons, for people.
    pub reason: String,
    /// Objects of the inputs that were not as they should be.
    pub(crate) suspects: Vec<Suspect>,
}

/// An object that could not be read as it should be. Whether it is bad, or the way here was, the coordinator finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) key: String,
    pub(crate) found: String,
}

impl Failure {
    /// A failure with its reason.
    pub fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into(), suspects: Vec::new() }
    }

    /// A failure whose reason is an error and all its sources.
    pub fn from_error(class: FailureClass, error: &dyn std::error::Error) -> Self {
        Self::new(class, assay_domain::chain(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Failure {}

/// One attempt, as its executor sees it. Clones are the same attempt.
#[derive(Clone)]
pub struct AttemptContext {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) inputs: Inputs,
    pub(crate) work_dir: PathBuf,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) record: Record,
    pub(crate) seat: Arc<Seat>,
    pub(crate) stop: Stop,
    pub(crate) spending: Spending,
    pub(crate) courier: Courier,
    pub(crate) span: tracing::Span,
}

/// What was fetched for an attempt.
#[derive(Default)]
pub(crate) struct Inputs {
    pub(crate) by_role: BTreeMap<String, PathBuf>,
    pub(crate) resume: Option<(u64, PathBuf)>,
}

impl AttemptContext {
    /// The assignment, as the coordinator gave it.
    pub fn assignment(&self) -> &Assignment {
        &self.shared.assignment
    }

    /// The input of a role, verified and read-only: a file, or a folder when the artifact has several files.
    pub fn input(&self, role: &str) -> Result<&Path, Failure> {
        self.optional_input(role).ok_or_else(|| {
            let known: Vec<_> = self.shared.inputs.by_role.keys().map(String::as_str).collect();
            Failure::new(
                FailureClass::BadInput,
                format!("no input `{role}` in the assignment; it has: {}", known.join(", ")),
            )
        })
    }

    /// Like [`Self::input`], for roles that a job may leave out.
    pub fn optional_input(&self, role: &str) -> Option<&Path> {
        self.shared.inputs.by_role.get(role).map(PathBuf::as_path)
    }

    /// A file of an input, by name: an artifact of that file alone is it.
    pub fn input_file(&self, role: &str, name: &str) -> Result<PathBuf, Failure> {
        let input = self.input(role)?;
        Ok(if input.is_dir() { input.join(name) } else { input.to_owned() })
    }

    /// All inputs, by role.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.shared.inputs.by_role.iter().map(|(role, path)| (role.as_str(), path.as_path()))
    }

    /// The newest resume state with its step, for a training job that was under way.
    pub fn resume(&self) -> Option<(u64, &Path)> {
        self.shared.inputs.resume.as_ref().map(|(step, path)| (*step, path.as_path()))
    }

    /// The span of its run, open as long as this is kept: for what others do for it.
    pub fn span(&self) -> &tracing::Span {
        &self.shared.span
    }

    /// Returns when each attempt that was offered together with this one has called this too, or is over. Safe to cancel.
    pub async fn companions(&self) {
        self.shared.seat.settle();
        self.shared.seat.all_settled().await;
    }

    /// An empty folder of this attempt alone; gone after the attempt.
    pub fn work_dir(&self) -> &Path {
        &self.shared.work_dir
    }

    /// Says how far it is. Never waits; the newest goes with the next renewal.
    pub fn progress(&self, progress: Progress) {
        self.shared.progress.send_replace(progress);
    }

    /// Adds a line to the attempt's log. Never waits.
    pub fn log(&self, line: impl Into<String>) {
        self.shared.record.log.add(&line.into());
    }

    /// Uploads the PEFT folder and the resume state of a step, and returns when the coordinator has accepted them, or with a failure
    /// to return from the run. Awaited while the run goes on, it costs the run nothing; await one before starting the next.
    pub async fn checkpoint(&self, step: u64, adapter: &Path, resume: &Path) -> Result<(), Failure> {
        let span = tracing::info_span!(names::CHECKPOINT, step);
        let sent = self.send_checkpoint(step, adapter, resume).instrument(span);
        match self.shared.stop.unless_silenced(sent).await {
            Some(outcome) => outcome,
            None => Err(Failure::new(FailureClass::Released, "the attempt's lease was lost")),
        }
    }

    async fn send_checkpoint(&self, step: u64, adapter: &Path, resume: &Path) -> Result<(), Failure> {
        let courier = &self.shared.courier;
        let name = Artifact::adapter_name(step);
        // Whoever loses this worker later can read how it came to this checkpoint.
        let (adapter, ()) = tokio::join!(courier.upload(&name, adapter), self.shared.record.upload());
        let adapter = adapter?;
        let resume = courier.upload(&Artifact::resume_name(step), resume).await?;
        let item = CheckpointedItem {
            lease: Some(lease_ref(&courier.lease)),
            step,
            adapter_json: to_json(&adapter),
            resume_json: to_json(&resume),
        };
        let body = Body::Checkpointed(CheckpointedBatch { items: vec![item] });
        match courier.link.until_heard(body).await {
            Ok(()) => {
                self.shared.stop.saved();
                Ok(())
            }
            Err(refusal) => {
                let failure = Failure::new(FailureClass::Crashed, refusal.to_string());
                if let Refusal::Rejected(rejection @ Rejection::StaleAttempt { .. }) = refusal {
                    self.shared.stop.silence(Lost::Refused(rejection));
                }
                Err(failure)
            }
        }
    }

    /// Returns when someone wants a checkpoint now: the attempt may be about to go to another worker. Runs that have none need not
    /// listen. Safe to cancel.
    pub async fn asked_to_save(&self) {
        self.shared.stop.asked_to_save().await;
    }

    /// Adds a line to the attempt's metrics: one JSON object of its executor's. Never waits for anybody.
    pub fn metric(&self, line: &str) {
        self.shared.record.metric(line);
    }

    /// Lines that are stored part by part, for the attempts after this one: they have them as inputs `ledger/...`.
    pub fn ledger(&self) -> StoredLines {
        let folder = self.work_dir();
        let (file, parts) = (folder.join("ledger.jsonl"), folder.join("ledger.parts"));
        StoredLines::new(Lines::Ledger, file, parts, &self.shared.courier)
    }

    /// Whether a person cancelled the job: what it has set going elsewhere is wanted no more. Where the
    /// lease was lost or the agent shuts down, another attempt goes on with it.
    pub fn cancelled_by_a_person(&self) -> bool {
        matches!(self.shared.stop.why_silenced(), Some(Lost::Stopped(reason)) if reason == CANCELLED)
    }

    /// What calls may cost, USD, when a budget counts them.
    pub fn usd_limit(&self) -> Option<f64> {
        self.shared.spending.usd_limit()
    }

    /// Asks for more than a limit of so many USD that the run came to: [`Self::usd_limit`] is higher afterwards, or this is the
    /// failure to return.
    pub async fn more_usd(&self, has: f64) -> Result<(), Failure> {
        self.shared.spending.more_usd(has).await
    }

    /// Says what the attempt's calls have cost by now, USD. It goes with its end, however that comes.
    pub fn paid_usd(&self, usd: f64) {
        self.shared.spending.paid(usd);
    }

    /// Cancelled when the run must stop: the lease is lost, a person cancelled, or the agent shuts down.
    pub fn cancelled(&self) -> &CancellationToken {
        self.shared.stop.run_token()
    }
}
