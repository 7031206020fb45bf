//! Blinding is balanced, reproducible and leaks nothing; resolving is immune to slots and labels.

use std::slice::from_ref;

use proptest::prelude::*;

use super::*;

fn secret(byte: u8) -> Secret {
    Secret::new([byte; 32])
}

fn input(prompt: usize, domain: &str) -> PairInput {
    PairInput {
        comparison: "smollm2/r8/epoch-2".into(),
        prompt_id: format!("{domain}-{prompt:02}"),
        sample: 0,
        stratum: domain.into(),
        prompt: format!("Question {prompt}?"),
        tuned: Response { system: "SECRET-TUNED-SYSTEM".into(), text: format!("good {prompt}") },
        base: Response { system: "SECRET-BASE-SYSTEM".into(), text: format!("plain {prompt}") },
    }
}

fn inputs(per_domain: &[usize]) -> Vec<PairInput> {
    let names = ["philosophy", "coding", "math"];
    per_domain.iter().enumerate().flat_map(|(d, n)| (0..*n).map(move |i| input(i, names[d]))).collect()
}

/// A judge that reads the responses alone: it names the label of the one that says `word`.
fn label_of(shown: &BlindPair, word: &str) -> Choice {
    let label = if shown.first.starts_with(word) { shown.first_label } else { shown.first_label.other() };
    match label {
        Label::A => Choice::A,
        Label::B => Choice::B,
    }
}

#[test]
fn regression_fixed_labels_are_not_unmapped_by_order() {
    // The published study always named the base "A" and the tuned "B" and randomised the print order only; its
    // parser undid the order on labels and so inverted every row that was shown in the other order (56 % of them).
    let key = KeyRecord {
        pair_id: "p".into(),
        pass: 0,
        comparison: "c".into(),
        prompt_id: "q".into(),
        sample: 0,
        tuned: "t".into(),
        base: "b".into(),
        tuned_slot: Slot::First,
        first_slot_label: Label::B,
    };
    assert_eq!(key.tuned_label(), Label::B);
    assert_eq!(resolve(Choice::A, &key), Winner::Base);
    assert_eq!(resolve(Choice::B, &key), Winner::Tuned);
    let other_order = KeyRecord { tuned_slot: Slot::Second, first_slot_label: Label::A, ..key };
    assert_eq!(resolve(Choice::A, &other_order), Winner::Base);
    assert_eq!(resolve(Choice::B, &other_order), Winner::Tuned);
    assert_eq!(resolve(Choice::Tie, &other_order), Winner::Tie);
}

proptest! {
    #[test]
    fn slots_and_labels_never_change_the_winner(
        bytes in any::<[u8; 32]>(),
        per_domain in prop::collection::vec(0usize..7, 1..4),
        orders in prop::sample::select(vec![Orders::Both, Orders::Single, Orders::Full]),
    ) {
        let pairs = inputs(&per_domain);
        let blinded = blind(&Secret::new(bytes), orders, &pairs).unwrap();
        prop_assert_eq!(blinded.presentations.len(), pairs.len() * usize::from(passes(orders)));
        for shown in &blinded.presentations {
            let key = blinded.key.get(&shown.pair_id, shown.pass).unwrap();
            prop_assert_eq!(resolve(label_of(shown, "good"), key), Winner::Tuned);
            prop_assert_eq!(resolve(label_of(shown, "plain"), key), Winner::Base);
            prop_assert_eq!(resolve(Choice::Tie, key), Winner::Tie);
            prop_assert_eq!(key.system_in(key.tuned_slot), "SECRET-TUNED-SYSTEM");
        }
    }

    #[test]
    fn cells_are_balanced_in_every_stratum_and_over_all(
        bytes in any::<[u8; 32]>(), per_domain in prop::collection::vec(0usize..13, 1..4),
    ) {
        let pairs = inputs(&per_domain);
        let blinded = blind(&Secret::new(bytes), Orders::Single, &pairs).unwrap();
        let count = |domain: &str| {
            let mut cells = [0i32; 4];
            for key in blinded.key.records().filter(|key| key.prompt_id.starts_with(domain)) {
                let cell = usize::from(key.tuned_slot == Slot::First) * 2
                    + usize::from(key.first_slot_label == Label::A);
                cells[cell] += 1;
            }
            cells.iter().max().unwrap() - cells.iter().min().unwrap()
        };
        for domain in ["", "philosophy", "coding", "math"] {
            prop_assert!(count(domain) <= 1, "{domain:?}");
        }
    }
}

#[test]
fn both_orders_give_each_response_each_slot_and_each_label_once() {
    let blinded = blind(&secret(3), Orders::Both, &inputs(&[8, 4])).unwrap();
    let keys: Vec<_> = blinded.key.records().collect();
    let mut first_labels = [0, 0];
    for two in keys.chunks(2) {
        assert_eq!(two[0].pair_id, two[1].pair_id);
        assert_eq!(two[0].tuned_slot, two[1].tuned_slot.other());
        assert_eq!(two[0].tuned_label(), two[1].tuned_label().other());
        first_labels[usize::from(two[0].first_slot_label == Label::A)] += 1;
    }
    assert_eq!(first_labels, [6, 6]);
}

