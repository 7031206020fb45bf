//! Win rates by judge, checkpoint, split and domain.

use assay_domain::job::Comparison;
use assay_judging::report::{ComparisonReport, Interval, PROMPTS_FOR_PERCENT, Report, Scope, WinRate};

use crate::report::document::{Block, Detail, Table, numbers, words};
use crate::report::format;

/// The comparisons of one training run on one prompt set: its checkpoints.
pub(in crate::report) struct Group<'a> {
    pub(in crate::report) title: String,
    pub(in crate::report) comparisons: Vec<&'a ComparisonReport>,
    /// Who is better at 0 % and at 100 %.
    pub(in crate::report) ends: [&'static str; 2],
}

/// All runs, in the report's order; checkpoints by step.
pub(in crate::report) fn groups(report: &Report) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for comparison in &report.comparisons {
        let title = title(&comparison.comparison);
        match groups.iter_mut().find(|group| group.title == title) {
            Some(group) => group.comparisons.push(comparison),
            None => groups.push(Group {
                title,
                comparisons: vec![comparison],
                ends: ["base better", "tuned better"],
            }),
        }
    }
    for group in &mut groups {
        group.comparisons.sort_by_key(|comparison| comparison.comparison.step);
    }
    groups
}

fn title(c: &Comparison) -> String {
    if c.data.is_empty() {
        let seed = if c.seed == 0 { String::new() } else { format!(", seed {}", c.seed) };
        return format!("{}{seed}; verdicts from {}", format::system(c), c.prompts);
    }
    format!(
        "{}, {} on {}, seed {}; prompts {}, sampling {}",
        c.model, c.recipe, c.data, c.seed, c.prompts, c.sampling
    )
}

pub(super) fn blocks(report: &Report, detail: Detail) -> Vec<Block> {
    let mut blocks = vec![
        Block::Heading("Win rate of tuned over base".to_owned()),
        Block::Text(
            "W-T-L: pairs won, tied and lost by the tuned model. The rate is a mean over prompts, ties and flips are half \
             a win; 95 % intervals are clustered by prompt. p: sign flips over prompts against one half, Holm over the panel's \
             rows on all prompts, and over all other rows."
                .to_owned(),
        ),
    ];
    for group in groups(report) {
        blocks.push(Block::Text(group.title.clone()));
        let domain = |row: &WinRate| match row.scope {
            Scope::Domain(_) => true,
            Scope::All | Scope::Split(_) => false,
        };
        match detail {
            Detail::Short => blocks.push(Block::Table(table(report, &group, |row| shown(report, row)))),
            Detail::Full => {
                let named = |row: &WinRate| row.judge.is_some() || !report.method.panel.is_empty();
                blocks.push(Block::Table(table(report, &group, |row| named(row) && !domain(row))));
                let domains = table(report, &group, |row| named(row) && domain(row));
                if !domains.rows.is_empty() {
                    blocks.push(Block::Folded("By domain".to_owned(), domains));
                }
            }
        }
    }
    blocks.extend(differences(report));
    blocks.extend(super::direct::blocks(report, detail));
    blocks.extend(super::systems::blocks(report));
    if detail == Detail::Full {
        blocks.extend(super::tables::by_architecture(report));
        blocks.extend(sensitivity(report));
        blocks.extend(super::style::blocks(report));
        blocks.extend(super::leaks::blocks(report));
    }
    blocks
}

pub(super) fn table(report: &Report, group: &Group<'_>, shown: impl Fn(&WinRate) -> bool) -> Table {
    let mut table = Table::new(&[
        words("checkpoint"),
        words("prompts of"),
        words("judge"),
        numbers("n"),
        numbers("W-T-L"),
        words("missing"),
        numbers("win rate"),
        numbers("95 % interval"),
        numbers("p (Holm)"),
    ]);
    for comparison in &group.comparisons {
        for row in comparison.rates.iter().filter(|row| shown(row)) {
            table.push([
                comparison.comparison.checkpoint.clone(),
                row.scope.label().to_owned(),
                format::judge(report, row.judge.as_deref()),
                row.prompts.to_string(),
                format::outcomes(&row.counts),
                format::missing(&row.missing),
                format::rate(row),
                format::rate_interval(row),
                row.p_holm.map_or_else(|| format::NOTHING.to_owned(), format::p_value),
            ]);
        }
    }
    table
}

