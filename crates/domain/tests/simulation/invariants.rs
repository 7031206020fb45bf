//! What must hold whatever happens, checked around every event by a model of its own.

use std::collections::{BTreeMap, BTreeSet};

use assay_domain::budget::Scope;
use assay_domain::decide::Policy;
use assay_domain::decide::schedule::{Moment, Obstacle, Reason, Shares, explain};
use assay_domain::event::WorkerInfo;
use assay_domain::job::{FailureClass, Offer};
use assay_domain::segment::LATE_SEGMENTS_MAX;
use assay_domain::state::{Matrix, Phase, ReadSet, Status};
use assay_domain::{
    Artifact, Event, Fence, JobId, Lease, LogSegment, MatrixId, ObjectKey, PlannedJob, Rejection, Source,
    State, Work, WorkerId,
};

use crate::ledger::Ledger;
use crate::world::{Objects, Word};

/// As in production.
const CRASHES_MAX: usize = 3;

/// Watches every event.
#[derive(Default, Clone)]
pub(crate) struct Observer {
    current: BTreeMap<JobId, Fence>,
    newest: BTreeMap<JobId, Fence>,
    winners: BTreeMap<JobId, Fence>,
    ended: BTreeSet<JobId>,
    archived: BTreeSet<MatrixId>,
    accepted: BTreeSet<String>,
    /// For each attempt, the number of its last segment and how many came after its end.
    logs: BTreeMap<Lease, (u32, u32)>,
    /// The most memory that was not enough for a job.
    exceeded: BTreeMap<JobId, u64>,
    /// How often a job crashed, stalled or lost its worker since it last succeeded.
    crashes: BTreeMap<JobId, usize>,
    /// Jobs that a person cancelled one by one.
    pub(crate) cancelled: BTreeSet<JobId>,
    paused: BTreeSet<MatrixId>,
    /// Workers that get nothing.
    closed: BTreeSet<WorkerId>,
    /// What failed on a worker since something succeeded there.
    failed_on: BTreeMap<WorkerId, BTreeSet<JobId>>,
    looks: u64,
    pub(crate) ledger: Ledger,
    pub(crate) seen: Seen,
}

/// How often what is to be watched did happen: what never happens proves nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    /// Things that were lost in the store.
    pub(crate) losses: u64,
    /// Attempts whose lease ran out.
    pub(crate) lost_attempts: u64,
    /// Jobs that stopped at the crash limit, and jobs that succeeded after fewer crashes.
    pub(crate) crash_ends: u64,
    pub(crate) crashes_survived: u64,
    /// Jobs that no worker had the memory for, and jobs that a larger one could do.
    pub(crate) memory_ends: u64,
    pub(crate) memory_found: u64,
    pub(crate) quarantines: u64,
    pub(crate) drains: u64,
    pub(crate) pauses: u64,
    /// Jobs that a person cancelled one by one.
    pub(crate) cancels: u64,
    /// Attempts after which a team ran as much as it may.
    pub(crate) limits: u64,
    /// Budgets that kept back what would have fitted, attempts that got more, and those that a budget ended.
    pub(crate) reached: u64,
    pub(crate) grants: u64,
    pub(crate) refusals: u64,
    /// Batches whose sync took long, and those that a crash took back before.
    pub(crate) slow_syncs: u64,
    pub(crate) taken_back: u64,
    /// Jobs that joined the batch of another.
    pub(crate) joined: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Self) {
        self.losses += other.losses;
        self.lost_attempts += other.lost_attempts;
        self.crash_ends += other.crash_ends;
        self.crashes_survived += other.crashes_survived;
        self.memory_ends += other.memory_ends;
        self.memory_found += other.memory_found;
        self.quarantines += other.quarantines;
        self.drains += other.drains;
        self.pauses += other.pauses;
        self.cancels += other.cancels;
        self.limits += other.limits;
        self.reached += other.reached;
        self.grants += other.grants;
        self.refusals += other.refusals;
        self.slow_syncs += other.slow_syncs;
        self.joined += other.joined;
        self.taken_back += other.taken_back;
    }
}

