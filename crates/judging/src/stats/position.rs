//! Position bias: what happens to verdicts when the two slots are swapped.
//!
//! Definitions of Shi et al. 2024 (arXiv 2406.07791): consistent, primacy and recency pairs, preference fairness.

use super::binomial::{binomial_test, fisher_exact, sign_test};

/// A slot chosen in one presentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotChoice {
    /// What was shown first.
    First,
    /// What was shown second.
    Second,
    /// A tie.
    Tie,
}

/// Verdicts on one pair with X shown first, then with X shown second.
pub type Swap = (SlotChoice, SlotChoice);

/// Counts over swaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PositionCounts {
    /// Swaps.
    pub n: u64,
    /// Both first, or one first and one tie.
    pub primacy: u64,
    /// Both second, or one second and one tie.
    pub recency: u64,
    /// The same response twice, or two ties.
    pub consistent: u64,
    /// Choices of the first slot over both orders.
    pub first_picks: u64,
    /// Choices of the second slot over both orders.
    pub second_picks: u64,
    /// Swaps that chose the first slot twice.
    pub both_first: u64,
    /// Swaps that chose the second slot twice.
    pub both_second: u64,
    /// Swaps that chose X twice.
    pub x_wins: u64,
    /// Swaps that chose Y twice.
    pub y_wins: u64,
    /// Twice the sum of X's scores over both orders: 2 per win, 1 per tie.
    half_points_x: u64,
}

/// Counts swaps.
#[must_use]
pub fn position_counts(swaps: &[Swap]) -> PositionCounts {
    use SlotChoice::{First, Second, Tie};
    let mut counts = PositionCounts { n: swaps.len() as u64, ..PositionCounts::default() };
    for (x_first, x_second) in swaps {
        for choice in [x_first, x_second] {
            match choice {
                First => counts.first_picks += 1,
                Second => counts.second_picks += 1,
                Tie => {}
            }
        }
        counts.half_points_x += match x_first {
            First => 2,
            Tie => 1,
            Second => 0,
        };
        counts.half_points_x += match x_second {
            Second => 2,
            Tie => 1,
            First => 0,
        };
        match (x_first, x_second) {
            (First, Second) => {
                counts.consistent += 1;
                counts.x_wins += 1;
            }
            (Second, First) => {
                counts.consistent += 1;
                counts.y_wins += 1;
            }
            (Tie, Tie) => counts.consistent += 1,
            (First, First) => {
                counts.primacy += 1;
                counts.both_first += 1;
            }
            (Second, Second) => {
                counts.recency += 1;
                counts.both_second += 1;
            }
            (First, Tie) | (Tie, First) => counts.primacy += 1,
            (Second, Tie) | (Tie, Second) => counts.recency += 1,
        }
    }
    counts
}

impl PositionCounts {
    fn share(part: u64, whole: u64) -> Option<f64> {
        (whole > 0).then(|| part as f64 / whole as f64)
    }

    /// Share of swaps with the same verdict twice.
    #[must_use]
    pub fn consistency(&self) -> Option<f64> {
        Self::share(self.consistent, self.n)
    }

    /// Preference fairness in [-1, 1]: below 0 for primacy, above 0 for recency.
    #[must_use]
    pub fn preference_fairness(&self) -> Option<f64> {
        // (recency * recency share - primacy * primacy share) / n is (recency - primacy) / n.
        (self.n > 0).then(|| (self.recency as f64 - self.primacy as f64) / self.n as f64)
    }

    /// Share of the first slot among choices that were no ties.
    #[must_use]
    pub fn first_slot_rate(&self) -> Option<f64> {
        Self::share(self.first_picks, self.first_picks + self.second_picks)
    }

    /// Exact test of `first_slot_rate` against one half, as if choices were independent.
    #[must_use]
    pub fn first_slot_p(&self) -> f64 {
        sign_test(self.first_picks, self.second_picks)
    }

    /// Exact test that flips favour neither slot; choices of one pair count once.
    #[must_use]
    pub fn flip_p(&self) -> f64 {
        sign_test(self.both_first, self.both_second)
    }

    /// Swaps that are ties once both orders are put together: all that do not choose one response twice.
    #[must_use]
    pub fn ties_reconciled(&self) -> u64 {
        self.n - self.x_wins - self.y_wins
    }

    /// X's win rate with flips as ties, ties as half.
    #[must_use]
    pub fn x_rate_reconciled(&self) -> Option<f64> {
        (self.n > 0).then(|| (self.x_wins as f64 + self.ties_reconciled() as f64 / 2.0) / self.n as f64)
    }

    /// X's win rate as the mean over both orders, ties as half.
    #[must_use]
    pub fn x_rate_mean_of_orders(&self) -> Option<f64> {
        Self::share(self.half_points_x, 4 * self.n)
    }
}

/// Single-order data split by the order in which it was shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrderStrata {
    /// Tuned's win rate when base was shown first.
    pub rate_base_first: f64,
    /// Tuned's win rate when tuned was shown first.
    pub rate_tuned_first: f64,
    /// Their difference.
    pub difference: f64,
    /// Fisher's exact p that order does not matter.
    pub fisher_p: f64,
    /// Their plain mean: the rate standardised to half of each order.
    pub balanced_rate: f64,
}

/// Compares tuned's wins when base was first (`wins` of `n`) and when tuned was first. `None` for an empty stratum.
#[must_use]
pub fn order_strata(base_first: (u64, u64), tuned_first: (u64, u64)) -> Option<OrderStrata> {
    let rate = |(wins, n): (u64, u64)| (n > 0 && wins <= n).then(|| wins as f64 / n as f64);
    let (one, other) = (rate(base_first)?, rate(tuned_first)?);
    Some(OrderStrata {
        rate_base_first: one,
        rate_tuned_first: other,
        difference: one - other,
        fisher_p: fisher_exact(
            base_first.0,
            base_first.1 - base_first.0,
            tuned_first.0,
            tuned_first.1 - tuned_first.0,
        ),
        balanced_rate: (one + other) / 2.0,
    })
}

/// Exact test that `one` and `other` orders were drawn equally often.
#[must_use]
pub fn order_balance_p(one: u64, other: u64) -> f64 {
    if one + other == 0 { 1.0 } else { binomial_test(one, one + other, 0.5).two_sided }
}
