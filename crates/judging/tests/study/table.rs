//! The study's table in docs/statistics.md.

use super::Covered;
use super::model::Cell;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/statistics.md");
const START: &str = "<!-- study: written by the command above -->\n";
const END: &str = "<!-- end of the study -->";

/// The committed table is this one; with `ASSAY_BLESS=1` it becomes this one.
pub(crate) fn check(results: &[(Cell, Covered)], runs: u32) {
    let page = std::fs::read_to_string(PATH).unwrap();
    let (before, rest) = page.split_once(START).expect("docs/statistics.md has the study's place");
    let (committed, after) = rest.split_once(END).expect("docs/statistics.md has the study's end");
    let table = render(results, runs);
    if std::env::var_os("ASSAY_BLESS").is_some() {
        std::fs::write(PATH, format!("{before}{START}{table}{END}{after}")).unwrap();
        return;
    }
    // Mathematical libraries of platforms differ in last bits, which may move a run across an edge.
    let numbers =
        |text: &str| -> Vec<f64> { text.split('|').filter_map(|cell| cell.trim().parse().ok()).collect() };
    let (ours, theirs) = (numbers(&table), numbers(committed));
    let same = ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= 0.5);
    assert!(same, "the study's table in docs/statistics.md is old: run this test with ASSAY_BLESS=1");
}

fn render(results: &[(Cell, Covered)], runs: u32) -> String {
    let mut text = String::from(
        "| true rate | prompts | seeds | judges | slot bias | headline | its width | percentile bootstrap | naive |\n\
         | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: |\n",
    );
    for (cell, covered) in results {
        let percent = |count: u32| f64::from(count) / f64::from(runs) * 100.0;
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {:.1} | {:.1} | {:.1} | {:.1} |\n",
            cell.rate,
            cell.prompts,
            cell.seeds,
            if cell.biased_judges { "biased" } else { "fair" },
            if cell.position_bias { "yes" } else { "no" },
            percent(covered.headline),
            covered.width / f64::from(runs) * 100.0,
            percent(covered.bootstrap),
            percent(covered.naive),
        ));
    }
    text
}