impl Observer {
    /// Whether a word's attempt is the one that counts. A question is always heard, and logs have their own rule.
    pub(crate) fn is_current(&self, word: &Word) -> bool {
        let (Word::Renew(lease)
        | Word::Checkpointed(lease, _)
        | Word::Completed(lease)
        | Word::More(lease, _)
        | Word::Unread(lease, _)
        | Word::Failed(lease, _)) = word
        else {
            return true;
        };
        self.current.get(&lease.job) == Some(&lease.fence)
    }

    pub(crate) fn winner(&self, job: &JobId) -> Option<Fence> {
        self.winners.get(job).copied()
    }

    fn reused(&mut self, job: &JobId, outputs: &[Artifact]) {
        assert!(self.ended.insert(job.clone()), "{job} ended twice");
        for file in outputs.iter().flat_map(|output| &output.files) {
            assert!(self.accepted.contains(file.key.as_str()), "{job} takes {} from nowhere", file.key);
        }
    }

    /// Checks an event against all that went before.
    pub(crate) fn before(&mut self, state: &State, objects: &Objects, event: &Event) {
        if let Some(matrix) = event.matrix()
            && !matches!(event, Event::Logged { .. })
        {
            assert!(!self.archived.contains(matrix), "an archived matrix changed: {event:?}");
        }
        self.ledger.note(state, event);
        match event {
            Event::EpochRaised { epoch } => {
                assert!(state.epoch < *epoch, "the epoch went back");
                self.current.retain(|_, fence| fence.epoch >= *epoch);
            }
            Event::MatrixSubmitted { .. }
            | Event::WorkerRegistered { .. }
            | Event::MatrixBudgeted { .. }
            | Event::HistoryForgotten { .. }
            | Event::BackupTaken { .. }
            | Event::BackupFailed { .. } => {}
            Event::BudgetReached { matrix, scope, .. } => self.kept_back(state, matrix, scope),
            Event::SpendGranted { lease, .. } => self.must_be_current(lease),
            Event::WorkerForgotten { worker, .. } => {
                let busy = state.open_leases().into_iter().find(|(_, holder)| holder == worker);
                assert!(busy.is_none(), "{worker} was forgotten with {busy:?}");
                self.closed.remove(worker);
                self.failed_on.remove(worker);
            }
            Event::JobReused { job, outputs, .. } => self.reused(job, outputs),
            Event::JobLeased { lease, worker, .. } => {
                self.leased(state, lease);
                self.is_large_enough(state, &lease.job, worker);
                self.may_have(state, lease, worker);
            }
            Event::Checkpointed { lease, adapter, .. } => {
                self.must_be_current(lease);
                self.accepted.insert(adapter.files[0].key.as_str().to_owned());
            }
            Event::Logged { lease, segment, .. } => self.logged(lease, segment),
            Event::JobSucceeded { lease, outputs, .. } => self.succeeded(state, lease, outputs),
            Event::AttemptFailed { lease, .. } | Event::AttemptLost { lease, .. } => {
                self.must_be_current(lease);
                self.current.remove(&lease.job);
                self.attempt_ended(state, lease, event);
            }
            Event::JobCancelled { .. }
            | Event::MatrixPaused { .. }
            | Event::MatrixResumed { .. }
            | Event::WorkerQuarantined { .. }
            | Event::WorkerDraining { .. }
            | Event::WorkerLifted { .. } => self.steered(state, event),
            Event::ArtifactLost { job, key, .. } => self.lost(state, objects, job, key),
            Event::JobFailed { job, .. } => {
                assert!(self.ended.insert(job.clone()), "{job} ended twice");
                self.seen.memory_ends += u64::from(self.exceeded.contains_key(job));
                self.seen.crash_ends += u64::from(self.crashes.get(job) >= Some(&CRASHES_MAX));
            }
            Event::MatrixCancelled { matrix, .. } => self.current.retain(|job, _| job.matrix != *matrix),
            Event::MatrixArchived { matrix, .. } => {
                let known = state.matrix(matrix).expect("only a known matrix is archived");
                assert!(known.is_finished(), "{matrix} was archived while it could run");
                assert!(
                    self.current.keys().all(|job| job.matrix != *matrix),
                    "{matrix} was archived while it ran"
                );
                self.archived.insert(matrix.clone());
            }
        }
    }

