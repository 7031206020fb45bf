//! How long a reader is fuzzed: numbered cases that are the same in each run, then new ones until its time is over.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::time::{Duration, Instant};

/// Many times what the largest case needs: noise of a few kilobytes may not ask for more.
const PEAK_BYTES_MAX: usize = 512 << 20;
/// Seconds of new cases for each reader; in the full tier the second.
const SECONDS: (u64, u64) = (20, 300);
/// Names a case to be run alone: `ASSAY_FUZZ_CASE=NUMBER cargo test -p assay-text fuzz::READER`.
const ONE_CASE: &str = "ASSAY_FUZZ_CASE";

/// One reader. All of a case follows from its number, which a failure tells.
pub(super) struct Target {
    name: &'static str,
    /// The first number of this run's new cases.
    first: u64,
    only: Option<u64>,
}

#[expect(
    clippy::print_stdout,
    reason = "where the cases began and how many there were is what people look for"
)]
impl Target {
    /// The reader that the test of this name fuzzes.
    pub(super) fn new(name: &'static str) -> Self {
        be_quiet_where_asked();
        let only = std::env::var(ONE_CASE).ok().map(|number| number.parse().unwrap());
        let first = fastrand::u64(..1 << 63);
        println!("{name}: new cases from number {first}");
        Self { name, first, only }
    }

    /// Runs cases 0 to `fixed`, then new ones for a share of the reader's time. Answers how many were not refused.
    pub(super) fn cases(
        &self,
        what: &str,
        fixed: u64,
        share: f64,
        case: impl Fn(&mut fastrand::Rng) -> bool,
    ) -> u64 {
        let time = Duration::from_secs(assay_tests::repeats(SECONDS.0, SECONDS.1)).mul_f64(share);
        let (start, mut taken, mut count) = (now(), 0, 0);
        let numbers = (0..fixed).chain(self.first..).take(if self.only.is_some() { 1 } else { usize::MAX });
        for number in numbers.map(|number| self.only.unwrap_or(number)) {
            if count >= fixed && now() - start >= time {
                break;
            }
            taken += u64::from(self.one(what, number, &case));
            count += 1;
        }
        println!("{} {what}: {count} cases, {taken} of them read", self.name);
        taken
    }

    /// Whether one case is run again, and no more can be said.
    pub(super) fn is_one_case(&self) -> bool {
        self.only.is_some()
    }

    fn one(&self, what: &str, number: u64, case: &impl Fn(&mut fastrand::Rng) -> bool) -> bool {
        let again = format!("{ONE_CASE}={number} cargo test -p assay-text fuzz::{}", self.name);
        let mut rng = fastrand::Rng::with_seed(number);
        QUIET.set(self.only.is_none());
        let taken = catch_unwind(AssertUnwindSafe(|| case(&mut rng)));
        QUIET.set(false);
        let Ok(taken) = taken else { panic!("{what}: case {number} panics; once more: {again}") };
        let peak = crate::PEAK.peak_usage();
        assert!(
            peak < PEAK_BYTES_MAX,
            "{what}: memory reached {peak} bytes at case {number}; once more: {again}"
        );
        taken
    }
}

thread_local! {
    /// Whether panics of this thread go unsaid: readers catch those of their libraries, thousands a minute, and what is said of them
    /// would fill the memory that is watched.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn be_quiet_where_asked() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let say = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                say(panic);
            }
        }));
    });
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tier says for how long a reader is fuzzed; nothing is decided by it"
)]
fn now() -> Instant {
    Instant::now()
}
