//! Who decides: pure functions named after what happens, in the order of a job's life.
//!
//! Each reads the state and returns what happens next, or a typed [`Rejection`]; none changes anything. A repeated word of a
//! worker whose effect is already there is `Ok` with no events.

use std::collections::{BTreeMap, BTreeSet};

use crate::budget::Amount;
use crate::event::{SubmittedMatrix, WorkerInfo};
use crate::job::{FailureClass, Usage};
use crate::segment::{AttemptLog, LATE_SEGMENTS_MAX, Lines};
use crate::state::{AttemptRecord, JobState, Matrix, Outcome, Phase, ReadSet, is_finished};
use crate::{
    Artifact, Event, Fence, JobId, Lease, LogSegment, LostObject, MatrixId, Rejection, State, UnixMillis,
    WorkerId,
};

pub use budget::{Balance, balances, grant, set_budget};
pub use failure::{BackOff, Policy};
pub use schedule::place;
pub use standing::{drain, lift, lift_due, to_hand_back, to_save};
pub use steer::{cancel, cancel_job, pause, unpause};

mod budget;
mod failure;
mod lost;
mod retry;
pub mod schedule;
mod standing;
mod steer;

/// A person submits a matrix, or one again that lacks something. The same key and matrix again is the same submission.
pub fn submit(
    state: &State,
    read: &ReadSet,
    matrix: SubmittedMatrix,
) -> Result<(MatrixId, Vec<Event>), Rejection> {
    let known = state
        .by_submit_key(&matrix.submit_key)
        .map(|known| (known.submitted.id.clone(), known.submitted.spec_digest))
        .or_else(|| read.submitted.clone());
    if let Some((id, digest)) = known {
        if digest == matrix.spec_digest {
            return Ok((id, Vec::new()));
        }
        return Err(Rejection::SubmitKeyReused { key: matrix.submit_key, matrix: id });
    }
    if let Some(before) = &read.retried {
        retry::check(before, read)?;
    }
    check_plan(&matrix)?;
    let id = matrix.id.clone();
    let (at, reused) = (matrix.at, reuse(state, read, &matrix));
    let mut events = vec![Event::MatrixSubmitted { matrix: Box::new(matrix) }];
    events.extend(reused);
    events.extend(archive(state, &id, &events, at));
    Ok((id, events))
}

fn check_plan(matrix: &SubmittedMatrix) -> Result<(), Rejection> {
    let unsound = |why: String| Rejection::UnsoundPlan { name: matrix.name.clone(), why };
    for (place, job) in matrix.plan.iter().enumerate() {
        if job.ordinal as usize != place {
            return Err(unsound(format!("job at place {place} has ordinal {}", job.ordinal)));
        }
        for (needed, name) in job.needs() {
            let maker = matrix.plan.get(needed as usize).filter(|maker| maker.ordinal < job.ordinal);
            if !maker.is_some_and(|maker| maker.work.outputs().iter().any(|output| output == name)) {
                return Err(unsound(format!(
                    "job {place} needs `{name}` of job {needed}, which does not make it"
                )));
            }
        }
    }
    Ok(())
}

fn reuse(state: &State, read: &ReadSet, matrix: &SubmittedMatrix) -> Vec<Event> {
    if read.fresh {
        return Vec::new();
    }
    let unread = matrix.plan.iter().map(|job| job.key);
    let unread = unread.filter(|key| !read.finished.contains_key(key) && !read.absent.contains(key));
    // What finished after the read set was made was seen to be there when it was accepted.
    let newer = state.finished_by_key(&unread.collect());
    // What lacks something is made again, and all that is made from it.
    let mut again = BTreeSet::new();
    let found = matrix.plan.iter().filter_map(|job| {
        let finished = read.finished.get(&job.key).or_else(|| newer.get(&job.key))?.clone();
        if finished.lacks_something() || job.needs().any(|(needed, _)| again.contains(&needed)) {
            again.insert(job.ordinal);
            return None;
        }
        Some(Event::JobReused {
            job: JobId { matrix: matrix.id.clone(), ordinal: job.ordinal },
            from: finished.job,
            outputs: finished.outputs,
            usage: finished.usage,
            at: matrix.at,
        })
    });
    found.collect()
}

/// A worker introduces itself; the same words again change nothing.
pub fn register(state: &State, worker: WorkerInfo, at: UnixMillis) -> Vec<Event> {
    if state.workers.get(&worker.id) == Some(&worker) {
        return Vec::new();
    }
    vec![Event::WorkerRegistered { worker, at }]
}

