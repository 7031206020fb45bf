//! Verdicts made elsewhere: the same winners however they are written down, and no row lost in silence.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

#[path = "import/published.rs"]
mod published;
#[path = "import/swaps.rs"]
mod swaps;
#[path = "import/tables.rs"]
mod tables;

use assay_judging::records::VerdictStatus;
use assay_judging::report::Report;
use assay_judging::report::import::{ColumnMap, Format, ImportError, ImportSettings, import};

pub(crate) fn map(columns: &[&str], fixed: &[&str], words: &[&str]) -> ColumnMap {
    let mut map = ColumnMap::default();
    columns.iter().for_each(|entry| map.column(entry).unwrap());
    fixed.iter().for_each(|entry| map.fixed(entry).unwrap());
    words.iter().for_each(|entry| map.word(entry).unwrap());
    map
}

pub(crate) fn settings(format: Format, map: ColumnMap) -> ImportSettings {
    ImportSettings {
        file: "verdicts".into(),
        format,
        map,
        base: None,
        skip_unreadable: false,
        bootstrap_seed: 1,
    }
}

fn plain() -> ImportSettings {
    settings(Format::Csv, map(&["item=id", "winner=winner"], &["judge=j", "tuned=new", "base=old"], &[]))
}

fn refused(text: &str, settings: &ImportSettings) -> ImportError {
    import(text, settings).unwrap_err()
}

fn statuses(report: &Report) -> Vec<VerdictStatus> {
    report.pairs.iter().map(|pair| pair.verdicts[0].status).collect()
}

#[test]
fn errors_are_missing_and_never_ties() {
    let text = "id,winner\n1,new\n2,ERROR: 429 quota\n3,unknown\n4,\n5,tie\n6,refused\n";
    let report = import(text, &plain()).unwrap();
    let row = report.comparisons[0].overall(Some("j")).unwrap();
    assert_eq!((row.counts.wins, row.counts.ties, row.counts.losses), (1, 1, 0));
    assert_eq!((row.missing.error, row.missing.refused), (3, 1));
    assert_eq!(statuses(&report)[1], VerdictStatus::Error);
    assert!(row.withheld.is_some());
}

#[test]
fn a_failed_request_is_missing_whatever_the_winner_says() {
    let map = map(&["item=id", "winner=w", "answer=said"], &["judge=j", "tuned=new", "base=old"], &[]);
    let report = import("id,w,said\n1,tie,ERROR: 429\n2,new,fine\n", &settings(Format::Csv, map)).unwrap();
    assert_eq!(statuses(&report), [VerdictStatus::Error, VerdictStatus::Ok]);
}

#[test]
fn a_letter_means_nothing_until_the_map_says_what() {
    let report = import("id,winner\n1,A\n2,new\n", &plain()).unwrap();
    assert_eq!(statuses(&report), [VerdictStatus::Malformed, VerdictStatus::Ok]);
    let [problem] = &report.import.as_ref().unwrap().unreadable[..] else { panic!("one") };
    assert_eq!((problem.line, problem.column.as_str(), problem.found.as_str()), (2, "winner", "A"));
    assert!(problem.rule.contains("--value winner:WORD=MEANING"), "{problem}");
    assert!(report.method.warnings.iter().any(|w| w.contains("1 verdicts could not be read")));
    let slots = settings(
        Format::Csv,
        map(&["item=id", "winner=winner"], &["judge=j", "tuned=new", "base=old"], &["winner:A=first"]),
    );
    let report = import("id,winner\n1,A\n", &slots).unwrap();
    assert!(report.import.unwrap().unreadable[0].rule.contains("needs the order"));
}

#[test]
fn rows_that_cannot_be_placed_are_all_named() {
    let text = "id,winner\n,new\n2,new,extra\n3,old\n";
    let error = refused(text, &plain()).to_string();
    assert!(error.contains("2 rows cannot be placed"), "{error}");
    assert!(error.contains("line 2, column `id`: \"\": a row needs its item"), "{error}");
    assert!(error.contains("line 3, column `2`: \"2,new,extra\": a row has 2 fields"), "{error}");
    let report = import(text, &ImportSettings { skip_unreadable: true, ..plain() }).unwrap();
    let known = report.import.as_ref().unwrap();
    assert_eq!((known.rows, known.pairs, known.left_out.len()), (3, 1, 2));
    assert!(report.method.warnings.iter().any(|w| w.contains("2 rows could not be placed")));
    let json = ImportSettings { format: Format::Jsonl, ..plain() };
    let error = refused("{\"id\":1,\"winner\":\"new\"}\n{\"id\":2,\n[]\n", &json).to_string();
    assert!(error.contains("line 2, column `8`") && error.contains("line 3"), "{error}");
}

#[test]
fn a_map_that_does_not_fit_is_refused_with_the_way_out() {
    let source = |error: ImportError| std::error::Error::source(&error).unwrap().to_string();
    let fixed = ["judge=j", "tuned=new", "base=old"];
    let with = |columns: &[&str]| settings(Format::Csv, map(columns, &fixed, &[]));
    let error = source(refused("id,winner\n1,new\n", &with(&["item=nr", "winner=winner"])));
    assert_eq!(error, "no row has column `nr` (for `item`); the columns are id, winner");
    assert!(source(refused("id\n1\n", &with(&["item=id"]))).contains("field `winner` is needed"));
    let mut map = ColumnMap::default();
    assert!(map.column("itme=id").unwrap_err().to_string().contains("no field `itme`"));
    assert!(map.word("winner:A=left").unwrap_err().to_string().contains("`left` is no meaning"));
    assert!(map.column("item").unwrap_err().to_string().contains("write FIELD=COLUMN"));
    map.column("item=id").unwrap();
    assert!(map.fixed("item=1").unwrap_err().to_string().contains("twice"));
    assert!(matches!(refused("id,winner\n", &plain()), ImportError::Empty { .. }));
}

#[test]
fn a_report_of_an_import_survives_json_and_claims_no_preregistration() {
    let report = import("id,winner\n1,new\n2,old\n", &plain()).unwrap();
    assert!(report.preregistration.fixed_by.is_empty());
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[test]
fn a_judge_of_both_orders_needs_both() {
    let map = map(
        &["item=id", "winner=w", "order=first"],
        &["judge=j", "tuned=new", "base=old"],
        &["order:AB=base", "order:BA=tuned"],
    );
    let text = "id,first,w\n1,AB,new\n1,BA,new\n2,AB,new\n2,BA,old\n3,AB,new\n3,BA,new\n4,AB,new\n";
    let report = import(text, &settings(Format::Csv, map)).unwrap();
    use VerdictStatus::{Error, Ok};
    assert_eq!(statuses(&report), [Ok, Ok, Ok, Error], "one order alone would carry its bias");
    assert_eq!(report.pairs[1].verdicts[0].score, Some(0.5));
    assert!(report.import.unwrap().duplicates.is_empty(), "both orders are the design");
    assert_eq!(report.judges[0].position.swaps, 3);
}

#[test]
fn checkpoints_are_in_the_order_of_their_numbers() {
    let map = map(&["item=id", "winner=w", "checkpoint=step"], &["judge=j", "tuned=new", "base=old"], &[]);
    let text = "id,step,w\n1,step 10,new\n1,step 9,new\n1,step 100,new\n";
    let report = import(text, &settings(Format::Csv, map)).unwrap();
    let names: Vec<&str> = report.comparisons.iter().map(|c| c.comparison.checkpoint.as_str()).collect();
    assert_eq!(names, ["step 9", "step 10", "step 100"]);
}
