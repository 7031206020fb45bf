//! What a job is expected to cost on a worker.

use crate::budget::{Account, Amount, usd_micros};
use crate::event::WorkerInfo;
use crate::plan::{PriceTable, WorkerRate};
use crate::state::JobState;
use crate::{PlannedJob, Work};

/// The expected cost of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decide) struct Need {
    pub(super) amount: Amount,
    /// The most that it may ever cost, where the plan says so: a judge's share of its panel's budget.
    pub(super) usd_micros_max: Option<u64>,
    /// Whether all of it has a price.
    pub(super) priced: bool,
    pub(super) usd_micros_per_hour: u64,
}

/// What a job needs on a worker.
pub(super) fn of(planned: &PlannedJob, known: &JobState, worker: &WorkerInfo) -> Need {
    with(planned, known, WorkerRate::of(worker), worker.usd_per_hour.map_or(0, usd_micros))
}

/// What a job needs in general, to tell jobs apart that need different amounts.
pub(in crate::decide) fn nominal(planned: &PlannedJob, known: &JobState) -> Amount {
    with(planned, known, PriceTable::builtin().workers.first(), 0).amount
}

fn with(planned: &PlannedJob, known: &JobState, rate: Option<&WorkerRate>, usd_micros_per_hour: u64) -> Need {
    // Starting takes as long however little is left to do.
    let seconds = rate.and_then(|rate| Some((rate.start_s, rate.seconds(planned)?)));
    let seconds = seconds.map(|(start, whole)| start + (whole - start) * left_of(planned, known));
    let seconds = seconds.unwrap_or_default();
    let estimate = &planned.estimate;
    let used = Amount {
        usd_micros: estimate.api_usd.map_or(0, usd_micros),
        device_ms: (seconds * 1e3).ceil() as u64,
    };
    let account = Account { usd_micros_per_hour, ..Account::default() };
    Need {
        amount: account.cost(used).permille(known.needs_permille.unwrap_or(1_000)),
        usd_micros_max: estimate.api_usd_max.map(usd_micros),
        priced: estimate.api_calls == 0 || estimate.api_usd.is_some(),
        usd_micros_per_hour,
    }
}

/// The part of a job that is still to be done: a training goes on from its last resume state.
fn left_of(planned: &PlannedJob, known: &JobState) -> f64 {
    let Work::Train(spec) = &planned.work else { return 1.0 };
    let done = known.resume().map_or(0, |(step, _)| step);
    match spec.checkpoints.last() {
        Some(last) if *last > 0 => last.saturating_sub(done) as f64 / *last as f64,
        Some(_) | None => 1.0,
    }
}
