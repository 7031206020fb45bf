//! One job's state: each phase carries just its own data, attempts and checkpoints stand beside it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::FinishedJob;
use crate::budget::{Account, Amount, Month};
use crate::job::{FailureClass, Usage};
use crate::segment::{AttemptLog, Lines};
use crate::{Artifact, Epoch, Event, Fence, JobId, Lease, LogSegment, ObjectKey, UnixMillis, WorkerId};

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Not running; whether it can is computed.
    #[default]
    Waiting,
    /// A worker has the right to an attempt.
    Leased {
        /// Its token.
        fence: Fence,
        /// Who.
        worker: WorkerId,
    },
    /// Done, by the attempt named.
    Succeeded {
        /// The attempt that won.
        fence: Fence,
        /// All its outputs, checkpoints included.
        outputs: Vec<Artifact>,
        /// What the winning attempt used.
        usage: Usage,
    },
    /// Done by an equal job of another matrix.
    Reused {
        /// The one that ran.
        from: JobId,
        /// Its outputs.
        outputs: Vec<Artifact>,
        /// What it had used.
        usage: Option<Usage>,
    },
    /// Not tried again.
    Failed {
        /// Why.
        reason: String,
    },
    /// A person cancelled it.
    Cancelled,
}

/// What people are told; computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// An input is not there yet.
    Waiting,
    /// It can run.
    Ready,
    /// A worker has it.
    Running,
    /// Done.
    Succeeded,
    /// Taken from an equal job.
    Reused,
    /// Not tried again.
    Failed,
    /// An input will never be there.
    Blocked,
    /// A person cancelled it.
    Cancelled,
}

impl Status {
    /// Whether it can change no more.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Reused | Self::Failed | Self::Blocked | Self::Cancelled => true,
            Self::Waiting | Self::Ready | Self::Running => false,
        }
    }

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Reused => "reused",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It has not.
    Running,
    /// It finished the job.
    Succeeded,
    /// It said that it failed.
    Failed {
        /// What kind of failure.
        class: FailureClass,
        /// The chain of reasons.
        reason: String,
    },
    /// Its lease ran out.
    Lost,
    /// It or its matrix was cancelled.
    Cancelled,
    /// It finished the job, but what it made was lost later.
    Undone {
        /// What was lost.
        reason: String,
    },
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its token.
    pub fence: Fence,
    /// Who.
    pub worker: WorkerId,
    /// When it was leased.
    pub started_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// How.
    pub outcome: Outcome,
    /// What it may cost, and did.
    #[serde(default, skip_serializing_if = "Account::is_default")]
    pub account: Account,
    /// The step after which it goes on with a training; none: it began at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<u64>,
    /// What of its log lies in the store.
    #[serde(default, skip_serializing_if = "AttemptLog::is_empty")]
    pub log: AttemptLog,
    /// What of its ledger lies in the store.
    #[serde(default, skip_serializing_if = "AttemptLog::is_empty")]
    pub ledger: AttemptLog,
    /// What of its metrics lies in the store.
    #[serde(default, skip_serializing_if = "AttemptLog::is_empty")]
    pub metrics: AttemptLog,
}

impl AttemptRecord {
    /// The month whose budgets it counts to: that of its lease, however long it runs.
    pub fn month(&self) -> Month {
        Month::of(self.started_at)
    }

    /// What of its lines lies in the store.
    pub fn stored(&self, lines: Lines) -> &AttemptLog {
        match lines {
            Lines::Log => &self.log,
            Lines::Ledger => &self.ledger,
            Lines::Metrics => &self.metrics,
        }
    }

    fn stored_mut(&mut self, lines: Lines) -> &mut AttemptLog {
        match lines {
            Lines::Log => &mut self.log,
            Lines::Ledger => &mut self.ledger,
            Lines::Metrics => &mut self.metrics,
        }
    }
}

/// An accepted checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The attempt that brought it.
    pub fence: Fence,
    /// For evaluation: an output of the job from here on.
    pub adapter: Artifact,
    /// For resume; dropped from state when two newer ones exist or the job succeeds.
    pub resume: Option<Artifact>,
    /// It was asked for between two of the plan: its adapter is no output.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked_for: bool,
}

