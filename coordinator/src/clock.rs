//! Time, passed in: durations are counted on a monotonic clock, people are shown the wall clock.

use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use assay_domain::UnixMillis;

/// What the coordinator knows about time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Milliseconds from any fixed moment; never goes back.
    fn monotonic_ms(&self) -> u64;
    /// The wall clock: for people, reports and the expiry of signed requests, never for leases.
    fn unix(&self) -> UnixMillis;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic side begins now.
    #[expect(
        clippy::new_without_default,
        reason = "reading the clock is done on purpose, never as a default"
    )]
    #[expect(clippy::disallowed_methods, reason = "this is the shell that reads the clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn monotonic_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    #[expect(clippy::disallowed_methods, reason = "this is the shell that reads the clock")]
    fn unix(&self) -> UnixMillis {
        UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
    }
}
