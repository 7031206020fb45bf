//! Swap symmetry is exact, biases cancel, and odd numbers are refused.

use proptest::prelude::*;

use super::*;

fn pass(tuned_slot: Slot, tuned_label: Label, a: f64, b: f64) -> Pass {
    Pass { tuned_slot, tuned_label, logprobs: LabelLogprobs { a, b } }
}

/// The same passes with the systems' names exchanged.
fn swapped(passes: &[Pass]) -> Vec<Pass> {
    let other = |p: &Pass| pass(p.tuned_slot.other(), p.tuned_label.other(), p.logprobs.a, p.logprobs.b);
    passes.iter().rev().map(other).collect()
}

const CELLS: [(Slot, Label); 4] =
    [(Slot::First, Label::A), (Slot::Second, Label::B), (Slot::First, Label::B), (Slot::Second, Label::A)];

proptest! {
    #[test]
    fn exchanging_the_systems_maps_p_to_exactly_one_minus_p(
        logs in prop::collection::vec((-30.0f64..0.0, -30.0f64..0.0), 4),
        count in prop::sample::select(vec![1usize, 2, 4]),
    ) {
        let passes: Vec<Pass> =
            CELLS.iter().zip(&logs).take(count).map(|((slot, label), (a, b))| pass(*slot, *label, *a, *b)).collect();
        let one = combine(&passes).unwrap();
        let two = combine(&swapped(&passes)).unwrap();
        prop_assert_eq!(two.p_tuned, 1.0 - one.p_tuned);
        prop_assert_eq!(one.p_tuned, 1.0 - two.p_tuned);
        prop_assert_eq!(two.p_tuned_prob_mean, 1.0 - one.p_tuned_prob_mean);
        prop_assert_eq!(two.logit_tuned, -one.logit_tuned);
        prop_assert_eq!(two.slot_bias_logit, one.slot_bias_logit);
        prop_assert_eq!(two.label_bias_logit, one.label_bias_logit);
        prop_assert_eq!(two.consistent, one.consistent);
    }

    #[test]
    fn a_bias_that_adds_to_slots_and_labels_is_removed(
        quality in -3.0f64..3.0, slot_bias in -2.0f64..2.0, label_bias in -2.0f64..2.0, four in any::<bool>(),
    ) {
        let judge = |&(slot, label): &(Slot, Label)| {
            let signed = |yes: bool, value: f64| if yes { value } else { -value };
            let tuned = quality + signed(slot == Slot::First, slot_bias) + signed(label == Label::A, label_bias);
            let a = signed(label == Label::A, tuned);
            pass(slot, label, sigmoid(a).ln(), sigmoid(-a).ln())
        };
        let cells = if four { &CELLS[..] } else { &CELLS[..2] };
        let preference = combine(&cells.iter().map(judge).collect::<Vec<_>>()).unwrap();
        prop_assert!((preference.logit_tuned - quality).abs() < 1e-9);
        if four {
            prop_assert!((preference.slot_bias_logit - slot_bias).abs() < 1e-9);
            prop_assert!((preference.label_bias_logit - label_bias).abs() < 1e-9);
        } else {
            prop_assert!((preference.slot_bias_logit - slot_bias - label_bias).abs() < 1e-9);
        }
    }
}

#[test]
fn equal_logprobs_are_a_tie() {
    let both = [pass(Slot::First, Label::A, -0.7, -0.7), pass(Slot::Second, Label::B, -0.7, -0.7)];
    let preference = combine(&both).unwrap();
    assert_eq!((preference.winner, preference.p_tuned), (Winner::Tie, 0.5));
    assert!(!preference.is_low_mass());
}

#[test]
fn what_is_no_log_probability_is_refused() {
    for (a, b) in [(f64::NAN, -1.0), (-1.0, f64::NEG_INFINITY), (0.1, -1.0), (f64::INFINITY, -1.0)] {
        assert!(LabelLogprobs { a, b }.check().is_err(), "{a} {b}");
    }
    assert!(LabelLogprobs { a: 0.0, b: -40.0 }.check().is_ok());
}

#[test]
fn no_pass_is_no_preference() {
    assert_eq!(combine(&[]), None);
    assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
    assert!((log_mean_exp(&[-1.0, -1.0]) + 1.0).abs() < 1e-15);
}