/// A job's state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JobState {
    /// Where it stands.
    pub phase: Phase,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptRecord>,
    /// Accepted checkpoints by step.
    pub checkpoints: BTreeMap<u64, Checkpoint>,
    /// When something last happened to it.
    pub changed_at: Option<UnixMillis>,
    /// How often something that it had made, or was given by an equal job, was lost.
    #[serde(default)]
    pub losses: usize,
    /// The most memory of a worker, MiB, that was not enough for it, as long as it has not succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_exceeded_mib: Option<u64>,
    /// How much more than its estimate it takes, in thousandths, since a budget was not enough for it and it has not succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_permille: Option<u32>,
}

/// How an attempt's account is settled.
enum Settled {
    /// With what it says that it used.
    Said(Amount),
    /// It was stopped: with its time until then.
    Elapsed,
    /// Nobody knows: all that was set aside counts.
    Full,
}

impl Settled {
    fn said(used: Option<Amount>) -> Self {
        used.map_or(Self::Full, Self::Said)
    }
}

/// Resume states kept while a job runs.
const RESUME_KEPT: usize = 2;

impl JobState {
    /// The token of the attempt whose word counts.
    pub fn current(&self) -> Option<Fence> {
        match &self.phase {
            Phase::Leased { fence, .. } => Some(*fence),
            Phase::Waiting
            | Phase::Succeeded { .. }
            | Phase::Reused { .. }
            | Phase::Failed { .. }
            | Phase::Cancelled => None,
        }
    }

    /// An output, once it exists: of a finished job, or of an accepted checkpoint.
    pub fn output(&self, name: &str) -> Option<&Artifact> {
        let outputs: &[Artifact] = match &self.phase {
            Phase::Succeeded { outputs, .. } | Phase::Reused { outputs, .. } => outputs,
            Phase::Waiting | Phase::Leased { .. } | Phase::Failed { .. } | Phase::Cancelled => &[],
        };
        outputs.iter().chain(self.adapters()).find(|artifact| artifact.name == name)
    }

    /// The adapters of the plan's checkpoints so far.
    pub fn adapters(&self) -> impl Iterator<Item = &Artifact> {
        let planned = self.checkpoints.values().filter(|checkpoint| !checkpoint.asked_for);
        planned.map(|checkpoint| &checkpoint.adapter)
    }

    /// Whether a person's cancel would change it.
    pub fn can_be_cancelled(&self) -> bool {
        match &self.phase {
            Phase::Waiting | Phase::Leased { .. } => true,
            Phase::Succeeded { .. } | Phase::Reused { .. } | Phase::Failed { .. } | Phase::Cancelled => false,
        }
    }

    /// The newest resume state.
    pub fn resume(&self) -> Option<(u64, &Artifact)> {
        self.checkpoints.iter().rev().find_map(|(step, point)| Some((*step, point.resume.as_ref()?)))
    }

    /// The artifact that an object belongs to, among all that a later job or attempt may read.
    pub fn holder_of(&self, key: &ObjectKey) -> Option<&Artifact> {
        let outputs: &[Artifact] = match &self.phase {
            Phase::Succeeded { outputs, .. } | Phase::Reused { outputs, .. } => outputs,
            Phase::Waiting | Phase::Leased { .. } | Phase::Failed { .. } | Phase::Cancelled => &[],
        };
        let points = self.checkpoints.values();
        let kept = points.flat_map(|point| std::iter::once(&point.adapter).chain(&point.resume));
        outputs.iter().chain(kept).find(|artifact| artifact.has(key))
    }

    /// The attempt and the lines that an object is a part of.
    pub fn lines_in(&self, id: &JobId, key: &ObjectKey) -> Option<(Fence, Lines)> {
        let all = self.attempts.iter().flat_map(|attempt| Lines::ALL.map(|lines| (attempt, lines)));
        let holds = |(attempt, lines): &(&AttemptRecord, Lines)| {
            let lease = Lease { job: id.clone(), fence: attempt.fence };
            attempt.stored(*lines).part_at(&lease, key).is_some()
        };
        all.into_iter().find(holds).map(|(attempt, lines)| (attempt.fence, lines))
    }

