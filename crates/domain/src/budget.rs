//! Money and hours: exact amounts, caps on them, what is capped, and the account of one attempt.
//!
//! Amounts are whole millionths of a USD and whole milliseconds, so that sums never drift and a budget is kept to the last one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::MatrixId;

pub use account::Account;
pub use month::{Month, MonthError};

mod account;
mod month;

const MICROS_PER_USD: f64 = 1e6;
const MS_PER_HOUR: u64 = 3_600_000;

/// Money, and time of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Amount {
    /// Millionths of a USD.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub usd_micros: u64,
    /// Milliseconds of devices; a judge-runner has none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub device_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self { usd_micros: 0, device_ms: 0 };

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Both together; what is too large for a number stays at the largest.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            usd_micros: self.usd_micros.saturating_add(other.usd_micros),
            device_ms: self.device_ms.saturating_add(other.device_ms),
        }
    }

    /// So many thousandths of it, rounded up.
    #[must_use]
    pub fn permille(self, permille: u32) -> Self {
        let of = |number: u64| ratio_up(number, permille.into(), 1000);
        Self { usd_micros: of(self.usd_micros), device_ms: of(self.device_ms) }
    }

    /// The most of it that `left` has room for; time and what it costs shrink together.
    #[must_use]
    pub fn within(self, left: Cap) -> Self {
        let usd_left = left.usd_micros.unwrap_or(u64::MAX);
        if self.device_ms == 0 {
            return Self { usd_micros: self.usd_micros.min(usd_left), device_ms: 0 };
        }
        let affordable = if self.usd_micros <= usd_left {
            self.device_ms
        } else {
            ratio(self.device_ms, usd_left, self.usd_micros)
        };
        let device_ms = self.device_ms.min(affordable).min(left.device_ms.unwrap_or(u64::MAX));
        Self { usd_micros: ratio_up(self.usd_micros, device_ms, self.device_ms), device_ms }
    }

    /// USD.
    pub fn usd(self) -> f64 {
        self.usd_micros as f64 / MICROS_PER_USD
    }

    /// Hours.
    pub fn hours(self) -> f64 {
        self.device_ms as f64 / MS_PER_HOUR as f64
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Cap { usd_micros: Some(self.usd_micros), device_ms: Some(self.device_ms) }.fmt(f)
    }
}

/// Millionths of a USD, rounded up: a cost is never counted too low.
pub fn usd_micros(usd: f64) -> u64 {
    // A float that is negative or no number becomes 0, one that is too large the largest.
    (usd * MICROS_PER_USD).ceil() as u64
}

fn ratio(number: u64, times: u64, of: u64) -> u64 {
    let exact = u128::from(number) * u128::from(times) / u128::from(of.max(1));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

fn ratio_up(number: u64, times: u64, of: u64) -> u64 {
    let exact = (u128::from(number) * u128::from(times)).div_ceil(u128::from(of.max(1)));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// The most of an amount; none: no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Cap {
    /// Millionths of a USD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_micros: Option<u64>,
    /// Milliseconds of devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_ms: Option<u64>,
}

impl Cap {
    /// From USD and hours, as people say them.
    pub fn of(usd: Option<f64>, hours: Option<f64>) -> Self {
        let rounded = |number: f64| number.round() as u64;
        Self {
            usd_micros: usd.map(|usd| rounded(usd * MICROS_PER_USD)),
            device_ms: hours.map(|hours| rounded(hours * MS_PER_HOUR as f64)),
        }
    }

    /// Whether it bounds nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What it allows besides what is held already.
    #[must_use]
    pub fn left(self, held: Amount) -> Self {
        Self {
            usd_micros: self.usd_micros.map(|most| most.saturating_sub(held.usd_micros)),
            device_ms: self.device_ms.map(|most| most.saturating_sub(held.device_ms)),
        }
    }

    /// Whether it allows this much.
    pub fn allows(self, amount: Amount) -> bool {
        self.usd_micros.is_none_or(|most| amount.usd_micros <= most)
            && self.device_ms.is_none_or(|most| amount.device_ms <= most)
    }

    /// The tighter of both, in each.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let tighter = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self {
            usd_micros: tighter(self.usd_micros, other.usd_micros),
            device_ms: tighter(self.device_ms, other.device_ms),
        }
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = |usd_micros, device_ms| Amount { usd_micros, device_ms };
        let usd = self.usd_micros.map(|micros| amount(micros, 0).usd());
        let hours = self.device_ms.map(|ms| amount(0, ms).hours());
        match (usd, hours) {
            (Some(usd), Some(hours)) => write!(f, "{usd:.4} USD and {hours:.4} h"),
            (Some(usd), None) => write!(f, "{usd:.4} USD"),
            (None, Some(hours)) => write!(f, "{hours:.4} h"),
            (None, None) => f.write_str("no bound"),
        }
    }
}

/// What a budget is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "snake_case")]
pub enum Scope {
    /// One matrix, from its submission to its end.
    Matrix {
        /// Which.
        matrix: MatrixId,
    },
    /// A team in a calendar month.
    Team {
        /// Which; empty: matrices that name none.
        team: String,
        /// Which month.
        month: Month,
    },
    /// All teams together in a calendar month.
    Month {
        /// Which.
        month: Month,
    },
}

impl Scope {
    /// What a person can do when it is used up.
    pub fn remedy(&self) -> String {
        match self {
            Self::Matrix { matrix } => format!("`assay budget {matrix} --usd USD --hours HOURS` raises it"),
            Self::Team { team, month } => format!(
                "the end of {month}, or a higher `--team-budget {team}=usd:USD,hours:HOURS` at the coordinator's start"
            ),
            Self::Month { month } => format!(
                "the end of {month}, or a higher `--month-budget usd:USD,hours:HOURS` at the coordinator's start"
            ),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matrix { matrix } => write!(f, "matrix {matrix}"),
            Self::Team { team, month } => write!(f, "team `{team}` in {month}"),
            Self::Month { month } => write!(f, "all teams in {month}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_to_a_cap_fits_it_and_keeps_its_price() {
        let amount = Amount { usd_micros: 1_000, device_ms: 300 };
        for usd in 0..1_100 {
            for ms in [0, 1, 7, 299, 300, 400] {
                let left = Cap { usd_micros: Some(usd), device_ms: Some(ms) };
                let cut = amount.within(left);
                assert!(left.allows(cut), "{cut:?} in {left:?}");
                // A third of a millionth is rounded up.
                assert_eq!(cut.usd_micros, (cut.device_ms * 10).div_ceil(3));
            }
        }
        let calls = Amount { usd_micros: 10, device_ms: 0 };
        assert_eq!(calls.within(Cap { usd_micros: Some(3), device_ms: Some(0) }).usd_micros, 3);
        assert_eq!(amount.within(Cap::default()), amount);
    }

    #[test]
    fn sums_stay_at_the_largest_number() {
        let most = Amount { usd_micros: u64::MAX, device_ms: u64::MAX };
        assert_eq!(most.plus(most), most);
        assert_eq!(most.permille(1500), most);
        assert_eq!(
            Cap::of(Some(0.000_001), Some(1.0)),
            Cap { usd_micros: Some(1), device_ms: Some(3_600_000) }
        );
    }
}
