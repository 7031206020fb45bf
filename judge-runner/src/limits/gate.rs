//! Waits for an account's next turn. One gate for each account, shared by all jobs of the process.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Cost, Limits, Ticket, Turn};
use crate::wire::{Cause, Seen};

/// The time as the limits see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    /// Minutes of the limits in a real minute: 1, but for tests.
    speed: u32,
}

impl Clock {
    /// The real time, `speed` times as fast.
    pub(crate) fn new(speed: u32) -> Self {
        Self { origin: Instant::now(), speed }
    }

    fn now(self) -> Duration {
        self.origin.elapsed() * self.speed
    }

    async fn sleep(self, wait: Duration) {
        // Timers count whole milliseconds, and an early one would only go round again.
        tokio::time::sleep(wait / self.speed + Duration::from_millis(1)).await;
    }
}

/// An account's limits with a clock.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Mutex<Limits>,
    changed: Notify,
    clock: Clock,
}

/// The right to one call; gives it back when dropped unused.
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    ticket: Option<Ticket>,
}

impl Gate {
    /// Limits that nothing is known about yet.
    pub(crate) fn new(calls_max: usize, clock: Clock) -> Self {
        Self { limits: Mutex::new(Limits::new(calls_max)), changed: Notify::new(), clock }
    }

    /// Waits until a call of this cost may be made.
    pub(crate) async fn pass(&self, cost: Cost) -> Pass<'_> {
        loop {
            // Listening before looking: a change between the two is not missed.
            let changed = self.changed.notified();
            let turn = self.lock().turn(self.clock.now(), cost);
            match turn {
                Turn::Go(ticket) => return Pass { gate: self, ticket: Some(ticket) },
                Turn::Full => changed.await,
                Turn::Wait(wait) => {
                    tokio::select! {
                        () = changed => {}
                        () = self.clock.sleep(wait) => {}
                    }
                }
            }
        }
    }

    /// Waits, in the limits' time.
    pub(crate) async fn rest(&self, wait: Duration) {
        self.clock.sleep(wait).await;
    }

    fn lock(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The call was answered.
    pub(crate) fn answered(mut self, seen: &Seen, spent: Cost) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.lock().answered(self.gate.clock.now(), ticket, seen, spent);
        }
    }

    /// The call met trouble that may pass. How long to leave its question alone.
    pub(crate) fn troubled(mut self, seen: &Seen, cause: Cause, after: Option<Duration>) -> Duration {
        match self.ticket.take() {
            Some(ticket) => self.gate.lock().troubled(self.gate.clock.now(), ticket, seen, cause, after),
            None => Duration::ZERO,
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.ticket.take().is_some() {
            self.gate.lock().dropped();
        }
        self.gate.changed.notify_waiters();
    }
}