/// How long workers that are gone are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// One that is gone for this long is forgotten.
    pub gone_ms: u64,
    /// Of more than these, the ones gone longest are forgotten.
    pub gone_workers_max: usize,
}

/// Workers are gone, each since a moment of the monotonic clock that reads `now_ms`: those gone for too long, and those
/// that are too many, are forgotten. One whose attempt still runs waits for its lease's end.
pub fn forget(
    state: &State,
    memory: Memory,
    gone_since_ms: &BTreeMap<WorkerId, u64>,
    now_ms: u64,
    at: UnixMillis,
) -> Vec<Event> {
    let too_many = gone_since_ms.len().saturating_sub(memory.gone_workers_max);
    let too_long = |since_ms: u64| now_ms.saturating_sub(since_ms) >= memory.gone_ms;
    if too_many == 0 && !gone_since_ms.values().any(|since_ms| too_long(*since_ms)) {
        return Vec::new();
    }
    let mut longest_first: Vec<(u64, &WorkerId)> =
        gone_since_ms.iter().map(|(worker, since_ms)| (*since_ms, worker)).collect();
    longest_first.sort_unstable();
    let due = longest_first.iter().enumerate();
    let due = due.filter(|(place, (since_ms, _))| *place < too_many || too_long(*since_ms));
    let busy: BTreeSet<WorkerId> = state.open_leases().into_iter().map(|(_, worker)| worker).collect();
    due.map(|(_, (_, worker))| *worker)
        .filter(|worker| state.workers.contains_key(*worker) && !busy.contains(*worker))
        .map(|worker| Event::WorkerForgotten { worker: worker.clone(), at })
        .collect()
}

/// A worker says that it still works: refused unless its attempt is current.
pub fn renew(state: &State, lease: &Lease) -> Result<(), Rejection> {
    current_job(state, lease).map(|_| ())
}

/// An attempt asks to upload a file: refused unless it is current, but for the last of its lines.
pub fn upload(state: &State, read: &ReadSet, lease: &Lease, artifact: &str) -> Result<(), Rejection> {
    match Lines::named(artifact) {
        Some(lines) => open_lines(state, read, lease, lines).map(|_| ()),
        None => renew(state, lease),
    }
}

/// An attempt says that a part of its log, metrics or ledger lies in the store. Also one that has ended, a little: what it wrote last says why. It
/// changes nothing else.
pub fn logged(
    state: &State,
    read: &ReadSet,
    lease: &Lease,
    segment: LogSegment,
    at: UnixMillis,
) -> Result<Vec<Event>, Rejection> {
    let known = job_of(state, read, lease).and_then(|job| job.attempt(lease.fence));
    if known.is_some_and(|attempt| segment.number < attempt.stored(segment.of).next()) {
        return Ok(Vec::new());
    }
    let (log, given) = (open_lines(state, read, lease, segment.of)?, segment.number);
    if given > log.next() {
        return Err(Rejection::SkippedSegment { lease: lease.clone(), given, next: log.next() });
    }
    Ok(vec![Event::Logged { lease: lease.clone(), segment, at }])
}

/// A training attempt brings a checkpoint, of the plan or asked for between two of the plan's; an adapter accepted before for the same step stands, and its resume state counts only
/// where it is newer than all there are.
pub fn checkpointed(
    state: &State,
    lease: &Lease,
    step: u64,
    adapter: Artifact,
    resume: Artifact,
    at: UnixMillis,
) -> Result<Vec<Event>, Rejection> {
    let (matrix, job) = current_job(state, lease)?;
    let newest = job.resume().is_none_or(|(newest, _)| newest < step);
    if job.checkpoints.get(&step).is_some_and(|point| point.resume.is_some() || !newest) {
        return Ok(Vec::new());
    }
    let planned = matrix.submitted.plan.get(lease.job.ordinal as usize);
    let asked_for = !planned.is_some_and(|job| job.work.outputs().contains(&Artifact::adapter_name(step)));
    Ok(vec![Event::Checkpointed { lease: lease.clone(), step, adapter, resume, asked_for, at }])
}

