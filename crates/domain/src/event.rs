//! All that can have happened. Events are stored for ever: fields are added with a serde default, never renamed or reused.

use serde::{Deserialize, Serialize};

use crate::budget::{Account, Amount, Cap, Scope};
use crate::job::{FailureClass, PlannedJob, Usage};
use crate::matrix::Schedule;
use crate::state::DrainMode;
use crate::{
    Artifact, DeviceKind, Digest, Epoch, JobId, Lease, LogSegment, MatrixId, ObjectKey, SubmitKey,
    UnixMillis, WorkKind, WorkerId,
};

/// A matrix as accepted: its plan is a value and never made again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubmittedMatrix {
    /// Its id.
    pub id: MatrixId,
    /// The client's key.
    pub submit_key: SubmitKey,
    /// The name in the file.
    pub name: String,
    /// The digest of the resolved matrix: what the submit key stands for.
    pub spec_digest: Digest,
    /// The resolved matrix as canonical JSON, for `assay status --json` and reports.
    pub spec_json: String,
    /// 256 random bits drawn at submit: slots and labels derive from it.
    pub secret: Digest,
    /// The jobs.
    pub plan: Vec<PlannedJob>,
    /// Who it is for and how urgent it is, as claimed.
    #[serde(default, skip_serializing_if = "Schedule::is_default")]
    pub schedule: Schedule,
    /// When the analysis was fixed, where it was with an earlier submission that this one tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_at: Option<UnixMillis>,
    /// What it may cost.
    #[serde(default, skip_serializing_if = "Cap::is_none")]
    pub budget: Cap,
    /// When.
    pub at: UnixMillis,
}

/// A worker as it registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its id.
    pub id: WorkerId,
    /// Host name and process, for people.
    pub host: String,
    /// The device.
    pub device: DeviceKind,
    /// The device's name, such as `AMD EPYC 7763, 2 threads`.
    pub device_name: String,
    /// Memory of the device, MiB.
    pub memory_mib: u64,
    /// What it runs.
    pub kinds: Vec<WorkKind>,
    /// The build's version.
    pub version: String,
    /// What an hour of it costs, USD, as its owner says; none for a machine of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_hour: Option<f64>,
}

