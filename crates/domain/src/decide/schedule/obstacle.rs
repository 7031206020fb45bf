//! What stands between a job and a worker: the predicates of placement, each with its words and with what would change it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::share::{Team, Teams};
use super::{Moment, id_of};
use crate::budget::{Amount, Cap, Scope};
use crate::decide::failure;
use crate::event::WorkerInfo;
use crate::state::{DrainMode, JobState, Matrix, Phase, Status};
use crate::{JobId, PlannedJob, State, UnixMillis, WorkKind, WorkerId};

/// One thing that stands between a job and a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what the texts below say with them")]
pub enum Obstacle {
    /// It has ended, well or not.
    Ended { status: Status, reason: String },
    /// It runs, there or elsewhere.
    Runs { worker: WorkerId },
    /// An input is not there yet.
    Waits { on: JobId, label: String, artifact: String, status: Status },
    /// An input will never be there.
    Blocked { on: JobId, label: String, artifact: String, status: Status },
    /// A person holds its matrix back.
    Paused { since: UnixMillis },
    /// It failed a moment ago.
    BackOff { left_ms: u64, failures: usize },
    /// Its team runs as much as it may.
    TeamLimit { team: String, running: u32, limit: u32 },
    /// A budget has less left than the job is expected to cost there.
    Budget { scope: Scope, needs: Amount, left: Cap },
    /// A budget counts money, and what the job's calls cost is unknown.
    Unpriced { scope: Scope },
    /// The worker is not connected.
    Gone,
    /// The worker gets no jobs because those it had failed.
    Quarantined { reason: String },
    /// A person takes the worker out.
    Draining { mode: DrainMode },
    /// The worker does not run such jobs.
    Kind { kind: WorkKind },
    /// As much memory as the worker has was not enough before.
    Memory { exceeded_mib: u64, has_mib: u64 },
    /// The worker has its hands full.
    Full,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { status, reason } if reason.is_empty() => {
                write!(f, "the job is {}", status.as_str())
            }
            Self::Ended { status, reason } => write!(f, "the job is {}: {reason}", status.as_str()),
            Self::Runs { worker } => write!(f, "it runs on {worker}"),
            Self::Waits { on, label, artifact, status } => {
                write!(f, "it needs `{artifact}` of {on} ({label}), which is {}", status.as_str())
            }
            Self::Blocked { on, label, artifact, status } => {
                write!(
                    f,
                    "`{artifact}` of {on} ({label}) will never be there: that job is {}",
                    status.as_str()
                )
            }
            Self::Paused { .. } => f.write_str("its matrix is paused"),
            Self::BackOff { left_ms, failures } => {
                let seconds = *left_ms as f64 / 1e3;
                write!(f, "it is held back for {seconds:.1} s more after failure {failures}")
            }
            Self::TeamLimit { team, running, limit } => {
                write!(f, "team `{team}` runs {running} jobs, of {limit} that it may")
            }
            Self::Budget { scope, needs, left } => {
                write!(f, "it needs about {needs} there, and of the budget of {scope} there is {left} left")
            }
            Self::Unpriced { scope } => {
                write!(f, "what its calls cost is unknown, and the budget of {scope} counts money")
            }
            Self::Gone => f.write_str("the worker is not connected"),
            Self::Quarantined { reason } => write!(f, "the worker is in quarantine: {reason}"),
            Self::Draining { .. } => f.write_str("the worker is drained"),
            Self::Kind { kind } => write!(f, "the worker does not run {} jobs", kind.as_str()),
            Self::Memory { exceeded_mib, has_mib } => {
                write!(f, "{exceeded_mib} MiB of memory were not enough for it, and the worker has {has_mib}")
            }
            Self::Full => f.write_str("the worker has no free place"),
        }
    }
}

impl Obstacle {
    /// What would change it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Ended { status: Status::Succeeded | Status::Reused, .. } => {
                String::from("nothing to do; `assay submit --fresh` runs it again")
            }
            Self::Ended { .. } | Self::Blocked { .. } => {
                String::from("`assay retry MATRIX`, once the matrix has ended, runs what it lacks")
            }
            Self::Runs { .. } => String::from("nothing to do: `assay logs JOB --follow` shows it"),
            Self::Waits { on, .. } => format!("the end of {on}: `assay explain {on}`"),
            Self::Paused { .. } => String::from("`assay resume MATRIX`"),
            Self::BackOff { .. } => String::from("the end of that time"),
            Self::TeamLimit { team, .. } => {
                format!("the end of a job of team `{team}`, or a higher limit at the coordinator")
            }
            Self::Budget { scope, .. } => scope.remedy(),
            Self::Unpriced { scope } => {
                format!("a judge whose price is known, or no money in the budget of {scope}")
            }
            Self::Gone => String::from("the worker's return; one that is gone for long is forgotten"),
            Self::Quarantined { .. } => String::from("`assay fleet lift WORKER`, or some time"),
            Self::Draining { .. } => String::from("`assay fleet lift WORKER`"),
            Self::Kind { kind } if kind.needs_device() => {
                String::from("a worker: `assay-worker` runs such jobs")
            }
            Self::Kind { .. } => String::from("a judge-runner: `assay-judge-runner` runs such jobs"),
            Self::Memory { .. } => {
                String::from("a worker with more memory, or a smaller batch, length or model")
            }
            Self::Full => String::from("the end of a job there, or another worker"),
        }
    }
}