/// A terminal has no room for every judge on every domain, nor for a panel of one.
pub(super) fn shown(report: &Report, row: &WinRate) -> bool {
    let alone = report.method.panel.len() == 1;
    match (&row.scope, &row.judge) {
        (_, None) => !alone && !report.method.panel.is_empty(),
        (Scope::All | Scope::Split(_), Some(_)) => true,
        (Scope::Domain(_), Some(_)) => alone,
    }
}

pub(super) fn differences(report: &Report) -> Vec<Block> {
    if report.checkpoint_differences.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        words("run"),
        words("later less earlier"),
        numbers("n"),
        numbers("difference"),
        numbers("95 % interval"),
        numbers("p"),
        numbers("p (Holm)"),
    ]);
    for row in &report.checkpoint_differences {
        let found = report.comparisons.iter().find(|c| c.comparison.id == row.to);
        let run = found.map_or_else(String::new, |c| format::system(&c.comparison));
        let few = row.prompts < PROMPTS_FOR_PERCENT as u64;
        table.push([
            run,
            format!("{} less {}", row.to_checkpoint, row.from_checkpoint),
            row.prompts.to_string(),
            if few { "n < 10".to_owned() } else { format::points(row.difference) },
            row.interval
                .as_ref()
                .filter(|_| !few)
                .map_or_else(|| format::NOTHING.to_owned(), format::points_interval),
            format::p_value(row.p),
            format::p_value(row.p_holm),
        ]);
    }
    vec![
        Block::Heading("Checkpoints against each other".to_owned()),
        Block::Text(
            "In points of the panel's win rate, paired by prompt; p by sign flips over prompts.".to_owned(),
        ),
        Block::Table(table),
    ]
}

fn sensitivity(report: &Report) -> Vec<Block> {
    let mut table = Table::new(&[
        words("checkpoint"),
        words("judge"),
        numbers("ties half"),
        numbers("ties dropped"),
        numbers("ties lost"),
        numbers("Wilson, ties dropped"),
        numbers("bootstrap"),
        numbers("sign test p"),
        numbers("missing: bounds"),
        numbers("detectable"),
    ]);
    for comparison in report.all_comparisons() {
        for row in comparison.rates.iter().filter(|row| row.scope == Scope::All && row.rate.is_some()) {
            table.push(otherwise(report, &comparison.comparison, row));
        }
    }
    let mut blocks = vec![
        Block::Heading("The same, counted otherwise".to_owned()),
        Block::Text(
            "Shares of pairs with ties counted in three ways; Wilson's interval and the sign test where each prompt has \
             one pair; the bootstrap resamples prompts; bounds: all missing verdicts lost, all won; detectable: the least \
             true rate that this many prompts would find in four of five studies."
                .to_owned(),
        ),
        Block::Table(table),
    ];
    let left_out = leave_one_out(report);
    if !left_out.rows.is_empty() {
        blocks.push(Block::Folded("The panel without one judge".to_owned(), left_out));
    }
    blocks
}

fn otherwise(report: &Report, comparison: &Comparison, row: &WinRate) -> [String; 10] {
    let dash = || format::NOTHING.to_owned();
    let percent = |value: Option<f64>| value.filter(|_| !row.few).map_or_else(dash, format::percent);
    let interval =
        |value: &Option<Interval>| value.as_ref().filter(|_| !row.few).map_or_else(dash, format::interval);
    let bounds = row.bounds.filter(|_| !row.few);
    [
        format::compared(comparison),
        format::judge(report, row.judge.as_deref()),
        percent(row.ties.map(|ties| ties.half)),
        percent(row.ties.and_then(|ties| ties.dropped)),
        percent(row.ties.map(|ties| ties.as_loss)),
        interval(&row.wilson),
        interval(&row.bootstrap),
        row.sign_test_p.map_or_else(dash, format::p_value),
        bounds.map_or_else(dash, |b| format!("{:.1} to {:.1}", b.low * 100.0, b.high * 100.0)),
        percent(row.detectable),
    ]
}

fn leave_one_out(report: &Report) -> Table {
    let mut table = Table::new(&[words("checkpoint"), words("without"), numbers("panel's win rate")]);
    for comparison in report.all_comparisons() {
        let few = comparison.overall(None).is_none_or(|row| row.few);
        for left in &comparison.leave_one_out {
            let rate = left.rate.filter(|_| !few);
            table.push([
                format::compared(&comparison.comparison),
                format::judge(report, Some(&left.without)),
                rate.map_or_else(|| format::NOTHING.to_owned(), format::percent),
            ]);
        }
    }
    table
}