/// One thing that has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A restore happened: tokens of older epochs are void.
    EpochRaised {
        /// The new epoch.
        epoch: Epoch,
    },
    /// A person submitted a matrix.
    MatrixSubmitted {
        /// All of it.
        matrix: Box<SubmittedMatrix>,
    },
    /// A job's results were taken from an equal job that had finished.
    JobReused {
        /// The job.
        job: JobId,
        /// The one that ran.
        from: JobId,
        /// Its outputs.
        outputs: Vec<Artifact>,
        /// What it had used.
        usage: Option<Usage>,
        /// When.
        at: UnixMillis,
    },
    /// A worker introduced itself.
    WorkerRegistered {
        /// What it said.
        worker: WorkerInfo,
        /// When.
        at: UnixMillis,
    },
    /// A worker has been gone for long: nothing of it is kept, and it registers again if it comes back.
    WorkerForgotten {
        /// Which.
        worker: WorkerId,
        /// When.
        at: UnixMillis,
    },
    /// A worker got the right to an attempt.
    JobLeased {
        /// The lease.
        lease: Lease,
        /// Who.
        worker: WorkerId,
        /// What is set aside for it.
        #[serde(default, skip_serializing_if = "Account::is_default")]
        account: Account,
        /// When.
        at: UnixMillis,
    },
    /// An attempt asked for more than was set aside for it, and got it.
    SpendGranted {
        /// The attempt.
        lease: Lease,
        /// What is set aside besides.
        more: Amount,
        /// When.
        at: UnixMillis,
    },
    /// A training attempt's checkpoint was accepted.
    Checkpointed {
        /// The attempt.
        lease: Lease,
        /// The step.
        step: u64,
        /// For evaluation; kept.
        adapter: Artifact,
        /// For resume; the last two are kept until the job succeeds.
        resume: Artifact,
        /// The plan has no checkpoint there: it was asked for, to go on elsewhere, and its adapter is no output.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        asked_for: bool,
        /// When.
        at: UnixMillis,
    },
    /// A part of an attempt's log lies in the store. It may come after the attempt's end, and changes nothing about the job.
    Logged {
        /// The attempt.
        lease: Lease,
        /// Which part.
        segment: LogSegment,
        /// When.
        at: UnixMillis,
    },
    /// An attempt finished its job.
    JobSucceeded {
        /// The attempt.
        lease: Lease,
        /// What it made.
        outputs: Vec<Artifact>,
        /// What it used.
        usage: Usage,
        /// When.
        at: UnixMillis,
    },
    /// An attempt said that it failed.
    AttemptFailed {
        /// The attempt.
        lease: Lease,
        /// What kind of failure.
        class: FailureClass,
        /// The chain of reasons.
        reason: String,
        /// Memory of the worker's device, MiB, where that was not enough.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory_mib: Option<u64>,
        /// What it used; all that was set aside for it counts when it does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        used: Option<Amount>,
        /// How much more than its estimate the job takes, in thousandths, where its budget was not enough.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        needs_permille: Option<u32>,
        /// When.
        at: UnixMillis,
    },
    /// An attempt's lease ran out.
    AttemptLost {
        /// The attempt.
        lease: Lease,
        /// When.
        at: UnixMillis,
    },
    /// An output that had been accepted was found bad in the store: what made it runs again.
    ArtifactLost {
        /// The job that had it, its own or taken from an equal job.
        job: JobId,
        /// The artifact.
        name: String,
        /// The object of it that is bad.
        key: ObjectKey,
        /// What was found.
        reason: String,
        /// When.
        at: UnixMillis,
    },
    /// A job will not be tried again.
    JobFailed {
        /// The job.
        job: JobId,
        /// Why.
        reason: String,
        /// When.
        at: UnixMillis,
    },
    /// A person cancelled a matrix.
    MatrixCancelled {
        /// Which.
        matrix: MatrixId,
        /// When.
        at: UnixMillis,
    },
    /// A person cancelled a job.
    JobCancelled {
        /// Which.
        job: JobId,
        /// When.
        at: UnixMillis,
    },
    /// A person holds a matrix back: what runs goes on, and nothing more is leased.
    MatrixPaused {
        /// Which.
        matrix: MatrixId,
        /// When.
        at: UnixMillis,
    },
    /// A person lets a paused matrix go on.
    MatrixResumed {
        /// Which.
        matrix: MatrixId,
        /// When.
        at: UnixMillis,
    },
    /// A person changed what a matrix may cost.
    MatrixBudgeted {
        /// Which.
        matrix: MatrixId,
        /// The most from now on, what it has cost so far included.
        budget: Cap,
        /// When.
        at: UnixMillis,
    },
    /// A matrix has jobs that could run, and a budget that has not enough left for them.
    BudgetReached {
        /// Which.
        matrix: MatrixId,
        /// What the budget is of.
        scope: Scope,
        /// What the next job needs.
        needs: Amount,
        /// What is left.
        left: Cap,
        /// When.
        at: UnixMillis,
    },
    /// Different jobs failed on a worker in a row: it gets no more.
    WorkerQuarantined {
        /// Which.
        worker: WorkerId,
        /// Why.
        reason: String,
        /// When.
        at: UnixMillis,
    },
    /// A person takes a worker out: it gets no more jobs.
    WorkerDraining {
        /// Which.
        worker: WorkerId,
        /// What becomes of those it has.
        mode: DrainMode,
        /// When.
        at: UnixMillis,
    },
    /// A worker gets jobs again: a person says so, or its quarantine has lasted long enough.
    WorkerLifted {
        /// Which.
        worker: WorkerId,
        /// When.
        at: UnixMillis,
    },
    /// Finished matrices that ended before a time were given up: nothing of them is known any more.
    HistoryForgotten {
        /// Those whose last event is older.
        before: UnixMillis,
        /// When.
        at: UnixMillis,
    },
    /// The coordinator took a backup by itself, and read it back.
    BackupTaken {
        /// Its folder's name.
        name: String,
        /// The last record in it.
        sequence: u64,
        /// Objects in it.
        objects: usize,
        /// Their bytes.
        object_bytes: u64,
        /// Objects that the state names and the store has not as they should be.
        #[serde(default)]
        missing: usize,
        /// When.
        at: UnixMillis,
    },
    /// A backup that was due could not be taken.
    BackupFailed {
        /// Why.
        reason: String,
        /// When.
        at: UnixMillis,
    },
    /// A matrix in which nothing can run any more left the working state for the query store.
    MatrixArchived {
        /// Which.
        matrix: MatrixId,
        /// When.
        at: UnixMillis,
    },
}