/// What keeps a job from every worker. A job that is ready has no [`Obstacle::Waits`] and nothing before it.
pub(super) fn of_job<'a>(
    matrix: &'a Matrix,
    planned: &'a PlannedJob,
    status: Status,
    held_ms: &'a BTreeMap<JobId, u64>,
) -> impl Iterator<Item = Obstacle> {
    let known = matrix.jobs.get(planned.ordinal as usize);
    let ended = known.and_then(|known| at_end(known, status));
    let inputs = planned.needs().filter(move |_| matches!(status, Status::Waiting | Status::Blocked));
    let inputs = inputs.filter_map(|(needed, name)| lacking(matrix, needed, name));
    let paused = matrix.paused_at.filter(|_| !status.is_final() && status != Status::Running);
    let paused = paused.map(|since| Obstacle::Paused { since });
    // Looked up only where something is held at all: an id is made for it.
    let hold = (!held_ms.is_empty() && status == Status::Ready)
        .then(|| held_ms.get(&id_of(matrix, planned.ordinal)))
        .flatten();
    let failures = known.map_or(0, JobState::attempts_counted);
    let held = hold.map(|left_ms| Obstacle::BackOff { left_ms: *left_ms, failures });
    ended.into_iter().chain(inputs).chain(paused).chain(held)
}

fn at_end(known: &JobState, status: Status) -> Option<Obstacle> {
    match &known.phase {
        Phase::Leased { worker, .. } => Some(Obstacle::Runs { worker: worker.clone() }),
        Phase::Failed { reason } => Some(Obstacle::Ended { status, reason: reason.clone() }),
        Phase::Succeeded { .. } | Phase::Reused { .. } | Phase::Cancelled => {
            Some(Obstacle::Ended { status, reason: String::new() })
        }
        Phase::Waiting => None,
    }
}

fn lacking(matrix: &Matrix, needed: u32, name: &str) -> Option<Obstacle> {
    if matrix.output(needed, name).is_some() {
        return None;
    }
    let maker = matrix.submitted.plan.get(needed as usize)?;
    let (on, label, artifact) = (id_of(matrix, needed), maker.label.clone(), name.to_owned());
    let status = matrix.status(needed);
    Some(if matches!(status, Status::Failed | Status::Blocked | Status::Cancelled) {
        Obstacle::Blocked { on, label, artifact, status }
    } else {
        Obstacle::Waits { on, label, artifact, status }
    })
}

/// What keeps the jobs of a team from every worker.
pub(super) fn of_team(teams: &Teams, team: &str, running: u32) -> Option<Obstacle> {
    let Team { running_max, .. } = teams.of(team);
    let limit = running_max.filter(|limit| running >= *limit)?;
    Some(Obstacle::TeamLimit { team: team.to_owned(), running, limit })
}

/// What keeps every job from a worker.
pub(super) fn of_worker(
    state: &State,
    worker: &WorkerId,
    moment: &Moment<'_>,
) -> impl Iterator<Item = Obstacle> {
    let standing = state.standings.get(worker);
    let quarantine = standing.and_then(|standing| standing.quarantine.as_ref());
    let drain = standing.and_then(|standing| standing.drain);
    let slots = moment.slots.get(worker).copied();
    let gone = slots.is_none().then_some(Obstacle::Gone);
    let quarantined = quarantine.map(|known| Obstacle::Quarantined { reason: known.reason.clone() });
    let draining = drain.map(|drain| Obstacle::Draining { mode: drain.mode });
    let full = (slots == Some(0)).then_some(Obstacle::Full);
    gone.into_iter().chain(quarantined).chain(draining).chain(full)
}

/// What keeps a job from a worker that would be there for others.
pub(super) fn of_pair(
    state: &State,
    kind: WorkKind,
    exceeded_mib: Option<u64>,
    worker: &WorkerInfo,
) -> impl Iterator<Item = Obstacle> {
    let other_kind = (!worker.kinds.contains(&kind)).then_some(Obstacle::Kind { kind });
    let too_small = exceeded_mib.filter(|exceeded| !failure::is_large_enough(state, worker, kind, *exceeded));
    let memory = too_small.map(|exceeded_mib| Obstacle::Memory { exceeded_mib, has_mib: worker.memory_mib });
    other_kind.into_iter().chain(memory)
}
