//! Budgets: attempts that ask for more, what people look at, and the month's end.

use assay_domain::budget::{Amount, Month};
use assay_domain::decide::{self, Balance};
use assay_domain::{Event, Lease, Rejection};

use super::command::Reply;
use super::{Engine, EngineError};

impl Engine {
    pub(super) fn grant(
        &mut self,
        lease: &Lease,
        has: Amount,
        reply: Reply<Result<Amount, Rejection>>,
    ) -> Result<(), EngineError> {
        let granted = decide::grant(&self.state, &self.limits.teams, lease, has, self.clock.unix());
        let outcome = match granted {
            Ok((limit, events)) => {
                self.record_all(events)?;
                Ok(limit)
            }
            Err(rejection) => {
                tracing::warn!(lease = %lease, %rejection, "an attempt gets nothing more of its budget");
                Err(rejection)
            }
        };
        self.answer(reply, outcome);
        Ok(())
    }

    pub(super) fn budgets(&mut self, reply: Reply<Vec<Balance>>) {
        let balances = decide::balances(&self.state, &self.limits.teams, self.clock.unix());
        self.answer(reply, balances);
    }

    /// A new month has budgets of its own: what waited for one may go on.
    pub(super) fn turn_month(&mut self) {
        let month = Month::of(self.clock.unix());
        if month != self.month {
            self.month = month;
            self.batch.assign = true;
        }
    }

    pub(super) fn note_budget(&self, event: &Event) {
        if let Event::BudgetReached { matrix, scope, needs, left, .. } = event {
            let (what, remedy) = (scope.to_string(), scope.remedy());
            tracing::warn!(%matrix, budget = what, %needs, %left, remedy, "a budget keeps back what could run");
        }
    }
}