    /// How many attempts ended in a way that counts against the job.
    pub fn attempts_counted(&self) -> usize {
        self.attempts_that(FailureClass::counts)
    }

    /// How many attempts crashed, stalled or lost their worker.
    pub fn crashes(&self) -> usize {
        self.attempts_that(FailureClass::is_crash)
    }

    /// How many attempts were lost or failed in such a way. One that was undone shows that the job can be done: those before it
    /// count no more.
    fn attempts_that(&self, failed_so: impl Fn(FailureClass) -> bool) -> usize {
        let counts = |attempt: &&AttemptRecord| match &attempt.outcome {
            Outcome::Failed { class, .. } => failed_so(*class),
            Outcome::Lost => true,
            Outcome::Running | Outcome::Succeeded | Outcome::Cancelled | Outcome::Undone { .. } => false,
        };
        let since = |attempt: &&AttemptRecord| !matches!(attempt.outcome, Outcome::Undone { .. });
        self.attempts.iter().rev().take_while(since).filter(counts).count()
    }

    /// As later submissions find it by its key; `id` is its own.
    pub fn finished(&self, id: &JobId) -> Option<FinishedJob> {
        match &self.phase {
            Phase::Succeeded { outputs, usage, .. } => {
                Some(FinishedJob { job: id.clone(), outputs: outputs.clone(), usage: Some(usage.clone()) })
            }
            Phase::Reused { from, outputs, usage } => {
                Some(FinishedJob { job: from.clone(), outputs: outputs.clone(), usage: usage.clone() })
            }
            Phase::Waiting | Phase::Leased { .. } | Phase::Failed { .. } | Phase::Cancelled => None,
        }
    }

    /// What its attempts take of a budget.
    pub fn holds(&self) -> Amount {
        self.attempts.iter().fold(Amount::ZERO, |sum, attempt| sum.plus(attempt.account.holds()))
    }

    /// One of its attempts.
    pub fn attempt(&self, fence: Fence) -> Option<&AttemptRecord> {
        self.attempts.iter().rev().find(|attempt| attempt.fence == fence)
    }

