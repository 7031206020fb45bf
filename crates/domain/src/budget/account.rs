//! What one attempt may cost, and what it did cost.

use serde::{Deserialize, Serialize};

use super::{Amount, MS_PER_HOUR, ratio_up};
use crate::UnixMillis;

/// The account of an attempt: opened with its lease, settled with its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Account {
    /// What was set aside for it, with all that it asked for besides.
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub reserved: Amount,
    /// What an hour of its worker costs, in millionths of a USD.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub usd_micros_per_hour: u64,
    /// Whether a budget counts it: its worker keeps to what is reserved, or asks for more.
    #[serde(default, skip_serializing_if = "is_not")]
    pub limited: bool,
    /// What it cost; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Amount>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_not(truth: &bool) -> bool {
    !*truth
}

impl Account {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What it takes of a budget: what it cost, or all that is set aside for it as long as that is not known.
    pub fn holds(&self) -> Amount {
        self.spent.unwrap_or(self.reserved)
    }

    /// What it cost to use so much: the money is that of calls, the time is priced here.
    pub fn cost(&self, used: Amount) -> Amount {
        let time = ratio_up(used.device_ms, self.usd_micros_per_hour, MS_PER_HOUR);
        Amount { usd_micros: used.usd_micros.saturating_add(time), ..used }
    }

    /// What one costs that was stopped: its time until then, and whatever it may have been paying for.
    pub fn cost_until(&self, from: UnixMillis, to: UnixMillis) -> Amount {
        let elapsed_ms = to.0.saturating_sub(from.0);
        // A worker with a limit does not run longer than that, whatever wall clocks say.
        let device_ms = match (self.reserved.device_ms, self.limited) {
            (0, _) => 0,
            (most, true) => elapsed_ms.min(most),
            (_, false) => elapsed_ms,
        };
        let time = |device_ms| self.cost(Amount { usd_micros: 0, device_ms }).usd_micros;
        let calls = self.reserved.usd_micros.saturating_sub(time(self.reserved.device_ms));
        self.cost(Amount { usd_micros: calls, device_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_costs_its_time_and_its_calls() {
        let account = Account {
            reserved: Amount { usd_micros: 3_600_000, device_ms: 3_600_000 },
            usd_micros_per_hour: 3_600_000,
            limited: true,
            spent: None,
        };
        let used = Amount { usd_micros: 5, device_ms: 1_000 };
        assert_eq!(account.cost(used), Amount { usd_micros: 1_005, device_ms: 1_000 });
        assert_eq!(account.holds(), account.reserved);
        let stopped = account.cost_until(UnixMillis(5_000), UnixMillis(7_000));
        assert_eq!(stopped, Amount { usd_micros: 2_000, device_ms: 2_000 });
        // A clock that went back, and one that jumped.
        assert_eq!(account.cost_until(UnixMillis(5_000), UnixMillis(0)), Amount::ZERO);
        assert_eq!(account.cost_until(UnixMillis(0), UnixMillis(u64::MAX)), account.reserved);
    }

    #[test]
    fn calls_that_were_cut_off_count_in_full() {
        let reserved = Amount { usd_micros: 700, device_ms: 0 };
        let account = Account { reserved, limited: true, ..Account::default() };
        assert_eq!(account.cost_until(UnixMillis(0), UnixMillis(9)), reserved);
    }
}
