//! Which seeds run, on all processors, and how a failing one is named.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::invariants::Seen;

const SEEDS: u64 = 10_000;
const SEEDS_LONG: u64 = 100_000;

/// Histories from which it can be told whether there was enough to see.
pub(crate) const ENOUGH: u64 = 1_000;

/// From the variable `SIMULATION_SEEDS`, or those of the tier.
pub(crate) fn seeds() -> Range<u64> {
    let Ok(given) = std::env::var("SIMULATION_SEEDS") else {
        return 0..assay_tests::repeats(SEEDS, SEEDS_LONG);
    };
    let ends = given.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    let range: Option<Range<u64>> = ends.filter(|range: &Range<u64>| !range.is_empty());
    range.unwrap_or_else(|| {
        panic!("SIMULATION_SEEDS is `{given}`, not FROM..TO with FROM below TO, as in 7..8")
    })
}

/// Runs the history of each seed; the sums of what they had.
#[expect(clippy::print_stdout, reason = "the seed that failed is what people look for")]
pub(crate) fn run_all(seeds: Range<u64>, run: impl Fn(u64) -> (usize, Seen) + Sync) -> (usize, Seen) {
    let next = AtomicU64::new(seeds.start);
    let some = || {
        let mut sums = (0, Seen::default());
        while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end) {
            let (good, seen) = catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
                println!("replay with SIMULATION_SEEDS={seed}..{}", seed + 1);
                // The other threads end with the history they are in.
                next.store(seeds.end, Ordering::Relaxed);
                resume_unwind(panic)
            });
            sums.0 += good;
            sums.1.add(seen);
        }
        sums
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        let sums =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        sums.fold((0, Seen::default()), |(good, mut all), (more, seen)| {
            all.add(seen);
            (good + more, all)
        })
    })
}