    fn kept_back(&mut self, state: &State, matrix: &MatrixId, scope: &Scope) {
        let known = state.matrix(matrix).expect("a known matrix");
        assert_ne!(known.held_by.as_ref(), Some(scope), "{matrix} was told that before");
        self.seen.reached += 1;
    }

    /// Whether an attempt's log may go on: while it is current, and a little after.
    pub(crate) fn may_log(&self, lease: &Lease) -> bool {
        let current = self.current.get(&lease.job) == Some(&lease.fence);
        current || self.logs.get(lease).is_none_or(|(_, late)| *late < LATE_SEGMENTS_MAX)
    }

    fn logged(&mut self, lease: &Lease, segment: &LogSegment) {
        assert!(self.may_log(lease), "the log of {lease} grows after its end");
        let late = u32::from(self.current.get(&lease.job) != Some(&lease.fence));
        let (last, late_before) = self.logs.get(lease).copied().unwrap_or_default();
        assert_eq!(segment.number, last + 1, "{lease} has a hole in its log");
        self.logs.insert(lease.clone(), (segment.number, late_before + late));
    }

    /// The segments kept of each attempt hold all that was said of it.
    fn logs_are_whole(&self, id: &JobId, job: &assay_domain::state::JobState) {
        for attempt in &job.attempts {
            let lease = Lease { job: id.clone(), fence: attempt.fence };
            let (last, late) = self.logs.get(&lease).copied().unwrap_or_default();
            let held: u32 = attempt.log.segments.iter().map(|kept| LogSegment::covers(kept.number)).sum();
            assert_eq!((held, attempt.log.late), (last, late), "the log of {lease}");
            assert!(attempt.log.segments.len() <= 21, "{lease} has too many segments");
        }
    }

    /// One production of the job has ended, and only for a reason that is true.
    fn lost(&mut self, state: &State, objects: &Objects, job: &JobId, key: &ObjectKey) {
        assert!(objects.is_bad(key), "{key} of {job} is good");
        let known = state.job(job).expect("a job of a known matrix");
        assert!(known.holder_of(key).is_some(), "{job} never had {key}");
        self.seen.losses += 1;
        let adapter = known.checkpoints.values().any(|point| point.adapter.has(key));
        match &known.phase {
            Phase::Succeeded { .. } | Phase::Reused { .. } => {
                assert!(self.ended.remove(job), "{job} had not ended");
                self.winners.remove(job);
                // It could be done: what went before counts no more.
                self.crashes.remove(job);
            }
            Phase::Leased { .. } if adapter => {
                self.current.remove(job);
            }
            Phase::Waiting | Phase::Leased { .. } | Phase::Failed { .. } | Phase::Cancelled => {}
        }
    }

    fn leased(&mut self, state: &State, lease: &assay_domain::Lease) {
        let job = &lease.job;
        assert!(!self.ended.contains(job), "{job} was leased after its end");
        assert!(self.newest.get(job).is_none_or(|newest| *newest < lease.fence), "{lease} is not newer");
        assert!(self.crashes.get(job) < Some(&CRASHES_MAX), "{job} goes on after its crashes");
        assert!(self.current.insert(job.clone(), lease.fence).is_none(), "{job} was leased twice");
        self.newest.insert(job.clone(), lease.fence);
        let matrix = state.matrix(&job.matrix).expect("a job of a known matrix");
        assert_eq!(matrix.status(job.ordinal), Status::Ready, "{job} was leased when it was not ready");
        for (needed, name) in matrix.submitted.plan[job.ordinal as usize].needs() {
            let input =
                matrix.output(needed, name).unwrap_or_else(|| panic!("{job} was leased without {name}"));
            assert!(
                self.accepted.contains(input.files[0].key.as_str()),
                "{job} would read {name} from nowhere"
            );
        }
    }

