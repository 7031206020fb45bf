//! What a job wants of a worker, and what the fleet could give it.

use std::collections::BTreeMap;

use super::Moment;
use crate::budget::Amount;
use crate::event::WorkerInfo;
use crate::job::{Demand, Offer};
use crate::plan::{Lasts, lasts_on_each, rate_of};
use crate::state::{JobState, model_of};
use crate::{DeviceKind, Digest, PlannedJob, State, WorkKind};

/// Jobs that want the same are the same to every worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wants {
    pub(super) kind: WorkKind,
    pub(super) model: Option<Digest>,
    /// As much memory was not enough before.
    pub(super) exceeded_mib: Option<u64>,
    pub(super) demand: Demand,
    /// What it costs in general; nothing where no budget counts it.
    costs: Amount,
    /// On each known kind of worker; empty where no worker has an end, or the job is short anywhere.
    lasts: Vec<Lasts>,
}

impl Wants {
    pub(super) fn of(
        planned: &PlannedJob,
        known: Option<&JobState>,
        costs: Amount,
        fleet: &Fleet<'_>,
    ) -> Self {
        let done = known.and_then(JobState::resume).map_or(0, |(step, _)| step);
        Self {
            kind: planned.work.kind(),
            model: model_of(planned),
            exceeded_mib: known.and_then(|known| known.memory_exceeded_mib),
            demand: planned.demand,
            costs,
            lasts: if fleet.some_end { lasts_on_each(planned, done) } else { Vec::new() },
        }
    }

    /// How long it lasts on a worker, as far as that is known.
    pub(super) fn lasts_on(&self, worker: &WorkerInfo) -> Option<Lasts> {
        // Most fleets have no end, and a worker's kind is in its name.
        if self.lasts.is_empty() {
            return None;
        }
        self.lasts.get(rate_of(worker)?).copied()
    }
}

/// The workers as placement sees them all.
pub(super) struct Fleet<'a> {
    pub(super) state: &'a State,
    pub(super) moment: Moment<'a>,
    /// The most memory of an open worker, by what it runs and on which device.
    largest_mib: BTreeMap<(WorkKind, DeviceKind), u64>,
    /// Whether some worker that is there will leave.
    some_end: bool,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(state: &'a State, moment: Moment<'a>) -> Self {
        let mut largest_mib = BTreeMap::new();
        for worker in state.workers.values().filter(|worker| state.is_open(&worker.id)) {
            for kind in &worker.kinds {
                let largest: &mut u64 = largest_mib.entry((*kind, worker.device)).or_default();
                *largest = (*largest).max(all_memory_mib(worker));
            }
        }
        let some_end = moment.offers.values().any(|offer| offer.life_left_s.is_some());
        Self { state, moment, largest_mib, some_end }
    }

    /// What a worker says that it has; nothing known of one that says nothing.
    pub(super) fn offer_of(&self, worker: &WorkerInfo) -> Offer {
        self.moment.offers.get(&worker.id).copied().unwrap_or_default()
    }

    /// What the fleet could ever give to jobs that want this.
    pub(super) fn could_give(&self, wants: &Wants) -> CouldGive {
        let all = |(on, mib): (DeviceKind, u64)| mib >= wants.demand.memory_on(on).whole_mib;
        let largest_mib = self.largest_for(wants).map(|(_, mib)| mib).max();
        CouldGive { whole: self.largest_for(wants).any(all), largest_mib }
    }

    fn largest_for(&self, wants: &Wants) -> impl Iterator<Item = (DeviceKind, u64)> {
        let (kind, device) = (wants.kind, wants.demand.device);
        let of_kind = self
            .largest_mib
            .iter()
            .filter(move |((runs, on), _)| *runs == kind && device.is_none_or(|device| device == *on));
        of_kind.map(|((_, on), mib)| (*on, *mib))
    }
}

/// What the workers that are open could ever give a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct CouldGive {
    /// Whether one has all the memory that it asks for.
    whole: bool,
    /// The most memory of any; none where no worker is for it.
    pub(super) largest_mib: Option<u64>,
}

impl CouldGive {
    /// Memory that a job needs on a kind of device: all that it asks for if some worker could ever give it, else what the
    /// smallest passes need, so that nothing waits for a worker that nobody has.
    pub(super) const fn memory_needed_mib(self, wants: &Wants, device: DeviceKind) -> u64 {
        let memory = wants.demand.memory_on(device);
        if self.whole { memory.whole_mib } else { memory.least_mib }
    }
}

/// Memory of a worker's device; one that does not know it may have any.
pub(super) const fn all_memory_mib(worker: &WorkerInfo) -> u64 {
    if worker.memory_mib == 0 { u64::MAX } else { worker.memory_mib }
}
