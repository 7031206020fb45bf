//! Verdicts split by the order in which the two responses were shown.

use serde::{Deserialize, Serialize};

use super::pairs::JoinedPair;
use super::types::PairVerdict;
use crate::records::{Slot, Winner};
use crate::stats::position::order_strata;

/// One judge's wins for the tuned response when it was shown first, and when second. Ties are left out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct OrderReport {
    /// Verdicts that were no ties with the tuned response first, and those it won.
    pub tuned_first: Stratum,
    /// The same with the tuned response second.
    pub tuned_second: Stratum,
    /// Its win rate shown second less shown first.
    pub difference: Option<f64>,
    /// The mean of both rates: the rate standardised to half of each order.
    pub balanced_rate: Option<f64>,
    /// Fisher's exact p that order does not matter. Only where no pair was shown in both orders: those are not
    /// independent, and the test on flips is for them.
    pub fisher_p: Option<f64>,
}

/// Wins of decided verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stratum {
    /// The tuned response won.
    pub wins: u64,
    /// Verdicts that were no ties.
    pub decided: u64,
}

pub(super) fn orders(judge: &str, joined: &[JoinedPair]) -> OrderReport {
    let mut report = OrderReport::default();
    let mut in_both_orders = false;
    for verdict in joined.iter().filter_map(|pair| pair.verdict(judge)) {
        for pass in &verdict.passes {
            let stratum = match pass.tuned_slot {
                Some(Slot::First) => &mut report.tuned_first,
                Some(Slot::Second) => &mut report.tuned_second,
                None => continue,
            };
            match pass.winner {
                Some(Winner::Tuned) => {
                    stratum.wins += 1;
                    stratum.decided += 1;
                }
                Some(Winner::Base) => stratum.decided += 1,
                Some(Winner::Tie) | None => {}
            }
        }
        in_both_orders |= has(verdict, Slot::First) && has(verdict, Slot::Second);
    }
    let counts = |stratum: Stratum| (stratum.wins, stratum.decided);
    if let Some(strata) = order_strata(counts(report.tuned_second), counts(report.tuned_first)) {
        report.difference = Some(strata.difference);
        report.balanced_rate = Some(strata.balanced_rate);
        report.fisher_p = Some(strata.fisher_p).filter(|_| !in_both_orders);
    }
    report
}

fn has(verdict: &PairVerdict, slot: Slot) -> bool {
    verdict.passes.iter().any(|pass| pass.tuned_slot == Some(slot))
}
