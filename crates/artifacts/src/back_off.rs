//! Pauses between tries: doubling, bounded, with jitter so that many clients do not come back together.

use std::time::Duration;

/// The pauses of one series of tries.
#[derive(Debug, Clone)]
pub struct BackOff {
    first_ms: u64,
    next_ms: u64,
    longest_ms: u64,
}

impl BackOff {
    /// Starts at `first_ms` and doubles up to `longest_ms`.
    pub fn new(first_ms: u64, longest_ms: u64) -> Self {
        Self { first_ms: first_ms.max(1), next_ms: first_ms.max(1), longest_ms: longest_ms.max(1) }
    }

    /// The next pause: between half of the current bound and all of it.
    pub fn pause(&mut self) -> Duration {
        let bound = self.next_ms.min(self.longest_ms);
        self.next_ms = bound.saturating_mul(2);
        Duration::from_millis(fastrand::u64(bound.div_ceil(2)..=bound))
    }

    /// Something worked: the next pause is a short one again.
    pub fn reset(&mut self) {
        self.next_ms = self.first_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_start_again() {
        let mut back_off = BackOff::new(100, 350);
        let bounds = [(50, 100), (100, 200), (175, 350), (175, 350)];
        for (least, most) in bounds {
            let pause = back_off.pause().as_millis();
            assert!((least..=most).contains(&pause), "{pause} not in {least}..={most}");
        }
        back_off.reset();
        assert!(back_off.pause().as_millis() <= 100);
    }
}
