//! What may be spent, what workers say that they spent, and their questions for more.

use assay_domain::budget::{Amount, Cap};
use assay_domain::state::Matrix;
use assay_domain::{Lease, Rejection, decide};

use crate::world::Coordinator;

pub(crate) const MONTH_MS: u64 = 31 * 86_400_000;

/// What a month may cost: some of its matrices, not all.
pub(crate) const MONTH: Cap = Cap { usd_micros: Some(600_000), device_ms: Some(900_000) };

/// What matrices may cost: many anything, some too little.
pub(crate) fn budget(number: u64) -> Cap {
    let part = 40_000 + number % 7 * 40_000;
    match number % 5 {
        0 => Cap { usd_micros: Some(part), device_ms: None },
        1 => Cap { usd_micros: None, device_ms: Some(part) },
        2 => Cap { usd_micros: Some(part), device_ms: Some(part) },
        _ => Cap::default(),
    }
}

/// A budget that is not lower than it was.
pub(crate) fn raised(matrix: &Matrix, by: Cap) -> Cap {
    let more = |now: Option<u64>, by: Option<u64>| now.map(|now| now + by.unwrap_or(0));
    let Cap { usd_micros, device_ms } = matrix.budget;
    Cap { usd_micros: more(usd_micros, by.usd_micros), device_ms: more(device_ms, by.device_ms) }
}

impl Coordinator {
    /// What an attempt says that it used: less than it may, now and then a little more, and some do not say.
    pub(crate) fn used(&self, lease: &Lease) -> Option<Amount> {
        let account = self.state.job(&lease.job)?.attempt(lease.fence)?.account;
        let draw = (self.now * 7_919 + u64::from(lease.fence.attempt.0)) % 100;
        let time = match draw {
            0..5 => return None,
            5..8 => 1_100,
            _ => draw as u32 * 10,
        };
        let device_ms = account.reserved.permille(time).device_ms;
        let usd_micros = if device_ms == 0 { account.reserved.permille(time).usd_micros } else { 0 };
        Some(Amount { usd_micros, device_ms })
    }

    pub(crate) fn more(&mut self, lease: &Lease, has: Amount, current: bool) {
        self.limit = None;
        match decide::grant(&self.state, &self.teams, lease, has, self.at()) {
            Ok((limit, events)) => {
                self.observer.seen.grants += u64::from(!events.is_empty());
                self.limit = Some(limit);
                self.record(events);
            }
            Err(Rejection::OverBudget { .. }) => assert!(current, "a stale attempt was looked at"),
            Err(Rejection::StaleAttempt { .. }) => {
                assert!(!current, "the current attempt {lease} was refused");
                self.limit = Some(has);
            }
            Err(other) => panic!("{other}"),
        }
    }
}
