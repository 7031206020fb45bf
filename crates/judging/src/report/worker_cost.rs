//! What workers cost: their price per hour times the wall time of all their attempts, lost and failed ones included.

use std::collections::BTreeMap;

use assay_domain::WorkKind;
use assay_domain::job::JobSummary;

/// What the workers cost for one kind of work.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WorkerCost {
    /// Wall seconds of all attempts that ended.
    pub seconds: f64,
    /// Those of workers whose price nobody said.
    pub unpriced_s: f64,
    /// USD for the others.
    pub usd: f64,
}

impl WorkerCost {
    /// USD, where every second has a price.
    #[must_use]
    pub fn known_usd(&self) -> Option<f64> {
        (self.seconds > 0.0 && self.unpriced_s <= 0.0).then_some(self.usd)
    }
}

/// By kind, for kinds that need a device. A worker says its price when it registers, and with what it finished: that goes for
/// all its attempts, also of one that never finished anything.
#[must_use]
pub fn worker_cost(jobs: &[JobSummary]) -> BTreeMap<WorkKind, WorkerCost> {
    let told =
        jobs.iter().filter_map(|job| Some((job.attempts.last()?.worker.as_str(), job.usage.as_ref()?)));
    let prices: BTreeMap<&str, f64> =
        told.filter_map(|(worker, usage)| Some((worker, usage.usd_per_hour?))).collect();
    let mut costs: BTreeMap<WorkKind, WorkerCost> = BTreeMap::new();
    for job in jobs.iter().filter(|job| job.kind.needs_device()) {
        let cost = costs.entry(job.kind).or_default();
        for attempt in &job.attempts {
            let Some(ended_at) = attempt.ended_at else { continue };
            let seconds = ended_at.saturating_sub(attempt.started_at) as f64 / 1000.0;
            cost.seconds += seconds;
            match attempt.usd_per_hour.as_ref().or_else(|| prices.get(attempt.worker.as_str())) {
                Some(price) => cost.usd += seconds / 3600.0 * price,
                None => cost.unpriced_s += seconds,
            }
        }
    }
    costs
}

#[cfg(test)]
mod tests {
    use assay_domain::job::{AttemptSummary, Usage};
    use assay_domain::{Attempt, Epoch, Fence, JobId, MatrixId};

    use super::*;

    fn job(kind: WorkKind, attempts: &[(&str, u64)], usd_per_hour: Option<f64>) -> JobSummary {
        let attempt = |(number, (worker, seconds)): (usize, &(&str, u64))| AttemptSummary {
            fence: Fence { epoch: Epoch(1), attempt: Attempt(number as u32 + 1) },
            worker: (*worker).to_owned(),
            started_at: 1_000,
            ended_at: Some(1_000 + seconds * 1_000),
            outcome: String::from("succeeded"),
            usd_per_hour: None,
        };
        JobSummary {
            job: JobId { matrix: MatrixId::new("m-1"), ordinal: 0 },
            label: String::new(),
            kind,
            attempts: attempts.iter().enumerate().map(attempt).collect(),
            usage: Some(Usage { usd_per_hour, ..Usage::default() }),
            reused_from: None,
        }
    }

    #[test]
    fn lost_attempts_cost_as_well_and_what_has_no_price_is_unknown() {
        let jobs = [
            job(WorkKind::Train, &[("gpu", 1800), ("gpu", 3600)], Some(2.0)),
            job(WorkKind::Train, &[("gpu", 1800)], Some(2.0)),
            job(WorkKind::Generate, &[("mine", 60), ("gpu", 3600)], Some(2.0)),
            job(WorkKind::Report, &[("runner", 5)], None),
        ];
        let costs = worker_cost(&jobs);
        assert_eq!(costs.keys().copied().collect::<Vec<_>>(), [WorkKind::Train, WorkKind::Generate]);
        let train = costs[&WorkKind::Train];
        assert_eq!((train.seconds, train.known_usd()), (7200.0, Some(4.0)));
        let generate = costs[&WorkKind::Generate];
        assert_eq!((generate.unpriced_s, generate.known_usd(), generate.usd), (60.0, None, 2.0));
    }

    #[test]
    fn a_worker_that_never_finished_anything_costs_what_it_said_when_it_came() {
        let mut lost = job(WorkKind::Train, &[("gone", 3600), ("mine", 1800)], None);
        lost.attempts[0].usd_per_hour = Some(3.0);
        let train = worker_cost(std::slice::from_ref(&lost))[&WorkKind::Train];
        assert_eq!((train.usd, train.unpriced_s, train.known_usd()), (3.0, 1800.0, None));
        lost.attempts[1].usd_per_hour = Some(1.0);
        assert_eq!(worker_cost(&[lost])[&WorkKind::Train].known_usd(), Some(3.5));
    }
}
