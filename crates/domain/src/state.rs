//! What is known: a fold over events. `apply` is total; what is derived is computed, not stored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::budget::{Amount, Cap, Month, Scope};
use crate::event::{Event, SubmittedMatrix, WorkerInfo};
use crate::{Digest, Epoch, JobId, JobKey, Lease, MatrixId, SubmitKey, UnixMillis, WorkerId};

pub use job::{AttemptRecord, Checkpoint, JobState, Outcome, Phase, Status};
pub use standing::{Drain, DrainMode, Quarantine, Standing};

pub(crate) use standing::model_of;
pub(crate) use status::is_finished;

mod job;
mod spent;
mod standing;
mod status;

/// Everything about unfinished matrices, and the workers that have registered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// Raised by every restore.
    pub epoch: Epoch,
    /// Unfinished matrices (and finished ones until they are archived), in order of submission.
    pub matrices: Vec<Matrix>,
    /// The matrices archived last, oldest first: whoever dies after archiving one may not have shown its end to others.
    #[serde(default)]
    pub ended: VecDeque<Ended>,
    /// Workers by id, as they last registered; those gone for long are forgotten.
    pub workers: BTreeMap<WorkerId, WorkerInfo>,
    /// What is remembered of them besides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub standings: BTreeMap<WorkerId, Standing>,
    /// What attempts that have ended cost, by the month of their lease and by team.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spent: BTreeMap<Month, BTreeMap<String, Amount>>,
}

/// Archived matrices that are kept in mind.
pub const ENDED_KEPT: usize = 32;

/// A matrix that has ended, as its trace's root span shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its id.
    pub matrix: MatrixId,
    /// The name in the file.
    pub name: String,
    /// When it was submitted.
    pub from: UnixMillis,
    /// When the last thing happened in it.
    pub to: UnixMillis,
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
    /// Since when a person holds it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<UnixMillis>,
    /// What it may cost: as submitted, or as a person has said since.
    #[serde(default, skip_serializing_if = "Cap::is_none")]
    pub budget: Cap,
    /// The budget that had not enough left for its next job, when nothing of it was leased since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<Scope>,
}

/// Finished records that a command names, loaded before deciding.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReadSet {
    /// The matrix that has the submit key, with the digest it stands for.
    pub submitted: Option<(MatrixId, Digest)>,
    /// Finished jobs by key, whose objects were seen to be present.
    pub finished: BTreeMap<JobKey, FinishedJob>,
    /// Keys of finished jobs whose objects were seen not to be there.
    pub absent: BTreeSet<JobKey>,
    /// Whether every job is to run, even those whose key a finished job has.
    pub fresh: bool,
    /// The matrix that a submission is to try again.
    pub retried: Option<Matrix>,
    /// The attempt that won the job a completion names, when its matrix is archived.
    pub winner: Option<Lease>,
    /// The job whose log grows, when its matrix is archived.
    pub archived: Option<JobState>,
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

impl FinishedJob {
    /// Whether it went without something that another run could bring, such as verdicts.
    pub fn lacks_something(&self) -> bool {
        self.usage.as_ref().is_some_and(|usage| usage.missing > 0)
    }
}

impl State {
    /// Adds what has happened. An event about something unknown changes nothing: it has already happened elsewhere.
    pub fn apply(&mut self, event: &Event) {
        drop(self.apply_taking(event));
    }

    /// The same; answers the matrix that leaves with it.
    pub fn apply_taking(&mut self, event: &Event) -> Option<Matrix> {
        if let Event::MatrixArchived { matrix, .. } = event {
            return self.archive(matrix);
        }
        self.change(event);
        None
    }

    fn archive(&mut self, matrix: &MatrixId) -> Option<Matrix> {
        let place = self.matrices.iter().position(|known| known.submitted.id == *matrix)?;
        let archived = self.matrices.remove(place);
        self.ended.push_back(archived.ended());
        self.ended.drain(..self.ended.len().saturating_sub(ENDED_KEPT));
        Some(archived)
    }

