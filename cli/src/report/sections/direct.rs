//! Checkpoints, recipes and models that judges compared with each other directly.

use assay_domain::job::Comparison;
use assay_judging::report::{ComparisonReport, Report, WinRate};

use super::rates::{self, Group};
use crate::report::document::{Block, Detail, Table, numbers, words};
use crate::report::format;

/// Each comparison as a group of its own, for figures.
pub(in crate::report) fn groups(report: &Report) -> Vec<Group<'_>> {
    let group = |comparison| Group {
        title: title(comparison),
        comparisons: vec![comparison],
        ends: ["the second better", "the first better"],
    };
    report.direct.iter().map(group).collect()
}

fn title(report: &ComparisonReport) -> String {
    let c = &report.comparison;
    let against = format::against(c).unwrap_or_default();
    format!("{} over {against}; prompts {}, sampling {}", one(c), c.prompts, c.sampling)
}

fn one(c: &Comparison) -> String {
    format!("{} {}", format::system(c), c.checkpoint)
}

pub(super) fn blocks(report: &Report, detail: Detail) -> Vec<Block> {
    if report.direct.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![
        Block::Heading("Compared with each other by the judges".to_owned()),
        Block::Text(
            "The win rate of this over that, on the prompts that both answered, judged blind in both roles like the pairs of \
             base and tuned. W-T-L are the wins, ties and losses of this. Holm over the panel's rows on all prompts of all \
             such comparisons, and over all their other rows: families of their own."
                .to_owned(),
        ),
    ];
    let named = |row: &WinRate| row.judge.is_some() || !report.method.panel.is_empty();
    match detail {
        // A terminal has no room for both systems in a row.
        Detail::Short => {
            for group in groups(report) {
                blocks.push(Block::Text(group.title.clone()));
                blocks.push(Block::Table(rates::table(report, &group, |row| rates::shown(report, row))));
            }
        }
        Detail::Full => {
            blocks.push(Block::Table(overview(report)));
            let each = groups(report).into_iter();
            blocks.extend(each.map(|group| {
                let table = rates::table(report, &group, named);
                Block::Folded(group.title, table)
            }));
        }
    }
    blocks
}

/// The panel, over all prompts.
fn overview(report: &Report) -> Table {
    let mut table = Table::new(&[
        words("this"),
        words("over that"),
        words("prompts of"),
        numbers("n"),
        numbers("W-T-L"),
        words("missing"),
        numbers("win rate"),
        numbers("95 % interval"),
        numbers("p (Holm)"),
    ]);
    for comparison in &report.direct {
        let c = &comparison.comparison;
        let Some(row) = comparison.overall(None) else { continue };
        table.push([
            one(c),
            format::against(c).unwrap_or_default(),
            format!("{} {}", c.prompts, c.sampling),
            row.prompts.to_string(),
            format::outcomes(&row.counts),
            format::missing(&row.missing),
            format::rate(row),
            format::rate_interval(row),
            row.p_holm.map_or_else(|| format::NOTHING.to_owned(), format::p_value),
        ]);
    }
    table
}
