//! How OpenMP threads wait: chosen by measurement before LibTorch starts, since libgomp reads it once, when it is loaded.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::engine::now;

/// For machines whose processors are ours: libgomp's own count of a spin before a thread sleeps.
const SPIN: (&str, &str) = ("GOMP_SPINCOUNT", "300000");
/// For machines that others use too: a spinning thread takes the time that the one it waits for needs.
const SLEEP: (&str, &str) = ("OMP_WAIT_POLICY", "passive");

/// Below this share of a processor for the worst-off thread the machine is shared. One other busy process on two
/// processors leaves it 0.5 to 0.7; timer ticks and other noise of a quiet machine take less than 0.02.
const OWN_SHARE: f64 = 0.9;
/// How long the threads are busy for the measurement: many turns of a scheduler, little beside loading a model.
const MEASURED: Duration = Duration::from_millis(200);

/// The variables by which a person may have chosen already.
const CHOSEN_BY: [&str; 2] = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"];

/// What a process with so many OpenMP threads is to be started with; none when a person has chosen. Takes
/// [`MEASURED`].
pub(crate) fn waiting(threads: u32) -> Option<(&'static str, &'static str)> {
    if CHOSEN_BY.iter().any(|name| std::env::var_os(name).is_some()) {
        return None;
    }
    let share = worst_share(threads);
    let waiting = waiting_at(share);
    tracing::info!(share, variable = waiting.0, value = waiting.1, "how OpenMP threads wait");
    Some(waiting)
}

/// Makes sure of it in this process: starts the same command again in its place when nothing is chosen.
pub(crate) fn settle() -> anyhow::Result<()> {
    let threads = thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let Some((name, value)) = waiting(threads) else { return Ok(()) };
    let error =
        Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(name, value).exec();
    Err(error.into())
}

/// Threads wait for the slowest at the end of each product, so the worst-off one's share decides.
fn waiting_at(share: f64) -> (&'static str, &'static str) {
    if share >= OWN_SHARE { SPIN } else { SLEEP }
}

/// The smallest share of a processor that one of so many busy threads gets.
fn worst_share(threads: u32) -> f64 {
    thread::scope(|scope| {
        let busy: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(own_share)).collect();
        busy.into_iter().filter_map(|thread| thread.join().ok().flatten()).fold(1.0, f64::min)
    })
}

/// Keeps this thread busy; its processor time as a share of the time that passed. None where it cannot be told.
fn own_share() -> Option<f64> {
    let (started, used) = (now(), processor_time()?);
    let passed = busy_until(started);
    Some((processor_time()? - used).as_secs_f64() / passed.as_secs_f64())
}

fn busy_until(started: Instant) -> Duration {
    loop {
        for _ in 0..1000 {
            std::hint::spin_loop();
        }
        let passed = started.elapsed();
        if passed >= MEASURED {
            return passed;
        }
    }
}

fn processor_time() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn threads_spin_where_the_processors_are_theirs_and_sleep_where_others_run() {
        assert_eq!(waiting_at(1.0), SPIN);
        assert_eq!(waiting_at(0.98), SPIN);
        assert_eq!(waiting_at(0.67), SLEEP);
        assert_eq!(waiting_at(0.0), SLEEP);
    }

    /// Three busy threads for each processor beside the measured ones: whatever else runs, none gets one to itself.
    #[test]
    fn a_machine_that_others_use_is_noticed() {
        let processors = thread::available_parallelism().unwrap().get() as u32;
        let done = AtomicBool::new(false);
        let share = thread::scope(|scope| {
            for _ in 0..3 * processors {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let share = worst_share(processors);
            done.store(true, Ordering::Relaxed);
            share
        });
        assert_eq!(waiting_at(share), SLEEP, "the worst-off thread got {share} of a processor");
    }
}
