//! How many calls are under way at once: one more for each round without trouble, half as many after trouble.

use std::time::Duration;

/// Calls at once before anything is known.
const CALLS_FIRST: f64 = 4.0;

#[derive(Debug)]
pub(super) struct Parallel {
    allowed: f64,
    most: f64,
    under_way: usize,
    halved_at: Option<Duration>,
}

impl Parallel {
    pub(super) fn new(most: usize) -> Self {
        let most = (most as f64).max(1.0);
        Self { allowed: CALLS_FIRST.min(most), most, under_way: 0, halved_at: None }
    }

    pub(super) fn is_full(&self) -> bool {
        self.under_way as f64 >= self.allowed.floor()
    }

    pub(super) fn begin(&mut self) {
        self.under_way += 1;
    }

    pub(super) fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    pub(super) fn succeeded(&mut self) {
        self.end();
        self.allowed = (self.allowed + 1.0 / self.allowed).min(self.most);
    }

    /// Halves, unless the call began before the last time: then it is the same trouble. Whether it was a new one.
    pub(super) fn troubled(&mut self, now: Duration, started: Duration) -> bool {
        self.end();
        let fresh = self.halved_at.is_none_or(|at| started > at);
        if fresh {
            self.allowed = (self.allowed / 2.0).max(1.0);
            self.halved_at = Some(now);
        }
        fresh
    }
}
