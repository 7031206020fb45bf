//! The judges' 1 to 5 scores.

use assay_judging::report::Report;

use crate::report::document::{Block, Table, numbers, words};
use crate::report::format;

pub(super) fn blocks(report: &Report) -> Vec<Block> {
    if report.scores.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        words("dimension"),
        words("judge"),
        numbers("pairs"),
        numbers("tuned"),
        numbers("base"),
        numbers("difference"),
        numbers("95 % interval"),
    ]);
    let mut agreement =
        Table::new(&[words("dimension"), words("judges"), numbers("scores"), numbers("weighted kappa")]);
    for dimension in &report.scores {
        for row in &dimension.judges {
            let interval = row.interval.map(|[low, high]| format!("{low:+.2} to {high:+.2}"));
            table.push([
                dimension.dimension.clone(),
                row.judge.clone(),
                row.pairs.to_string(),
                format!("{:.2}", row.tuned),
                format!("{:.2}", row.base),
                format!("{:+.2}", row.difference),
                interval.unwrap_or_else(|| format::NOTHING.to_owned()),
            ]);
        }
        for row in &dimension.weighted_kappa {
            let judges = format!("{} / {}", row.one, row.other);
            agreement.push([
                dimension.dimension.clone(),
                judges,
                row.scores.to_string(),
                format::number(row.kappa, 2),
            ]);
        }
        if let Some(alpha) = dimension.krippendorff_alpha {
            agreement.push([
                dimension.dimension.clone(),
                "all, Krippendorff's alpha (ordinal)".to_owned(),
                format::NOTHING.to_owned(),
                format!("{alpha:.2}"),
            ]);
        }
    }
    let mut blocks = vec![Block::Heading("Scores, 1 to 5".to_owned()), Block::Table(table)];
    if !agreement.rows.is_empty() {
        blocks.push(Block::Folded("Agreement on scores".to_owned(), agreement));
    }
    blocks.extend(contradictions(report));
    blocks
}

fn contradictions(report: &Report) -> Option<Block> {
    let said = |judge: &assay_judging::report::JudgeReport| {
        let found = &judge.contradictions;
        (found.scored > 0).then(|| {
            format!(
                "{}: of {} scored verdicts {} name the response with the lower sum, {} tie with unequal sums, {} choose with \
                 equal sums",
                judge.info.name, found.scored, found.opposite, found.tie_with_unequal, found.winner_with_equal
            )
        })
    };
    let items: Vec<String> = report.judges.iter().filter_map(said).collect();
    (!items.is_empty()).then_some(Block::List(items))
}
