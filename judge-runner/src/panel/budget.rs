//! What a judge may spend: a call is made only if, at its dearest, it still fits.

use std::sync::atomic::Ordering;

use assay_judging::records::VerdictStatus;

use super::ask::unix_ms;
use super::{PanelError, Panelist};
use crate::ledger::{Asked, Entry, EntryKey, Stop, StopClass};

/// Bytes of a request for one token of its prompt, at least: what stands there is JSON and prose.
const BYTES_PER_TOKEN_MIN: u64 = 2;
/// Rounding of sums, in USD: no call costs as little.
const ROUNDING_USD: f64 = 1e-9;

/// A call under way: others that wait for its price go on when it has ended.
pub(super) struct UnderWay<'a> {
    panelist: &'a Panelist<'a>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.panelist.tell_paid();
        self.panelist.under_way.fetch_sub(1, Ordering::AcqRel);
        self.panelist.paid.notify_waiters();
    }
}

impl Panelist<'_> {
    /// What an answer cost, USD; none where no price is known.
    pub(super) fn usd(&self, prompt_tokens: u32, new_tokens: u32) -> Option<f64> {
        self.price.map(|price| price.usd(self.api.batch, prompt_tokens.into(), new_tokens.into()))
    }

    /// What a request of so many bytes costs at most, USD; 0 where no price is known.
    pub(super) fn usd_max_of(&self, bytes: usize) -> f64 {
        let input = (bytes as u64).div_ceil(BYTES_PER_TOKEN_MIN);
        self.price.map_or(0.0, |price| price.usd(self.api.batch, input, self.api.max_tokens.into()))
    }

    /// Whether the budget allows to have spent so much.
    pub(super) fn fits(&self, usd: f64) -> bool {
        self.usd_max.is_none_or(|most| usd <= most + ROUNDING_USD) && self.has(usd)
    }

    /// Writes down that a call is about to be made. None when it could pass the budget even after those under way have ended.
    pub(super) async fn begin(
        &self,
        key: &EntryKey,
        bytes: usize,
    ) -> Result<Option<UnderWay<'_>>, PanelError> {
        let usd_max = self.usd_max_of(bytes);
        loop {
            // Listening before looking: a change between the two is not missed.
            let paid = self.paid.notified();
            let mut waiting = std::pin::pin!(paid);
            waiting.as_mut().enable();
            {
                let mut ledger = self.ledger();
                if self.fits(ledger.usd() + usd_max) {
                    ledger.asked(Asked { key: key.key.clone(), at_unix_ms: unix_ms(), usd_max })?;
                    self.under_way.fetch_add(1, Ordering::AcqRel);
                    drop(ledger);
                    self.tell_paid();
                    return Ok(Some(UnderWay { panelist: self }));
                }
            }
            if self.under_way.load(Ordering::Acquire) == 0 {
                if self.is_purse_smaller() && self.stopped.get().is_none() {
                    if self.asks_for_more().await? {
                        continue;
                    }
                } else {
                    self.stop_for_budget()?;
                }
                return Ok(None);
            }
            waiting.await;
        }
    }

    /// The judge is not asked any more, since another call could pass its budget.
    pub(super) fn stop_for_budget(&self) -> Result<(), PanelError> {
        let (spent, most) = (self.ledger().usd(), self.usd_max.unwrap_or_default());
        self.stop(
            StopClass::Budget,
            format!("another call could pass this job's share of the budget: {spent:.4} of {most:.4} USD are spent"),
        )
    }

    /// The judge is not asked any more; the first reason stays.
    pub(super) fn stop(&self, class: StopClass, why: String) -> Result<(), PanelError> {
        let stop = Stop { class, why, at_unix_ms: unix_ms() };
        if self.stopped.set(stop.clone()).is_ok() {
            tracing::warn!(judge = self.name, ?class, why = stop.why, "the judge is not asked any more");
            self.ledger().add(Entry::Stopped(stop))?;
        }
        Ok(())
    }

    /// The detail of what was not asked.
    pub(super) fn not_asked(&self) -> Option<(VerdictStatus, Option<String>)> {
        let stop = self.stopped.get()?;
        Some((VerdictStatus::Error, Some(format!("not asked: {}", stop.why))))
    }
}
