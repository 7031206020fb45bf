//! Balanced assignment of slots and labels.
//!
//! Not coin flips: with those, a published study had 17 of 40 pairs in one order (p = .003). Pairs are ranked by
//! the secret within their stratum, strata follow each other, and the four cells go round: so each cell
//! holds its quarter, to within one pair, in every stratum and over all.

use assay_domain::job::Orders;

use super::{PairInput, Secret};
use crate::records::{Label, Slot};

/// Where the tuned response stands and which label the first slot carries, in one presentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) tuned_slot: Slot,
    pub(super) first_slot_label: Label,
}

/// A pair's place in its first pass; the other passes follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell(Place);

impl Cell {
    fn new(ordinal: usize) -> Cell {
        let tuned_slot = if ordinal.is_multiple_of(2) { Slot::First } else { Slot::Second };
        let first_slot_label = if (ordinal / 2).is_multiple_of(2) { Label::A } else { Label::B };
        Cell(Place { tuned_slot, first_slot_label })
    }

    /// The places of all passes, in order.
    pub(super) fn passes(self, orders: Orders) -> Vec<Place> {
        let start = self.0;
        let swapped = Place { tuned_slot: start.tuned_slot.other(), ..start };
        let relabelled = |place: Place| Place { first_slot_label: place.first_slot_label.other(), ..place };
        match orders {
            Orders::Single => vec![start],
            Orders::Both => vec![start, swapped],
            Orders::Full => vec![start, swapped, relabelled(start), relabelled(swapped)],
        }
    }
}

/// Every pair with its cell, independent of the order in which the pairs were given.
pub(super) fn cells<'a>(secret: &Secret, pairs: &'a [PairInput]) -> Vec<(&'a PairInput, Cell)> {
    let mut ranked: Vec<_> = pairs.iter().map(|pair| (&pair.stratum, secret.rank(pair), pair)).collect();
    ranked.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let start = secret.start();
    ranked.into_iter().enumerate().map(|(i, (_, _, pair))| (pair, Cell::new(start + i))).collect()
}
