//! Why a job is not on a worker, for each worker, and what would change that.

use serde::{Deserialize, Serialize};

use super::obstacle::{Obstacle, of_job, of_pair, of_team, of_worker};
use super::wants::{Fleet, Wants};
use super::{Moment, id_of, share};
use crate::budget::Amount;
use crate::decide::budget::Books;
use crate::state::{Matrix, Status};
use crate::{JobId, Rejection, State, WorkerId};

/// Why a job is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The job.
    pub job: JobId,
    /// For people.
    pub label: String,
    /// Its status.
    pub status: Status,
    /// What keeps it from every worker.
    pub reasons: Vec<Reason>,
    /// What keeps it from each registered worker besides.
    pub workers: Vec<WorkerReasons>,
}

/// What keeps a job from one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReasons {
    /// The worker.
    pub worker: WorkerId,
    /// None: if nothing keeps it from every worker, it goes there next.
    pub reasons: Vec<Reason>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// As a value.
    #[serde(flatten)]
    pub obstacle: Obstacle,
    /// In words.
    pub text: String,
    /// What would change it.
    pub remedy: String,
}

impl From<Obstacle> for Reason {
    fn from(obstacle: Obstacle) -> Self {
        Self { text: obstacle.to_string(), remedy: obstacle.remedy(), obstacle }
    }
}

/// Explains a job of a matrix, finished or not.
pub fn explain(
    state: &State,
    matrix: &Matrix,
    ordinal: u32,
    moment: &Moment<'_>,
) -> Result<Explanation, Rejection> {
    let unknown = || Rejection::UnknownJob { job: id_of(matrix, ordinal) };
    let planned = matrix.submitted.plan.get(ordinal as usize).ok_or_else(unknown)?;
    let known = matrix.jobs.get(ordinal as usize).ok_or_else(unknown)?;
    let status = matrix.status(ordinal);
    let can_run = matches!(status, Status::Ready | Status::Waiting);
    let team = matrix.team();
    let limited = of_team(moment.teams, team, share::running(state, team)).filter(|_| can_run);
    let reasons = of_job(matrix, planned, status, moment.held_ms).chain(limited);
    let fleet = Fleet::new(state, *moment);
    let wants = Wants::of(planned, Some(known), Amount::ZERO, &fleet);
    let wants = (&wants, fleet.could_give(&wants));
    let books = Books::new(state, moment.teams, moment.at);
    let workers = state.workers.values().filter(|_| can_run).map(|worker| {
        let pair = of_pair(&fleet, wants, worker, fleet.offer_of(worker));
        let budget = books.account(matrix, planned, known, worker).err().map(|told| *told);
        let reasons = pair.chain(budget).chain(of_worker(state, &worker.id, moment));
        WorkerReasons { worker: worker.id.clone(), reasons: reasons.map(Reason::from).collect() }
    });
    Ok(Explanation {
        job: id_of(matrix, ordinal),
        label: planned.label.clone(),
        status,
        reasons: reasons.map(Reason::from).collect(),
        workers: workers.collect(),
    })
}
