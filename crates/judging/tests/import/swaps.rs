//! Swapping slots, labels and names anywhere never changes a resolved winner.

use assay_judging::records::Winner;
use assay_judging::report::import::{Format, ImportSettings, import};
use proptest::prelude::*;

use super::{map, settings};

/// One verdict, and how it happens to be written down.
#[derive(Debug, Clone)]
struct Told {
    winner: Winner,
    tuned_first: bool,
    tuned_is_label_a: bool,
    tuned_is_system_a: bool,
}

fn told() -> impl Strategy<Value = Told> {
    let winner = prop::sample::select(vec![Winner::Tuned, Winner::Base, Winner::Tie]);
    (winner, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(winner, tuned_first, tuned_is_label_a, tuned_is_system_a)| Told {
            winner,
            tuned_first,
            tuned_is_label_a,
            tuned_is_system_a,
        },
    )
}

/// The words for a winner, when `tuned_is_one` says that the tuned system goes by the first of two names.
fn word(winner: Winner, tuned_is_one: bool, one: &str, other: &str) -> String {
    match (winner, tuned_is_one) {
        (Winner::Tie, _) => "tie".into(),
        (Winner::Tuned, true) | (Winner::Base, false) => one.into(),
        (Winner::Tuned, false) | (Winner::Base, true) => other.into(),
    }
}

fn csv(rows: &[Told]) -> String {
    let mut text = String::from("id,a,b,first,label,by_name,by_slot,by_label,by_system\n");
    for (id, row) in rows.iter().enumerate() {
        let names = |tuned_is_one: bool| if tuned_is_one { ("new", "old") } else { ("old", "new") };
        let (a, b) = names(row.tuned_is_system_a);
        text.push_str(&format!(
            "{id},{a},{b},{},{},{},{},{},{}\n",
            names(row.tuned_first).0,
            names(row.tuned_is_label_a).0,
            word(row.winner, true, "new", "old"),
            word(row.winner, row.tuned_first, "1", "2"),
            word(row.winner, row.tuned_is_label_a, "A", "B"),
            word(row.winner, row.tuned_is_system_a, "model_a", "model_b"),
        ));
    }
    text
}

/// The four ways to name a winner.
fn ways() -> [ImportSettings; 4] {
    let systems = ["system_a=a", "system_b=b", "order=first", "label_a=label", "item=id"];
    let way = |column: &str, words: &[&str]| {
        let columns: Vec<&str> = systems.iter().copied().chain([column]).collect();
        let map = map(&columns, &["judge=j"], words);
        ImportSettings { base: Some("old".into()), ..settings(Format::Csv, map) }
    };
    [
        way("winner=by_name", &[]),
        way("winner=by_slot", &["winner:1=first", "winner:2=second"]),
        way("winner=by_label", &["winner:A=label_a", "winner:B=label_b"]),
        way("winner=by_system", &["winner:model_a=system_a", "winner:model_b=system_b"]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(assay_tests::repeats(16, 256) as u32))]

    #[test]
    fn however_it_is_written_down_the_winner_is_the_same(rows in prop::collection::vec(told(), 1..30)) {
        let text = csv(&rows);
        for settings in ways() {
            let report = import(&text, &settings).unwrap();
            prop_assert_eq!(report.comparisons.len(), 1);
            for pair in &report.pairs {
                let row = &rows[pair.prompt_id.parse::<usize>().unwrap()];
                prop_assert_eq!(pair.verdicts[0].winner, Some(row.winner));
            }
        }
    }

    #[test]
    fn swapping_everything_changes_nothing_but_the_places(rows in prop::collection::vec(told(), 1..20)) {
        let swapped: Vec<Told> = rows
            .iter()
            .map(|row| Told {
                winner: row.winner,
                tuned_first: !row.tuned_first,
                tuned_is_label_a: !row.tuned_is_label_a,
                tuned_is_system_a: !row.tuned_is_system_a,
            })
            .collect();
        for settings in ways() {
            let (one, two) = (import(&csv(&rows), &settings).unwrap(), import(&csv(&swapped), &settings).unwrap());
            prop_assert_eq!(&one.comparisons, &two.comparisons);
            prop_assert_eq!(one.judges[0].orders.tuned_first, two.judges[0].orders.tuned_second);
        }
    }
}