    /// Adds an event about this job; one about something else changes nothing.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::JobReused { from, outputs, usage, at, .. } => {
                self.reused(from, outputs, usage.as_ref(), *at);
            }
            Event::JobLeased { lease, worker, account, at } => self.leased(lease, worker, *account, *at),
            Event::SpendGranted { lease, more, .. } => self.granted(lease, *more),
            Event::Checkpointed { lease, step, adapter, resume, asked_for, at } => {
                let (adapter, resume) = (adapter.clone(), Some(resume.clone()));
                let point = Checkpoint { fence: lease.fence, adapter, resume, asked_for: *asked_for };
                self.checkpointed(*step, point, *at);
            }
            Event::Logged { lease, segment, .. } => self.logged(lease, segment),
            Event::JobSucceeded { lease, outputs, usage, at } => self.succeeded(lease, outputs, usage, *at),
            Event::AttemptFailed { lease, class, reason, memory_mib, used, needs_permille, at } => {
                self.memory_exceeded_mib = self.memory_exceeded_mib.max(*memory_mib);
                self.needs_permille = self.needs_permille.max(*needs_permille);
                self.attempt_failed(lease, *class, reason, *used, *at);
            }
            Event::AttemptLost { lease, at } => self.attempt_lost(lease, *at),
            Event::ArtifactLost { job, key, reason, at, .. } => match self.lines_in(job, key) {
                Some((fence, lines)) => self.lines_lost(job, fence, lines, key),
                None => self.artifact_lost(key, reason, *at),
            },
            Event::JobFailed { reason, at, .. } => self.failed(reason, *at),
            Event::JobCancelled { at, .. } => self.cancelled(*at),
            Event::EpochRaised { .. }
            | Event::HistoryForgotten { .. }
            | Event::BackupTaken { .. }
            | Event::BackupFailed { .. }
            | Event::WorkerRegistered { .. }
            | Event::WorkerForgotten { .. }
            | Event::MatrixSubmitted { .. }
            | Event::MatrixCancelled { .. }
            | Event::MatrixPaused { .. }
            | Event::MatrixResumed { .. }
            | Event::MatrixBudgeted { .. }
            | Event::BudgetReached { .. }
            | Event::WorkerQuarantined { .. }
            | Event::WorkerDraining { .. }
            | Event::WorkerLifted { .. }
            | Event::MatrixArchived { .. } => {}
        }
    }

    /// A running attempt of an older epoch is void, and does not count against the job. A restore has no time of its own:
    /// the last thing known counts.
    pub(super) fn voided(&mut self, epoch: Epoch) {
        let Some(fence) = self.current().filter(|fence| fence.epoch < epoch) else { return };
        self.phase = Phase::Waiting;
        let reason = format!("epoch {epoch} voided it");
        let outcome = Outcome::Failed { class: FailureClass::Released, reason };
        self.end_attempt(fence, outcome, Settled::Full, self.changed_at.unwrap_or_default());
    }

    fn leased(&mut self, lease: &Lease, worker: &WorkerId, account: Account, at: UnixMillis) {
        let resumed_from = self.resume().map(|(step, _)| step);
        self.phase = Phase::Leased { fence: lease.fence, worker: worker.clone() };
        self.attempts.push(AttemptRecord {
            fence: lease.fence,
            worker: worker.clone(),
            started_at: at,
            ended_at: None,
            outcome: Outcome::Running,
            account,
            resumed_from,
            log: AttemptLog::default(),
            ledger: AttemptLog::default(),
            metrics: AttemptLog::default(),
        });
        self.changed_at = Some(at);
    }

    fn granted(&mut self, lease: &Lease, more: Amount) {
        if let Some(attempt) = self.attempts.iter_mut().rev().find(|attempt| attempt.fence == lease.fence) {
            attempt.account.reserved = attempt.account.reserved.plus(more);
        }
    }

    fn checkpointed(&mut self, step: u64, point: Checkpoint, at: UnixMillis) {
        let resume = point.resume.clone();
        // The adapter that was accepted first stands; its resume state may have gone since.
        self.checkpoints.entry(step).or_insert(point).resume = resume;
        for older in self.checkpoints.values_mut().rev().skip(RESUME_KEPT) {
            older.resume = None;
        }
        self.changed_at = Some(at);
    }

    fn logged(&mut self, lease: &Lease, segment: &LogSegment) {
        if let Some(attempt) = self.attempts.iter_mut().rev().find(|attempt| attempt.fence == lease.fence) {
            let ended = attempt.outcome != Outcome::Running;
            attempt.stored_mut(segment.of).add(segment, ended);
        }
    }

    fn succeeded(&mut self, lease: &Lease, outputs: &[Artifact], usage: &Usage, at: UnixMillis) {
        // An adapter that was accepted with its checkpoint stands: a second one of that name is not an output.
        let adapters: Vec<Artifact> = self.adapters().cloned().collect();
        let is_new = |output: &&Artifact| adapters.iter().all(|adapter| adapter.name != output.name);
        let outputs = outputs.iter().filter(is_new).chain(&adapters).cloned().collect();
        self.phase = Phase::Succeeded { fence: lease.fence, outputs, usage: usage.clone() };
        (self.memory_exceeded_mib, self.needs_permille) = (None, None);
        for checkpoint in self.checkpoints.values_mut() {
            checkpoint.resume = None;
        }
        self.end_attempt(lease.fence, Outcome::Succeeded, Settled::said(usage.used), at);
    }

    fn attempt_failed(
        &mut self,
        lease: &Lease,
        class: FailureClass,
        reason: &str,
        used: Option<Amount>,
        at: UnixMillis,
    ) {
        self.phase = Phase::Waiting;
        let outcome = Outcome::Failed { class, reason: reason.to_owned() };
        self.end_attempt(lease.fence, outcome, Settled::said(used), at);
    }

    fn attempt_lost(&mut self, lease: &Lease, at: UnixMillis) {
        self.phase = Phase::Waiting;
        self.end_attempt(lease.fence, Outcome::Lost, Settled::Full, at);
    }

    /// What the object belonged to is no more, and the job is to run again unless only a resume state went. Whatever else it
    /// made stands.
    fn lines_lost(&mut self, id: &JobId, fence: Fence, lines: Lines, key: &ObjectKey) {
        let lease = Lease { job: id.clone(), fence };
        if let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.fence == fence) {
            attempt.stored_mut(lines).forget(&lease, key);
        }
    }

    fn artifact_lost(&mut self, key: &ObjectKey, reason: &str, at: UnixMillis) {
        self.losses += 1;
        self.changed_at = Some(at);
        let adapter_lost = self.drop_checkpoints_with(key);
        match &self.phase {
            Phase::Succeeded { fence, outputs, .. } if outputs.iter().any(|output| output.has(key)) => {
                let (fence, outcome) = (*fence, Outcome::Undone { reason: reason.to_owned() });
                self.phase = Phase::Waiting;
                // It was settled when it succeeded.
                self.end_attempt(fence, outcome, Settled::Full, at);
            }
            Phase::Reused { outputs, .. } if outputs.iter().any(|output| output.has(key)) => {
                self.phase = Phase::Waiting;
            }
            // It is past that step, and only an attempt from before it makes the adapter again.
            Phase::Leased { fence, .. } if adapter_lost => {
                let (fence, class) = (*fence, FailureClass::InputLost);
                self.phase = Phase::Waiting;
                let outcome = Outcome::Failed { class, reason: reason.to_owned() };
                self.end_attempt(fence, outcome, Settled::Elapsed, at);
            }
            Phase::Waiting
            | Phase::Leased { .. }
            | Phase::Succeeded { .. }
            | Phase::Reused { .. }
            | Phase::Failed { .. }
            | Phase::Cancelled => {}
        }
    }

    /// Whether an adapter was among them: then no resume state at or after its step is of use, as none leads to it.
    fn drop_checkpoints_with(&mut self, key: &ObjectKey) -> bool {
        let lost = self.checkpoints.iter().find(|(_, point)| point.adapter.has(key)).map(|(step, _)| *step);
        for (step, point) in &mut self.checkpoints {
            let useless = lost.is_some_and(|lost| lost <= *step);
            point.resume.take_if(|resume| useless || resume.has(key));
        }
        lost.is_some_and(|lost| self.checkpoints.remove(&lost).is_some())
    }

    fn failed(&mut self, reason: &str, at: UnixMillis) {
        self.phase = Phase::Failed { reason: reason.to_owned() };
        self.changed_at = Some(at);
    }

    fn reused(&mut self, from: &JobId, outputs: &[Artifact], usage: Option<&Usage>, at: UnixMillis) {
        self.phase = Phase::Reused { from: from.clone(), outputs: outputs.to_vec(), usage: usage.cloned() };
        self.changed_at = Some(at);
    }

    pub(super) fn cancelled(&mut self, at: UnixMillis) {
        if !self.can_be_cancelled() {
            return;
        }
        if let Some(fence) = self.current() {
            self.end_attempt(fence, Outcome::Cancelled, Settled::Elapsed, at);
        }
        self.phase = Phase::Cancelled;
        self.changed_at = Some(at);
    }

    fn end_attempt(&mut self, fence: Fence, outcome: Outcome, settled: Settled, at: UnixMillis) {
        if let Some(attempt) = self.attempts.iter_mut().rev().find(|attempt| attempt.fence == fence) {
            let account = &mut attempt.account;
            let spent = match settled {
                Settled::Said(used) => account.cost(used),
                Settled::Elapsed => account.cost_until(attempt.started_at, at),
                Settled::Full => account.reserved,
            };
            account.spent.get_or_insert(spent);
            attempt.ended_at = Some(at);
            attempt.outcome = outcome;
        }
        self.changed_at = Some(at);
    }
}
