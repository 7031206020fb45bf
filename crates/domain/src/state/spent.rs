//! What attempts have cost, added up where budgets and people look for it.

use super::{AttemptRecord, Matrix, State};
use crate::budget::{Amount, Month};
use crate::{Fence, MatrixId, WorkerId};

/// Months whose sums are kept.
const MONTHS_KEPT: usize = 24;

/// An attempt that has just ended.
pub(super) struct Ended {
    worker: WorkerId,
    month: Month,
    spent: Amount,
}

impl Ended {
    pub(super) fn of(attempt: &AttemptRecord) -> Self {
        let spent = attempt.account.spent.unwrap_or_default();
        Self { worker: attempt.worker.clone(), month: attempt.month(), spent }
    }
}

impl State {
    pub(super) fn book(&mut self, team: String, ended: Ended) {
        let Ended { worker, month, spent } = ended;
        if spent.is_zero() {
            return;
        }
        self.on_standing(&worker, |standing| standing.spent = standing.spent.plus(spent));
        let sum = self.spent.entry(month).or_default().entry(team).or_default();
        *sum = sum.plus(spent);
        while self.spent.len() > MONTHS_KEPT {
            self.spent.pop_first();
        }
    }

    /// A change that may end many attempts of some matrices at once.
    pub(super) fn settling(
        &mut self,
        which: impl Fn(&MatrixId) -> bool,
        mut change: impl FnMut(&mut Matrix),
    ) {
        let mut ended = Vec::new();
        for matrix in self.matrices.iter_mut().filter(|matrix| which(&matrix.submitted.id)) {
            let before: Vec<Option<Fence>> = matrix.jobs.iter().map(super::JobState::current).collect();
            change(matrix);
            for (job, fence) in matrix.jobs.iter().zip(before) {
                let gone = fence.filter(|fence| job.current() != Some(*fence));
                let attempt = gone.and_then(|fence| job.attempt(fence));
                ended.extend(attempt.map(|attempt| (matrix.team().to_owned(), Ended::of(attempt))));
            }
        }
        ended.into_iter().for_each(|(team, ended)| self.book(team, ended));
    }
}