    fn succeeded(&mut self, state: &State, lease: &Lease, outputs: &[assay_domain::Artifact]) {
        self.must_be_current(lease);
        self.current.remove(&lease.job);
        self.seen.memory_found += u64::from(self.exceeded.remove(&lease.job).is_some());
        self.seen.crashes_survived += u64::from(self.crashes.contains_key(&lease.job));
        self.failed_on.remove(&worker_of(state, lease));
        assert!(self.winners.insert(lease.job.clone(), lease.fence).is_none(), "{lease} won a second time");
        assert!(self.ended.insert(lease.job.clone()), "{} ended twice", lease.job);
        self.accepted.extend(outputs.iter().map(|output| output.files[0].key.as_str().to_owned()));
    }

    /// A person's wish, or a quarantine.
    fn steered(&mut self, state: &State, event: &Event) {
        if let Event::JobCancelled { job, .. } = event {
            assert!(!self.ended.contains(job), "{job} was cancelled after its end");
            assert!(self.cancelled.insert(job.clone()), "{job} was cancelled twice");
            self.current.remove(job);
            self.seen.cancels += 1;
        } else if let Event::MatrixPaused { matrix, .. } = event {
            assert!(self.paused.insert(matrix.clone()), "{matrix} was paused twice");
            self.seen.pauses += 1;
        } else if let Event::MatrixResumed { matrix, .. } = event {
            assert!(self.paused.remove(matrix), "{matrix} was not paused");
        } else if let Event::WorkerQuarantined { worker, .. } = event {
            self.quarantined(state, worker);
        } else if let Event::WorkerDraining { worker, .. } = event {
            self.closed.insert(worker.clone());
            self.seen.drains += 1;
        } else if let Event::WorkerLifted { worker, .. } = event {
            assert!(self.closed.remove(worker), "nothing kept jobs from {worker}");
            self.failed_on.remove(worker);
        }
    }

    fn attempt_ended(&mut self, state: &State, lease: &Lease, event: &Event) {
        let lost = matches!(event, Event::AttemptLost { .. });
        let class = if let Event::AttemptFailed { class, .. } = event { Some(*class) } else { None };
        self.seen.refusals += u64::from(class == Some(FailureClass::Budget));
        self.seen.lost_attempts += u64::from(lost);
        if lost || matches!(class, Some(FailureClass::Crashed | FailureClass::Stalled)) {
            *self.crashes.entry(lease.job.clone()).or_default() += 1;
        }
        if matches!(class, Some(FailureClass::Crashed | FailureClass::Stalled | FailureClass::Transient)) {
            self.failed_on.entry(worker_of(state, lease)).or_default().insert(lease.job.clone());
        }
        if class == Some(FailureClass::OutOfMemory) {
            self.out_of_memory(state, lease);
        }
    }

    /// Only a matrix that is not held back, on a worker that is open, of a team that may run more.
    fn may_have(&mut self, state: &State, lease: &Lease, worker: &WorkerId) {
        assert!(!self.cancelled.contains(&lease.job), "{lease} was cancelled");
        assert!(!self.paused.contains(&lease.job.matrix), "{lease} is of a paused matrix");
        assert!(!self.closed.contains(worker), "{lease} went to {worker}, which gets nothing");
        let team = |id: &MatrixId| state.matrix(id).expect("a known matrix").submitted.schedule.team.clone();
        let its_team = team(&lease.job.matrix);
        if its_team.as_deref() == Some("few") {
            let running = self.current.keys().filter(|job| team(&job.matrix) == its_team).count();
            // With this one.
            assert_eq!(running, 1, "{lease} is one too many for its team");
            self.seen.limits += 1;
        }
    }

    fn quarantined(&mut self, state: &State, worker: &WorkerId) {
        let failed = self.failed_on.get(worker).map_or(0, BTreeSet::len);
        assert!(failed >= 3, "{worker} is in quarantine after {failed} jobs");
        self.closed.insert(worker.clone());
        let open = state.workers.keys().any(|other| !self.closed.contains(other));
        assert!(open, "{worker} was the last");
        self.seen.quarantines += 1;
    }

    fn out_of_memory(&mut self, state: &State, lease: &Lease) {
        let memory = state.workers[&worker_of(state, lease)].memory_mib;
        let most = self.exceeded.entry(lease.job.clone()).or_default();
        *most = memory.max(*most);
    }

