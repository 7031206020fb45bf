//! What people do with matrices that are under way: cancel all or a part, hold back, let go on.

use std::collections::BTreeSet;

use super::{archive, with_archived};
use crate::state::Matrix;
use crate::{Event, JobId, MatrixId, Rejection, State, UnixMillis};

/// A person cancels a matrix; one that is finished stays as it is.
pub fn cancel(state: &State, matrix: &MatrixId, at: UnixMillis) -> Result<Vec<Event>, Rejection> {
    let known = known(state, matrix)?;
    if known.is_finished() || known.cancelled_at.is_some() {
        return Ok(Vec::new());
    }
    let mut events = vec![Event::MatrixCancelled { matrix: matrix.clone(), at }];
    events.extend(archive(state, matrix, &events, at));
    Ok(events)
}

/// A person cancels a job, or with `branch` also all that needs it, directly or not. What has ended stays as it is. Without
/// `branch`, jobs that have what they need of it (a checkpoint's adapter) go on.
pub fn cancel_job(state: &State, job: &JobId, branch: bool, at: UnixMillis) -> Result<Vec<Event>, Rejection> {
    let matrix = known(state, &job.matrix)?;
    if job.ordinal as usize >= matrix.jobs.len() {
        return Err(Rejection::UnknownJob { job: job.clone() });
    }
    let mut gone = BTreeSet::from([job.ordinal]);
    for planned in matrix.submitted.plan.iter().filter(|_| branch) {
        if planned.needs().any(|(needed, _)| gone.contains(&needed)) {
            gone.insert(planned.ordinal);
        }
    }
    let can_run = |ordinal: &u32| matrix.jobs[*ordinal as usize].can_be_cancelled();
    let id = |ordinal: u32| JobId { matrix: job.matrix.clone(), ordinal };
    let events = gone.into_iter().filter(can_run);
    let events = events.map(|ordinal| Event::JobCancelled { job: id(ordinal), at }).collect();
    Ok(with_archived(state, events, at))
}

/// A person holds a matrix back: what runs goes on, and nothing more is leased until it is resumed.
pub fn pause(state: &State, matrix: &MatrixId, at: UnixMillis) -> Result<Vec<Event>, Rejection> {
    let paused = known(state, matrix)?.paused_at.is_some();
    Ok(if paused { Vec::new() } else { vec![Event::MatrixPaused { matrix: matrix.clone(), at }] })
}

/// A person lets a paused matrix go on.
pub fn unpause(state: &State, matrix: &MatrixId, at: UnixMillis) -> Result<Vec<Event>, Rejection> {
    let paused = known(state, matrix)?.paused_at.is_some();
    Ok(if paused { vec![Event::MatrixResumed { matrix: matrix.clone(), at }] } else { Vec::new() })
}

fn known<'a>(state: &'a State, matrix: &MatrixId) -> Result<&'a Matrix, Rejection> {
    state.matrix(matrix).ok_or_else(|| Rejection::UnknownMatrix { matrix: matrix.clone() })
}