    fn change(&mut self, event: &Event) {
        match event {
            Event::EpochRaised { epoch } => self.raise_epoch(*epoch),
            // Finished matrices are not here, and what archives one takes it out before.
            Event::MatrixArchived { .. }
            | Event::HistoryForgotten { .. }
            | Event::BackupTaken { .. }
            | Event::BackupFailed { .. } => {}
            Event::MatrixSubmitted { matrix } => self.matrices.push(Matrix::new(matrix)),
            Event::WorkerRegistered { worker, .. } => {
                self.workers.insert(worker.id.clone(), worker.clone());
            }
            Event::WorkerForgotten { worker, .. } => {
                self.workers.remove(worker);
                self.standings.remove(worker);
            }
            Event::MatrixCancelled { matrix, at } => {
                self.settling(|known| *known == *matrix, |known| known.cancel(*at));
            }
            Event::MatrixPaused { matrix, at } => self.pause(matrix, Some(*at)),
            Event::MatrixResumed { matrix, .. } => self.pause(matrix, None),
            Event::MatrixBudgeted { matrix, budget, .. } => {
                if let Some(matrix) = self.matrix_mut(matrix) {
                    (matrix.budget, matrix.held_by) = (*budget, None);
                }
            }
            Event::BudgetReached { matrix, scope, .. } => self.hold(matrix, Some(scope.clone())),
            Event::WorkerQuarantined { worker, reason, at } => {
                let quarantine = Quarantine { reason: reason.clone(), since: *at };
                self.on_standing(worker, |standing| standing.quarantine = Some(quarantine));
            }
            Event::WorkerDraining { worker, mode, at } => {
                let drain = Drain { mode: *mode, since: *at };
                self.on_standing(worker, |standing| standing.drain = Some(drain));
            }
            Event::WorkerLifted { worker, .. } => self.on_standing(worker, Standing::lifted),
            Event::JobReused { job, .. }
            | Event::ArtifactLost { job, .. }
            | Event::JobFailed { job, .. }
            | Event::JobCancelled { job, .. } => self.on_job(job, event),
            Event::JobLeased { lease, worker, .. } => {
                self.handed(&lease.job, worker);
                self.hold(&lease.job.matrix, None);
                self.on_job(&lease.job, event);
            }
            Event::JobSucceeded { lease, .. } => {
                self.on_its_worker(lease, |standing| standing.failed.clear());
                self.on_job(&lease.job, event);
            }
            Event::AttemptFailed { lease, class, .. } => {
                if class.may_be_its_workers() {
                    self.on_its_worker(lease, |standing| standing.was_failed_by(&lease.job));
                }
                self.on_job(&lease.job, event);
            }
            Event::Checkpointed { lease, .. }
            | Event::Logged { lease, .. }
            | Event::SpendGranted { lease, .. }
            | Event::AttemptLost { lease, .. } => self.on_job(&lease.job, event),
        }
    }

    fn pause(&mut self, matrix: &MatrixId, at: Option<UnixMillis>) {
        if let Some(matrix) = self.matrix_mut(matrix) {
            matrix.paused_at = at;
        }
    }

    fn hold(&mut self, matrix: &MatrixId, by: Option<Scope>) {
        if let Some(matrix) = self.matrix_mut(matrix) {
            matrix.held_by = by;
        }
    }

    /// What is remembered of a worker; of one that is not registered, nothing.
    fn on_standing(&mut self, worker: &WorkerId, change: impl FnOnce(&mut Standing)) {
        if !self.workers.contains_key(worker) {
            return;
        }
        let mut standing = self.standings.remove(worker).unwrap_or_default();
        change(&mut standing);
        if standing != Standing::default() {
            self.standings.insert(worker.clone(), standing);
        }
    }

    fn on_its_worker(&mut self, lease: &Lease, change: impl FnOnce(&mut Standing)) {
        let attempt = self.job(&lease.job).and_then(|job| job.attempt(lease.fence));
        if let Some(worker) = attempt.map(|attempt| attempt.worker.clone()) {
            self.on_standing(&worker, change);
        }
    }

    fn handed(&mut self, job: &JobId, worker: &WorkerId) {
        let matrix = self.matrix(&job.matrix);
        let planned = matrix.and_then(|matrix| matrix.submitted.plan.get(job.ordinal as usize));
        if let Some(model) = planned.and_then(model_of) {
            self.on_standing(worker, |standing| standing.was_handed(model));
        }
    }