    /// Only where there is more memory than was not enough, unless no such place is left.
    fn is_large_enough(&self, state: &State, job: &JobId, worker: &WorkerId) {
        let Some(exceeded) = self.exceeded.get(job) else { return };
        let larger = |worker: &WorkerInfo| worker.memory_mib > *exceeded;
        let none = !state.workers.values().any(larger);
        assert!(none || larger(&state.workers[worker]), "{job} went to {worker}, which is too small");
    }

    fn must_be_current(&self, lease: &assay_domain::Lease) {
        assert_eq!(self.current.get(&lease.job), Some(&lease.fence), "{lease} is not current");
    }

    /// Checks the state between batches.
    pub(crate) fn after(&mut self, state: &State, policy: Policy) {
        self.looks += 1;
        if self.looks.is_multiple_of(8) {
            self.ledger.agrees(state);
        }
        for matrix in &state.matrices {
            assert!(!matrix.is_finished(), "{} is finished and not archived", matrix.submitted.id);
            let statuses = matrix.statuses();
            for (ordinal, job) in matrix.jobs.iter().enumerate() {
                if (self.looks + ordinal as u64).is_multiple_of(16) {
                    let status = matrix.status(ordinal as u32);
                    assert_eq!(status, statuses[ordinal], "two answers about job {ordinal}");
                }
                let id = JobId { matrix: matrix.submitted.id.clone(), ordinal: ordinal as u32 };
                assert_eq!(job.current(), self.current.get(&id).copied(), "{id}: another attempt is current");
                assert!(job.attempts_counted() <= policy.attempts_max, "{id} was tried too often");
                let counted = self.crashes.get(&id).copied().unwrap_or_default();
                assert_eq!(job.crashes(), counted, "{id} has crashes that were not, or was forgiven some");
                let tired = counted >= CRASHES_MAX;
                assert!(!tired || statuses[ordinal].is_final(), "{id} goes on after its crashes");
                // Some more when one look finds several of its files bad.
                assert!(job.losses <= policy.losses_max + 8, "{id} was lost too often");
                let resumes = job.checkpoints.values().filter(|point| point.resume.is_some()).count();
                assert!(resumes <= 2, "{id} keeps {resumes} resume states");
                self.outputs_are_accepted(&id, job);
                self.logs_are_whole(&id, job);
            }
        }
    }

    fn outputs_are_accepted(&self, id: &JobId, job: &assay_domain::state::JobState) {
        let Phase::Succeeded { fence, outputs, .. } = &job.phase else { return };
        assert_eq!(self.winners.get(id), Some(fence), "{id} has another winner");
        let mut names = BTreeSet::new();
        for output in outputs {
            assert!(names.insert(&output.name), "{id} has `{}` twice", output.name);
            assert!(
                self.accepted.contains(output.files[0].key.as_str()),
                "{id} has an output that nobody accepted"
            );
        }
        assert!(
            job.checkpoints.values().all(|point| point.resume.is_none()),
            "{id} succeeded and can be resumed"
        );
    }
}

fn worker_of(state: &State, lease: &Lease) -> WorkerId {
    let attempt = state.job(&lease.job).and_then(|job| job.attempt(lease.fence));
    attempt.expect("a current attempt").worker.clone()
}

