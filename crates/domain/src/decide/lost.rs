//! Objects that are bad in the store: what had them runs again, and whoever read them is not to blame.

use std::borrow::Cow;

use super::Policy;
use crate::job::{FailureClass, Source};
use crate::state::{JobState, Matrix, Phase};
use crate::{Event, JobId, Lease, LostObject, State, UnixMillis};

/// What a failure is, seen from here: one whose inputs are bad, or gone since they were handed out, is not the attempt's own.
pub(super) fn class(matrix: &Matrix, lease: &Lease, said: FailureClass, lost: &[LostObject]) -> FailureClass {
    let planned = matrix.submitted.plan.get(lease.job.ordinal as usize);
    let gone =
        || planned.is_some_and(|job| job.needs().any(|(maker, name)| matrix.output(maker, name).is_none()));
    match said {
        FailureClass::Transient if !lost.is_empty() || gone() => FailureClass::InputLost,
        // Only the coordinator finds that out.
        FailureClass::InputLost => FailureClass::Transient,
        FailureClass::BadInput
        | FailureClass::OutOfMemory
        | FailureClass::Transient
        | FailureClass::Stalled
        | FailureClass::Crashed
        | FailureClass::Released
        | FailureClass::Budget => said,
    }
}

/// Why a job cannot run again: an upload of its own is lost, and nobody but a person has its bytes.
pub(super) fn upload(matrix: &Matrix, lease: &Lease, lost: &[LostObject]) -> Option<String> {
    let planned = matrix.submitted.plan.get(lease.job.ordinal as usize)?;
    planned.inputs.iter().find_map(|input| match &input.source {
        Source::Upload { artifact } => {
            let here_alone = |lost: &&LostObject| artifact.has(&lost.file.key) && lost.file.origin().is_none();
            let LostObject { file, found } = lost.iter().find(here_alone)?;
            Some(format!(
                "file `{}` of the uploaded `{}` (sha256 {}, {} bytes) was lost in the store, where it {found}: submit the \
                 matrix again, which uploads it again",
                file.path, artifact.name, file.digest, file.bytes
            ))
        }
        Source::Output { .. } => None,
    })
}

/// Adds what becomes of all unfinished jobs that had made one of the objects, or were given it by an equal job.
pub(super) fn make_again(
    state: &State,
    policy: Policy,
    lost: &[LostObject],
    at: UnixMillis,
    events: &mut Vec<Event>,
) {
    let jobs = state.matrices.iter().flat_map(|matrix| {
        let id = |ordinal: usize| JobId { matrix: matrix.submitted.id.clone(), ordinal: ordinal as u32 };
        matrix.jobs.iter().enumerate().map(move |(ordinal, job)| (id(ordinal), job))
    });
    for (id, job) in jobs {
        // As each loss leaves it: what went with one file of a production is not lost once more with the next.
        let mut left = Cow::Borrowed(job);
        for object in lost {
            let key = &object.file.key;
            let name = match (left.holder_of(key), left.lines_in(&id, key)) {
                (Some(holder), _) => holder.name.clone(),
                // Its readers do without, and nothing is made again.
                (None, Some((_, lines))) => lines.as_str().to_owned(),
                (None, None) => continue,
            };
            let reason = format!("its `{name}` was lost: {key} {}", object.found);
            let event = Event::ArtifactLost { job: id.clone(), name, key: key.clone(), reason, at };
            left.to_mut().apply(&event);
            events.push(event);
        }
        let losses = left.losses;
        let over = losses > job.losses && losses > policy.losses_max && may_run_again(job);
        if let Some(Event::ArtifactLost { reason, .. }) = events.last().filter(|_| over && !ends(events, &id))
        {
            let reason = format!(
                "given up after {losses} losses in the object store, whose disk needs a look; the last: {reason}"
            );
            events.push(Event::JobFailed { job: id, reason, at });
        }
    }
}

fn ends(events: &[Event], id: &JobId) -> bool {
    events.iter().any(|event| matches!(event, Event::JobFailed { job, .. } if job == id))
}

fn may_run_again(job: &JobState) -> bool {
    match &job.phase {
        Phase::Waiting | Phase::Leased { .. } | Phase::Succeeded { .. } | Phase::Reused { .. } => true,
        Phase::Failed { .. } | Phase::Cancelled => false,
    }
}
