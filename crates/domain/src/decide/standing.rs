//! How workers come to stand: in quarantine when different jobs fail there, drained by a person, and open again.

use std::collections::BTreeMap;

use super::Policy;
use crate::job::FailureClass;
use crate::state::{DrainMode, JobState, Standing};
use crate::{Event, Lease, Rejection, State, UnixMillis, WorkKind, WorkerId};

/// The quarantine that follows a failure, when the worker rather than its jobs seems to be the reason: several different jobs
/// failed there in a row. The last worker that can do a kind of job is never quarantined, as nothing would run.
pub(super) fn quarantine(
    state: &State,
    policy: Policy,
    lease: &Lease,
    job: &JobState,
    failed: (FailureClass, &str),
    at: UnixMillis,
) -> Option<Event> {
    let (class, reason) = failed;
    let worker = &job.attempt(lease.fence).filter(|_| class.may_be_its_workers())?.worker;
    let (info, standing) = (state.workers.get(worker)?, state.standings.get(worker));
    let others = standing.map_or(0, |known| known.failed.iter().filter(|job| **job != lease.job).count());
    let open = standing.is_none_or(|known| known.quarantine.is_none());
    if !open || others + 1 < policy.quarantine_jobs {
        return None;
    }
    let is_another = |kind: &WorkKind| {
        let mut others = state.workers.values().filter(|other| other.id != *worker);
        others.any(|other| other.kinds.contains(kind) && state.is_open(&other.id))
    };
    let reason =
        format!("{} different jobs failed on it in a row; the last, {}: {reason}", others + 1, lease.job);
    info.kinds.iter().all(is_another).then(|| Event::WorkerQuarantined { worker: worker.clone(), reason, at })
}

/// A person takes a worker out: it gets no further job. [`to_hand_back`] says what becomes of those it has.
pub fn drain(
    state: &State,
    worker: &WorkerId,
    mode: DrainMode,
    at: UnixMillis,
) -> Result<Vec<Event>, Rejection> {
    let standing = known(state, worker)?;
    if standing.and_then(|known| known.drain).is_some_and(|drain| drain.mode == mode) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::WorkerDraining { worker: worker.clone(), mode, at }])
}

/// A person lets a worker have jobs again, whatever kept them from it.
pub fn lift(state: &State, worker: &WorkerId, at: UnixMillis) -> Result<Vec<Event>, Rejection> {
    if known(state, worker)?.is_none_or(Standing::is_open) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::WorkerLifted { worker: worker.clone(), at }])
}

/// Workers are in quarantine, each since a moment of the monotonic clock that reads `now_ms`: those that were for long enough get
/// another chance. Their next failures in a row bring them back.
pub fn lift_due(
    state: &State,
    quarantine_ms: u64,
    since_ms: &BTreeMap<WorkerId, u64>,
    now_ms: u64,
    at: UnixMillis,
) -> Vec<Event> {
    let due = since_ms.iter().filter(|(_, since_ms)| now_ms.saturating_sub(**since_ms) >= quarantine_ms);
    let standing = due.filter_map(|(worker, _)| Some((worker, state.standings.get(worker)?)));
    standing
        .filter(|(_, standing)| standing.quarantine.is_some() && standing.drain.is_none())
        .map(|(worker, _)| Event::WorkerLifted { worker: worker.clone(), at })
        .collect()
}

/// The attempts that a draining worker is to hand back now. `saved`: one that has just saved a checkpoint.
pub fn to_hand_back(state: &State, worker: &WorkerId, saved: Option<&Lease>) -> Vec<Lease> {
    let mode = state.standings.get(worker).and_then(|standing| standing.drain).map(|drain| drain.mode);
    let goes = |lease: &Lease| match mode {
        Some(DrainMode::Now) => true,
        Some(DrainMode::Checkpoint) => saved == Some(lease) || !can_resume(state, lease),
        Some(DrainMode::Finish) | None => false,
    };
    match mode {
        Some(DrainMode::Checkpoint | DrainMode::Now) => {
            let held = state.open_leases().into_iter().filter(|(_, holder)| holder == worker);
            held.map(|(lease, _)| lease).filter(goes).collect()
        }
        Some(DrainMode::Finish) | None => Vec::new(),
    }
}

/// The trainings that a draining worker is to save now, so that they go on elsewhere from there.
pub fn to_save(state: &State, worker: &WorkerId) -> Vec<Lease> {
    let drain = state.standings.get(worker).and_then(|standing| standing.drain);
    if drain.is_none_or(|drain| drain.mode != DrainMode::Checkpoint) {
        return Vec::new();
    }
    let held = state.open_leases().into_iter().filter(|(_, holder)| holder == worker);
    held.map(|(lease, _)| lease).filter(|lease| can_resume(state, lease)).collect()
}

fn can_resume(state: &State, lease: &Lease) -> bool {
    let matrix = state.matrix(&lease.job.matrix);
    let planned = matrix.and_then(|matrix| matrix.submitted.plan.get(lease.job.ordinal as usize));
    planned.is_some_and(|job| job.work.kind() == WorkKind::Train)
}

fn known<'a>(state: &'a State, worker: &WorkerId) -> Result<Option<&'a Standing>, Rejection> {
    if state.workers.contains_key(worker) {
        return Ok(state.standings.get(worker));
    }
    Err(Rejection::UnknownWorker { worker: worker.clone() })
}