/// One worker has room for one: it gets a job of the matrix whose turn it is among those with one that fits, and nothing only if
/// none has. What an explanation says agrees.
pub(crate) fn placement_is_right(
    state: &State,
    moment: &Moment<'_>,
    shares: &Shares,
    worker: &WorkerId,
    leased: &[Event],
) {
    let fitting = state.matrices.iter().filter(|matrix| has_one_for(state, moment, matrix, worker));
    let turn = fitting.map(|matrix| (shares.rank(matrix), matrix)).min_by_key(|(rank, _)| *rank);
    let given = leased
        .iter()
        .find_map(|event| if let Event::JobLeased { lease, .. } = event { Some(lease) } else { None });
    joining_is_right(state, moment, worker, leased);
    match (given, turn) {
        (None, None) => {}
        (Some(lease), Some((least, _))) => {
            let matrix = state.matrix(&lease.job.matrix).expect("a known matrix");
            assert!(has_one_for(state, moment, matrix, worker), "{lease} does not fit {worker}");
            assert_eq!(shares.rank(matrix), least, "it was not the turn of {lease}");
            let explained = explain(state, matrix, lease.job.ordinal, moment).expect("a job of it");
            let its_worker = explained.workers.iter().find(|known| known.worker == *worker);
            let free =
                explained.reasons.is_empty() && its_worker.is_some_and(|known| known.reasons.is_empty());
            assert!(free, "{lease} was placed against {explained:?}");
        }
        (None, Some((_, matrix))) => panic!("{worker} got nothing of {}", matrix.submitted.id),
        (Some(lease), None) => panic!("{lease} fits nothing"),
    }
}

/// What comes with a lease answers in one batch with it, and no more do so than the worker takes.
fn joining_is_right(state: &State, moment: &Moment<'_>, worker: &WorkerId, leased: &[Event]) {
    let planned = |event: &Event| {
        let Event::JobLeased { lease, .. } = event else { return None };
        let matrix = state.matrix(&lease.job.matrix).expect("a known matrix");
        Some(matrix.submitted.plan[lease.job.ordinal as usize].clone())
    };
    let jobs: Vec<_> = leased.iter().filter_map(planned).collect();
    let seats = moment.offers.get(worker).map_or(0, |offer| offer.seats as usize);
    assert!(jobs.len() <= 1 + seats, "{worker} has {seats} seats and got {} jobs", jobs.len());
    for job in jobs.iter().skip(1) {
        let (Work::Generate(first), Work::Generate(spec)) = (&jobs[0].work, &job.work) else {
            panic!("`{}` joined `{}`", job.label, jobs[0].label);
        };
        assert!(first.shares_batch_with(spec), "`{}` joined `{}`", job.label, jobs[0].label);
        let model = |job: &assay_domain::PlannedJob| {
            job.inputs.iter().find(|input| input.name == "model").map(|input| input.source.clone())
        };
        assert_eq!(model(job), model(&jobs[0]), "`{}` joined `{}`", job.label, jobs[0].label);
    }
}

fn has_one_for(state: &State, moment: &Moment<'_>, matrix: &Matrix, worker: &WorkerId) -> bool {
    let Some(info) = state.workers.get(worker).filter(|_| state.is_open(worker)) else { return false };
    let id = |ordinal: usize| JobId { matrix: matrix.submitted.id.clone(), ordinal: ordinal as u32 };
    let team = &matrix.submitted.schedule.team;
    let of_team = |lease: &Lease| {
        state.matrix(&lease.job.matrix).is_some_and(|other| other.submitted.schedule.team == *team)
    };
    let full =
        || team.as_deref() == Some("few") && state.open_leases().iter().any(|(lease, _)| of_team(lease));
    let exceeds = |exceeded: u64| {
        let larger = |worker: &WorkerInfo| worker.memory_mib > exceeded;
        larger(info) || !state.workers.values().any(larger)
    };
    if matrix.paused_at.is_some() || full() {
        return false;
    }
    let statuses = matrix.statuses();
    let mut ready = statuses.iter().enumerate().filter(|(_, status)| **status == Status::Ready);
    let offer = moment.offers.get(worker).copied().unwrap_or_default();
    ready.any(|(ordinal, _)| {
        let held = moment.held_ms.contains_key(&id(ordinal));
        !held
            && matrix.jobs[ordinal].memory_exceeded_mib.is_none_or(exceeds)
            && has_what_it_takes(state, matrix, ordinal, info, offer)
            && may_cost(state, moment, matrix, ordinal as u32, worker)
    })
}