/// An attempt says that its job is done. A repeat by the attempt that won is heard and changes nothing.
pub fn complete(
    state: &State,
    read: &ReadSet,
    lease: &Lease,
    outputs: Vec<Artifact>,
    usage: Usage,
    at: UnixMillis,
) -> Result<Vec<Event>, Rejection> {
    if won_by(state.job(&lease.job), lease.fence) || read.winner.as_ref() == Some(lease) {
        return Ok(Vec::new());
    }
    let (matrix, job) = current_job(state, lease)?;
    let planned = matrix
        .submitted
        .plan
        .get(lease.job.ordinal as usize)
        .ok_or_else(|| Rejection::UnknownJob { job: lease.job.clone() })?;
    for name in planned.work.outputs() {
        let brought = outputs.iter().any(|artifact| artifact.name == name) || job.output(&name).is_some();
        if !brought {
            return Err(Rejection::MissingOutput { lease: lease.clone(), name });
        }
    }
    let mut events = vec![Event::JobSucceeded { lease: lease.clone(), outputs, usage, at }];
    events.extend(archive(state, &lease.job.matrix, &events, at));
    Ok(events)
}

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// As the worker says.
    pub class: FailureClass,
    /// As the worker says.
    pub reason: String,
    /// Objects of its inputs that the coordinator itself found to be bad.
    pub lost: Vec<LostObject>,
    /// What it used, as the worker says; all that was set aside for it counts when it does not.
    pub used: Option<Amount>,
}

/// An attempt says that it failed: it is tried again unless that cannot help or was done often enough. Inputs that were lost are
/// made again first.
pub fn fail(
    state: &State,
    policy: Policy,
    lease: &Lease,
    failed: Failed,
    at: UnixMillis,
) -> Result<Vec<Event>, Rejection> {
    if said_before(state.job(&lease.job), lease.fence) {
        return Ok(Vec::new());
    }
    let (matrix, job) = current_job(state, lease)?;
    let Failed { class, reason, lost, used } = failed;
    let class = lost::class(matrix, lease, budget::class(job.attempt(lease.fence), class), &lost);
    let planned = matrix.submitted.plan.get(lease.job.ordinal as usize);
    let memory_mib = failure::memory_exceeded(state, job, class);
    let needs_permille = budget::needs_permille(state, planned, job, lease, class);
    let no_larger = || failure::no_larger_worker(state, planned?.work.kind(), memory_mib?, &reason);
    let given_up = || policy.given_up(job, class.counts(), class.is_crash(), &reason);
    let final_reason = match class {
        FailureClass::BadInput => Some(reason.clone()),
        FailureClass::InputLost => lost::upload(matrix, lease, &lost),
        FailureClass::OutOfMemory => no_larger().or_else(given_up),
        FailureClass::Transient | FailureClass::Stalled | FailureClass::Crashed | FailureClass::Released => {
            given_up()
        }
        // Nothing is leased before its budget has enough left for it.
        FailureClass::Budget => None,
    };
    let quarantine = standing::quarantine(state, policy, lease, job, (class, &reason), at);
    let lease_ended = lease.clone();
    let failed =
        Event::AttemptFailed { lease: lease_ended, class, reason, memory_mib, used, needs_permille, at };
    let mut events = vec![failed];
    events.extend(final_reason.map(|reason| Event::JobFailed { job: lease.job.clone(), reason, at }));
    events.extend(quarantine);
    lost::make_again(state, policy, &lost, at, &mut events);
    Ok(with_archived(state, events, at))
}

/// Leases ran out: their attempts are lost. Leases that are not current any more are passed over.
pub fn expire(state: &State, policy: Policy, leases: &[Lease], at: UnixMillis) -> Vec<Event> {
    let mut events = Vec::new();
    for lease in leases.iter().collect::<BTreeSet<_>>() {
        let Ok((_, job)) = current_job(state, lease) else { continue };
        let reason = policy.given_up(job, true, true, "the worker was lost");
        events.push(Event::AttemptLost { lease: lease.clone(), at });
        events.extend(reason.map(|reason| Event::JobFailed { job: lease.job.clone(), reason, at }));
    }
    with_archived(state, events, at)
}

/// After a restart: the attempts that may still run somewhere and get a full term.
pub fn resume(state: &State) -> Vec<(Lease, WorkerId)> {
    state.open_leases()
}

