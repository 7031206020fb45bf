//! What is known: a fold over events. `apply` is total; what is derived is computed, not stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Event, SubmittedMatrix, WorkerInfo};
use crate::{Digest, Epoch, JobId, JobKey, Lease, MatrixId, SubmitKey, UnixMillis, WorkerId};

pub use job::{AttemptRecord, Checkpoint, JobState, Outcome, Phase, Status};

mod job;

/// Everything about unfinished matrices, and the workers that have registered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// Raised by every restore.
    pub epoch: Epoch,
    /// Unfinished matrices (and finished ones until they are archived), in order of submission.
    pub matrices: Vec<Matrix>,
    /// Workers by id, as they last registered.
    pub workers: BTreeMap<WorkerId, WorkerInfo>,
}

/// A matrix and its jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// As accepted.
    pub submitted: SubmittedMatrix,
    /// One for each planned job, in order.
    pub jobs: Vec<JobState>,
    /// When a person cancelled it.
    pub cancelled_at: Option<UnixMillis>,
}

/// Finished records that a command names, loaded before deciding.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReadSet {
    /// The matrix that has the submit key, with the digest it stands for.
    pub submitted: Option<(MatrixId, Digest)>,
    /// Finished jobs by key, whose objects were seen to be present.
    pub finished: BTreeMap<JobKey, FinishedJob>,
    /// Whether every job is to run, even those whose key a finished job has.
    pub fresh: bool,
    /// The attempt that won the job a completion names, when its matrix is archived.
    pub winner: Option<Lease>,
}

/// A job that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishedJob {
    /// The job that ran.
    pub job: JobId,
    /// Its outputs.
    pub outputs: Vec<crate::Artifact>,
    /// What it used.
    pub usage: Option<crate::job::Usage>,
}

impl State {
    /// Adds what has happened. An event about something unknown changes nothing: it has already happened elsewhere.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::EpochRaised { epoch } => self.epoch = *epoch,
            Event::MatrixSubmitted { matrix } => self.matrices.push(Matrix::new(matrix)),
            Event::WorkerRegistered { worker, .. } => {
                self.workers.insert(worker.id.clone(), worker.clone());
            }
            Event::MatrixCancelled { matrix, at } => {
                if let Some(matrix) = self.matrix_mut(matrix) {
                    matrix.cancel(*at);
                }
            }
            Event::MatrixArchived { matrix, .. } => {
                self.matrices.retain(|known| known.submitted.id != *matrix);
            }
            Event::JobReused { job, from, outputs, usage, at } => {
                if let Some(job) = self.job_mut(job) {
                    job.reused(from, outputs, usage.as_ref(), *at);
                }
            }
            Event::JobLeased { lease, worker, at } => {
                self.on_job(lease, |job| job.leased(lease, worker, *at))
            }
            Event::Checkpointed { lease, step, adapter, resume, at } => {
                self.on_job(lease, |job| job.checkpointed(lease, *step, adapter, resume, *at));
            }
            Event::JobSucceeded { lease, outputs, usage, at } => {
                self.on_job(lease, |job| job.succeeded(lease, outputs, usage, *at));
            }
            Event::AttemptFailed { lease, class, reason, at } => {
                self.on_job(lease, |job| job.attempt_failed(lease, *class, reason, *at));
            }
            Event::AttemptLost { lease, at } => self.on_job(lease, |job| job.attempt_lost(lease, *at)),
            Event::JobFailed { job, reason, at } => {
                if let Some(job) = self.job_mut(job) {
                    job.failed(reason, *at);
                }
            }
        }
    }

    /// A matrix that is not archived.
    pub fn matrix(&self, id: &MatrixId) -> Option<&Matrix> {
        self.matrices.iter().find(|matrix| matrix.submitted.id == *id)
    }

    /// The matrix of a submit key, among those not archived.
    pub fn by_submit_key(&self, key: &SubmitKey) -> Option<&Matrix> {
        self.matrices.iter().find(|matrix| matrix.submitted.submit_key == *key)
    }

    /// A job of a matrix that is not archived.
    pub fn job(&self, id: &JobId) -> Option<&JobState> {
        self.matrix(&id.matrix)?.jobs.get(id.ordinal as usize)
    }

    /// A succeeded job with this key, among matrices not archived.
    pub fn finished_by_key(&self, key: &JobKey) -> Option<FinishedJob> {
        self.matrices.iter().find_map(|matrix| {
            let planned = matrix.submitted.plan.iter().find(|planned| planned.key == *key)?;
            matrix.finished_job(planned.ordinal)
        })
    }

    /// The leases of all running attempts.
    pub fn open_leases(&self) -> Vec<(Lease, WorkerId)> {
        let jobs = self
            .matrices
            .iter()
            .flat_map(|matrix| matrix.jobs.iter().enumerate().map(move |job| (matrix, job)));
        jobs.filter_map(|(matrix, (ordinal, job))| match &job.phase {
            Phase::Leased { fence, worker } => {
                let job = JobId { matrix: matrix.submitted.id.clone(), ordinal: ordinal as u32 };
                Some((Lease { job, fence: *fence }, worker.clone()))
            }
            Phase::Waiting
            | Phase::Succeeded { .. }
            | Phase::Reused { .. }
            | Phase::Failed { .. }
            | Phase::Cancelled => None,
        })
        .collect()
    }

    fn matrix_mut(&mut self, id: &MatrixId) -> Option<&mut Matrix> {
        self.matrices.iter_mut().find(|matrix| matrix.submitted.id == *id)
    }

    fn job_mut(&mut self, id: &JobId) -> Option<&mut JobState> {
        self.matrix_mut(&id.matrix)?.jobs.get_mut(id.ordinal as usize)
    }

    fn on_job(&mut self, lease: &Lease, change: impl FnOnce(&mut JobState)) {
        if let Some(job) = self.job_mut(&lease.job) {
            change(job);
        }
    }
}

