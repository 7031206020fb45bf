//! A file in the format of a published study: fixed labels, one random order for each row, some pairs written twice.

use assay_judging::records::{Slot, Winner};
use assay_judging::report::import::{Format, ImportError, ImportSettings, import};
use serde_json::json;

use super::{map, settings};

/// Rows as its scripts wrote them: "Response A" is always the base, only the print order varies. The judge prefers the
/// tuned response in all pairs but every fifth. 25 prompts, 42 pairs, 15 of them a second time.
fn rows(winner: impl Fn(&str, &str) -> &'static str) -> String {
    let pairs: Vec<usize> = (0..42).chain(0..15).collect();
    let row = |(number, pair): (usize, &usize)| {
        let order = if number % 7 % 2 == 0 { "AB" } else { "BA" };
        let label = if pair % 5 == 4 { "A" } else { "B" };
        let judgment = format!(
            "Response A - Creativity: 3, Coherence: 4, Depth: 3, Engagement: 3, Quality: 4\n\
             Response B - Creativity: 4, Coherence: 4, Depth: 4, Engagement: 5, Quality: 4\n\
             **Winner:** {label}\nReasoning: its qualities are those of an identity, not of properties."
        );
        let text = json!({
            "config_name": format!("config-{}", pair / 25),
            "prompt": format!("Question {}?", pair % 25),
            "baseline_response": format!("a plain answer to {pair}"),
            "brie_response": format!("an answer with a turn of its own to {pair}"),
            "judge_model": "judge",
            "judgment": judgment,
            "presentation_order": order,
            "winner": winner(order, label),
        });
        text.to_string() + "\n"
    };
    pairs.iter().enumerate().map(row).collect()
}

/// What the labels say: A is always the base.
fn by_label(_: &str, label: &str) -> &'static str {
    if label == "A" { "baseline" } else { "brie" }
}

/// The bug: fixed labels undone as if they followed the order.
fn by_order(order: &str, label: &str) -> &'static str {
    match (order, label) {
        ("AB", "A") | ("BA", "B") => "baseline",
        _ => "brie",
    }
}

const COLUMNS: [&str; 6] = [
    "item=prompt",
    "sample=config_name",
    "base_text=baseline_response",
    "tuned_text=brie_response",
    "judge=judge_model",
    "order=presentation_order",
];
const SYSTEMS: [&str; 2] = ["tuned=brie", "base=baseline"];
const ORDERS: [&str; 2] = ["order:AB=base", "order:BA=tuned"];

fn with(column: &str, words: &[&str]) -> ImportSettings {
    let words: Vec<&str> = ORDERS.iter().chain(words).copied().collect();
    settings(Format::Jsonl, map(&[&COLUMNS[..], &[column]].concat(), &SYSTEMS, &words))
}

#[test]
fn regression_the_inversion_bug_is_caught_on_import() {
    let labels = ["answer:A=base", "answer:B=tuned"];
    let right = import(&rows(by_label), &with("answer=judgment", &labels)).unwrap();
    let from_column = import(&rows(by_label), &with("winner=winner", &[])).unwrap();
    assert_eq!(
        right.comparisons[0].overall(None).unwrap().rate,
        from_column.comparisons[0].overall(None).unwrap().rate
    );
    for pair in &right.pairs {
        let number: usize = pair.tuned.text.rsplit(' ').next().unwrap().parse().unwrap();
        let expected = if number % 5 == 4 { Winner::Base } else { Winner::Tuned };
        assert_eq!(pair.verdicts[0].winner, Some(expected), "{pair:?}");
    }

    // The inverted column alone looks like a judge that cannot decide: nothing in it shows the bug ...
    let inverted = import(&rows(by_order), &with("winner=winner", &[])).unwrap();
    assert!(inverted.comparisons[0].overall(None).unwrap().rate.unwrap() < 0.7);
    // ... but beside the judge's own words it is refused, row by row.
    let both = {
        let mut both = with("winner=winner", &labels);
        both.map.column("answer=judgment").unwrap();
        both
    };
    let flipped = rows(by_order).lines().filter(|line| line.contains("\"BA\"")).count();
    let error = import(&rows(by_order), &both).unwrap_err();
    let ImportError::Inverted { rows: compared, problems, .. } = error else { panic!("{error}") };
    assert_eq!((compared, problems.len()), (57, flipped));
    assert!(import(&rows(by_label), &both).is_ok());

    // A map that takes labels for places makes the same mistake, and the same check finds it.
    let mut places = with("winner=winner", &["answer:A=first", "answer:B=second"]);
    places.map.column("answer=judgment").unwrap();
    assert!(matches!(import(&rows(by_label), &places), Err(ImportError::Inverted { .. })));
}

#[test]
fn pairs_that_stand_twice_count_once_and_are_named() {
    let report = import(&rows(by_label), &with("winner=winner", &[])).unwrap();
    let known = report.import.as_ref().unwrap();
    assert_eq!((known.rows, known.pairs, known.duplicates.len()), (57, 42, 15));
    assert_eq!(known.duplicates[0].lines.len(), 2);
    assert!(known.duplicates.iter().any(|duplicate| duplicate.lines == [1, 43]));
    let row = report.comparisons[0].overall(None).unwrap();
    assert_eq!((row.pairs, row.prompts, row.counts.decided()), (42, 25, 42));
    assert!(row.wilson.is_none(), "pairs of one prompt are not independent");
    assert!(report.method.warnings.iter().any(|warning| warning.contains("15 times a judge judged a pair")));
}

#[test]
fn orders_styles_and_scores_are_read_from_it() {
    let report =
        import(&rows(by_label), &with("answer=judgment", &["answer:A=base", "answer:B=tuned"])).unwrap();
    let judge = &report.judges[0];
    let tuned_first = report
        .pairs
        .iter()
        .flat_map(|pair| &pair.verdicts[0].passes)
        .filter(|pass| pass.tuned_slot == Some(Slot::First))
        .count();
    assert_eq!(judge.orders.tuned_first.decided, tuned_first as u64);
    assert!(report.comparisons[0].style.as_ref().unwrap().chars.mean > 0.0);
    let creativity = &report.scores[0].judges[0];
    assert_eq!((creativity.tuned, creativity.base, creativity.difference), (4.0, 3.0, 1.0));
    assert_eq!(judge.contradictions.scored, 57);
    assert!(judge.contradictions.opposite > 0, "every fifth verdict names the lower sum");
}
