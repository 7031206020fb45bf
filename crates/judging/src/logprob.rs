//! Judging by next-token log-probabilities: passes over a pair become one debiased preference.
//!
//! With l = ln P(A) - ln P(B) in each pass, turned so that it is positive for the tuned response, the logit mean over
//! passes that swap slot and label removes every bias that adds to the logit of a slot or of a label
//! (AlpacaEval's `logprob_parser` generalised; PriDe, arXiv 2309.03882). Swapping the two systems maps P to exactly 1 - P.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::records::{Choice, Label, LabelLogprobs, Slot, Winner};

/// Below this P(A) + P(B) the model was not answering the question, and its template is flagged.
pub const LABEL_MASS_MIN: f64 = 0.5;

/// ln of a sum of probabilities given as logarithms; negative infinity for none.
#[must_use]
pub fn log_sum_exp(logs: &[f64]) -> f64 {
    let max = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max.is_infinite() {
        return max;
    }
    max + logs.iter().map(|log| (log - max).exp()).sum::<f64>().ln()
}

/// ln of a mean of probabilities given as logarithms.
#[must_use]
pub fn log_mean_exp(logs: &[f64]) -> f64 {
    log_sum_exp(logs) - (logs.len() as f64).ln()
}

/// Why log-probabilities cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("label log-probabilities are {a} and {b}: both must be finite and not above 0")]
pub struct BadLogprobs {
    a: f64,
    b: f64,
}

impl LabelLogprobs {
    /// Refuses what is no logarithm of a probability. A rounding error above 0 is let through.
    ///
    /// # Errors
    /// Not a number, infinite, or above 1e-6.
    pub fn check(&self) -> Result<(), BadLogprobs> {
        let fine = |log: f64| log.is_finite() && log <= 1e-6;
        if fine(self.a) && fine(self.b) { Ok(()) } else { Err(BadLogprobs { a: self.a, b: self.b }) }
    }

    /// P(A) + P(B): how much of the model's attention the question had.
    #[must_use]
    pub fn mass(&self) -> f64 {
        log_sum_exp(&[self.a, self.b]).exp()
    }

    /// ln P(label) - ln P(the other label).
    #[must_use]
    pub fn logit(&self, label: Label) -> f64 {
        match label {
            Label::A => self.a - self.b,
            Label::B => self.b - self.a,
        }
    }

    /// The label with the greater probability; a tie only if they are equal.
    #[must_use]
    pub fn choice(&self) -> Choice {
        if self.a > self.b {
            Choice::A
        } else if self.b > self.a {
            Choice::B
        } else {
            Choice::Tie
        }
    }
}

/// One pass over a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pass {
    /// The slot that showed the tuned response.
    pub tuned_slot: Slot,
    /// The label that the tuned response carried.
    pub tuned_label: Label,
    /// What the model answered.
    pub logprobs: LabelLogprobs,
}

impl Pass {
    /// ln P(tuned) - ln P(base) in this pass.
    #[must_use]
    pub fn logit_tuned(&self) -> f64 {
        self.logprobs.logit(self.tuned_label)
    }

    /// P(tuned) in this pass, normalised over the two labels.
    #[must_use]
    pub fn p_tuned(&self) -> f64 {
        sigmoid(self.logit_tuned())
    }

    /// The label on the first slot.
    #[must_use]
    pub fn first_slot_label(&self) -> Label {
        match self.tuned_slot {
            Slot::First => self.tuned_label,
            Slot::Second => self.tuned_label.other(),
        }
    }

    /// P(the response in the first slot), normalised over the two labels.
    #[must_use]
    pub fn p_first_slot(&self) -> f64 {
        sigmoid(self.logprobs.logit(self.first_slot_label()))
    }
}

/// What all passes over one pair say together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Preference {
    /// P(tuned) from the mean of the logits: the continuous score.
    pub p_tuned: f64,
    /// P(tuned) from the mean of the probabilities.
    pub p_tuned_prob_mean: f64,
    /// The mean logit of the tuned response.
    pub logit_tuned: f64,
    /// Mean logit of the first slot: above 0 the model leans to what it reads first (where labels go with slots, to
    /// the first slot's label as well).
    pub slot_bias_logit: f64,
    /// Mean logit of label A. With four passes it is free of position, and the slot's of label.
    pub label_bias_logit: f64,
    /// Least P(A) + P(B) of the passes.
    pub label_mass_min: f64,
    /// Whether every pass preferred the same response.
    pub consistent: bool,
    /// The response that all passes preferred; a flip is a tie.
    pub winner: Winner,
}

impl Preference {
    /// Whether the template failed on this pair: the model would rather say something else than a label.
    #[must_use]
    pub fn is_low_mass(&self) -> bool {
        self.label_mass_min < LABEL_MASS_MIN
    }
}

/// Combines the passes over one pair: one, two (slots swapped) or four (slot x label). `None` for no pass.
#[must_use]
pub fn combine(passes: &[Pass]) -> Option<Preference> {
    if passes.is_empty() {
        return None;
    }
    let logit_tuned = paired_mean(passes, Pass::logit_tuned);
    // Twice the mean's distance from one half, exactly odd under a swap; `from_half` keeps it so.
    let p_distance = paired_mean(passes, |pass| pass.p_tuned() - 0.5);
    let winners: Vec<Winner> = passes.iter().map(winner_of).collect();
    let consistent = winners.iter().all(|winner| *winner == winners[0]);
    Some(Preference {
        p_tuned: sigmoid(logit_tuned),
        p_tuned_prob_mean: from_half(p_distance),
        logit_tuned,
        slot_bias_logit: paired_mean(passes, |pass| pass.logprobs.logit(pass.first_slot_label())),
        label_bias_logit: paired_mean(passes, |pass| pass.logprobs.logit(Label::A)),
        label_mass_min: passes.iter().map(|pass| pass.logprobs.mass()).fold(f64::INFINITY, f64::min),
        consistent,
        winner: if consistent { winners[0] } else { Winner::Tie },
    })
}

fn winner_of(pass: &Pass) -> Winner {
    let logit = pass.logit_tuned();
    if logit > 0.0 {
        Winner::Tuned
    } else if logit < 0.0 {
        Winner::Base
    } else {
        Winner::Tie
    }
}

/// The mean of a value over passes, added so that swapping the systems changes nothing but the sign: first within
/// each pair of opposite passes (a sum of two does not depend on its order), then over these in a fixed order.
fn paired_mean(passes: &[Pass], value: impl Fn(&Pass) -> f64) -> f64 {
    let mut sum = 0.0;
    for label in [Label::A, Label::B] {
        let group: Vec<f64> =
            passes.iter().filter(|pass| pass.first_slot_label() == label).map(&value).collect();
        sum += sorted_sum(group);
    }
    sum / passes.len() as f64
}

fn sorted_sum(mut values: Vec<f64>) -> f64 {
    if values.len() > 2 {
        // Replicates: an order that depends on the values alone, the same up to sign for both naming of systems.
        values.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    }
    values.into_iter().sum()
}

/// 1 / (1 + e^-x), computed so that `sigmoid(-x) == 1.0 - sigmoid(x)` holds exactly.
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { 1.0 - 1.0 / (1.0 + x.exp()) }
}

/// One half plus a distance, exactly odd about one half.
fn from_half(distance: f64) -> f64 {
    if distance >= 0.0 { 0.5 + distance } else { 1.0 - (0.5 - distance) }
}
