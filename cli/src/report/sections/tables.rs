//! The tables of a paper: by architecture, by judge, by domain, by checkpoint; cost and time.

use std::collections::BTreeMap;

use assay_domain::WorkKind;
use assay_domain::job::JobSummary;
use assay_judging::report::{ComparisonReport, Report, Scope, WinRate, worker_cost};

use super::style;
use crate::report::document::{Block, Column, Table, numbers, words};
use crate::report::format;

/// One row for each system at its last checkpoint, with what qualifies its rate.
pub(super) fn by_architecture(report: &Report) -> Vec<Block> {
    let mut table = Table::new(&[
        words("system"),
        words("checkpoint"),
        numbers("prompts"),
        numbers("pairs"),
        numbers("W-T-L"),
        numbers("win rate"),
        numbers("95 % interval"),
        numbers("cut off: tuned, base"),
        numbers("characters"),
        numbers("Markdown marks"),
    ]);
    for comparison in last(report) {
        let Some(row) = comparison.overall(None) else { continue };
        let c = &comparison.comparison;
        let style = comparison.style.as_ref();
        let nothing = || format::NOTHING.to_owned();
        table.push([
            format::system(c),
            c.checkpoint.clone(),
            row.prompts.to_string(),
            row.pairs.to_string(),
            format::outcomes(&row.counts),
            format::rate(row),
            format::rate_interval(row),
            style.map_or_else(nothing, style::cut_off),
            style.map_or_else(nothing, |style| style::difference(&style.chars)),
            style.map_or_else(nothing, |style| style::difference(&style.markdown_marks)),
        ]);
    }
    titled("By architecture: the panel, over all prompts, at the last checkpoint", table)
}

/// All tables but the first.
pub(super) fn others(report: &Report) -> Vec<Block> {
    [by_judge(report), by_domain(report), by_checkpoint(report)].concat()
}

fn by_judge(report: &Report) -> Vec<Block> {
    let rows = last(report).into_iter().flat_map(|comparison| {
        let of_judge = |row: &&WinRate| row.scope == Scope::All;
        comparison.rates.iter().filter(of_judge).map(move |row| {
            (format::system(&comparison.comparison), format::judge(report, row.judge.as_deref()), row)
        })
    });
    titled("By judge", rates("judge", rows))
}

fn by_domain(report: &Report) -> Vec<Block> {
    let rows = last(report).into_iter().flat_map(|comparison| {
        let of_domain = |row: &&WinRate| row.judge.is_none() && row.scope != Scope::All;
        let named = move |row| (format::system(&comparison.comparison), scope_name(row), row);
        comparison.rates.iter().filter(of_domain).map(named)
    });
    titled("By split and domain: the panel", rates("prompts of", rows))
}

fn scope_name(row: &WinRate) -> String {
    row.scope.label().to_owned()
}

fn by_checkpoint(report: &Report) -> Vec<Block> {
    let rows = report.comparisons.iter().filter_map(|comparison| {
        let c = &comparison.comparison;
        Some((format::system(c), c.checkpoint.clone(), comparison.overall(None)?))
    });
    titled("By checkpoint: the panel", rates("checkpoint", rows))
}

/// System, a second name, and the row's numbers.
fn rates<'a>(second: &'static str, rows: impl Iterator<Item = (String, String, &'a WinRate)>) -> Table {
    let columns: [Column; 9] = [
        words("system"),
        words(second),
        numbers("prompts"),
        numbers("pairs"),
        numbers("W-T-L"),
        words("missing"),
        numbers("win rate"),
        numbers("95 % interval"),
        numbers("p (Holm)"),
    ];
    let mut table = Table::new(&columns);
    for (system, name, row) in rows {
        table.push([
            system,
            name,
            row.prompts.to_string(),
            row.pairs.to_string(),
            format::outcomes(&row.counts),
            format::missing(&row.missing),
            format::rate(row),
            format::rate_interval(row),
            row.p_holm.map_or_else(|| format::NOTHING.to_owned(), format::p_value),
        ]);
    }
    table
}

/// Comparisons at the last step of their run.
fn last(report: &Report) -> Vec<&ComparisonReport> {
    let run = |c: &ComparisonReport| {
        let c = &c.comparison;
        (c.model.clone(), c.data.clone(), c.recipe.clone(), c.seed, c.prompts.clone(), c.sampling.clone())
    };
    let mut steps = BTreeMap::new();
    for comparison in &report.comparisons {
        let step = steps.entry(run(comparison)).or_insert(0);
        *step = comparison.comparison.step.max(*step);
    }
    report.comparisons.iter().filter(|c| steps.get(&run(c)) == Some(&c.comparison.step)).collect()
}

/// Work by kind, and calls by judge.
pub(super) fn cost(report: &Report) -> Vec<Block> {
    let mut table = Table::new(&[
        words("work"),
        numbers("jobs"),
        numbers("calls"),
        numbers("tokens in"),
        numbers("tokens out"),
        numbers("time"),
        numbers("USD"),
    ]);
    let workers = worker_cost(&report.execution.jobs);
    for kind in WorkKind::ALL {
        let jobs: Vec<&JobSummary> = report.execution.jobs.iter().filter(|job| job.kind == kind).collect();
        if jobs.is_empty() {
            continue;
        }
        let tokens = jobs.iter().filter_map(|job| job.usage.as_ref()).map(|usage| usage.tokens).sum();
        let seconds = jobs.iter().filter_map(|job| super::runs::seconds(job)).sum();
        let worker = workers.get(&kind).copied().unwrap_or_default();
        table.push([
            kind.as_str().to_owned(),
            jobs.len().to_string(),
            format::NOTHING.to_owned(),
            format::count(tokens),
            format::NOTHING.to_owned(),
            format::duration(seconds),
            format::number(worker.known_usd(), 2),
        ]);
    }
    for (judge, used) in &report.execution.judge_usage {
        table.push([
            format::judge(report, Some(judge)),
            format::NOTHING.to_owned(),
            format::count(used.calls),
            format::count(used.prompt_tokens),
            format::count(used.new_tokens),
            format::duration(used.seconds),
            format::number(used.usd, 2),
        ]);
    }
    let mut blocks = titled("Cost and time", table);
    if !blocks.is_empty() {
        blocks.push(Block::Text(spent(report)));
    }
    blocks
}

/// All that has a price, together, and what has none.
fn spent(report: &Report) -> String {
    let workers = worker_cost(&report.execution.jobs);
    let (machines, unpriced) = workers
        .values()
        .fold((0.0, 0.0), |(usd, unpriced), cost| (usd + cost.usd, unpriced + cost.unpriced_s));
    let judges =
        report.execution.judge_usage.values().filter_map(|used| used.usd).fold(0.0, |sum, usd| sum + usd);
    let mut said = format!(
        "Workers {machines:.2} USD (price per hour times the time of all attempts, lost ones included), judges {judges:.2} USD \
         (tokens at list prices); {:.2} USD together.",
        machines + judges
    );
    if unpriced > 0.0 {
        let time = format::duration(unpriced);
        said.push_str(&format!(
            " {time} ran on workers without a price (`assay-worker agent --usd-per-hour`)."
        ));
    }
    said
}

fn titled(title: &str, table: Table) -> Vec<Block> {
    if table.rows.is_empty() {
        return Vec::new();
    }
    vec![Block::Heading(title.to_owned()), Block::Table(table)]
}