impl Matrix {
    fn new(submitted: &SubmittedMatrix) -> Self {
        let jobs = submitted.plan.iter().map(|_| JobState::default()).collect();
        Self { submitted: submitted.clone(), jobs, cancelled_at: None }
    }

    fn cancel(&mut self, at: UnixMillis) {
        self.cancelled_at.get_or_insert(at);
        for job in &mut self.jobs {
            job.cancelled(at);
        }
    }

    /// An output of a job, once it exists.
    pub fn output(&self, ordinal: u32, name: &str) -> Option<&crate::Artifact> {
        self.jobs.get(ordinal as usize)?.output(name)
    }

    /// What people are told about a job.
    pub fn status(&self, ordinal: u32) -> Status {
        let Some(job) = self.jobs.get(ordinal as usize) else { return Status::Blocked };
        match &job.phase {
            Phase::Leased { .. } => Status::Running,
            Phase::Succeeded { .. } => Status::Succeeded,
            Phase::Reused { .. } => Status::Reused,
            Phase::Failed { .. } => Status::Failed,
            Phase::Cancelled => Status::Cancelled,
            Phase::Waiting => self.waiting_status(ordinal),
        }
    }

    fn waiting_status(&self, ordinal: u32) -> Status {
        let Some(planned) = self.submitted.plan.get(ordinal as usize) else { return Status::Blocked };
        let missing: Vec<u32> = planned
            .needs()
            .filter(|(job, name)| self.output(*job, name).is_none())
            .map(|(job, _)| job)
            .collect();
        if missing.is_empty() {
            return Status::Ready;
        }
        let never =
            |job: &u32| matches!(self.status(*job), Status::Failed | Status::Blocked | Status::Cancelled);
        if missing.iter().any(never) { Status::Blocked } else { Status::Waiting }
    }

    /// Whether nothing of it can run any more.
    pub fn is_finished(&self) -> bool {
        (0..self.jobs.len() as u32).all(|ordinal| self.status(ordinal).is_final())
    }

    /// A job as later submissions find it by its key.
    pub fn finished_job(&self, ordinal: u32) -> Option<FinishedJob> {
        let id = || JobId { matrix: self.submitted.id.clone(), ordinal };
        let job = self.jobs.get(ordinal as usize)?;
        match &job.phase {
            Phase::Succeeded { outputs, usage, .. } => {
                Some(FinishedJob { job: id(), outputs: outputs.clone(), usage: Some(usage.clone()) })
            }
            Phase::Reused { from, outputs, usage } => {
                Some(FinishedJob { job: from.clone(), outputs: outputs.clone(), usage: usage.clone() })
            }
            Phase::Waiting | Phase::Leased { .. } | Phase::Failed { .. } | Phase::Cancelled => None,
        }
    }

    /// When the last thing happened in it.
    pub fn finished_at(&self) -> Option<UnixMillis> {
        self.jobs.iter().filter_map(|job| job.changed_at).max()
    }
}
