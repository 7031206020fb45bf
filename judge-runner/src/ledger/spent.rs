//! What a judge job may have to pay: answers at their price, and what has no answer yet at the most that it can cost.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Spent {
    paid: f64,
    /// Asked and cut off after the server was reached, or asked again without an answer.
    lost: f64,
    /// Asked and not answered.
    in_flight: BTreeMap<String, f64>,
    /// Batches that have not ended, by tag.
    batches: BTreeMap<String, f64>,
}

impl Spent {
    pub(super) fn usd(&self) -> f64 {
        self.paid + self.lost + self.in_flight.values().sum::<f64>() + self.batches.values().sum::<f64>()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn asked(&mut self, key: String, usd_max: f64) {
        self.lost += self.in_flight.insert(key, usd_max).unwrap_or_default();
    }

    pub(super) fn answered(&mut self, key: &str, usd: f64) {
        self.in_flight.remove(key);
        self.paid += usd;
    }

    pub(super) fn cut(&mut self, key: &str, reached: bool) {
        let usd_max = self.in_flight.remove(key).unwrap_or_default();
        if reached {
            self.lost += usd_max;
        }
    }

    pub(super) fn intended(&mut self, tag: &str, usd_max: f64) {
        self.batches.insert(tag.to_owned(), usd_max);
    }

    pub(super) fn ended(&mut self, tag: &str) {
        self.batches.remove(tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_to_be_paid_is_never_too_little() {
        let mut spent = Spent::default();
        spent.asked(String::from("a"), 1.0);
        spent.asked(String::from("b"), 1.0);
        assert_eq!((spent.usd(), spent.in_flight()), (2.0, 2));
        spent.answered("a", 0.25);
        spent.cut("b", true);
        assert_eq!((spent.usd(), spent.in_flight()), (1.25, 0));
        // A server that was not reached is not paid; one killed under way may be.
        spent.asked(String::from("b"), 1.0);
        spent.cut("b", false);
        assert_eq!(spent.usd(), 1.25);
        spent.asked(String::from("c"), 1.0);
        spent.asked(String::from("c"), 1.0);
        spent.answered("c", 0.5);
        assert_eq!(spent.usd(), 2.75);
        spent.intended("t", 8.0);
        spent.answered("d", 0.25);
        assert_eq!(spent.usd(), 11.0);
        spent.ended("t");
        assert_eq!(spent.usd(), 3.0);
    }
}
