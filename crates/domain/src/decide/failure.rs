//! What follows a failed or lost attempt: whether there is another, after which pause, and on which workers. The classes and
//! what each means stand in `docs/failures.md`.

use crate::event::WorkerInfo;
use crate::job::FailureClass;
use crate::state::JobState;
use crate::{Digest, JobId, State, WorkKind};

/// Limits on trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Attempts of a job that may fail or be lost before the job fails.
    pub attempts_max: usize,
    /// Attempts of a job that may crash, stall or lose their worker before the job fails: it may be what brings them down.
    pub crashes_max: usize,
    /// Times that something a job made may be lost before the job fails.
    pub losses_max: usize,
    /// Different jobs that may fail on a worker in a row before it gets no more.
    pub quarantine_jobs: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { attempts_max: 5, crashes_max: 3, losses_max: 3, quarantine_jobs: 3 }
    }
}

impl Policy {
    /// Why there is no further attempt, when an attempt more has counted, and as a crash if it was one.
    pub(super) fn given_up(self, job: &JobState, counts: bool, crash: bool, reason: &str) -> Option<String> {
        let counted = job.attempts_counted() + usize::from(counts);
        let crashes = job.crashes() + usize::from(crash);
        if crash && crashes >= self.crashes_max {
            return Some(format!(
                "given up after {crashes} attempts that crashed, stalled or lost their worker, as the job itself may bring \
                 them down; the last: {reason}"
            ));
        }
        (counted >= self.attempts_max)
            .then(|| format!("given up after {counted} attempts; the last: {reason}"))
    }
}

/// How long a job is held back after an attempt that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    /// The most after the first such attempt; doubles with each.
    pub first_ms: u64,
    /// The most after any.
    pub longest_ms: u64,
}

impl BackOff {
    /// The pause after the job's last attempt: between half of what its attempts come to and all of it, drawn from the job and
    /// the attempt. Jobs that failed together come back one after the other, and whoever replays this gets the same.
    pub fn pause_ms(self, id: &JobId, job: &JobState) -> u64 {
        let doublings = job.attempts_counted().saturating_sub(1).min(32);
        let whole = self.first_ms.saturating_mul(1 << doublings).min(self.longest_ms);
        let drawn = Digest::of(format!("{id} {}", job.attempts.len()).as_bytes());
        let drawn = drawn.as_bytes().iter().take(8).fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
        whole / 2 + drawn % (whole - whole / 2 + 1)
    }
}

/// Device memory of the worker whose attempt says that it was not enough, MiB.
pub(super) fn memory_exceeded(state: &State, job: &JobState, class: FailureClass) -> Option<u64> {
    let attempt = job.attempts.last().filter(|_| class == FailureClass::OutOfMemory)?;
    state.workers.get(&attempt.worker).map(|worker| worker.memory_mib)
}

/// Why nobody can try again what needs more than this much memory.
pub(super) fn no_larger_worker(
    state: &State,
    kind: WorkKind,
    memory_mib: u64,
    reason: &str,
) -> Option<String> {
    let largest = largest(state, kind)?;
    (largest <= memory_mib).then(|| {
        format!(
            "{memory_mib} MiB of memory were not enough and no worker for {} jobs has more: start a larger one, or lower the \
             job's batch, length or model, and submit again; the attempt said: {reason}",
            kind.as_str()
        )
    })
}

/// Whether a worker may have a job whose memory ran out before: if it has more than the workers where that happened, or if
/// those that had more are gone. In that case the job's next such end is its last, and nothing waits for ever.
pub(super) fn is_large_enough(state: &State, worker: &WorkerInfo, kind: WorkKind, exceeded_mib: u64) -> bool {
    worker.memory_mib > exceeded_mib || largest(state, kind).is_none_or(|largest| largest <= exceeded_mib)
}

fn largest(state: &State, kind: WorkKind) -> Option<u64> {
    let workers = state.workers.values().filter(|worker| worker.kinds.contains(&kind));
    workers.map(|worker| worker.memory_mib).max()
}
