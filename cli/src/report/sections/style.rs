//! Length, style and truncation: what they could have to do with the win rates.

use assay_judging::report::{ControlledRate, MeanDifference, Report, StyleReport};

use crate::report::document::{Block, Table, numbers, words};
use crate::report::format;

pub(super) fn blocks(report: &Report) -> Vec<Block> {
    let mut table = Table::new(&[
        words("system"),
        words("checkpoint"),
        numbers("pairs"),
        numbers("cut off: tuned, base"),
        numbers("characters"),
        numbers("Markdown marks"),
        numbers("longer won"),
        numbers("win rate"),
        numbers("at equal length"),
        numbers("and equal style"),
    ]);
    for comparison in report.all_comparisons() {
        let Some(style) = &comparison.style else { continue };
        let c = &comparison.comparison;
        let row = comparison.overall(None);
        let few = row.is_none_or(|row| row.few);
        table.push([
            format::system(c),
            format::checkpoint(c),
            style.pairs.to_string(),
            cut_off(style),
            difference(&style.chars),
            difference(&style.markdown_marks),
            format!("{} of {}", style.longer_won, style.unequal_lengths),
            row.map_or_else(|| format::NOTHING.to_owned(), format::rate),
            controlled(style.length_controlled.filter(|_| !few)),
            controlled(style.style_controlled.filter(|_| !few)),
        ]);
    }
    if table.rows.is_empty() {
        return Vec::new();
    }
    vec![
        Block::Heading("Length and style".to_owned()),
        Block::Text(
            "Tuned less base, means over prompts with 95 % intervals. The last two columns are sensitivity analyses by \
             logistic regression (Newton's method, errors clustered by prompt), not headlines."
                .to_owned()
                + if report.direct.is_empty() { "" } else { " Of two systems that judges compared directly: the first less the second." },
        ),
        Block::Table(table),
    ]
}

/// Cut-off responses of each side.
pub(super) fn cut_off(style: &StyleReport) -> String {
    format!("{}, {} of {}", style.tuned_truncated, style.base_truncated, style.pairs)
}

/// A difference with its interval.
pub(super) fn difference(difference: &MeanDifference) -> String {
    let mean = format!("{:+.1}", difference.mean);
    match difference.interval {
        Some([low, high]) => format!("{mean} ({low:+.1} to {high:+.1})"),
        None => mean,
    }
}

fn controlled(rate: Option<ControlledRate>) -> String {
    rate.map_or_else(
        || format::NOTHING.to_owned(),
        |rate| {
            let [low, high] = rate.interval;
            format!("{} ({:.1} to {:.1})", format::percent(rate.rate), low * 100.0, high * 100.0)
        },
    )
}
