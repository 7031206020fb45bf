//! What the coordinator lets a judge spend, besides its share of the panel's budget.

use assay_agent::{AttemptContext, Failure};
use futures::future::BoxFuture;

use super::{PanelError, Panelist};
use crate::ledger::StopClass;

/// Money that is asked for.
pub(crate) trait Purse: Send + Sync {
    /// What the job's ledger may come to, USD; none: nobody counts.
    fn usd_max(&self) -> Option<f64>;
    /// Asks for more than `has`, what the ledger could come to; why there is none.
    fn more(&self, has: f64) -> BoxFuture<'_, Result<(), Failure>>;
    /// Says what the ledger has come to, USD.
    fn paid(&self, usd: f64);
}

/// The purse of an attempt: what the ledger held before was paid by earlier ones.
pub(crate) struct OfAttempt<'a> {
    pub(crate) cx: &'a AttemptContext,
    pub(crate) before: f64,
}

impl Purse for OfAttempt<'_> {
    fn usd_max(&self) -> Option<f64> {
        self.cx.usd_limit().map(|limit| self.before + limit)
    }

    fn more(&self, has: f64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.cx.more_usd(has - self.before))
    }

    fn paid(&self, usd: f64) {
        self.cx.paid_usd(usd - self.before);
    }
}

impl Panelist<'_> {
    /// Whether it is the purse that ends first, not the share of the panel's budget.
    pub(super) fn is_purse_smaller(&self) -> bool {
        let purse = self.purse.and_then(Purse::usd_max);
        purse.is_some_and(|purse| self.usd_max.is_none_or(|share| purse < share))
    }

    /// Whether the purse allows to have spent so much.
    pub(super) fn has(&self, usd: f64) -> bool {
        self.purse.and_then(Purse::usd_max).is_none_or(|most| usd <= most)
    }

    /// Asks for more; without any, the judge is not asked any more.
    pub(super) async fn asks_for_more(&self) -> Result<bool, PanelError> {
        let Some((purse, has)) = self.purse.and_then(|purse| Some((purse, purse.usd_max()?))) else {
            return Ok(false);
        };
        let Err(failure) = purse.more(has).await else { return Ok(true) };
        self.stop(StopClass::Budget, failure.reason.clone())?;
        // The first reason stays.
        let _ = self.refused.set(failure);
        Ok(false)
    }

    /// Says what the ledger has come to.
    pub(crate) fn tell_paid(&self) {
        if let Some(purse) = self.purse {
            let usd = self.ledger().usd();
            purse.paid(usd);
        }
    }
}
