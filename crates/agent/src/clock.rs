//! Time for leases: monotonic, and counting on while the process is stopped or the machine sleeps.

use std::time::Duration;

use tokio::time::Instant;

/// A point in time. Two clocks are kept: tokio's, which timers and tests follow but which stands still while a machine sleeps,
/// and the one since boot, which does not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    awake: Instant,
    since_boot: Duration,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { awake: Instant::now(), since_boot: since_boot() }
    }

    /// How long ago it was, by the clock that saw more.
    pub(crate) fn age(self) -> Duration {
        self.awake.elapsed().max(since_boot().saturating_sub(self.since_boot))
    }

    /// A moment later by tokio's clock, for timers.
    pub(crate) fn after(self, duration: Duration) -> Instant {
        self.awake + duration
    }
}

fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    // On macOS this one counts sleep; what the standard library uses there does not.
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), nanoseconds)
}

/// The time of a log line, for people.
#[expect(clippy::disallowed_methods, reason = "shown to people; decides nothing")]
pub(crate) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