/// A matrix in which nothing can run after `events` leaves the working state. Only the jobs that the events are about are
/// looked at anew.
pub fn archive(state: &State, matrix: &MatrixId, events: &[Event], at: UnixMillis) -> Option<Event> {
    let archived = Event::MatrixArchived { matrix: matrix.clone(), at };
    let known = state.matrix(matrix);
    let about = || events.iter().filter(|event| event.matrix() == Some(matrix));
    if about().any(|event| matches!(event, Event::MatrixCancelled { .. })) {
        return Some(archived);
    }
    let ordinals: Vec<u32> = about().filter_map(|event| Some(event.job()?.ordinal)).collect();
    if known.is_some_and(|known| another_runs(known, &ordinals)) {
        return None;
    }
    let fresh = JobState::default();
    let (plan, jobs) = match known {
        Some(known) => (&known.submitted.plan, known.jobs.as_slice()),
        None => (&submitted_by(events, matrix)?.plan, &[][..]),
    };
    let before = |ordinal: u32| if known.is_some() { jobs.get(ordinal as usize) } else { Some(&fresh) };
    let mut changed: BTreeMap<u32, JobState> = BTreeMap::new();
    for event in about() {
        let Some(ordinal) = event.job().map(|job| job.ordinal) else { continue };
        changed.entry(ordinal).or_insert_with(|| before(ordinal).cloned().unwrap_or_default()).apply(event);
    }
    is_finished(plan, |ordinal| changed.get(&ordinal).or_else(|| before(ordinal))).then_some(archived)
}

/// Whether a job runs that is not one of these. Jobs that are leased together stand together in the plan, so it is looked for
/// from the first of these on.
fn another_runs(matrix: &Matrix, these: &[u32]) -> bool {
    let first = these.first().map_or(0, |first| *first as usize).min(matrix.jobs.len());
    let (before, after) = matrix.jobs.split_at(first);
    let runs = |(ordinal, job): (usize, &JobState)| {
        job.current().is_some() && !these.iter().any(|this| *this as usize == ordinal)
    };
    (first..).zip(after).any(runs) || before.iter().enumerate().any(runs)
}

fn submitted_by<'a>(events: &'a [Event], id: &MatrixId) -> Option<&'a SubmittedMatrix> {
    events.iter().find_map(|event| {
        let Event::MatrixSubmitted { matrix } = event else { return None };
        (matrix.id == *id).then_some(matrix.as_ref())
    })
}

/// All of the events together can end a matrix that none of them alone would.
fn with_archived(state: &State, mut events: Vec<Event>, at: UnixMillis) -> Vec<Event> {
    let matrices: BTreeSet<&MatrixId> = events.iter().filter_map(Event::matrix).collect();
    let archived: Vec<Event> =
        matrices.into_iter().filter_map(|matrix| archive(state, matrix, &events, at)).collect();
    events.extend(archived);
    events
}

fn current_job<'a>(state: &'a State, lease: &Lease) -> Result<(&'a Matrix, &'a JobState), Rejection> {
    let stale = |current| Rejection::StaleAttempt { lease: lease.clone(), current };
    let matrix = state.matrix(&lease.job.matrix).ok_or_else(|| stale(None))?;
    let job = matrix.jobs.get(lease.job.ordinal as usize).ok_or_else(|| stale(None))?;
    match job.current() {
        Some(fence) if fence == lease.fence => Ok((matrix, job)),
        current => Err(stale(current)),
    }
}

fn job_of<'a>(state: &'a State, read: &'a ReadSet, lease: &Lease) -> Option<&'a JobState> {
    state.job(&lease.job).or(read.archived.as_ref())
}

/// The lines of an attempt that may go on.
fn open_lines<'a>(
    state: &'a State,
    read: &'a ReadSet,
    lease: &Lease,
    lines: Lines,
) -> Result<&'a AttemptLog, Rejection> {
    let job = job_of(state, read, lease);
    let open = |attempt: &&AttemptRecord| {
        attempt.outcome == Outcome::Running || attempt.stored(lines).late < LATE_SEGMENTS_MAX
    };
    let attempt = job.and_then(|job| job.attempt(lease.fence)).filter(open);
    let log = attempt.map(|attempt| attempt.stored(lines));
    log.ok_or_else(|| Rejection::StaleAttempt {
        lease: lease.clone(),
        current: job.and_then(JobState::current),
    })
}

fn won_by(job: Option<&JobState>, fence: Fence) -> bool {
    job.is_some_and(|job| matches!(&job.phase, Phase::Succeeded { fence: winner, .. } if *winner == fence))
}

fn said_before(job: Option<&JobState>, fence: Fence) -> bool {
    job.is_some_and(|job| {
        job.attempts
            .iter()
            .any(|attempt| attempt.fence == fence && matches!(attempt.outcome, Outcome::Failed { .. }))
    })
}
