//! Position and label bias of one judge.

use std::collections::BTreeMap;

use super::pairs::JoinedPair;
use super::types::{PassReport, PositionReport};
use crate::logprob::LABEL_MASS_MIN;
use crate::records::{Label, Slot, Winner};
use crate::stats::panel::mean_present;
use crate::stats::position::{SlotChoice, Swap, position_counts};

pub(super) fn position(judge: &str, joined: &[JoinedPair]) -> PositionReport {
    let swaps: Vec<Swap> = joined
        .iter()
        .filter_map(|pair| pair.verdict(judge))
        .flat_map(|verdict| swaps_of(&verdict.passes))
        .collect();
    let counts = position_counts(&swaps);
    let preferences = || joined.iter().filter_map(|pair| pair.preferences.get(judge));
    let masses = || joined.iter().filter_map(|pair| pair.label_masses.get(judge)).flatten();
    PositionReport {
        swaps: counts.n,
        primacy: counts.primacy,
        recency: counts.recency,
        consistent: counts.consistent,
        consistency: counts.consistency(),
        first_slot_rate: counts.first_slot_rate(),
        preference_fairness: counts.preference_fairness(),
        flip_p: (counts.n > 0).then(|| counts.flip_p()),
        slot_bias_logit: mean_present(preferences().map(|p| Some(p.slot_bias_logit))),
        label_bias_logit: mean_present(preferences().map(|p| Some(p.label_bias_logit))),
        mean_abs_bias_logit: mean_present(preferences().map(|p| Some(p.slot_bias_logit.abs()))),
        low_mass_share: mean_present(
            masses().map(|mass| Some(if *mass < LABEL_MASS_MIN { 1.0 } else { 0.0 })),
        ),
    }
}

/// Presentations that differ in nothing but the order, tuned first and tuned second.
fn swaps_of(passes: &[PassReport]) -> Vec<Swap> {
    let mut found: BTreeMap<(Option<Label>, u32), [Option<SlotChoice>; 2]> = BTreeMap::new();
    for pass in passes {
        let Some(slot) = pass.tuned_slot else { continue };
        let (first_label, place) = match slot {
            Slot::First => (pass.tuned_label, 0),
            Slot::Second => (pass.tuned_label.map(Label::other), 1),
        };
        found.entry((first_label, pass.replicate)).or_default()[place] =
            pass.winner.map(|winner| slot_chosen(winner, slot));
    }
    found
        .into_values()
        .filter_map(|[tuned_first, tuned_second]| Some((tuned_first?, tuned_second?)))
        .collect()
}

fn slot_chosen(winner: Winner, tuned_slot: Slot) -> SlotChoice {
    let slot = match winner {
        Winner::Tuned => tuned_slot,
        Winner::Base => tuned_slot.other(),
        Winner::Tie => return SlotChoice::Tie,
    };
    match slot {
        Slot::First => SlotChoice::First,
        Slot::Second => SlotChoice::Second,
    }
}