    /// Whether nothing keeps jobs from a worker.
    pub fn is_open(&self, worker: &WorkerId) -> bool {
        self.standings.get(worker).is_none_or(Standing::is_open)
    }

    /// Tokens of older epochs are void: what they stood for is lost, and no worker's word about it counts.
    fn raise_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.settling(|_| true, |matrix| matrix.jobs.iter_mut().for_each(|job| job.voided(epoch)));
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

    /// The jobs with these keys that have succeeded, among matrices not archived.
    pub fn finished_by_key(&self, keys: &BTreeSet<JobKey>) -> BTreeMap<JobKey, FinishedJob> {
        let mut finished = BTreeMap::new();
        for matrix in &self.matrices {
            let done =
                matrix.submitted.plan.iter().zip(&matrix.jobs).filter(|(_, job)| job.phase.is_success());
            for (planned, _) in done.filter(|(planned, _)| keys.contains(&planned.key)) {
                if let Some(job) = matrix.finished_job(planned.ordinal) {
                    finished.entry(planned.key).or_insert(job);
                }
            }
        }
        finished
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

    fn on_job(&mut self, id: &JobId, event: &Event) {
        let Some(matrix) = self.matrices.iter_mut().find(|matrix| matrix.submitted.id == id.matrix) else {
            return;
        };
        let Some(job) = matrix.jobs.get_mut(id.ordinal as usize) else { return };
        let before = job.current();
        job.apply(event);
        let ended = before.filter(|fence| job.current() != Some(*fence)).and_then(|fence| job.attempt(fence));
        if let Some(ended) = ended.map(spent::Ended::of) {
            let team = matrix.team().to_owned();
            self.book(team, ended);
        }
    }
}

impl Matrix {
    fn new(submitted: &SubmittedMatrix) -> Self {
        let jobs = submitted.plan.iter().map(|_| JobState::default()).collect();
        let budget = submitted.budget;
        Self {
            submitted: submitted.clone(),
            jobs,
            cancelled_at: None,
            paused_at: None,
            budget,
            held_by: None,
        }
    }

    /// The team that it claims to be of; empty: none.
    pub fn team(&self) -> &str {
        self.submitted.schedule.team.as_deref().unwrap_or_default()
    }

    /// What its attempts have cost, and what is set aside for those that run.
    pub fn holds(&self) -> Amount {
        self.jobs.iter().fold(Amount::ZERO, |sum, job| sum.plus(job.holds()))
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

    /// What people are told about a job. For all jobs of a matrix take [`Matrix::statuses`].
    pub fn status(&self, ordinal: u32) -> Status {
        match self.jobs.get(ordinal as usize).map(|job| &job.phase) {
            Some(Phase::Waiting) => {
                let statuses =
                    status::statuses(&self.submitted.plan, |known| self.jobs.get(known as usize), ordinal);
                statuses.last().copied().unwrap_or(Status::Blocked)
            }
            Some(phase) => phase.settled().unwrap_or(Status::Blocked),
            None => Status::Blocked,
        }
    }

    /// What people are told about each job, in the order of the plan: one pass.
    pub fn statuses(&self) -> Vec<Status> {
        status::statuses(&self.submitted.plan, |known| self.jobs.get(known as usize), u32::MAX)
    }

    /// Whether nothing of it can run any more.
    pub fn is_finished(&self) -> bool {
        self.jobs.len() == self.submitted.plan.len()
            && status::is_finished(&self.submitted.plan, |known| self.jobs.get(known as usize))
    }

    /// A job as later submissions find it by its key.
    pub fn finished_job(&self, ordinal: u32) -> Option<FinishedJob> {
        let id = JobId { matrix: self.submitted.id.clone(), ordinal };
        self.jobs.get(ordinal as usize)?.finished(&id)
    }

    /// What is kept in mind of it when it is archived.
    pub fn ended(&self) -> Ended {
        let SubmittedMatrix { id, name, at, .. } = &self.submitted;
        Ended { matrix: id.clone(), name: name.clone(), from: *at, to: self.finished_at().unwrap_or(*at) }
    }

    /// When the last thing happened in it.
    pub fn finished_at(&self) -> Option<UnixMillis> {
        self.jobs.iter().filter_map(|job| job.changed_at).max()
    }
}