/// Whether no budget stands between a job and a worker: what is explained of the one job alone.
fn may_cost(state: &State, moment: &Moment<'_>, matrix: &Matrix, ordinal: u32, worker: &WorkerId) -> bool {
    let team = matrix.submitted.schedule.team.as_deref().unwrap_or_default();
    let caps = [matrix.budget, moment.teams.of(team).budget, moment.teams.month];
    if caps.iter().all(assay_domain::budget::Cap::is_none) {
        return true;
    }
    let explained = explain(state, matrix, ordinal, moment).expect("a job of it");
    let its_worker = explained.workers.iter().find(|known| known.worker == *worker).expect("it is known");
    let budget =
        |reason: &Reason| matches!(reason.obstacle, Obstacle::Budget { .. } | Obstacle::Unpriced { .. });
    !its_worker.reasons.iter().any(budget)
}

/// All workers here run everything on a processor.
fn has_what_it_takes(
    state: &State,
    matrix: &Matrix,
    ordinal: usize,
    worker: &WorkerInfo,
    offer: Offer,
) -> bool {
    let planned = &matrix.submitted.plan[ordinal];
    let memory = planned.demand.float32;
    let mut open = state.workers.values().filter(|worker| state.is_open(&worker.id));
    let whole = open.any(|worker| worker.memory_mib >= memory.whole_mib);
    let needed = if whole { memory.whole_mib } else { memory.least_mib };
    let enough_memory = worker.memory_mib.min(offer.memory_free_mib.unwrap_or(u64::MAX)) >= needed;
    let had = state.standings.get(&worker.id).is_some_and(|standing| {
        largest_model_file(planned).is_some_and(|digest| standing.models.contains(&digest))
    });
    let files =
        planned.demand.disk_mib - if had { planned.demand.model_mib.min(planned.demand.disk_mib) } else { 0 };
    let stays = offer.life_left_s.is_none_or(|left| seconds_kept(planned, &matrix.jobs[ordinal]) <= left);
    enough_memory && offer.disk_free_mib.is_none_or(|free| free >= files) && stays
}

fn largest_model_file(planned: &PlannedJob) -> Option<assay_domain::Digest> {
    let model = planned.inputs.iter().find(|input| input.name == "model")?;
    let Source::Upload { artifact } = &model.source else { return None };
    artifact.files.iter().max_by_key(|file| file.bytes).map(|file| file.digest)
}

/// Seconds until something of the job is kept: as the plan says, for a training its part up to the next checkpoint.
fn seconds_kept(planned: &PlannedJob, job: &assay_domain::state::JobState) -> u64 {
    if !planned.work.kind().needs_device() {
        return 1;
    }
    let whole = planned.demand.seconds.expect("the simulation says it") as f64;
    let Work::Train(spec) = &planned.work else { return whole.ceil().max(1.0) as u64 };
    let done =
        job.checkpoints.iter().rev().find(|(_, point)| point.resume.is_some()).map_or(0, |(step, _)| *step);
    let next = spec.checkpoints.iter().copied().find(|step| *step > done).unwrap_or(spec.total_steps);
    let part = (next - done) as f64 / spec.total_steps as f64;
    (whole * part).ceil().max(1.0) as u64
}

/// A retry is refused only where it must be, and takes all that is done and there.
pub(crate) fn retry_is_right(before: &Matrix, read: &ReadSet, decided: Result<&[Event], &Rejection>) {
    let id = &before.submitted.id;
    let done = |status: &Status| matches!(status, Status::Succeeded | Status::Reused);
    let whole = before.statuses().iter().all(done) && read.absent.is_empty();
    match decided {
        Err(Rejection::NotFinished { .. }) => assert!(!before.is_finished(), "{id} is finished"),
        Err(Rejection::NothingToRetry { .. }) => assert!(whole, "{id} lacks something"),
        Err(other) => panic!("{id} cannot be tried again: {other}"),
        Ok(events) => {
            assert!(before.is_finished() && !whole, "{id} is tried again without need");
            let taken = events.iter().filter(|event| matches!(event, Event::JobReused { .. }));
            let taken: BTreeSet<u32> = taken.filter_map(|event| event.job().map(|job| job.ordinal)).collect();
            let there = before.submitted.plan.iter().filter(|job| read.finished.contains_key(&job.key));
            for job in there {
                assert!(taken.contains(&job.ordinal), "job {} of {id} is done, and runs again", job.ordinal);
            }
        }
    }
}
