//! One limit for each minute: what was used in the last minute is remembered, and no more than the limit is let through.
//!
//! A sliding minute keeps within a token bucket and within a server's own minutes alike, wherever these begin.

use std::collections::VecDeque;
use std::time::Duration;

use crate::wire::Level;

/// A minute and 1 %: what left evenly may arrive less so.
const WINDOW: Duration = Duration::from_millis(60_600);

#[derive(Debug, Default)]
pub(super) struct Window {
    limit: Option<u64>,
    /// (ticket, when, how much), oldest first.
    used: VecDeque<(u64, Duration, u64)>,
    /// What others use of the same account, until then.
    others: Option<(u64, Duration)>,
}

impl Window {
    /// When `amount` may be used, `now` or later. More than the whole limit may be used when nothing else is.
    pub(super) fn free_at(&mut self, now: Duration, amount: u64) -> Duration {
        self.forget(now);
        let Some(limit) = self.limit else { return now };
        let others = self.others.map_or(0, |(amount, _)| amount);
        let mut sum = self.sum() + others;
        if sum + amount <= limit || sum == 0 {
            return now;
        }
        // The moments at which something is forgotten, until enough is.
        let mut leaving: Vec<(Duration, u64)> =
            self.used.iter().map(|(_, at, amount)| (*at + WINDOW, *amount)).collect();
        leaving.extend(self.others.map(|(amount, until)| (until, amount)));
        leaving.sort_unstable();
        for (at, gone) in leaving {
            sum = sum.saturating_sub(gone);
            if sum + amount <= limit || sum == 0 {
                return at;
            }
        }
        now
    }

    /// Uses some; all that was used in the last minute, this included.
    pub(super) fn take(&mut self, ticket: u64, now: Duration, amount: u64) -> u64 {
        self.used.push_back((ticket, now, amount));
        self.sum()
    }

    /// What a call really used.
    pub(super) fn correct(&mut self, ticket: u64, amount: u64) {
        if let Some(entry) = self.used.iter_mut().rev().find(|(id, ..)| *id == ticket) {
            entry.2 = amount;
        }
    }

    /// The server's own view when a call arrived that began at `started`, with `held` used by then. What it counts and we did
    /// not send was sent by others with the same key.
    pub(super) fn learn(&mut self, now: Duration, level: &Level, started: Duration, held: u64) {
        self.forget(now);
        self.limit = level.limit.or(self.limit);
        let (Some(limit), Some(remaining)) = (level.limit, level.remaining) else { return };
        let since: u64 =
            self.used.iter().filter(|(_, at, _)| *at > started).map(|(_, _, amount)| amount).sum();
        let theirs = limit.saturating_sub(remaining).saturating_sub(held + since);
        let until = now + level.reset.unwrap_or(WINDOW).min(WINDOW);
        self.others = (theirs > 0).then_some((theirs, until));
    }

    fn sum(&self) -> u64 {
        self.used.iter().map(|(_, _, amount)| amount).sum()
    }

    fn forget(&mut self, now: Duration) {
        while self.used.front().is_some_and(|(_, at, _)| *at + WINDOW <= now) {
            self.used.pop_front();
        }
        self.others = self.others.filter(|(_, until)| *until > now);
    }
}
