//! Laying pairs out as they were shown before, so that answers recorded under another secret can be read again.

use super::{BlindPair, Blinded};
use crate::records::KeyRecord;

impl Blinded {
    /// Gives a presentation that `known` does not know another slot or label, when it knows that one. Keys follow. A pair's
    /// presentations stay different from each other; what is not known at all stays as it was drawn.
    pub fn lay_out(&mut self, known: impl Fn(&BlindPair) -> bool) {
        let same_pair = |a: &BlindPair, b: &BlindPair| a.pair_id == b.pair_id;
        for passes in self.presentations.chunk_by_mut(same_pair) {
            for at in 0..passes.len() {
                if known(&passes[at]) {
                    continue;
                }
                let others = [(false, true), (true, false), (true, true)];
                let mut others = others
                    .map(|(slots, labels)| (moved(&passes[at], slots, labels), slots, labels))
                    .into_iter();
                let shown_already = |one: &BlindPair| {
                    passes.iter().any(|pass| pass.first == one.first && pass.first_label == one.first_label)
                };
                let Some((found, slots, labels)) = others.find(|(one, ..)| known(one) && !shown_already(one))
                else {
                    continue;
                };
                if let Some(record) = self.key.records.get_mut(&(found.pair_id.clone(), found.pass)) {
                    turn(record, slots, labels);
                    passes[at] = found;
                }
            }
        }
    }
}

fn moved(shown: &BlindPair, slots: bool, labels: bool) -> BlindPair {
    let mut other = shown.clone();
    if slots {
        std::mem::swap(&mut other.first, &mut other.second);
    }
    if labels {
        other.first_label = other.first_label.other();
    }
    other
}

fn turn(record: &mut KeyRecord, slots: bool, labels: bool) {
    if slots {
        record.tuned_slot = record.tuned_slot.other();
    }
    if labels {
        record.first_slot_label = record.first_slot_label.other();
    }
}