#[test]
fn full_shows_all_four_cells() {
    let blinded = blind(&secret(3), Orders::Full, &inputs(&[3])).unwrap();
    for four in blinded.key.records().collect::<Vec<_>>().chunks(4) {
        let cells: BTreeSet<_> = four.iter().map(|key| (key.tuned_slot, key.first_slot_label)).collect();
        assert_eq!(cells.len(), 4);
    }
}

#[test]
fn the_same_secret_gives_the_same_presentations_in_any_order() {
    let pairs = inputs(&[5, 3]);
    let reversed: Vec<_> = pairs.iter().rev().cloned().collect();
    assert_eq!(blind(&secret(7), Orders::Both, &pairs), blind(&secret(7), Orders::Both, &reversed));
    assert_ne!(blind(&secret(7), Orders::Both, &pairs), blind(&secret(8), Orders::Both, &pairs));
}

#[test]
fn no_presentation_names_a_system() {
    let blinded = blind(&secret(1), Orders::Full, &inputs(&[4])).unwrap();
    for shown in &blinded.presentations {
        let text = serde_json::to_string(shown).unwrap();
        assert!(!text.contains("SECRET") && !text.contains("philosophy"), "{text}");
        for template in crate::prompt::templates() {
            let prompt = template.render(shown);
            assert!(prompt.messages.iter().all(|message| !message.content.contains("SECRET")));
        }
    }
    assert_eq!(format!("{:?}", secret(1)), "Secret(hidden)");
}

#[test]
fn a_fence_is_new_in_every_presentation() {
    let blinded = blind(&secret(1), Orders::Full, &inputs(&[4])).unwrap();
    let fences: BTreeSet<_> = blinded.presentations.iter().map(|shown| &shown.fence).collect();
    assert_eq!(fences.len(), 16);
}

#[test]
fn what_cannot_be_paired_is_refused() {
    let mut pairs = inputs(&[2]);
    pairs.push(pairs[0].clone());
    let error = blind(&secret(1), Orders::Both, &pairs).unwrap_err();
    assert!(matches!(error, PairError::Duplicate { .. }), "{error}");

    let record = |id: &str, system: &str, prompt: &str| GenerationRecord {
        model: "m".into(),
        prompts: "eval".into(),
        sampling: "greedy".into(),
        prompt_id: id.into(),
        domain: "d".into(),
        split: "in-domain".into(),
        prompt: prompt.into(),
        sample: 0,
        system: system.into(),
        text: "t".into(),
        finish_reason: crate::records::FinishReason::Stop,
        prompt_tokens: 1,
        new_tokens: 1,
        seconds: 0.0,
    };
    let matched = |base: &[GenerationRecord], tuned: &[GenerationRecord]| match_generations("c", base, tuned);
    let (base, tuned) = (record("1", "base", "p"), record("1", "epoch-1", "p"));
    assert_eq!(matched(from_ref(&base), from_ref(&tuned)).unwrap().len(), 1);
    assert_eq!(
        matched(from_ref(&base), &[]).unwrap_err().to_string(),
        "comparison \"c\": tuned has no response to prompt \"1\" sample 0: generate both systems on the same prompts and samples"
    );
    assert!(matches!(matched(&[], from_ref(&tuned)), Err(PairError::Unmatched { missing_from: "base", .. })));
    assert!(matches!(
        matched(from_ref(&base), &[record("1", "epoch-1", "other")]),
        Err(PairError::PromptDiffers { .. })
    ));
    assert!(matches!(matched(&[base.clone(), base], &[tuned]), Err(PairError::Duplicate { .. })));
}

#[test]
fn keys_that_disagree_are_refused() {
    let blinded = blind(&secret(1), Orders::Both, &inputs(&[1])).unwrap();
    let mut records: Vec<_> = blinded.key.records().cloned().collect();
    assert_eq!(Key::new(records.iter().chain(&records).cloned()).unwrap(), blinded.key);
    records.push(KeyRecord { tuned_slot: records[0].tuned_slot.other(), ..records[0].clone() });
    assert!(matches!(Key::new(records), Err(PairError::KeyConflict { .. })));
}

#[test]
fn what_was_shown_under_another_secret_can_be_laid_out_again() {
    for orders in [Orders::Single, Orders::Both, Orders::Full] {
        // One domain: the texts of two would be the same questions.
        let pairs = inputs(&[14]);
        let recorded = blind(&secret(1), orders, &pairs).unwrap();
        let mut again = blind(&secret(2), orders, &pairs).unwrap();
        let question = |shown: &BlindPair| (shown.first.clone(), shown.second.clone(), shown.first_label);
        let asked: BTreeSet<_> = recorded.presentations.iter().map(question).collect();
        assert!(
            orders == Orders::Full || !again.presentations.iter().all(|one| asked.contains(&question(one)))
        );
        again.lay_out(|shown| asked.contains(&question(shown)));
        let laid_out: BTreeSet<_> = again.presentations.iter().map(question).collect();
        assert_eq!(laid_out, asked, "{orders:?}");
        for shown in &again.presentations {
            let key = again.key.get(&shown.pair_id, shown.pass).unwrap();
            assert_eq!(resolve(label_of(shown, "good"), key), Winner::Tuned);
        }
    }
}