impl Event {
    /// The job that it is about, when it is about one.
    pub fn job(&self) -> Option<&JobId> {
        match self {
            Self::EpochRaised { .. }
            | Self::HistoryForgotten { .. }
            | Self::BackupTaken { .. }
            | Self::BackupFailed { .. }
            | Self::WorkerRegistered { .. }
            | Self::WorkerForgotten { .. }
            | Self::MatrixSubmitted { .. }
            | Self::MatrixCancelled { .. }
            | Self::MatrixPaused { .. }
            | Self::MatrixResumed { .. }
            | Self::MatrixBudgeted { .. }
            | Self::BudgetReached { .. }
            | Self::WorkerQuarantined { .. }
            | Self::WorkerDraining { .. }
            | Self::WorkerLifted { .. }
            | Self::MatrixArchived { .. } => None,
            Self::JobReused { job, .. }
            | Self::ArtifactLost { job, .. }
            | Self::JobFailed { job, .. }
            | Self::JobCancelled { job, .. } => Some(job),
            Self::JobLeased { lease, .. }
            | Self::SpendGranted { lease, .. }
            | Self::Checkpointed { lease, .. }
            | Self::Logged { lease, .. }
            | Self::JobSucceeded { lease, .. }
            | Self::AttemptFailed { lease, .. }
            | Self::AttemptLost { lease, .. } => Some(&lease.job),
        }
    }

    /// The matrix that it is about, when it is about one.
    pub fn matrix(&self) -> Option<&MatrixId> {
        match self {
            Self::EpochRaised { .. }
            | Self::HistoryForgotten { .. }
            | Self::BackupTaken { .. }
            | Self::BackupFailed { .. }
            | Self::WorkerRegistered { .. }
            | Self::WorkerForgotten { .. }
            | Self::WorkerQuarantined { .. }
            | Self::WorkerDraining { .. }
            | Self::WorkerLifted { .. } => None,
            Self::MatrixSubmitted { matrix } => Some(&matrix.id),
            Self::JobReused { job, .. }
            | Self::ArtifactLost { job, .. }
            | Self::JobFailed { job, .. }
            | Self::JobCancelled { job, .. } => Some(&job.matrix),
            Self::JobLeased { lease, .. }
            | Self::SpendGranted { lease, .. }
            | Self::Checkpointed { lease, .. }
            | Self::Logged { lease, .. }
            | Self::JobSucceeded { lease, .. }
            | Self::AttemptFailed { lease, .. }
            | Self::AttemptLost { lease, .. } => Some(&lease.job.matrix),
            Self::MatrixCancelled { matrix, .. }
            | Self::MatrixPaused { matrix, .. }
            | Self::MatrixResumed { matrix, .. }
            | Self::MatrixBudgeted { matrix, .. }
            | Self::BudgetReached { matrix, .. }
            | Self::MatrixArchived { matrix, .. } => Some(matrix),
        }
    }
}
