//! What stands between a job and a worker: the predicates of placement, each with its words and with what would change it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::share::{Team, Teams};
use super::wants::{CouldGive, Fleet, Wants, all_memory_mib};
use super::{Moment, id_of};
use crate::budget::{Amount, Cap, Scope};
use crate::decide::failure;
use crate::event::WorkerInfo;
use crate::job::Offer;
use crate::state::{DrainMode, JobState, Matrix, Phase, Status};
use crate::{DeviceKind, JobId, PlannedJob, State, UnixMillis, WorkKind, WorkerId};

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
    /// The worker has another kind of device than the matrix asks for.
    Device { needs: DeviceKind, has: DeviceKind },
    /// The job is estimated to need more memory than is free there. `largest_mib`: the most that any worker of this fleet has.
    TooLarge { needs_mib: u64, free_mib: u64, has_mib: u64, largest_mib: u64 },
    /// The job's files need more disk than is free there.
    Disk { needs_mib: u64, free_mib: u64 },
    /// The worker leaves before something of the job would be kept.
    Life { needs_s: u64, left_s: u64, resumable: bool },
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
            Self::Device { needs, has } => {
                write!(f, "its matrix asks for `{}`, and the worker has `{}`", needs.as_str(), has.as_str())
            }
            Self::TooLarge { needs_mib, free_mib, has_mib, .. } => {
                write!(f, "needs {} of memory, the worker has {}", gib(*needs_mib), gib(*free_mib))?;
                if free_mib < has_mib { write!(f, " free of {}", gib(*has_mib)) } else { Ok(()) }
            }
            Self::Disk { needs_mib, free_mib } => {
                write!(f, "needs {} of disk, the worker has {} free", gib(*needs_mib), gib(*free_mib))
            }
            Self::Life { needs_s, left_s, resumable } => {
                let until = if *resumable { " to its next checkpoint" } else { "" };
                write!(
                    f,
                    "needs about {}{until} there, the worker leaves in {}",
                    time(*needs_s),
                    time(*left_s)
                )
            }
            Self::Full => f.write_str("the worker has no free place"),
        }
    }
}

fn gib(mib: u64) -> String {
    format!("{:.1} GiB", mib as f64 / 1024.0)
}

fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{:.1} h", seconds as f64 / 3600.0),
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
            Self::Device { needs, .. } => {
                format!("a worker with `{}`, or another `needs.device` in the matrix", needs.as_str())
            }
            Self::TooLarge { needs_mib, has_mib, largest_mib, .. } => {
                let estimate = "if the estimate is wrong, `needs: {memory_gib: ...}` in the matrix";
                if needs_mib > largest_mib {
                    let most = gib(*largest_mib);
                    format!(
                        "no worker of this fleet has more than {most}: a larger one, or a smaller batch, length or model; {estimate}"
                    )
                } else if needs_mib > has_mib {
                    format!("a worker with more memory; {estimate}")
                } else {
                    format!("the end of what else uses memory there, or another worker; {estimate}")
                }
            }
            Self::Disk { .. } => String::from(
                "free disk in the worker's folder, or another worker; `needs: {disk_gib: ...}` if the estimate is wrong",
            ),
            Self::Life { .. } => String::from(
                "a worker that stays longer, or checkpoints more often; `needs: {hours: ...}` if the estimate is wrong",
            ),
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

/// What keeps a job from a worker that would be there for others. `offer`: what it has left for this one.
pub(super) fn of_pair(
    fleet: &Fleet<'_>,
    (wants, could): (&Wants, CouldGive),
    worker: &WorkerInfo,
    offer: Offer,
) -> impl Iterator<Item = Obstacle> {
    let (state, kind, has_mib) = (fleet.state, wants.kind, worker.memory_mib);
    let other_kind = (!worker.kinds.contains(&kind)).then_some(Obstacle::Kind { kind });
    let exceeded = wants.exceeded_mib;
    let too_small = exceeded.filter(|exceeded| !failure::is_large_enough(state, worker, kind, *exceeded));
    let memory = too_small.map(|exceeded_mib| Obstacle::Memory { exceeded_mib, has_mib });
    // What a worker of another kind lacks besides does not matter.
    let fits = of_offer(fleet, (wants, could), worker, offer).into_iter().flatten();
    let fits = fits.filter(move |_| worker.kinds.contains(&kind));
    other_kind.into_iter().chain(memory).chain(fits)
}

/// What a job needs and a worker does not have, or not free.
fn of_offer(
    fleet: &Fleet<'_>,
    (wants, could): (&Wants, CouldGive),
    worker: &WorkerInfo,
    offer: Offer,
) -> [Option<Obstacle>; 4] {
    let (has, demand) = (worker.device, wants.demand);
    let device = demand.device.filter(|needs| *needs != has).map(|needs| Obstacle::Device { needs, has });
    let (needs_mib, has_mib) = (could.memory_needed_mib(wants, has), all_memory_mib(worker));
    let free_mib = offer.memory_free_mib.unwrap_or(u64::MAX).min(has_mib);
    let largest_mib = could.largest_mib.unwrap_or(has_mib);
    let memory =
        (needs_mib > free_mib).then_some(Obstacle::TooLarge { needs_mib, free_mib, has_mib, largest_mib });
    let disk = offer.disk_free_mib.filter(|free_mib| demand.disk_mib > *free_mib).and_then(|free_mib| {
        let standing = fleet.state.standings.get(&worker.id);
        let cached = wants.model.filter(|model| standing.is_some_and(|known| known.models.contains(model)));
        let there_mib = cached.map_or(0, |_| demand.model_mib);
        let needs_mib = demand.disk_mib.saturating_sub(there_mib);
        (needs_mib > free_mib).then_some(Obstacle::Disk { needs_mib, free_mib })
    });
    let life = offer.life_left_s.and_then(|left_s| {
        let lasts = wants.lasts_on(worker);
        let needs_s = lasts.map_or(1, |lasts| lasts.kept_s.max(1));
        let resumable = lasts.is_some_and(|lasts| lasts.kept_s < lasts.whole_s);
        (needs_s > left_s).then_some(Obstacle::Life { needs_s, left_s, resumable })
    });
    [device, memory, disk, life]
}

/// Whether a worker leaves before a job would be done there.
pub(super) fn is_too_short(wants: &Wants, worker: &WorkerInfo, offer: Offer) -> bool {
    let whole = wants.lasts_on(worker).map(|lasts| lasts.whole_s);
    whole.zip(offer.life_left_s).is_some_and(|(whole_s, left_s)| whole_s > left_s)
}
