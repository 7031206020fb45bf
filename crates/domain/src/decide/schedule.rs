//! Which job goes to which worker: pure, and able to say why a job is not on a worker. Placing and explaining ask the same
//! predicates (`schedule/obstacle.rs`): what is explained is what is done.

use std::collections::BTreeMap;

use crate::job::Offer;
use crate::state::Matrix;
use crate::{Attempt, Event, Fence, JobId, Lease, State, UnixMillis, WorkerId};

pub use explain::{Explanation, Reason, WorkerReasons, explain};
pub use obstacle::Obstacle;
pub use share::{Shares, Team, Teams, WEIGHT_MAX};

use round::{Pick, Round};

mod explain;
mod obstacle;
mod round;
mod share;
mod wants;

/// What only the coordinator's memory knows.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The workers that are connected, and how many more attempts each would take.
    pub slots: &'a BTreeMap<WorkerId, u32>,
    /// What they said that they have to offer; of one that is not here nothing is known.
    pub offers: &'a BTreeMap<WorkerId, Offer>,
    /// Jobs held back after a failure, each for how many ms more.
    pub held_ms: &'a BTreeMap<JobId, u64>,
    /// What teams may have.
    pub teams: &'a Teams,
    /// The wall clock, for the months of budgets.
    pub at: UnixMillis,
}

/// Workers have room: the leases they get, each after those before it. A lease is one job on one worker; a gang
/// ([`crate::job::Gang`]) will be several leases of one pick. A budget that keeps back what would fit is told once.
pub fn place(state: &State, moment: &Moment<'_>, shares: &mut Shares) -> Vec<Event> {
    let at = moment.at;
    shares.forget_ended(state);
    let mut round = Round::new(state, moment, shares);
    let mut events = Vec::new();
    while let Some(Pick { matrix, ordinal, worker, account }) = round.next() {
        let attempts = matrix.jobs.get(ordinal as usize).map_or(0, |job| job.attempts.len());
        let fence = Fence { epoch: state.epoch, attempt: Attempt(attempts as u32 + 1) };
        let lease = Lease { job: id_of(matrix, ordinal), fence };
        events.push(Event::JobLeased { lease, worker: worker.clone(), account, at });
    }
    events.extend(round.held());
    events
}

fn id_of(matrix: &Matrix, ordinal: u32) -> JobId {
    JobId { matrix: matrix.submitted.id.clone(), ordinal }
}
